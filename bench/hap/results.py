"""What a run brought out, as sets: reading, naming, and the arithmetic behind every figure."""
import bisect
import dataclasses
import itertools
import json
import os
import re

from workloads import RUNTIMES, UNION, WORKLOADS

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
    name: str            # comm; a process that the like-named one started (a stub of a sentry) has "/stub" behind it
    depth: int           # how many pid namespaces it is in
    allowed: object      # a set of numbers; None where there is no filter
    consulted: set
    unreadable: str = ""


def read_filters(text):
    processes = []
    names = dict(re.findall(r"^process (\d+) (\S+) ", text, re.MULTILINE))
    for line in text.splitlines():
        found = re.match(r"process \d+ (\S+) parent (\d+) depth (\d+) seccomp \S+ (.*)", line)
        name, depth, rest = found.group(1), int(found.group(3)), found.group(4)
        if names.get(found.group(2)) == name:
            name += "/stub"
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


def read_user_functions(text):
    """hap_trace's user coverage as {program: {function: bytes}}."""
    programs = {}
    functions = {}
    for line in text.splitlines():
        kind, first, second, name = line.split(maxsplit=3)
        if kind == "program":
            functions = programs.setdefault(first, {})
        else:
            functions[first if name == "-" else name] = int(second)
    return programs


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
    """One workload under one runtime, over all its passes. Functions are those of the tenant's own context."""
    runtime: str
    workload: str
    functions: set = dataclasses.field(default_factory=set)  # steady state, in any repetition
    always: set = dataclasses.field(default_factory=set)     # steady state, in every repetition
    setup: set = dataclasses.field(default_factory=set)      # up to the ready line, in any repetition
    softirq: set = dataclasses.field(default_factory=set)    # steady state, in softirq context
    syscalls: set = dataclasses.field(default_factory=set)   # steady state
    setup_syscalls: set = dataclasses.field(default_factory=set)
    per_pass: list = dataclasses.field(default_factory=list)  # functions in each repetition
    events: int = 0
    processes: list = dataclasses.field(default_factory=list)
    userspace: dict = dataclasses.field(default_factory=dict)  # {program above the kernel: {function: bytes}}
    error: str = ""
    measured: str = ""  # when, UTC; empty in results from before this was noted
    build: str = ""     # the commit of our own programs in it

    def with_setup(self):
        return self.functions | self.setup

    def add_passes(self, passes):
        """Takes in what read_recording gave for each repetition."""
        steady = [run["steady"] for run in passes]
        self.functions = set().union(*(phase.functions for phase in steady))
        self.always = set.intersection(*(phase.functions for phase in steady)) if steady else set()
        self.setup = set().union(*(run["setup"].functions for run in passes))
        self.softirq = set().union(*(phase.softirq for phase in steady))
        self.per_pass = [len(phase.functions) for phase in steady]
        self.events = sum(phase.events for run in passes for phase in run.values())

    def add_calls(self, calls):
        self.syscalls = calls["steady"].syscalls
        self.setup_syscalls = calls["setup"].syscalls

    def to_json(self):
        document = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in document.items():
            if isinstance(value, set):
                document[name] = sorted(value)
        document["processes"] = [{"name": p.name, "depth": p.depth, "unreadable": p.unreadable,
                                  "allowed": None if p.allowed is None else sorted(p.allowed),
                                  "consulted": sorted(p.consulted)} for p in self.processes]
        return document

    @staticmethod
    def from_json(document):
        values = {field.name: set(document[field.name]) if field.type in (set, "set") else document[field.name]
                  for field in dataclasses.fields(Row) if field.name in document}
        values["processes"] = [Process(p["name"], p["depth"], None if p["allowed"] is None else set(p["allowed"]),
                                       set(p["consulted"]), p["unreadable"]) for p in document["processes"]]
        return Row(**values)


def in_order(names, known):
    """Each name once: the known ones as they are listed, then the others as they come."""
    known = list(known)
    return sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))


class Results:
    """All rows of a run, by (runtime, workload)."""

    def __init__(self, rows, sizes, names, facts, runtimes=None):
        self.rows = {(row.runtime, row.workload): row for row in rows}
        self.sizes = sizes  # {function: bytes}
        self.names = names  # {number: syscall name}
        self.facts = facts
        self.labels = runtimes or {}  # {runtime: {"label", "model"}}

    def runtimes(self):
        return in_order((runtime for runtime, _ in self.rows), RUNTIMES)

    def workloads(self):
        return in_order((workload for _, workload in self.rows), WORKLOADS)

    def row(self, runtime, workload):
        """A row, or None where there is none or it failed. "union" is the summary over UNION."""
        if workload == "union":
            return self.union(runtime)
        found = self.rows.get((runtime, workload))
        return None if found is None or found.error else found

    def union(self, runtime):
        rows = [self.row(runtime, workload) for workload in UNION]
        if None in rows:
            return None
        row = Row(runtime, "union", events=sum(row.events for row in rows),
                  processes=[p for row in rows for p in row.processes])
        for part in ("functions", "always", "setup", "softirq", "syscalls", "setup_syscalls"):
            setattr(row, part, set().union(*(getattr(one, part) for one in rows)))
        for one in rows if all(one.userspace for one in rows) else ():  # else the sum would be too low
            for program, functions in one.userspace.items():
                row.userspace.setdefault(program, {}).update(functions)
        return row

    def code_bytes(self, functions):
        return sum(self.sizes.get(name, 0) for name in functions)

    def to_json(self):
        seen = set().union(*(row.with_setup() | row.softirq for row in self.rows.values()))
        return {"facts": self.facts, "runtimes": self.labels,
                "sizes": {name: self.sizes.get(name, 0) for name in sorted(seen)},
                "syscall_names": {str(number): name for number, name in self.names.items()},
                "rows": [row.to_json() for row in self.rows.values()]}

    @staticmethod
    def from_json(document):
        return Results([Row.from_json(row) for row in document["rows"]], document["sizes"],
                       {int(number): name for number, name in document["syscall_names"].items()},
                       document["facts"], document["runtimes"])


