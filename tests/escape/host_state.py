#!/usr/bin/python3
"""What the host's /proc says about the processes of a running sandbox: confined as promised, every one.
   host_state.py BULKHEAD [BULKHEAD-DO-ARGS…]"""
import os
import pathlib
import signal
import subprocess
import sys
import time

KINDS = ("user", "pid", "net", "ipc", "uts", "mnt")
# What a root file tree needs of the gofer (capabilities(7)): DAC_OVERRIDE and its kin, CHOWN, FOWNER, FSETID, MKNOD,
# SETFCAP, SYS_RESOURCE excluded. Bits by number.
GOFER_MAY = sum(1 << n for n in (0, 1, 2, 3, 4, 6, 7, 27, 31))

failed = 0


def check(truth, message):
    global failed
    if not truth:
        print("FAIL:", message)
        failed = 1


def status(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def fds(pid):
    links = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass
    return links


def limits(pid):
    lines = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def main():
    bulkhead, args = sys.argv[1], sys.argv[2:]
    if not os.access(bulkhead, os.X_OK):
        print(f"no {bulkhead}: nothing to run the sandbox with")
        return 77
    # Descriptors that must not be inherited.
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    process = subprocess.Popen(
        [bulkhead, "do", *args, "--", "/bin/sh", "-c", "sleep 1000 & echo ready; exec sleep 1000"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, close_fds=False)
    try:
        check(process.stdout.readline() == b"ready\n", "the sandbox did not start")
        deadline = time.monotonic() + 10
        while len(descendants(process.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        inspect_all(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    print("host state:", "FAILED" if failed else "as promised")
    return failed


def inspect_all(command):
    """The stub that a program has left by exec(2) may end while it is being looked at: then once more."""
    for attempt in range(10):
        try:
            return inspect(command)
        except (FileNotFoundError, ProcessLookupError):
            if attempt == 9 or failed:
                raise


def inspect(command):
    names = {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in [command, *descendants(command)]}
    parents = {pid: int(status(pid)["PPid"]) for pid in names}
    gofers = [pid for pid, name in names.items() if name == "bulkhead-gofer"]
    sentries = [pid for pid, name in names.items() if name == "bulkhead-sentry" and names.get(parents[pid]) == "bulkhead"]
    stubs = [pid for pid in names if parents[pid] in sentries]
    check(len(gofers) == 1, f"one gofer: {names}")
    check(len(sentries) == 1, f"one sentry: {names}")
    check(len(stubs) >= 2, f"a process for each guest process: {names}")
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    for pid in gofers + sentries + stubs:
        who = f"{names[pid]} {pid}" + (" (stub)" if pid in stubs else "")
        s = status(pid)
        check(s["NoNewPrivs"] == "1", f"{who}: NoNewPrivs is {s['NoNewPrivs']}")
        check(s["Seccomp"] == "2", f"{who}: Seccomp is {s['Seccomp']}")
        check(int(s["Seccomp_filters"]) >= 1, f"{who}: no filter")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            may = GOFER_MAY if pid in gofers and os.geteuid() == 0 and kind in ("CapPrm", "CapEff", "CapBnd") else 0
            check(int(s[kind], 16) & ~may == 0, f"{who}: {kind} is {s[kind]}")
        for kind in KINDS:
            check(os.readlink(f"/proc/{pid}/ns/{kind}") != own[kind], f"{who}: the host's {kind} namespace")
        for number in (1, 2, 3, 4):
            check(s["Uid"].split()[number - 1] != "0" or pid in gofers, f"{who}: runs as the host's root")
        check(limits(pid)["Max core file size"] == ["0", "0"], f"{who}: may dump core")
        for fd, target in fds(pid).items():
            check(target != "/etc/passwd", f"{who}: descriptor {fd} was inherited")
            if pid in gofers:
                continue
            harmless = target.startswith(("socket:", "pipe:", "anon_inode:", "/memfd:", "/dev/null", "/dev/zero"))
            # A log file, and standard streams that were passed through, are the caller's own.
            check(harmless or fd <= 2 or not os.path.isdir(target), f"{who}: descriptor {fd} is {target}")
            check(not target.startswith("/dev/vd") and not target.startswith("/dev/sd"), f"{who}: {target}")
    for pid in sentries + stubs:
        who = f"{names[pid]} {pid}"
        root = os.listdir(f"/proc/{pid}/root/")
        check(root == [], f"{who}: its root holds {root}")
        mounts = pathlib.Path(f"/proc/{pid}/mounts").read_text().splitlines()
        check(len(mounts) <= 1, f"{who}: sees mounts {mounts}")
        check(os.readlink(f"/proc/{pid}/cwd") == "/", f"{who}: works in {os.readlink(f'/proc/{pid}/cwd')}")
        net = pathlib.Path(f"/proc/{pid}/net/dev").read_text()
        check(net.count(":") <= 1, f"{who}: has network devices: {net}")
    # One sentry thread (and the gofer's are its own affair).
    for pid in sentries:
        check(len(os.listdir(f"/proc/{pid}/task")) == 1, f"sentry {pid}: has several threads")


if __name__ == "__main__":
    sys.exit(main())
