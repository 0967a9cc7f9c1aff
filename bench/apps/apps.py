#!/usr/bin/python3
"""What real programs cost: natively, in bulkhead on either platform, in runc, in gVisor.

All run in a sandbox that is there already, several times each, after a first run that does not count; their files lie in
memory. Three figures of each: its time, the processor time of all processes that the sandbox consists of, and its time
where everything has but one processor. The sandboxes take turns; ratios are medians over the repetitions. Exit status: 0
if every target is met, 1 if one is missed, 2 if something did not run."""
import argparse
import os
import selectors
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
import peers  # noqa: E402

# What it is, how often it runs within one figure, and the most that its time may be on the trap platform, times native.
APPS = {
    "python": ("python3 -c pass", 30, 1.5), "subprocess": ("python3, subprocess ×50", 5, 1.5),
    "bash": ("bash, 200 × /bin/true", 3, 1.6), "git": ("git status on 5,000 files", 10, 1.5),
    "gcc": ("gcc of 20 files", 1, 1.2), "tar": ("tar of a 5,000-file tree", 5, 1.5),
    "sqlite": ("sqlite, 100,000 inserts", 2, 1.1),
}
PROCESSOR_TARGET = 1.5
ONE_CORE_TARGET = 2.5
TRAP = "bulkhead trap"
TICKS = os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(prog="apps", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.add_options(parser, ROOT)
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="of one program (default: 300)")
    parser.add_argument("apps", nargs="*", metavar="APP", help="of: " + ", ".join(APPS))
    options = parser.parse_args()
    apps = options.apps or list(APPS)
    for name in apps:
        if name not in APPS:
            parser.error(f"no app \"{name}\" ({', '.join(APPS)})")
    # Key: way, one core or not, app or "start". Value: one figure a repetition, None where it did not run.
    times, processor = {}, {}
    with tempfile.TemporaryDirectory(prefix="bulkhead-apps-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        shutil.copy(os.path.join(HERE, "work.py"), folder)
        ways = peers.ways(options, folder)
        for _ in range(options.reps):
            for one_core in (False, True):
                for way, words in ways.items():
                    pinned = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if one_core else []
                    command = [*pinned, *words, "/usr/bin/python3", os.path.join(folder, "work.py")]
                    run = Run(command, memory_folder(way), apps, options.timeout)
                    if run.problem:
                        print(f"apps: {way}{', one core' if one_core else ''}: {run.problem}", file=sys.stderr)
                    for name in ["start", *apps]:
                        times.setdefault((way, one_core, name), []).append(run.times.get(name))
                        processor.setdefault((way, one_core, name), []).append(run.processor.get(name))
    lines, missed, broken = table(apps, list(ways), times, processor)
    text = peers.machine(options) + "\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        peers.put_between(options.markdown, "<!-- apps -->", "<!-- /apps -->", text)
    return 2 if broken else 1 if missed else 0


def memory_folder(way):
    """Where files are in memory: natively not always in /tmp."""
    return "/dev/shm" if way == "native" and os.access("/dev/shm", os.W_OK) else "/tmp"


class Run:
    """One sandbox, from its start to its end, with each program in turn. `problem` says why it went no further."""

    def __init__(self, command, memory, apps, timeout):
        self.times, self.processor, self.problem = {}, {}, None
        start = time.perf_counter()
        with tempfile.TemporaryFile() as errors:
            self.process = subprocess.Popen(
                [*command, memory, *(f"{name}={APPS[name][1]}" for name in apps)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
            )
            try:
                self.expect(["ready"], timeout)
                self.times["start"] = time.perf_counter() - start
                for name in apps:
                    self.expect(["begin", name], timeout)
                    before = processor_time(self.process.pid)
                    self.process.stdin.write(b"go\n")
                    self.times[name] = float(self.expect(["end", name], timeout)[2])
                    self.processor[name] = (processor_time(self.process.pid) - before) / APPS[name][1]
                self.process.stdin.close()
                self.process.wait(timeout)
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()[-300:]
                self.problem = f"{error} {said}"
            finally:
                end(self.process)

    def expect(self, words, timeout):
        """The next line's words, which must begin with these."""
        line, deadline = b"", time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise ValueError(f"no \"{' '.join(words)}\" within {timeout:.0f} s")
                byte = self.process.stdout.read(1)
                if not byte:
                    raise ValueError(f"ended before \"{' '.join(words)}\"")
                line += byte
        found = line.decode().split()
        if found[:len(words)] != words:
            raise ValueError(f"said {line!r} instead of \"{' '.join(words)}\"")
        return found


def end(process):
    """Also one that hangs: its descendants first, since not every sandbox dies with its command."""
    if process.poll() is None:
        for pid in [*descendants(process.pid), process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        process.wait()
    process.stdout.close()
    if not process.stdin.closed:
        process.stdin.close()


def stat_of(pid):
    """The fields of /proc/PID/stat after the name, from the state on; None if it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(pid):
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = stat_of(name)
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], [pid]
    while queue:
        more = children.get(queue.pop(), [])
        found += more
        queue += more
    return found


def processor_time(pid):
    """Seconds that a process, its descendants and those of them that have been waited for have run."""
    total = 0
    for one in [pid, *descendants(pid)]:
        fields = stat_of(one)
        if fields:
            total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return total / TICKS


def ratio(figures, native, extra=None, native_extra=None):
    """The median of the repetitions' ratios; None if one did not run."""
    if extra is not None:
        figures = [a + b if a is not None and b is not None else None for a, b in zip(figures, extra)]
        native = [a + b if a is not None and b is not None else None for a, b in zip(native, native_extra)]
    ratios = [a / b for a, b in zip(figures, native) if a is not None and b]
    return statistics.median(ratios) if ratios else None


def table(apps, ways, times, processor):
    others = [way for way in ways if way != "native"]
    lines = ["| program | native | " + " | ".join(others) + " | target, trap | trap, start to end |",
             "|---" * (len(others) + 4) + "|"]
    missed = broken = False
    kinds = [("", times, False, None), (", processor time", processor, False, PROCESSOR_TARGET),
             (", one processor", times, True, ONE_CORE_TARGET)]
    for suffix, figures, one_core, target in kinds:
        for name in apps:
            wanted = target or APPS[name][2]
            native = figures["native", one_core, name]
            known = [figure for figure in native if figure is not None]
            cells = [APPS[name][0] + suffix, f"{min(known) * 1000:.1f} ms" if known else "did not run"]
            for way in others:
                value = ratio(figures[way, one_core, name], native)
                broken |= value is None
                cell = "did not run" if value is None else f"{value:.2f}×"
                if way == TRAP and value is not None and value > wanted:
                    cell += " MISSED"
                    missed = True
                cells.append(cell)
            whole = None
            if figures is times:
                whole = ratio(figures[TRAP, one_core, name], native, times[TRAP, one_core, "start"],
                              times["native", one_core, "start"])
            cells += [f"≤ {wanted}×", "" if whole is None else f"{whole:.2f}×"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines, missed, broken


if __name__ == "__main__":
    sys.exit(main())
