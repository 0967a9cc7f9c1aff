#!/usr/bin/python3
"""Whether a sandbox that has worked hard is as it was before: the sentry's descriptors, mappings and memory and the
   host's processes after a round, and after many more.
   leaks.py WORK LENGTH CHURN BULKHEAD [BULKHEAD-DO-ARGS…]
WORK: processes. LENGTH: short or long."""
import os
import pathlib
import subprocess
import sys
import time

# Per work: the first round, and how much comes then.
ROUNDS = {
    ("processes", "short"): (100, [200]),
    ("processes", "long"): (1000, [4000]),
}
# What may be more than after the first round: caches fill, and a heap has holes.
MAY_GROW = {"descriptors": 4, "mappings": 24, "KiB": 1024}


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text()
            found += [int(p) for p in text.split()]
    except FileNotFoundError:
        pass
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def sentry_below(pid):
    for one in descendants(pid):
        if pathlib.Path(f"/proc/{one}/cmdline").read_bytes().startswith(b"bulkhead-sentry"):
            return one
    sys.exit("FAIL: no sentry below the runtime")


def measure(runtime, sentry):
    rollup = pathlib.Path(f"/proc/{sentry}/smaps_rollup").read_text()
    return {
        "descriptors": len(os.listdir(f"/proc/{sentry}/fd")),
        "mappings": pathlib.Path(f"/proc/{sentry}/maps").read_text().count("\n"),
        "KiB": next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:")),
        "processes": len(descendants(runtime)),
    }


def settled(runtime, sentry, wanted):
    """The measure once it is within bounds; at the latest after 10 s, whatever it is."""
    end = time.monotonic() + 10
    while True:
        now = measure(runtime, sentry)
        if time.monotonic() > end or wanted is not None and not excess(now, wanted):
            return now
        if wanted is None and time.monotonic() > end - 8:
            return now
        time.sleep(0.2)


def excess(now, before):
    return {name: (before[name], now[name]) for name in now if now[name] > before[name] + MAY_GROW.get(name, 0)}


work, length, churn, bulkhead, *arguments = sys.argv[1:]
first, more = ROUNDS[work, length]
if not os.access(bulkhead, os.X_OK):
    print(f"no {bulkhead}: nothing to run the sandbox with")
    sys.exit(77)
command = [bulkhead, "do", *arguments, "--env", "BULKHEAD_TEST_SANDBOXED=1", "--cwd", "/", "--", os.path.abspath(churn)]
sandbox = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           errors="replace")


def order(count):
    line = f"{work} {count}"
    sandbox.stdin.write(line + "\n")
    sandbox.stdin.flush()
    while (answer := sandbox.stdout.readline().strip()) != "done":
        if not answer:
            sys.exit(f"FAIL: the guest ended at '{line}' with {sandbox.wait()}")


failed = 0
try:
    order(first)
    sentry = sentry_below(sandbox.pid)
    before = settled(sandbox.pid, sentry, None)
    print(f"after the first {first}:", before)
    for count in more:
        order(count)
        now = settled(sandbox.pid, sentry, before)
        print(f"after {count} more:", now)
        if too_much := excess(now, before):
            print("FAIL: grown:", too_much)
            failed = 1
    everybody = descendants(sandbox.pid)
    sandbox.stdin.close()
    if (status := sandbox.wait(60)) != 0:
        print(f"FAIL: the sandbox ended with {status}")
        failed = 1
    end = time.monotonic() + 10
    while left := [pid for pid in everybody if os.path.exists(f"/proc/{pid}")]:
        if time.monotonic() > end:
            print("FAIL: left behind:", left)
            failed = 1
            break
        time.sleep(0.05)
finally:
    sandbox.kill()
    sandbox.wait()
sys.exit(failed)
