"""The figures as a table, and as pictures and a page that need no JavaScript."""
import html
import itertools

import results as sets
from tables import aligned
from workloads import MODELS, UNION, WORKLOADS

# What bulkhead's trap platform has to meet: {what: limit}.
FUNCTION_TARGETS = {"union": 800, "python": 620, "redis": 450, "sweep": 720, "sweep-nofork": 450}
SYSCALL_TARGETS = {"union": 22}
REACH_TARGETS = {"/stub": 4, "sentry": 24, "gofer": 36}  # by the end of the process's name, without consent
TARGET_RUNTIME = "bulkhead"
AGREEMENT = 0.03  # how far two runs may be apart, on each row

# Figures measured before with the same method (stock Debian 12 kernel in TCG), to check a run against:
# {workload: {runtime: functions}}.
KNOWN = {
    "spin": {"native": 99},
    "true": {"native": 894, "bwrap": 1004, "runc": 1024, "crun": 1031, "gvisor": 1060},
    "files": {"native": 1796, "bwrap": 1991, "runc": 2050, "crun": 2052, "gvisor": 1966},
    "python": {"native": 1427, "bwrap": 1704, "runc": 1750, "crun": 1748, "gvisor": 1770},
    "redis": {"native": 1500, "bwrap": 1554, "runc": 1610, "crun": 1596, "gvisor": 961},
    "redis-ext": {"native": 567, "bwrap": 566, "runc": 584, "crun": 588, "gvisor": 632},
    "sweep": {"native": 2192, "bwrap": 2196, "runc": 2177, "crun": 2313, "gvisor": 1255},
    "union": {"native": 2334, "bwrap": 2504, "runc": 2597, "crun": 2591, "gvisor": 2014},
}


def columns(run):
    """The workloads of a run in table order, with the union last where it can be had."""
    names = run.workloads()
    return names + (["union"] if all(name in run.workloads() for name in UNION) else [])


def label(run, runtime):
    return run.labels.get(runtime, {}).get("label", runtime)


def model(run, runtime):
    return run.labels.get(runtime, {}).get("model", "sandbox")


def missed(run, runtime, workload):
    """What a row of ours was to meet and does not, in words."""
    row = run.row(runtime, workload)
    if runtime != TARGET_RUNTIME or row is None:
        return []
    found = []
    limit = FUNCTION_TARGETS.get(workload)
    if limit is not None and len(row.functions) > limit:
        found.append(f"{len(row.functions)} functions, wanted at most {limit}")
    limit = SYSCALL_TARGETS.get(workload)
    if limit is not None and len(row.syscalls) > limit:
        found.append(f"{len(row.syscalls)} syscalls, wanted at most {limit}")
    if workload == "union":
        for name, reach, limit in reached(run):
            if reach > limit:
                found.append(f"{name} reaches {reach} syscalls, wanted at most {limit}")
    return found


def reached(run):
    """How many syscalls the filters of our processes let through, and how many are wanted: [(process, number, limit)].
    Over all rows: a stub can be read only where it computes."""
    most = {}
    for (runtime, _), row in run.rows.items():
        if runtime != TARGET_RUNTIME:
            continue
        for process in sets.inside(row.processes):
            for part, limit in REACH_TARGETS.items():
                if process.name.endswith(part) and not process.unreadable:
                    reach = len(run.names) if process.allowed is None else len(process.allowed)
                    most[process.name] = (max(reach, most.get(process.name, (0, 0))[0]), limit)
    return [(name, reach, limit) for name, (reach, limit) in sorted(most.items())]


def main_table(run):
    """Distinct functions / distinct syscalls, steady state."""
    names = columns(run)
    lines = [["functions / syscalls", *names]]
    for runtime in run.runtimes():
        cells = [label(run, runtime)]
        for workload in names:
            row = run.row(runtime, workload)
            if row is None:
                cells.append("failed" if (runtime, workload) in run.rows else "–")
            elif not row.functions:
                cells.append(f"– / {len(row.syscalls)}")
            else:
                cells.append(f"{len(row.functions)} / {len(row.syscalls)}"
                             + (" MISSED" if missed(run, runtime, workload) else ""))
        lines.append(cells)
    return aligned(lines)


