"""What a run brought out, as sets: reading, naming, and the arithmetic behind every figure."""
import bisect
import dataclasses
import json
import os
import re

from workloads import UNION

# Past the last symbol of a module nothing says where its text ends; no function is longer than this.
LONGEST_FUNCTION = 1 << 16


class Symbols:
    """Kernel functions by address, from /proc/kallsyms."""

    def __init__(self, kallsyms):
        by_address = {}
        addresses = set()
        for line in kallsyms.splitlines():
            fields = line.split()
            address = int(fields[0], 16)
            if address == 0 or fields[1] in "aA":
                continue
            addresses.add(address)
            if fields[1] in "tTwW":
                module = fields[3] if len(fields) > 3 else ""
                # Aliases share an address: the global one, then the shorter, then the first by name.
                by_address.setdefault(address, []).append((fields[1] not in "TW", len(fields[2]), fields[2] + module))
        self.sorted_addresses = sorted(addresses)
        seen = {}
        self.names = {}
        for address in sorted(by_address):
            name = min(by_address[address])[2]
            # Static functions may share a name: the second in address order is name#2.
            seen[name] = seen.get(name, 0) + 1
            self.names[address] = name if seen[name] == 1 else f"{name}#{seen[name]}"

    def name(self, address):
        return self.names.get(address) or f"0x{address:x}"

    def size(self, address):
        """Bytes up to the next symbol: kallsyms gives no sizes, so padding is in it."""
        at = bisect.bisect_right(self.sorted_addresses, address)
        if at == len(self.sorted_addresses):
            return 0
        return min(self.sorted_addresses[at] - address, LONGEST_FUNCTION)


@dataclasses.dataclass
class Phase:
    """What was reached in one phase of one run."""
    functions: set = dataclasses.field(default_factory=set)  # in the tenant's own context
    softirq: set = dataclasses.field(default_factory=set)
    syscalls: set = dataclasses.field(default_factory=set)
    events: int = 0
    lost: int = 0
    seconds: float = 0.0


def read_recording(text, symbols):
    """hap_trace's output as {"setup": Phase, "steady": Phase}."""
    phases = {}
    phase = None
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "phase":
            numbers = dict(zip(fields[1::2], fields[2::2]))
            phase = phases[fields[0]] = Phase(events=int(numbers["events"]), seconds=float(numbers["seconds"]),
                                              lost=int(numbers["lost"]) + int(numbers["malformed"]))
        elif kind == "f":
            name = symbols.name(int(fields[0], 16))
            if int(fields[1]):
                phase.functions.add(name)
            if int(fields[2]):
                phase.softirq.add(name)
        elif kind == "s":
            phase.syscalls.add(int(fields[0]))
    if set(phases) != {"setup", "steady"}:
        raise ValueError("the recording breaks off")
    return phases


@dataclasses.dataclass
class Process:
    """One process of a sandbox and what its seccomp filters let through."""
    name: str
    depth: int           # how many pid namespaces it is in
    allowed: object      # a set of numbers; None where there is no filter
    consulted: set
    unreadable: str = ""


def read_filters(text):
    processes = []
    for line in text.splitlines():
        found = re.match(r"process \d+ (\S+) depth (\d+) seccomp \S+ (.*)", line)
        name, depth, rest = found.group(1), int(found.group(2)), found.group(3)
        if rest == "unfiltered":
            processes.append(Process(name, depth, None, set()))
        elif rest.startswith("unreadable"):
            processes.append(Process(name, depth, None, set(), rest.removeprefix("unreadable ")))
        else:
            numbers = re.search(r"allowed (\S+) consulted (\S+)", rest)
            allowed, consulted = ({int(n) for n in g.split(",") if n != "-"} for g in numbers.groups())
            processes.append(Process(name, depth, allowed, consulted))
    return processes


def inside(processes):
    """The processes of the sandbox proper: those in a pid namespace of their own if there are any (a runtime's
    command that only waits stays outside)."""
    deepest = max((p.depth for p in processes), default=1)
    return [p for p in processes if p.depth > 1] if deepest > 1 else processes


def reachable(processes, table):
    """Numbers that some process of the sandbox may issue. Processes whose calls are all emulated by a tracer
    (unreadable: already traced) reach nothing by themselves."""
    numbers = set()
    for process in inside(processes):
        if process.unreadable:
            continue
        numbers |= set(table) if process.allowed is None else process.allowed & set(table)
    return numbers


def read_syscall_names(header):
    """{number: name} from asm/unistd_64.h."""
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", header)}


