#!/usr/bin/python3
"""Bad arguments for every system call, natively and in a sandbox: compares what each pair answers.

sweep.py [--unmapping] SWEEP BULKHEAD [BULKHEAD-DO-ARGS…]

Natively it runs as nobody in namespaces of its own. At most 2 % may differ; sweep_reasons.txt explains each call that
does, and names no other. Exit status 77: not root, so there is no such native run.

--unmapping: the calls while another thread takes their memory away. Nothing is compared; both runs must come through.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
          "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"]
# A shell is pid 1, root's, as in a sandbox.
NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--ipc", "--uts", "--",
              "sh", "-c", '"$@"; exit $?', "sh"]
LIMIT_PERCENT = 2.0


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=800)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: status {done.returncode}")
    outcomes = {}
    for line in done.stdout.splitlines():
        number, vector, outcome = line.split(" ", 2)
        outcomes[int(number), vector] = outcome
    return outcomes


def unmapping(sweep, bulkhead, arguments):
    for where, command in (("natively", [*NAMESPACES, "env", "TMPDIR=/tmp", *NOBODY, sweep, "--unmapping"]),
                           ("inside", [bulkhead, "do", *arguments, "--cwd", "/tmp", "--env", "TMPDIR=/tmp", "--",
                                       *NOBODY, sweep, "--unmapping"])):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=800)
        print(f"{where}: status {done.returncode}, {done.stdout.strip()[-2000:]}")
        if done.returncode != 0:
            sys.exit(1)


def main():
    arguments = sys.argv[1:]
    if os.geteuid() != 0:
        print("not root")
        sys.exit(77)
    if arguments[0] == "--unmapping":
        unmapping(arguments[1], arguments[2], arguments[3:])
        return
    sweep, bulkhead, *arguments = arguments
    names, absent = {}, {}
    table = subprocess.run([bulkhead, "syscalls"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for match in re.finditer(r"^ *(\d+) (\S+) +(complete|partial|absent)(?: +(E\w+):)?", table, re.MULTILINE):
        names[int(match[1])] = match[2]
        if match[3] == "absent":
            absent[int(match[1])] = match[4]
    environment = ["env", "TMPDIR=/tmp"]
    native = run([*NAMESPACES, *environment, *NOBODY, sweep])
    inside = run([bulkhead, "do", *arguments, "--cwd", "/tmp", "--env", "TMPDIR=/tmp", "--", *NOBODY, sweep])
    if native.keys() != inside.keys():
        sys.exit("the runs do not have the same cases")
    reasons = {}
    with open(os.path.join(HERE, "sweep_reasons.txt"), encoding="utf-8") as file:
        for line in file:
            line = line.split("#", 1)[0].strip()
            if line:
                name, reason = line.split(None, 1)
                reasons[name] = reason
    differing, compared, failed = {}, 0, False
    for key in native:
        if key[0] not in names or key[0] in absent:
            # The table says what these answer, whatever the arguments.
            expected = absent.get(key[0], "ENOSYS")
            if inside[key] != expected:
                print(f"{names.get(key[0], key[0])} {key[1]}: {inside[key]}, and the table says {expected}")
                failed = True
            continue
        compared += 1
        if native[key] != inside[key]:
            differing.setdefault(names.get(key[0], str(key[0])), []).append((key[1], native[key], inside[key]))
    count = sum(len(cases) for cases in differing.values())
    percent = 100 * count / compared
    failed |= percent > LIMIT_PERCENT
    for name, cases in sorted(differing.items()):
        explained = name in reasons
        failed |= not explained
        print(f"{name}: {len(cases)} differ" + (f" ({reasons[name]})" if explained else ", without a reason"))
        for vector, before, after in cases[:100 if "-v" in os.environ.get("SWEEP", "") else 3 if not explained else 0]:
            print(f"    {vector}: {before} natively, {after} inside")
    print(f"{compared} cases of calls that are not absent, {count} differ ({percent:.2f} %)")
    sys.exit(1 if failed else 0)


main()