def detail_table(run, workload):
    """Every column for one workload."""
    lines = [[workload, "functions", "in every repetition", "code KiB", "softirq", "with set-up", "syscalls",
              "with set-up", "reachable", "provider's code in all layers, KiB", "tenant's own kernel, KiB"]]
    for runtime in run.runtimes():
        row = run.row(runtime, workload)
        if row is None:
            continue
        owned = {colour: sum(size for _, size, owner in layers(run, runtime, workload) if owner == colour)
                 for colour in (PROVIDER_KERNEL, PROVIDER_USER, TENANT)}
        counted = row.functions and counted_above(run, runtime, workload)
        functions = ["–"] * 5  # syscalls alone were counted
        if row.functions:
            functions = [str(len(row.functions)), str(len(row.always)), f"{run.code_bytes(row.functions) / 1024:.0f}",
                         str(len(row.softirq)), str(len(row.with_setup()))]
        lines.append([label(run, runtime), *functions, str(len(row.syscalls)), str(len(row.syscalls | row.setup_syscalls)),
                      str(len(sets.reachable(row.processes, run.names))) if row.processes else "–",
                      f"{owned[PROVIDER_KERNEL] + owned[PROVIDER_USER]:.0f}" if counted else "–",
                      f"{owned[TENANT]:.0f}" if owned[TENANT] else "–"])
    return aligned(lines)


def terminal(run):
    parts = [main_table(run)]
    if columns(run):
        parts.append(detail_table(run, columns(run)[-1]))
    for (runtime, workload), row in run.rows.items():
        if row.error:
            words = " | ".join(line.strip() for line in row.error.splitlines() if line.strip())
            parts.append(f"FAILED {runtime} {workload}: {words[:400]}")
    for runtime in run.runtimes():
        for workload in columns(run):
            for words in missed(run, runtime, workload):
                parts.append(f"MISSED {runtime} {workload}: {words}")
    if reached(run):
        parts.append("reachable, without consent: " + ", ".join(
            f"{name} {reach} (wanted at most {limit})" for name, reach, limit in reached(run)))
    return "\n\n".join(parts)


def known_table(run):
    """This run beside the figures known from before."""
    lines = [["row", "here", "known", "difference"]]
    for workload, by_runtime in KNOWN.items():
        for runtime, known in by_runtime.items():
            row = run.row(runtime, workload)
            if row is not None and row.functions:
                here = len(row.functions)
                lines.append([f"{runtime} {workload}", str(here), str(known), f"{100 * (here - known) / known:+.1f} %"])
    return aligned(lines)


# Pictures. Colours say who owns the code: the provider's is what a flaw in harms others.
PROVIDER_KERNEL, PROVIDER_USER, TENANT, INK, PALE = "#c0392b", "#e59866", "#7fb3d5", "#222", "#888"


def text(x, y, content, anchor="start", size=13, colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
            f'font-weight="{weight}">{html.escape(content)}</text>')


def bars_svg(run, workload, width=760):
    """Distinct functions of one workload, a bar a runtime."""
    entries = [(runtime, run.row(runtime, workload)) for runtime in run.runtimes()]
    entries = [(runtime, row) for runtime, row in entries if row is not None and row.functions]
    left, line = 250, 30
    height = 62 + line * len(entries)
    longest = max((len(row.functions) for _, row in entries), default=1)
    scale = (width - left - 200) / longest
    title = ("Host kernel functions reached: " +
             (f"union of {', '.join(UNION)}" if workload == "union" else WORKLOADS[workload].name
              if workload in WORKLOADS else workload))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           f'font-family="sans-serif" role="img" aria-label="{html.escape(title)}">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>', text(12, 24, title, size=15, weight="bold")]
    for at, (runtime, row) in enumerate(entries):
        y = 42 + at * line
        size = len(row.functions) * scale
        out.append(text(left - 10, y + 15, label(run, runtime), "end",
                        weight="bold" if runtime.startswith("bulkhead") else "normal"))
        out.append(f'<rect x="{left}" y="{y}" width="{size:.1f}" height="20" fill="{PROVIDER_KERNEL}"/>')
        always = len(row.always) * scale
        if size - always > 0.5:  # what only some repetitions reached
            out.append(f'<rect x="{left + always:.1f}" y="{y}" width="{size - always:.1f}" height="20" fill="#fff" '
                       f'fill-opacity="0.35"/>')
        out.append(text(left + size + 8, y + 15, f"{len(row.functions)} functions, {len(row.syscalls)} syscalls", size=12))
    out.append(text(12, height - 10, f"{run.facts.get('kernel', '')}; pale: not in every repetition", size=11,
                    colour=PALE))
    return "\n".join(out + ["</svg>"])


def counted_above(run, runtime, workload):
    """Whether the provider's programs above the kernel, where there are any, were counted: else a sum would be too low."""
    return bool(run.row(runtime, workload).userspace) or model(run, runtime) not in ("hypervisor", "nested", "sandbox")


