"""inner.py native|runc WORKLOAD: becomes the workload, as the agent would run it."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/..")
from guest import agent  # noqa: E402
from workloads import RUNTIMES, WORKLOADS  # noqa: E402

machine = agent.Machine({})
if sys.argv[1] != "native":
    machine.prepare()
command, _ = machine.command(RUNTIMES[sys.argv[1]], WORKLOADS[sys.argv[2]], "inner")
os.execvp(command[0], command)
