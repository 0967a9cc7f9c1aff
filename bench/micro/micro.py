#!/usr/bin/python3
"""What one kernel call, switch or process costs: natively, in bulkhead on either platform, in runc, in gVisor.

The kinds of work take turns, and so do the runtimes within each; a figure is the least of several rounds in one
process, and the ratio to native is the median over the repetitions. Exit status: 0 if every target is met, 1 if one is
missed, 2 if something did not run."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
import peers  # noqa: E402

# Work, and the most that it may cost on the trap platform, times native; gVisor's newest systrap as once measured.
TARGETS = {
    "getpid-syscall": (0.3, 28.5), "getpid-libc": (0.3, 4.2), "clock_gettime": (0.3, 28.5), "sigprocmask": (0.3, 28.5),
    "fcntl-getfl": (2.5, 3.7), "open-read-close-root": (1.3, 4.8), "open-read-close-tmpfs": (1, 3.4),
    "stat-root": (1, 4.4), "pread-4k": (1.5, 2.8), "pwrite-1m-tmpfs": (0.4, 0.41), "pread-1m-tmpfs": (0.55, 0.56),
    "mmap-munmap-64k": (2.5, 9.0), "touch-64m": (1.1, 1.55), "fork-exit-wait": (1.5, 6.8), "fork-exec-wait": (1.5, 5.8),
    "posix_spawn-wait": (1.3, 6.6), "thread-create-join": (1.5, 2.9), "futex-ping-pong": (1.2, 1.9),
    "pipe-ping-pong": (1.8, 3.1), "unix-ping-pong": (1.3, 1.9), "signal-self": (1.8, 2.7),
}


def main():
    parser = argparse.ArgumentParser(prog="micro", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.add_options(parser, ROOT)
    parser.add_argument("works", nargs="*", metavar="WORK", help="of: " + ", ".join(TARGETS))
    options = parser.parse_args()
    work = os.path.join(options.bin, "bench_micro_work")
    if not os.access(work, os.X_OK):
        sys.exit(f"micro: no {work}: ./dev build")
    with tempfile.TemporaryDirectory(prefix="bulkhead-micro-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        shutil.copy(work, os.path.join(folder, "work"))
        program = os.path.join(folder, "work")
        ways = {name: [*words, program] for name, words in peers.ways(options, folder).items()}
        works = options.works or list(TARGETS)
        figures = {way: {name: [] for name in works} for way in ways}
        broken = False
        for _ in range(options.reps):
            for name in works:
                for way, command in ways.items():
                    figure = run(command, name)
                    if figure is None:
                        broken = True
                    else:
                        figures[way][name].append(figure)
    lines, missed = table(works, ways, figures)
    text = peers.machine(options) + "\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        peers.put_between(options.markdown, "<!-- micro -->", "<!-- /micro -->", text)
    return 2 if broken else 1 if missed else 0


def run(command, name):
    done = subprocess.run([*command, name], capture_output=True, text=True, timeout=300, input="")  # a pipe: runsc would make /dev/null its own
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 2 or words[0] != name:
        print(f"micro: {' '.join(command[:3])} ... {name}: status {done.returncode}: {done.stderr.strip()[-200:]}",
              file=sys.stderr)
        return None
    return float(words[1])


def table(works, ways, figures):
    others = [way for way in ways if way != "native"]
    lines = ["| work | native | " + " | ".join(others) + " | target, trap | gVisor systrap, recorded |",
             "|---|---" * 1 + "|---" * (len(others) + 2) + "|"]
    missed = False
    for name in works:
        native = figures["native"][name]
        cells = [name, f"{min(native):.3f} µs" if native else "-"]
        for way in others:
            ratios = [a / b for a, b in zip(figures[way][name], native)]
            ratio = statistics.median(ratios) if ratios else None
            cell = "did not run" if ratio is None else f"{ratio:.2f}×"
            if way == "bulkhead trap" and ratio is not None and ratio > TARGETS[name][0]:
                cell += " MISSED"
                missed = True
            cells.append(cell)
        cells += [f"≤ {TARGETS[name][0]}×", f"{TARGETS[name][1]}×"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines, missed


if __name__ == "__main__":
    sys.exit(main())