def layers(run, runtime, workload):
    """The vertical profile: [(what, KiB, colour)], bottom up."""
    row = run.row(runtime, workload)
    found = [("host kernel", run.code_bytes(row.functions) / 1024, PROVIDER_KERNEL)]
    for program, functions in sorted(row.userspace.items()):
        found.append((program, sum(functions.values()) / 1024, PROVIDER_USER))
    # The guest of a virtual machine runs the same kernel as the machine that we measure in, so what a plain process
    # (or a container, for the nested row) reaches there is what the guest's kernel runs for the same work.
    inner = {"hypervisor": "native", "nested": "runc"}.get(model(run, runtime))
    inside = run.row(inner, workload) if inner else None
    if inside is not None:
        found.append(("guest kernel", run.code_bytes(inside.functions) / 1024, TENANT))
    return found


def ownership_svg(run, workload, width=760):
    """How much code runs in each layer and whose it is: one column a runtime, by model."""
    runtimes = [r for r in run.runtimes() if run.row(r, workload) is not None and run.row(r, workload).functions]
    runtimes.sort(key=lambda runtime: MODELS.index(model(run, runtime)))
    stacks = [(runtime, layers(run, runtime, workload)) for runtime in runtimes]
    height, top, bottom = 450, 60, 126
    tallest = max((sum(size for _, size, _ in stack) for _, stack in stacks), default=1)
    scale = (height - top - bottom) / tallest
    step = (width - 40) / max(len(stacks), 1)
    title = f"Code that runs in all layers, KiB ({'union' if workload == 'union' else workload})"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           f'font-family="sans-serif" role="img" aria-label="{html.escape(title)}">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>', text(12, 24, title, size=15, weight="bold")]
    for at, (name, colour) in enumerate((("host kernel (provider)", PROVIDER_KERNEL),
                                         ("provider's programs", PROVIDER_USER), ("tenant's own kernel", TENANT))):
        out.append(f'<rect x="{12 + at * 190}" y="34" width="12" height="12" fill="{colour}"/>')
        out.append(text(30 + at * 190, 45, name, size=12))
    for at, (runtime, stack) in enumerate(stacks):
        x, y = 20 + at * step, height - bottom
        for what, size, colour in stack:
            part = size * scale
            y -= part
            out.append(f'<rect x="{x + 8:.1f}" y="{y:.1f}" width="{step - 16:.1f}" height="{part:.1f}" fill="{colour}" '
                       f'stroke="#fff"><title>{html.escape(what)}: {size:.0f} KiB</title></rect>')
            if part > 14:
                out.append(text(x + step / 2, y + part / 2 + 4, f"{size:.0f}", "middle", 11, "#fff"))
        if not counted_above(run, runtime, workload):
            out.append(text(x + step / 2, y - 16, "its programs", "middle", 9, PALE))
            out.append(text(x + step / 2, y - 6, "not counted", "middle", 9, PALE))
        words = label(run, runtime).replace(", ", " ").split()
        for number, word in enumerate(words[:5]):
            out.append(text(x + step / 2, height - bottom + 16 + number * 14, word, "middle", 11))
    at = 0
    for name, group in itertools.groupby(runtimes, lambda runtime: model(run, runtime)):
        left, at = 20 + at * step, at + len(list(group))
        right = 20 + at * step
        out.append(f'<line x1="{left + 8:.1f}" y1="{height - 36}" x2="{right - 8:.1f}" y2="{height - 36}" stroke="{PALE}"/>')
        for number, word in enumerate([name] if len(name) * 6 < right - left else name.split()):
            out.append(text((left + right) / 2, height - 22 + number * 13, word, "middle", 11, PALE))
    return "\n".join(out + ["</svg>"])


def reach_words(process):
    if process.unreadable:
        return f"cannot be read ({process.unreadable})"
    if process.allowed is None:
        return "unfiltered"
    return f"may issue {len(process.allowed)}" + (f", asks about {len(process.consulted)}" if process.consulted else "")


def when_words(row):
    if not row.measured:
        return ""
    return f"; measured {row.measured} UTC" + (f", build {row.build}" if row.build else "")


