#!/usr/bin/env python3
"""Random programs: each seed's trace must be the same natively and in a sandbox, on either platform.

A way to run a seed: native, again (natively once more, which says whether the program keeps its promise), trap, ptrace,
one-core (trap on the first processor). A difference is shown with what stands before it, and with the command that shows
it again. Exit status: 0 if all agree, 1 if one does not, 2 if there was nothing to compare."""

import argparse
import concurrent.futures
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILIES = ("registers", "alignment", "steps", "signals", "faults", "timers", "memory", "truncation", "threads", "processes")
# What a fault's frame says of the CPU's error code: a supervisor by ptrace(2) is not told, and guesses.
NOT_TOLD = "  cpu:"
WAYS = ("native", "again", "trap", "ptrace", "one-core")


def seeds_of(words):
    """"7", "10-19"."""
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.program = [os.path.abspath(options.program or options.bin / f"tests/random_program_{options.linking}")]
        self.errors = {}
        self.bulkhead = str(options.bin / "bulkhead")

    def command(self, way, seed):
        program = [*self.program, str(seed), str(self.options.length), *self.options.family]
        if way in ("native", "again"):
            return program
        platform = "ptrace" if way == "ptrace" else "trap"
        folder = os.path.dirname(program[0])  # below the host's /tmp, say, which a sandbox does not have
        sandbox = [self.bulkhead, "do", "--bind", f"{folder}:{folder}:ro", *self.options.do, "--platform", platform]
        sandbox += ["--", *program]
        return ["taskset", "-c", "0", *sandbox] if way == "one-core" else sandbox

    def trace(self, way, seed):
        """What it printed, and below that how it ended."""
        process = subprocess.Popen(
            self.command(way, seed), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=self.options.timeout)
            end = f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, errors = process.communicate()
            end = f"still running after {self.options.timeout} s"
        # The sentry says there what it does not know; it is looked at when something else differs.
        self.errors[way, seed] = errors.decode(errors="replace").splitlines()[-5:]
        return [*output.decode(errors="replace").splitlines(), end]

    def seed(self, seed):
        """The differences, as text."""
        native = self.trace("native", seed)
        found = []
        if native[-1] != "exit status 0":
            found.append(self.shown("native", seed, native, None, len(native) - 1))
        for way in self.options.way:
            other = self.trace(way, seed)
            if way != "again" and not self.options.cpu:
                native, other = [[line for line in lines if not line.startswith(NOT_TOLD)] for lines in (native, other)]
            if other != native:
                at = next((i for i, (a, b) in enumerate(zip(native, other)) if a != b), min(len(native), len(other)))
                found.append(self.shown(way, seed, native, other, at))
        return found

    def shown(self, way, seed, native, other, at):
        start = at
        while start > 0 and not native[start - 1][:1].isdigit() and at - start < 60:
            start -= 1
        lines = [f"FAIL: seed {seed}, {way}, line {at + 1}"]
        lines += [f"    {line}" for line in native[max(start - 1, 0):at][-self.options.context:]]
        if other is None:
            lines += [f"  ! {native[at]}"]
        else:
            for sign, trace in (("native ", native), (way + " ", other)):
                lines += [f"  {sign:9}{line}" for line in trace[at:at + 3]] or [f"  {sign:9}(nothing)"]
        lines += [f"  stderr:  {line}" for line in self.errors[way, seed]]
        lines += ["  natively: " + shlex.join(self.command("native", seed))]
        if other is not None and way != "again":
            lines += ["  again:    " + shlex.join(self.command(way, seed))]
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="*", default=["1-20"], metavar="SEED", help="a number or FIRST-LAST (default: 1-20)")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin", metavar="DIR", help="where the programs are")
    parser.add_argument("--way", action="append", choices=WAYS[1:], help="only these (default: trap and ptrace)")
    parser.add_argument("--family", action="append", default=[], choices=FAMILIES, help="only these (default: all)")
    parser.add_argument("--length", type=int, default=60, metavar="N", help="operations of a program (default: 60)")
    parser.add_argument("--linking", choices=("static", "dynamic"), default="dynamic")
    parser.add_argument("--program", metavar="PATH", help="another program")
    parser.add_argument("--neighbours", type=int, default=0, metavar="N", help="busy processes beside them")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="seeds at a time")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="of one run (default: 60)")
    parser.add_argument("--cpu", action="store_true", help="compare the CPU's error codes of faults, too")
    parser.add_argument("--context", type=int, default=8, metavar="LINES", help="what to show before a difference")
    parser.add_argument("--do", action="append", default=[], metavar="ARG", help="an argument more for `bulkhead do`")
    options = parser.parse_args()
    options.way = options.way or ["trap", "ptrace"]
    comparison = Comparison(options)
    for program in [comparison.program[0]] + ([] if options.way == ["again"] else [comparison.bulkhead]):
        if not os.access(program, os.X_OK):
            print(f"compare: no {program}: ./dev build", file=sys.stderr)
            return 2
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.neighbours)]
    failed = count = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for found in pool.map(comparison.seed, seeds_of(options.seeds)):
                count += 1
                failed += bool(found)
                for text in found:
                    print(text, flush=True)
    finally:
        for process in neighbours:
            process.kill()
            process.wait()
    print(f"{count} random programs, {', '.join(options.way)}: " + (f"{failed} differ" if failed else "all agree"))
    return 1 if failed else 0 if count else 2


if __name__ == "__main__":
    sys.exit(main())
