"""Which mechanism a kernel function belongs to: the price of single host primitives, and a row's functions by them."""
import dataclasses

from tables import aligned


@dataclasses.dataclass(frozen=True)
class Group:
    """Primitives (workloads of hap_prices, with words for each) that one part of bulkhead's design is made of."""
    title: str
    primitives: tuple
    why: str  # why a sandbox's steady state has it, and what doing without would take
    platform: bool = False  # it is there because a guest's processes are the host's


# The order is the one in which a row is explained: each function counts where it comes first, and what a sandbox cannot
# do without comes first.
GROUPS = (
    Group("The floor", (("spin", "a process that only computes"),),
          "Timer ticks, the scheduler and the way into and out of the kernel. Every process has them.", platform=True),
    Group("Page faults", (("page-faults", "anonymous page faults"),),
          "Guest memory is host memory, made when it is touched. Only memory that is filled in advance would do "
          "without, and every tenant would pay for all that it may ever use.", platform=True),
    Group("Handovers between guest and sentry", (
        ("futex", "futex wait/wake between processes"), ("sigsys", "SIGSYS by seccomp trap and sigreturn"),
        ("notify", "seccomp user notification, CONTINUE"), ("futex-timeout", "futex timeout")),
          "A guest's call arrives as SIGSYS until its call site is rewritten; from then on it goes through shared memory, "
          "with a notification to ring for the sentry and a futex to sleep on. What the host has to do for the guest "
          "itself goes by notification, too. A guest's private futexes are the host's, which the handover's futex has "
          "reached already. Only guest code that runs under KVM needs none of the three.", platform=True),
    Group("Memory maps", (
        ("mmap", "mmap + munmap anonymous"), ("mprotect", "mprotect"), ("drop-memory", "madvise of memory in use"),
        ("huge-page", "a huge page, made and split")),
          "The guest's mappings are the stub's. Huge pages come with the host's setting (transparent_hugepage=always); "
          "PR_SET_THP_DISABLE in the stubs would take them away, and make large guests slower (64 MiB of new memory cost 4 ms "
          "with huge pages, 17 ms without). The rest goes only with a "
          "guest address space that is no host process's.", platform=True),
    Group("Mapped files", (
        ("file-map-read", "private file mapping, read faults"), ("file-map-write", "… written (copy-on-write)"),
        ("first-read", "the first read of a file: its access time")),
          "Programs and libraries are mapped from the host's files, so that tenants share their pages. Copies in the "
          "memory file would do without, at the price of that sharing and of reading each program whole.", platform=True),
    Group("Processes and threads", (
        ("fork-kill", "clone of an address space, SIGKILL, wait"), ("processes", "many processes at once"),
        ("thread", "a thread made, ended and joined"), ("tgkill", "tgkill of a sleeping thread, handler"),
        ("clock-page", "the clock's page in a new process"), ("processor-time", "another process's processor time")),
          "A guest process is a host process: fork copies its maps, its end takes them apart. A pool of stub processes "
          "whose memory is replaced would save the copying (about 60) and cost maps of its own; guest processes that are "
          "no host processes are another design (KVM, or one host process whose address space is switched).", platform=True),
    Group("The sentry's loop", (
        ("eventfd-epoll", "eventfd + epoll"), ("epoll-timeout", "epoll_wait with timeout"),
        ("notify-epoll", "notify under epoll"), ("pread", "pread of a file"), ("pipe", "pipe write+read, no sleep"),
        ("streams", "standard streams, asked and never waited for"), ("heap", "the heap grows and shrinks"),
        ("random", "getrandom")),
          "The sentry sleeps in one place and talks to the tenant's streams, which are asked by epoll first, as pipes refuse "
          "RWF_NOWAIT before Linux 6.5. Random numbers from a generator of the sentry's own would save the last one, and be "
          "the same in two clones of one virtual machine."),
    Group("The gofer's answers", (
        ("open-close", "open + close by path (ext4)"), ("look-up", "names met first: openat2, statx, readlinkat"),
        ("open-held", "a held file opened by /proc/self/fd"), ("list", "a directory listed"),
        ("seqpacket", "unix seqpacket ping-pong"), ("rights", "SCM_RIGHTS")),
          "What was asked once comes from the sentry's caches, but one first look reaches the same functions as a "
          "thousand. Descriptors have to be handed over, since programs' text is mapped: by requests in shared memory, and "
          "SECCOMP_IOCTL_NOTIF_ADDFD into a call of the sentry's own, about 20 functions would do for the socket's 90, but "
          "the sentry would sleep in that call until the gofer answers. A sandbox whose files are read in whole before it "
          "starts would need no gofer in steady state."),
    Group("The memory file", (
        ("memfd", "memfd_create, ftruncate, map, fault, close"), ("memfd-io", "memfd pread/pwrite"),
        ("memfd-hole", "pages of a memory file given back and taken ahead")),
          "Shared guest memory, text pages with rewritten call sites, contents of files in tmpfs, the areas of threads. "
          "Small files' contents stay in the sentry's heap until somebody maps them; a large file that is removed gives its "
          "memory back."),
    Group("Writing to the host's files", (("pwrite", "pwrite to an ext4 file"),),
          "Nothing that the tenant does by default: what remains here is shared with writes to other descriptors."),
)

# What no row of ours does: for the table of prices alone.
OTHERS = (("notify-addfd", "seccomp user notification with ADDFD"), ("ptrace", "ptrace SYSEMU + get/set registers"),
          ("remote-read", "process_vm_readv"), ("fork-exit", "fork + exit + wait"))

