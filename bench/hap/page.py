"""The tables in docs/hap.md, from a run and another one that it is compared with. Each stands between two comments that
name it; the words around them are a person's."""
import re

import mechanisms
import report
import results as sets
from workloads import UNION

MORE = ("spin", "redis-ext", "node", "compile", "sweep", "sweep-nofork")


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
              "provider's code in all layers, KiB"]]
    for runtime in run.runtimes():
        row = run.row(runtime, "union")
        if row is None:
            continue
        provider = sum(size for _, size, owner in report.layers(run, runtime, "union") if owner != report.TENANT)
        counted = row.userspace or run.labels[runtime]["model"] not in ("hypervisor", "nested", "sandbox")
        lines.append([report.label(run, runtime), str(len(row.functions)), f"{run.code_bytes(row.functions) / 1024:.0f}",
                      str(len(row.softirq)), str(len(row.with_setup())), str(len(row.syscalls)),
                      str(len(row.syscalls | row.setup_syscalls)), str(len(sets.reachable(row.processes, run.names))),
                      f"{provider:.0f}" if counted else "not counted"])
    return markdown(lines)


def agreement(run, other):
    found = sets.agreement(other, run)
    lines = [["", "first", "second", "difference"]]
    for (runtime, workload), fraction in found.items():
        lines.append([f"{report.label(run, runtime)}, {workload}", str(len(other.row(runtime, workload).functions)),
                      str(len(run.row(runtime, workload).functions)), f"{100 * fraction:.1f} %"])
    within = sum(fraction <= report.AGREEMENT for fraction in found.values())
    number = "All" if within == len(found) else f"{within} of"
    return (markdown(lines) + f"\n\n{number} these {len(found)} rows agree within {100 * report.AGREEMENT:.0f} %; "
            f"the largest difference is {100 * max(found.values(), default=0):.1f} %.")


def filled(text, run, other, prices):
    """The page with its tables anew. Tables for which there is nothing stay as they are."""
    blocks = {"union": measured(run, [*UNION, "union"]),
              "more": measured(run, [name for name in MORE if name in run.workloads()])}
    if all(run.row(report.TARGET_RUNTIME, workload) for workload in report.FUNCTION_TARGETS):
        blocks["targets"] = targets(run)
        if prices is not None:
            table, _, _ = mechanisms.remaining(run, prices, report.TARGET_RUNTIME, report.FUNCTION_TARGETS)
            blocks["remaining"] = "\n".join(table)
    blocks["details"] = details(run)
    if other is not None:
        blocks["agreement"] = agreement(run, other)
    for name, block in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in text:
            raise KeyError(f"the page has no place for the table {name}: {begin}")
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{block}\n{end}", text, flags=re.S)
    return text