def html_page(run):
    shown = [name for name in columns(run) if any(run.row(r, name) is not None for r in run.runtimes())]
    best = shown[-1] if shown else columns(run)[-1]
    parts = ['<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Horizontal attack profile</title><style>',
             "body{font-family:sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222}",
             "table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .7em;text-align:right;border-bottom:1px solid #ddd}",
             "td:first-child,th:first-child{text-align:left}.missed{color:#c0392b;font-weight:bold}details{margin:.3em 0}",
             "pre{white-space:pre-wrap;font-size:85%}svg{max-width:100%;height:auto}</style></head><body>",
             "<h1>Horizontal attack profile</h1>",
             "<p>Distinct host kernel functions that the processes of a sandbox reach while the same work runs under each "
             "way of running it, and distinct host syscalls that they issue. Steady state: from the line that starts the "
             "work to the line that ends it. See docs/hap.md for the method and its limits.</p>",
             f"<p>{html.escape(str(run.facts.get('kernel', '')))}, {html.escape(str(run.facts.get('cpu', '')))}, "
             f"{html.escape(str(run.facts.get('machine', '')))}</p>", bars_svg(run, best)]
    parts.append("<table><tr><th>functions / syscalls</th>" + "".join(f"<th>{html.escape(n)}</th>" for n in shown) + "</tr>")
    for runtime in run.runtimes():
        cells = ""
        for workload in shown:
            row = run.row(runtime, workload)
            if row is None:
                cells += "<td>failed</td>" if (runtime, workload) in run.rows else "<td>–</td>"
            else:
                why = missed(run, runtime, workload)
                mark = f' <span class="missed" title="{html.escape("; ".join(why))}">MISSED</span>' if why else ""
                cells += f"<td>{len(row.functions)} / {len(row.syscalls)}{mark}</td>"
        parts.append(f"<tr><td>{html.escape(label(run, runtime))}</td>{cells}</tr>")
    parts.append("</table><h2>Who owns the code</h2>")
    parts.append(ownership_svg(run, best))
    for workload in shown:
        what = f"union of {', '.join(UNION)}" if workload == "union" else (
            WORKLOADS[workload].what if workload in WORKLOADS else "")
        parts.append(f"<h2>{html.escape(workload)}</h2><p>{html.escape(what)}</p>")
        parts.append(bars_svg(run, workload))
        parts.append(f"<pre>{html.escape(detail_table(run, workload))}</pre>")
        for runtime in run.runtimes():
            row = run.row(runtime, workload)
            if row is None:
                continue
            filters = sorted({f"{p.name} {reach_words(p)}" for p in sets.inside(row.processes)})
            calls = ", ".join(run.names.get(number, str(number)) for number in sorted(row.syscalls))
            parts.append(f"<details><summary>{html.escape(label(run, runtime))}</summary><p>Syscalls: {html.escape(calls)}</p>"
                         f"<p>Filters: {html.escape('; '.join(filters))}</p>"
                         f"<p>Repetitions: {html.escape(str(row.per_pass))}{html.escape(when_words(row))}</p>"
                         f"<pre>{html.escape(' '.join(sorted(row.functions)))}</pre></details>")
    parts.append("</body></html>")
    return "\n".join(parts)


def difference_text(run, left, right, workload):
    only_left, only_right, calls_left, calls_right = sets.difference(run, left, right, workload)
    both = len(run.row(left, workload).functions & run.row(right, workload).functions)
    parts = [f"{workload}: {both} functions in both"]
    for runtime, functions, calls in ((left, only_left, calls_left), (right, only_right, calls_right)):
        parts.append(f"\nonly {runtime}: {len(functions)} functions ({run.code_bytes(functions) / 1024:.0f} KiB), "
                     f"{len(calls)} syscalls")
        if calls:
            parts.append("  calls: " + " ".join(run.names.get(number, str(number)) for number in sorted(calls)))
        parts += [f"  {name}" for name in sorted(functions)]
    return "\n".join(parts)


def agreement_text(first, second):
    """Whether two runs agree, row by row; second value: all within the limit."""
    limit = AGREEMENT
    found = sets.agreement(first, second)
    lines = [["row", "first", "second", "difference"]]
    for (runtime, workload), fraction in found.items():
        lines.append([f"{runtime} {workload}", str(len(first.row(runtime, workload).functions)),
                      str(len(second.row(runtime, workload).functions)),
                      f"{100 * fraction:.1f} %" + (" DIFFERS" if fraction > limit else "")])
    parts = [aligned(lines), sets.calls_apart_words(first, second)]
    once = [f"{runtime} {workload}" for runtime, workload in {**first.rows, **second.rows}
            if (runtime, workload) not in found]
    if once:
        parts.append("not measured twice: " + ", ".join(once))
    return "\n\n".join(parts), bool(found) and max(found.values()) <= limit
