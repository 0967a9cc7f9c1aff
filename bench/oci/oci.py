#!/usr/bin/env python3
"""bulkhead as an OCI runtime beside runc, crun and runsc: cold run, exec, idle memory, `ctr run`.

Interleaved: each round runs every runtime once, so that what else the machine does hits all alike. Exit status: 0 if
every target is met, 1 if one is missed, 2 if a runtime to compare with did not run.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("BULKHEAD", str(HERE.parent.parent / "build/bin/bulkhead"))
sys.path.insert(0, str(HERE.parent.parent / "tests/oci"))
import engine  # noqa: E402
import image  # noqa: E402

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}


class Runtime:
    def __init__(self, name, program, folder, extra=()):
        self.name, self.folder = name, folder / name
        self.words = [program, "--root", str(self.folder / "state"), *extra]
        image.fill_root(self.folder / "rootfs")

    def config(self, *args):
        (self.folder / "config.json").write_text(json.dumps({**CONFIG, "process": {**CONFIG["process"], "args": args}}))

    def __call__(self, *words, check=True):
        # Not /dev/null: runsc gives its standard streams to another user, and so takes it from the host.
        with open(self.folder / "streams", "a+") as streams:
            return subprocess.run(
                [*self.words, *words], cwd=self.folder, check=check, timeout=60,
                stdin=streams, stdout=streams, stderr=streams,
            )


def timed(action):
    """Milliseconds from start to end, and of processor time of all that the command has waited for."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    spent, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def row(name, times, processor):
    times = sorted(times)
    p90 = times[min(len(times) - 1, len(times) * 9 // 10)]
    print(f"  {name:10} {times[0]:8.1f} {statistics.median(times):8.1f} {p90:8.1f} {statistics.median(processor):8.1f}")


class Targets:
    """What is wanted, beside what was measured."""

    def __init__(self):
        self.missed = self.unknown = 0
        self.judged = []

    def judge(self, what, measured, wanted):
        """`wanted` is None if there is nothing to compare with."""
        if wanted is None:
            self.unknown += 1
            self.judged.append((what, "–", "–", "not known"))
            print(f"  {what}: not known, the other does not run here")
            return
        met = measured <= wanted
        self.missed += not met
        self.judged.append((what, f"{measured:.2f}", f"{wanted:.2f}", "met" if met else "**MISSED**"))
        print(f"  {what}: {measured:.2f}, wanted at most {wanted:.2f}: {'met' if met else 'MISSED'}")

    def judge_ratio(self, what, times, other, most):
        mine, theirs = times["bulkhead"], times.get(other)
        ratio = statistics.median(mine) / statistics.median(theirs) if theirs else 0
        self.judge(f"{what}, of {other}'s median", ratio, most if theirs else None)


def interleaved(title, runtimes, rounds, action):
    """Prints the rows; the times of each runtime."""
    print(f"\n{title}, ms\n  {'':10} {'least':>8} {'median':>8} {'p90':>8} {'CPU':>8}")
    times = {runtime.name: [] for runtime in runtimes}
    processor = {runtime.name: [] for runtime in runtimes}
    for round_ in range(rounds + 1):
        for runtime in runtimes:
            spent, busy = timed(lambda: action(runtime))
            if round_ > 0:  # the first one warms caches
                times[runtime.name].append(spent)
                processor[runtime.name].append(busy)
    for name, each in times.items():
        row(name, each, processor[name])
    return times


def tree(pid):
    """A process and all below it."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            todo += [int(child) for child in (task / "children").read_text().split()]
    return found


def pss_kib(pids):
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def markdown(began, tables, sums, targets):
    """The page's part: milliseconds, memory, and what was wanted."""
    names = list(next(iter(tables.values())))
    lines = [f"{os.cpu_count()} processors, Linux {os.uname().release}, load {began:.1f} at the start.", ""]
    lines += ["| ms: median (least) | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for title, times in tables.items():
        cells = [f"{statistics.median(times[name]):.1f} ({min(times[name]):.1f})" if name in times else "" for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for count, title in ((1, "one idle container, KiB"), (20, "one of 20, KiB")):
        lines.append(f"| {title} | " + " | ".join(f"{sums[name][count]:.0f}" for name in names) + " |")
    lines += ["", "| | measured | wanted at most | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in targets.judged]
    return "\n".join(lines) + "\n"


def put_between(path, start, end, text):
    """Replaces what stands between two lines of a page."""
    page = pathlib.Path(path).read_text(encoding="utf-8")
    before, rest = page.split(start + "\n", 1)
    pathlib.Path(path).write_text(f"{before}{start}\n{text}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def idle(runtimes, targets):
    print(f"\nidle containers, PSS of all their processes, KiB each\n  {'':10} {'one':>8} {'of 20':>8}")
    found = {}
    for runtime in runtimes:
        runtime.config("/bin/sleep", "1000")
        try:
            sums = found.setdefault(runtime.name, {})
            for count in (1, 20):
                for i in range(0 if count == 1 else 1, count):
                    runtime("run", "--detach", "--pid-file", f"{runtime.folder}/pid{i}", f"idle{i}")
                time.sleep(1)  # what drops clean pages before it waits has done so
                pids = [pid for i in range(count) for pid in tree(int((runtime.folder / f"pid{i}").read_text()))]
                sums[count] = pss_kib(pids) / count
            print(f"  {runtime.name:10} {sums[1]:8.0f} {sums[20]:8.0f}", flush=True)
        finally:
            for i in range(20):
                runtime("delete", "--force", f"idle{i}", check=False)
    targets.judge("one idle container, MiB", found["bulkhead"][1] / 1024, 6)
    targets.judge("one of 20, MiB", found["bulkhead"][20] / 1024, 4)
    return found


def without_unified_hierarchy():
    """crun refuses a host with both versions of cgroups: here the second one is hidden from everybody alike."""
    unified = "/sys/fs/cgroup/unified"
    if os.path.ismount(unified):
        script = f'mount --make-rprivate / && umount {unified} && exec "$@"'
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-ctr", action="store_true")
    parser.add_argument("--markdown", metavar="FILE", help="put the tables into this page, between its marks")
    options = parser.parse_args()
    without_unified_hierarchy()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-bench-oci-"))
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    runtimes = [Runtime("bulkhead", os.environ["BULKHEAD"], folder)]
    for name, extra in (("runc", ()), ("crun", ()), ("runsc", ("--platform=ptrace", "--network=none"))):
        program = shutil.which(name)
        if program:
            runtimes.append(Runtime(name, program, folder, extra))
    began, tables = os.getloadavg()[0], {}
    try:
        working = []
        for runtime in runtimes:
            runtime.config("/bin/true")
            done = runtime("run", "try", check=False)
            if done.returncode == 0:
                working.append(runtime)
            else:
                print(f"{runtime.name} does not run on this host")
        targets = Targets()
        times = interleaved("cold `run` of /bin/true", working, options.rounds, lambda runtime: runtime("run", "cold"))
        tables["cold `run` of /bin/true"] = times
        targets.judge_ratio("cold `run`", times, "runc", 0.5)
        targets.judge_ratio("cold `run` (stretch)", times, "crun", 1)
        for runtime in working:
            runtime.config("/bin/sleep", "1000")
            runtime("run", "--detach", "box")
        try:
            times = interleaved("`exec` of true", working, options.rounds, lambda runtime: runtime("exec", "box", "/bin/true"))
            tables["`exec` of true"] = times
            targets.judge_ratio("`exec`", times, "crun", 1)
        finally:
            for runtime in working:
                runtime("delete", "--force", "box", check=False)
        sums = idle(working, targets)
        if shutil.which("containerd") and not options.no_ctr:
            times = ctr_runs(working, max(5, options.rounds // 3))
            tables["`ctr run --rm` of true"] = times
            targets.judge_ratio("`ctr run --rm`", times, "runc", 1.2)
        if options.markdown:
            put_between(options.markdown, "<!-- oci -->", "<!-- /oci -->", markdown(began, tables, sums, targets))
        return 1 if targets.missed else 2 if targets.unknown else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ctr_runs(runtimes, rounds):
    containerd = engine.Containerd()
    try:

        def once(runtime):
            done = containerd.ctr("run", "--rm", "--runc-binary", runtime.words[0], engine.IMAGE, "bench", "true")
            assert done.returncode == 0, done.stderr

        return interleaved("`ctr run --rm` of true", [each for each in runtimes if each.name != "runsc"], rounds, once)
    finally:
        containerd.stop()


if __name__ == "__main__":
    sys.exit(main())
