"""The figures in docs/hap.md and README.md, from a run and another one that it is compared with. Each stands between two
comments that name it; the words around them are a person's."""
import re
import textwrap

import mechanisms
import report
import results as sets
from workloads import UNION

MORE = ("spin", "redis-ext", "node", "compile", "sweep", "sweep-nofork")
# Primitives that the page speaks of one by one: {words: names in mechanisms.GROUPS}.
PARTS = {"huge pages, made and split": ("huge-page",), "names met first": ("open-close", "look-up", "open-held"),
         "directories listed": ("list",), "the gofer's socket and the descriptors sent over it": ("seqpacket", "rights"),
         "memory dropped with madvise": ("drop-memory",), "a stub's processor time": ("processor-time",),
         "random numbers": ("random",)}


def markdown(lines):
    return "\n".join(["| " + " | ".join(lines[0]) + " |", "|---" * len(lines[0]) + "|",
                      *("| " + " | ".join(line) + " |" for line in lines[1:])])


def measured(run, workloads):
    """Functions / syscalls, for the runtimes that have one of these."""
    lines = [["", *workloads]]
    for runtime in run.runtimes():
        cells = []
        for workload in workloads:
            row = run.row(runtime, workload)
            if row is None or not row.functions:
                cells.append("failed" if (runtime, workload) in run.rows else "–")
            else:
                missed = " **MISSED**" if report.missed(run, runtime, workload) else ""
                cells.append(f"{len(row.functions)} / {len(row.syscalls)}{missed}")
        if set(cells) != {"–"}:
            lines.append([report.label(run, runtime), *cells])
    return markdown(lines)


def targets(run):
    lines = [["target", "wanted at most", "measured", ""]]

    def add(what, limit, number):
        lines.append([what, str(limit), str(number), "met" if number <= limit else "**MISSED**"])

    for workload, limit in report.FUNCTION_TARGETS.items():
        add(f"{workload}: functions", limit, len(run.row(report.TARGET_RUNTIME, workload).functions))
    for workload, limit in report.SYSCALL_TARGETS.items():
        add(f"{workload}: syscalls issued", limit, len(run.row(report.TARGET_RUNTIME, workload).syscalls))
    for name, number, limit in report.reached(run):
        add(f"syscalls reachable from {name}", limit, number)
    return markdown(lines)


def details(run):
    lines = [["union", "functions", "code, KiB", "in softirq", "with set-up", "syscalls", "with set-up", "reachable",
              "provider's code in all layers, KiB", "tenant's own kernel, KiB"]]
    for runtime in run.runtimes():
        row = run.row(runtime, "union")
        if row is None:
            continue
        layers = report.layers(run, runtime, "union")
        provider = sum(size for _, size, owner in layers if owner != report.TENANT)
        tenant = sum(size for _, size, owner in layers if owner == report.TENANT)
        lines.append([report.label(run, runtime), str(len(row.functions)), f"{run.code_bytes(row.functions) / 1024:.0f}",
                      str(len(row.softirq)), str(len(row.with_setup())), str(len(row.syscalls)),
                      str(len(row.syscalls | row.setup_syscalls)), str(len(sets.reachable(row.processes, run.names))),
                      f"{provider:.0f}" if report.counted_above(run, runtime, "union") else "not counted",
                      f"{tenant:.0f}" if tenant else "–"])
    return markdown(lines)


def agreement(run, other):
    """Functions in the first and in the second run."""
    found = sets.agreement(other, run)
    workloads = [name for name in [*run.workloads(), "union"] if any(workload == name for _, workload in found)]
    lines = [["", *workloads]]
    for runtime in dict.fromkeys(runtime for runtime, _ in found):
        cells = []
        for workload in workloads:
            fraction = found.get((runtime, workload))
            cells.append("–" if fraction is None else
                         f"{len(other.row(runtime, workload).functions)}, {len(run.row(runtime, workload).functions)}"
                         + (" **DIFFERS**" if fraction > report.AGREEMENT else ""))
        lines.append([report.label(run, runtime), *cells])
    within = sum(fraction <= report.AGREEMENT for fraction in found.values())
    number = "All" if within == len(found) else f"{within} of"
    words = (f"{number} these {len(found)} rows agree within {100 * report.AGREEMENT:.0f} %; the largest difference is "
             f"{100 * max(found.values(), default=0):.1f} %. {sets.calls_apart_words(other, run)}")
    return markdown(lines) + "\n\n" + textwrap.fill(words, 120)