def merge(first, second):
    """Both runs' rows; where both have one, the second's. What runs above the kernel is a pass of its own: where the second
    did not get to it, it stays the first's."""
    rows = {**first.rows, **second.rows}
    for key, row in second.rows.items():
        if key in first.rows and not row.userspace and not row.error:
            row.userspace = first.rows[key].userspace
    # Rows of one runtime stay together, in the order in which the runtimes came.
    order = list(dict.fromkeys(runtime for runtime, _ in rows))
    facts = {**first.facts, **second.facts}
    machines = [part.strip() for one in (first, second) for part in one.facts.get("machine", "").split(";")]
    facts["machine"] = "; ".join(dict.fromkeys(part for part in machines if part))
    return Results(sorted(rows.values(), key=lambda row: order.index(row.runtime)), {**first.sizes, **second.sizes},
                   {**first.names, **second.names}, facts, {**first.labels, **second.labels})


def load(folder, labels):
    """Results of what the machine brought out."""
    def text(path):
        with open(os.path.join(folder, path)) as file:
            return file.read()

    symbols = Symbols(text("kallsyms"))
    broken = json.loads(text("broken.json"))
    rows = []
    for name in json.loads(text("order.json")):
        runtime, workload = name.split(".", 1)
        row = Row(runtime, workload, error=broken.get(name, ""))
        rows.append(row)
        if row.error:
            continue
        if os.path.exists(os.path.join(folder, name, "syscalls.txt")):  # not for primitives
            row.add_calls(read_recording(text(f"{name}/syscalls.txt"), symbols))
            row.processes = read_filters(text(f"{name}/filters.txt"))
        numbers = sorted(int(found.group(1)) for found in map(re.compile(r"functions-(\d+)\.txt$").match,
                                                              os.listdir(os.path.join(folder, name))) if found)
        if os.path.exists(os.path.join(folder, name, "user-functions.txt")):
            row.userspace = read_user_functions(text(f"{name}/user-functions.txt"))
        row.add_passes([read_recording(text(f"{name}/functions-{n}.txt"), symbols) for n in numbers])
    sizes = {name: symbols.size(address) for address, name in symbols.names.items()}
    return Results(rows, sizes, read_syscall_names(text("unistd_64.h")), json.loads(text("facts.json")), labels)


def difference(results, left, right, workload):
    """(only left, only right, calls only left, calls only right) for one workload, or "union"."""
    def pick(runtime):
        row = results.row(runtime, workload)
        if row is None:
            raise KeyError(f"there is no row {runtime} {workload}; there are those of {', '.join(results.runtimes())} in "
                           f"{', '.join(results.workloads())}")
        return row
    a, b = pick(left), pick(right)
    return a.functions - b.functions, b.functions - a.functions, a.syscalls - b.syscalls, b.syscalls - a.syscalls


def measured_twice(first, second, runtime, workload):
    """Whether two runs have this row each, of one build, and not one and the same measurement as in runs that share a
    job. The union was measured twice where all that it is over was."""
    if workload == "union":
        return all(measured_twice(first, second, runtime, part) for part in UNION)
    row, other = first.row(runtime, workload), second.row(runtime, workload)
    return row is not None and other is not None and row != other and row.build == other.build


def agreement(first, second):
    """Relative difference in distinct functions between two runs, by row: {(runtime, workload): fraction}. What was
    measured once is left out."""
    found = {}
    for runtime, workload in itertools.product(first.runtimes(), [*first.workloads(), "union"]):
        if not measured_twice(first, second, runtime, workload):
            continue
        row, other = first.row(runtime, workload), second.row(runtime, workload)
        if not row.functions or not other.functions:
            continue
        a, b = len(row.functions), len(other.functions)
        found[runtime, workload] = abs(a - b) / max(a, b)
    return found


def calls_apart(first, second):
    """The syscalls that only one of two runs issued, by row: {(runtime, workload): numbers}, of the rows that `agreement`
    has."""
    return {(runtime, workload): first.row(runtime, workload).syscalls ^ second.row(runtime, workload).syscalls
            for runtime, workload in agreement(first, second)}


def calls_apart_words(first, second):
    """The same as a sentence."""
    found = calls_apart(first, second)
    apart = [f"{runtime} {workload} (" + ", ".join(sorted(first.names.get(n, str(n)) for n in numbers)) + ")"
             for (runtime, workload), numbers in found.items() if numbers]
    return (f"The distinct syscalls are the same in {len(found) - len(apart)} of them"
            + (", and apart in " + "; ".join(apart) if apart else "") + ".")
