#!/usr/bin/python3
"""What a sandbox costs before its program does anything: starting one, keeping one idle, touching memory in one.

Everything that is compared runs interleaved in the same run, since a machine's other load changes from minute to
minute; figures are medians. Exit status: 0 if every target is met, 1 if one is missed, 2 if something did not run."""
import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MIXED_CGROUPS = "/sys/fs/cgroup/unified"
IN_PRIVATE_MOUNTS = "BULKHEAD_BENCH_PRIVATE_MOUNTS"

START_TARGET = 1 / 5     # of runsc's time
MEMORY_TARGET = 8 << 20  # bytes of PSS, all processes together
TOUCH_TARGET = 1.15      # of native


class Failure(Exception):
    pass


def parse_arguments():
    parser = argparse.ArgumentParser(prog="first_light", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(ROOT, "build/bin"), metavar="DIR", help="where bulkhead is")
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="starts of each kind (default: 31)")
    parser.add_argument("--idle", type=float, default=10, metavar="S", help="seconds to watch an idle sandbox (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("parts", nargs="*", metavar="PART", help="start, idle, touch, call; default: all")
    return parser.parse_args()


# ---- starting

def hide_mixed_cgroups():
    """crun refuses a host that has both kinds of cgroup. Runs this script again where one of them is not mounted."""
    if os.geteuid() != 0 or IN_PRIVATE_MOUNTS in os.environ or not os.path.ismount(MIXED_CGROUPS):
        return
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        return
    os.environ[IN_PRIVATE_MOUNTS] = "1"
    script = 'umount "$0" && exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, MIXED_CGROUPS, sys.executable, *sys.argv])


def make_bundle(folder):
    """The smallest container: a static `true`, the namespaces and mounts that every container has."""
    rootfs = os.path.join(folder, "rootfs")
    for name in ("bin", "proc", "sys", "dev"):
        os.makedirs(os.path.join(rootfs, name))
    shutil.copy("/bin/busybox", os.path.join(rootfs, "bin/true"))
    config = {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "cwd": "/", "args": ["/bin/true"], "env": ["PATH=/bin"],
                    "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True},
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


def peers(bulkhead, bundle):
    """Name, what it does, command. Those that this host or user cannot run are left out, with a word why."""
    rows = [("native", "fork and exec of /bin/true", lambda name: ["/bin/true"]),
            ("bulkhead do", "bulkhead do -- /bin/true", lambda name: [bulkhead, "do", "--", "/bin/true"])]
    absent = []
    containers = []
    if not os.path.exists("/bin/busybox"):
        absent.append("containers: no /bin/busybox (busybox-static)")
    else:
        make_bundle(bundle)
        containers.append(("bulkhead run", "bulkhead run, a minimal bundle",
                           lambda name: [bulkhead, "run", "--bundle", bundle, name]))
    for tool in ("crun", "runc", "runsc"):
        if shutil.which(tool) is None:
            absent.append(f"{tool}: not installed")
        elif os.geteuid() != 0:
            absent.append(f"{tool}: needs root")
        elif tool == "runsc":
            rows.append(("runsc do", "runsc --platform=ptrace --network=none do /bin/true",
                         lambda name: ["runsc", "--platform=ptrace", "--network=none", "do", "/bin/true"]))
        elif containers:
            containers.append((f"{tool} run", f"{tool} run, the same bundle",
                               lambda name, tool=tool: [tool, "run", "--bundle", bundle, name]))
    return rows + containers, absent


def timed(command):
    """Wall time in ns of one run; a failure names what went wrong."""
    # Not /dev/null: runsc gives its standard streams to another user, and so takes it from the host.
    with tempfile.TemporaryFile() as nothing, tempfile.TemporaryFile() as errors:
        start = time.perf_counter_ns()
        child = os.posix_spawnp(command[0], command, os.environ,
                                file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                                              (os.POSIX_SPAWN_DUP2, errors.fileno(), 1),
                                              (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)])
        _, status = os.waitpid(child, 0)
        elapsed = time.perf_counter_ns() - start
        if status != 0:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise Failure(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}: {text[-400:]}")
    return elapsed


def measure_start(bulkhead, rounds, folder):
    rows, absent = peers(bulkhead, os.path.join(folder, "bundle"))
    times = {name: [] for name, _, _ in rows}
    for turn in range(-1, rounds):  # the first one warms the page cache and is not counted
        for name, _, command in rows:
            elapsed = timed(command(f"first-light-{os.getpid()}-{turn + 1}"))
            if turn >= 0:
                times[name].append(elapsed)
    result = {"rounds": rounds, "absent": absent, "ms": {}}
    for name, what, _ in rows:
        quartiles = statistics.quantiles(times[name], n=4) if rounds > 1 else times[name] * 3
        result["ms"][name] = {"what": what, "median": quartiles[1] / 1e6, "quarter": quartiles[0] / 1e6,
                              "three_quarters": quartiles[2] / 1e6, "least": min(times[name]) / 1e6}
    if "runsc do" in times:
        result["of_runsc"] = result["ms"]["bulkhead do"]["median"] / result["ms"]["runsc do"]["median"]
        result["target_of_runsc"] = START_TARGET
        result["ok"] = result["of_runsc"] <= START_TARGET
    return result


# ---- idling

def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def tree(pid):
    """A process and all below it. One that ends meanwhile is left out."""
    found = [pid]
    for parent in found:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                found += [int(child) for child in read(f"/proc/{parent}/task/{thread}/children").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def switches(pids):
    """Context switches of each process so far: a process that was not switched to did not run."""
    counts = {}
    for pid in pids:
        try:
            counts[pid] = sum(int(count) for thread in os.listdir(f"/proc/{pid}/task") for count in
                              re.findall(r"ctxt_switches:\s*(\d+)", read(f"/proc/{pid}/task/{thread}/status")))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended: no process of a sandbox at rest
    return counts


def settled(pid, quiet=1.0, patience=30.0):
    """The sandbox's processes, once none of them has run for `quiet` seconds."""
    deadline = time.monotonic() + patience
    seen, since = None, time.monotonic()
    while time.monotonic() - since < quiet:
        now = switches(tree(pid))
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() > deadline:
            raise Failure(f"a sandbox that sleeps has not come to rest in {patience:.0f} s")
        time.sleep(0.05)
    return list(seen)


def private_copy(bulkhead, folder):
    """The programs as files of their own: pages that another sandbox has mapped would count for it, too."""
    programs = os.path.join(folder, "programs")
    os.mkdir(programs, 0o755)
    for name in ("bulkhead", "bulkhead-sentry", "bulkhead-gofer"):
        shutil.copy(os.path.join(os.path.dirname(bulkhead), name), programs)
    return os.path.join(programs, "bulkhead")


def measure_idle(bulkhead, seconds, folder):
    os.chmod(folder, 0o755)  # a sandbox has a host user of its own
    bulkhead = private_copy(bulkhead, folder)
    command = [bulkhead, "do", "--", "sh", "-c", "echo ready; exec sleep 1000"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if child.stdout.readline() != b"ready\n":
            raise Failure(f"{' '.join(command)}: did not start")
        pids = settled(child.pid)
        processes = []
        before = switches(pids)
        start = time.monotonic()
        while time.monotonic() - start < seconds:  # what is measured is this time itself
            time.sleep(max(0, seconds - (time.monotonic() - start)))
        after = switches(pids)
        for pid in pids:
            pss = int(re.search(r"^Pss:\s*(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M).group(1)) << 10
            processes.append({"name": read(f"/proc/{pid}/comm").strip(), "pss": pss, "wakeups": after[pid] - before[pid]})
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    total = sum(process["pss"] for process in processes)
    wakeups = sum(process["wakeups"] for process in processes)
    return {"seconds": seconds, "processes": processes, "pss": total, "target_pss": MEMORY_TARGET,
            "pss_ok": total <= MEMORY_TARGET, "wakeups": wakeups, "wakeups_ok": wakeups == 0,
            "ok": total <= MEMORY_TARGET and wakeups == 0}


# ---- programs inside and outside

def compare(bulkhead, name, rounds, folder):
    """Medians of what the program `name`.c prints, natively and in a sandbox."""
    program = os.path.join(folder, name)
    subprocess.run(["cc", "-O2", "-o", program, os.path.join(HERE, name + ".c")], check=True)
    commands = {"native": [program],
                "sandbox": [bulkhead, "do", "--bind", f"{folder}:/mnt:ro", "--", f"/mnt/{name}"]}
    values = {kind: [] for kind in commands}
    for turn in range(-1, rounds):
        for kind, command in commands.items():
            run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                raise Failure(f"{' '.join(command)}: exit status {run.returncode}: {run.stderr.strip()[-400:]}")
            if turn >= 0:
                values[kind].append(int(run.stdout))
    medians = {kind: statistics.median(numbers) for kind, numbers in values.items()}
    return {"rounds": rounds, "native_ns": medians["native"], "sandbox_ns": medians["sandbox"],
            "ratio": medians["sandbox"] / medians["native"]}


def measure_touch(bulkhead, rounds, folder):
    result = compare(bulkhead, "touch", rounds, folder)
    result.update(target=TOUCH_TARGET, ok=result["ratio"] <= TOUCH_TARGET)
    return result


# ---- reporting

def machine():
    model = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    return {"processor": model.group(1) if model else platform.machine(), "processors": os.cpu_count(),
            "kernel": platform.release(), "load": os.getloadavg()[0]}


def verdict(ok):
    return "ok" if ok else "MISSED"


def print_text(results):
    host = results["machine"]
    print(f"{host['processors']} x {host['processor']}, Linux {host['kernel']}, load {host['load']:.1f} at the start")
    if "start" in results:
        start = results["start"]
        print(f"\nstart to end, ms, {start['rounds']} rounds: median (quarters), least; of native")
        native = start["ms"]["native"]["median"]
        for name, row in start["ms"].items():
            print(f"  {name:13} {row['median']:7.2f} ({row['quarter']:.2f} to {row['three_quarters']:.2f}), {row['least']:7.2f}"
                  f"; {row['median'] / native:6.1f} x   {row['what']}")
        for word in start["absent"]:
            print(f"  {word}")
        if "ok" in start:
            print(f"  bulkhead do takes {start['of_runsc']:.3f} of runsc's time, target {start['target_of_runsc']:.3f}: "
                  f"{verdict(start['ok'])}")
    if "idle" in results:
        idle = results["idle"]
        print("\nidle sandbox (sleep 1000), sharing no page of bulkhead's programs with another")
        for process in idle["processes"]:
            print(f"  {process['name']:16} PSS {process['pss'] / (1 << 20):5.2f} MiB, {process['wakeups']} wakeups")
        print(f"  PSS {idle['pss'] / (1 << 20):.2f} MiB, target {idle['target_pss'] >> 20}: {verdict(idle['pss_ok'])}")
        print(f"  {idle['wakeups']} wakeups in {idle['seconds']:g} s, target 0: {verdict(idle['wakeups_ok'])}")
    if "touch" in results:
        touch = results["touch"]
        print(f"\ntouching 64 MiB: native {touch['native_ns'] / 1e6:.1f} ms, in a sandbox {touch['sandbox_ns'] / 1e6:.1f} ms: "
              f"{touch['ratio']:.2f} x, target {touch['target']}: {verdict(touch['ok'])}")
    if "call" in results:
        call = results["call"]
        print(f"\none getpid call: native {call['native_ns'] / 1e3:.2f} µs, in a sandbox {call['sandbox_ns'] / 1e3:.1f} µs "
              "(ptrace; no target)")


def main():
    options = parse_arguments()
    unknown = set(options.parts) - {"start", "idle", "touch", "call"}
    if unknown:
        sys.exit(f"first_light: no part \"{unknown.pop()}\" (start, idle, touch, call)")
    bulkhead = os.path.join(os.path.abspath(options.bin), "bulkhead")
    if not os.access(bulkhead, os.X_OK):
        sys.exit(f"first_light: no {bulkhead}: ./dev build, or --bin DIR")
    hide_mixed_cgroups()
    parts = options.parts or ["start", "idle", "touch", "call"]
    results = {"machine": machine()}
    status = 0
    with tempfile.TemporaryDirectory(prefix="first-light-") as folder:
        measures = {"start": lambda: measure_start(bulkhead, options.rounds, folder),
                    "idle": lambda: measure_idle(bulkhead, options.idle, folder),
                    "touch": lambda: measure_touch(bulkhead, options.rounds, folder),
                    "call": lambda: compare(bulkhead, "getpid", options.rounds, folder)}
        for part in parts:
            try:
                results[part] = measures[part]()
            except Failure as failure:
                print(f"first_light: {failure}", file=sys.stderr)
                status = 2
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print_text(results)
    if status == 0 and not all(results[part].get("ok", True) for part in parts):
        status = 1
    sys.exit(status)


main()