@dataclasses.dataclass
class Row:
    """One workload under one runtime: every pass of it."""
    runtime: str
    workload: str
    passes: list                     # of {"setup": Phase, "steady": Phase} with functions
    calls: object = None             # the same from the syscall pass
    processes: list = dataclasses.field(default_factory=list)
    error: str = ""

    def functions(self, phase="steady"):
        return self._union(lambda p: p.functions, phase)

    def softirq(self, phase="steady"):
        return self._union(lambda p: p.softirq, phase)

    def always(self):
        """Functions that every repetition reached."""
        sets = [run["steady"].functions for run in self.passes]
        return set.intersection(*sets) if sets else set()

    def syscalls(self, phase="steady"):
        return set() if self.calls is None else self._over([self.calls], lambda p: p.syscalls, phase)

    def _union(self, part, phase):
        return self._over(self.passes, part, phase)

    @staticmethod
    def _over(runs, part, phase):
        phases = ("setup", "steady") if phase == "all" else (phase,)
        return set().union(*(part(run[name]) for run in runs for name in phases))


class Results:
    """All rows of a run, by (runtime, workload)."""

    def __init__(self, rows, sizes, names, facts):
        self.rows = {(row.runtime, row.workload): row for row in rows}
        self.sizes = sizes  # {function: bytes}
        self.names = names  # {number: syscall name}
        self.facts = facts

    def runtimes(self):
        return list(dict.fromkeys(runtime for runtime, _ in self.rows))

    def workloads(self):
        return list(dict.fromkeys(workload for _, workload in self.rows))

    def row(self, runtime, workload):
        return self.rows.get((runtime, workload))

    def union(self, runtime):
        """The summary row of a runtime, or None where one of its workloads is missing or failed."""
        rows = [self.row(runtime, workload) for workload in UNION]
        if any(row is None or row.error for row in rows):
            return None
        count = min((len(row.passes) for row in rows), default=0)
        passes = [{phase: Phase(set().union(*(row.passes[n][phase].functions for row in rows)),
                                set().union(*(row.passes[n][phase].softirq for row in rows)))
                   for phase in ("setup", "steady")} for n in range(count)]
        calls = {phase: Phase(syscalls=set().union(*(row.calls[phase].syscalls for row in rows if row.calls)))
                 for phase in ("setup", "steady")}
        return Row(runtime, "union", passes, calls, [p for row in rows for p in row.processes])

    def code_bytes(self, functions):
        return sum(self.sizes.get(name, 0) for name in functions)


def load(folder):
    """Results of what the machine brought out."""
    def text(path):
        with open(os.path.join(folder, path)) as file:
            return file.read()

    symbols = Symbols(text("kallsyms"))
    broken = json.loads(text("broken.json"))
    rows = []
    for name in json.loads(text("order.json")):
        runtime, workload = name.split(".", 1)
        row = Row(runtime, workload, [], error=broken.get(name, ""))
        rows.append(row)
        if row.error:
            continue
        row.calls = read_recording(text(f"{name}/syscalls.txt"), symbols)
        row.processes = read_filters(text(f"{name}/filters.txt"))
        numbers = sorted(int(found.group(1)) for found in map(re.compile(r"functions-(\d+)\.txt$").match,
                                                              os.listdir(os.path.join(folder, name))) if found)
        row.passes = [read_recording(text(f"{name}/functions-{n}.txt"), symbols) for n in numbers]
    sizes = {name: symbols.size(address) for address, name in symbols.names.items()}
    return Results(rows, sizes, read_syscall_names(text("unistd_64.h")), json.loads(text("facts.json")))


def difference(results, left, right, workload):
    """(only left, only right, calls only left, calls only right) for one workload, or "union"."""
    def pick(runtime):
        row = results.union(runtime) if workload == "union" else results.row(runtime, workload)
        if row is None or row.error:
            raise KeyError(f"no row {runtime} {workload}")
        return row
    a, b = pick(left), pick(right)
    return (a.functions() - b.functions(), b.functions() - a.functions(),
            a.syscalls() - b.syscalls(), b.syscalls() - a.syscalls())


def agreement(first, second):
    """Largest relative difference in distinct functions between two runs, by row: {(runtime, workload): fraction}."""
    found = {}
    for key, row in first.rows.items():
        other = second.rows.get(key)
        if row.error or other is None or other.error or not row.passes or not other.passes:
            continue
        a, b = len(row.functions()), len(other.functions())
        found[key] = abs(a - b) / max(a, b, 1)
    return found