# What the same primitives cost above the floor when they were measured before, by another program on the same kernel.
KNOWN = {"pipe": 7, "pread": 8, "eventfd-epoll": 17, "futex": 23, "epoll-timeout": 25, "notify": 34, "futex-timeout": 40,
         "notify-epoll": 41, "notify-addfd": 55, "mprotect": 58, "ptrace": 69, "page-faults": 73, "tgkill": 75,
         "sigsys": 77, "memfd-io": 86, "mmap": 96, "remote-read": 101, "open-close": 109, "rights": 111,
         "seqpacket": 125, "file-map-read": 137, "file-map-write": 165, "pwrite": 182, "memfd": 329, "fork-exit": 407,
         "fork-kill": 427}

PRIMITIVES = tuple(primitive for group in GROUPS for primitive in group.primitives) + OTHERS
RUNTIME = "native"  # what the primitives run under


def price(prices, name):
    row = prices.row(RUNTIME, name)
    if row is None:
        raise KeyError(f"{name} is missing among the prices, or failed: measure them with --prices")
    return row


def price_lines(prices):
    floor = price(prices, "spin").functions
    lines = [["primitive", "above the floor", "known", "cumulative: adds", "total"]]
    total = set()
    for name, words in PRIMITIVES:
        if (RUNTIME, name) not in prices.rows:
            continue
        row = prices.row(RUNTIME, name)
        if row is None:
            lines.append([words, "failed", "", "", ""])
            continue
        adds = row.functions - total
        total |= row.functions
        lines.append([words, f"{len(row.functions)} in all" if name == "spin" else f"+{len(row.functions - floor)}",
                      f"+{KNOWN[name]}" if name in KNOWN else "", str(len(adds)), str(len(total))])
    return lines


def price_table(prices):
    return aligned(price_lines(prices))


def split(functions, prices):
    """[(group, [(words, its functions)])] with each function where it comes first; and those that no primitive has."""
    left = set(functions)
    found = []
    for group in GROUPS:
        parts = []
        for name, words in group.primitives:
            mine = left & price(prices, name).functions
            left -= mine
            parts.append((words, mine))
        found.append((group, parts))
    return found, left


def explanation_text(run, prices, runtime, workload):
    """Which primitives a row's functions are those of; then the functions that none of them reaches. Both were measured
    by this tool."""
    row = run.row(runtime, workload)
    if row is None:
        raise KeyError(f"there is no row {runtime} {workload}")
    groups, left = split(row.functions, prices)
    lines = [["primitive", "its functions in this row", "code KiB", "total"]]
    total = 0
    for words, mine in [*(part for _, parts in groups for part in parts), ("none of these", left)]:
        total += len(mine)
        lines.append([words, str(len(mine)), f"{run.code_bytes(mine) / 1024:.0f}", str(total)])
    return aligned(lines) + "\n\n" + " ".join(sorted(left))


def by_rows(functions, sets):
    """The functions by which of the rows reach them, most rows first: [(rows, names)]."""
    found = {}
    for name in sorted(functions):
        found.setdefault(tuple(row for row, reached in sets.items() if name in reached), []).append(name)
    return sorted(found.items(), key=lambda entry: -len(entry[0]))


def remaining(run, prices, runtime, targets):
    """What `runtime` reaches in each row of `targets` ({workload: limit}), by mechanism: a table in Markdown, the row's
    sets, and what `split` gave."""
    sets = {workload: run.row(runtime, workload).functions for workload in targets
            if run.row(runtime, workload) is not None}
    groups, left = split(set().union(*sets.values()), prices)
    unexplained = Group("None of these", (), "No single primitive that was measured reaches them: what they share the "
                        "work with decides whether they run (full caches, trees that turn, memory that is short).")
    groups.append((unexplained, [("", left)]))
    lines = ["| | " + " | ".join(sets) + " |", "|---" * (len(sets) + 1) + "|",
             "| wanted at most | " + " | ".join(str(targets[workload]) for workload in sets) + " |",
             "| measured | " + " | ".join(
                 f"{len(reached)}" + (" **MISSED**" if len(reached) > targets[workload] else "")
                 for workload, reached in sets.items()) + " |"]
    def add(title, mine):
        lines.append(f"| {title} | " + " | ".join(str(len(mine & reached)) for reached in sets.values()) + " |")

    platform = set()
    for at, (group, parts) in enumerate(groups):
        mine = set().union(*(functions for _, functions in parts))
        add(group.title, mine)
        if group.platform:
            platform |= mine
            if not groups[at + 1][0].platform:
                add("*These together: the platform*", platform)
    return lines, sets, groups


def remaining_page(run, prices, runtime, targets):
    """Function by function, in Markdown, what `runtime` reaches in each row of `targets` ({workload: limit}) and why."""
    table, sets, groups = remaining(run, prices, runtime, targets)
    lines = ["# What remains, function by function", "",
             "`./dev hap` writes this page from its results and those of `./dev hap --prices`: every host kernel function "
             f"that the row {runtime} reaches in steady state, where a target is set, by the mechanism that brings it. "
             "A function that several mechanisms have counts where it comes first. [hap.md](hap.md) has the method.", "",
             str(run.facts.get("kernel", "")), "", *table]
    for group, parts in groups:
        lines += ["", f"## {group.title}", "", group.why]
        for words, mine in parts:
            if words:
                lines += ["", f"**{words}**: {len(mine)}"]
            for rows, names in by_rows(mine, sets):
                where = "in all of them" if len(rows) == len(sets) else ", ".join(rows)
                lines += ["", f"{where}: " + " ".join(f"`{name}`" for name in names)]
    return "\n".join(lines) + "\n"