def parts(run, prices):
    """Single primitives' functions in the rows that have a target, each counted where it comes first."""
    rows = {workload: run.row(report.TARGET_RUNTIME, workload).functions for workload in report.FUNCTION_TARGETS}
    groups, _ = mechanisms.split(set().union(*rows.values()), prices)
    words = {name: said for group in mechanisms.GROUPS for name, said in group.primitives}
    mine = {said: functions for _, found in groups for said, functions in found}
    lines = [["of which", *rows]]
    for said, names in PARTS.items():
        functions = set().union(*(mine[words[name]] for name in names))
        lines.append([said, *(str(len(functions & reached)) for reached in rows.values())])
    return markdown(lines)


def calls(run):
    """The names of the syscalls issued in the union."""
    numbers = run.row(report.TARGET_RUNTIME, "union").syscalls
    names = sorted(run.names.get(number, str(number)) for number in numbers)
    return f"{len(names)} calls: {', '.join(names)}."


def when(run, other):
    """When each runtime's rows were measured, which were measured once, and which not at all."""
    def times(one, runtime, beside=None):
        rows = [row for (name, workload), row in one.rows.items() if name == runtime and not row.error and
                (beside is None or sets.measured_twice(one, beside, runtime, workload))] if one else []
        found = sorted(row.measured for row in rows if row.measured)
        if not rows or not found:
            return "at a time that was not noted" if rows else "–"
        first, last = found[0], found[-1]
        span = first if first == last else f"{first} – {last.removeprefix(first[:len('2000-01-01 ')])}"
        return ", ".join([span, *sorted({row.build for row in rows if row.build})])

    lines = [["rows of", "first run, UTC", "second or only run, UTC", "measured once", "failed", "not measured"]]
    for runtime in run.runtimes():
        by_state = {"once": [], "failed": [], "not": []}
        for workload in run.workloads():
            row = run.row(runtime, workload)
            if row is None:
                by_state["failed" if (runtime, workload) in run.rows else "not"].append(workload)
            elif other is None or not sets.measured_twice(run, other, runtime, workload):
                by_state["once"].append(workload)
        lines.append([report.label(run, runtime), times(other, runtime, run), times(run, runtime),
                      *(", ".join(names) or "–" for names in by_state.values())])
    return markdown(lines)


def known(run):
    """Functions beside those known from before."""
    lines = [["", *report.KNOWN]]
    for runtime in dict.fromkeys(name for by_runtime in report.KNOWN.values() for name in by_runtime):
        cells = []
        for workload, by_runtime in report.KNOWN.items():
            row = run.row(runtime, workload)
            if runtime not in by_runtime or row is None or not row.functions:
                cells.append("–")
            else:
                here, before = len(row.functions), by_runtime[runtime]
                cells.append(f"{before}, {100 * (here - before) / before:+.0f} %")
        lines.append([report.label(run, runtime), *cells])
    return markdown(lines)


def summary(run):
    """The unions that the README names, in words."""
    reached = {name: len(run.row(name, "union").functions) for name in ("bulkhead", "bulkhead-run", "runc", "gvisor")}
    limit = report.FUNCTION_TARGETS["union"]
    return textwrap.fill(
        f"`bulkhead do` reaches {reached['bulkhead']} where a container under runc reaches {reached['runc']} and gVisor "
        f"(ptrace) {reached['gvisor']}; as an OCI runtime on a bundle with a writable root, whose writes are the host's, "
        f"{reached['bulkhead-run']}. At most {limit} are wanted.", 120)


def filled(text, run, other, prices):
    """The page with its figures anew, those that it has places for. Where there is nothing to write, the old ones stay."""
    blocks = {"union": measured(run, [*UNION, "union"]),
              "more": measured(run, [name for name in MORE if name in run.workloads()])}
    if all(run.row(report.TARGET_RUNTIME, workload) for workload in report.FUNCTION_TARGETS):
        blocks["targets"] = targets(run)
        if prices is not None:
            table, _, _ = mechanisms.remaining(run, prices, report.TARGET_RUNTIME, report.FUNCTION_TARGETS)
            blocks["remaining"] = "\n".join(table)
            blocks["parts"] = parts(run, prices)
        blocks["calls"] = calls(run)
    if prices is not None:
        blocks["prices"] = markdown(mechanisms.price_lines(prices))
    blocks["details"] = details(run)
    blocks["known"] = known(run)
    if all(run.row(name, "union") for name in ("bulkhead", "bulkhead-run", "runc", "gvisor")):
        blocks["summary"] = summary(run)
    if other is not None:
        blocks["agreement"] = agreement(run, other)
        blocks["when"] = when(run, other)
    places = set(re.findall(r"<!-- /(\w+) -->", text))
    if not places & set(blocks):
        raise KeyError(f"the page has no place for any of these: {', '.join(f'<!-- {name} -->' for name in blocks)}")
    for name in places & set(blocks):
        block = blocks[name]
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise KeyError(f"the page must have {begin} and {end} once each")
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{block}\n{end}", text, flags=re.S)
    return text
