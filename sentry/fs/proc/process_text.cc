#include "sentry/fs/proc/process_text.h"

#include <sys/resource.h>

#include <algorithm>

#include <fmt/format.h>

#include "sentry/fs/proc/memory_text.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/process_group.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/trace.h"
#include "sentry/vfs/fd_table.h"

namespace sentry::fs::proc {
namespace {

using kernel::SignalSet;
using kernel::Task;
using kernel::ThreadGroup;

constexpr Nanoseconds kTick = kSecond / 100;  // USER_HZ

char state_letter(const Snapshot& snapshot) {
  if (snapshot.zombie() || (snapshot.task != nullptr && snapshot.task->exited)) return 'Z';
  // A leader that went before its threads stays as a zombie until they end.
  if (!snapshot.thread_only && snapshot.group->leader == nullptr && !snapshot.group->tasks.empty())
    return 'Z';
  const Task* task = snapshot.task;
  if (task != nullptr && task->traced != nullptr && task->traced->stopped) return 't';
  if (snapshot.group->stopped) return 'T';
  if (task == nullptr) return 'S';
  return task->sleeping() ? 'S' : 'R';
}

const char* state_name(char letter) {
  switch (letter) {
    case 'R':
      return "R (running)";
    case 'T':
      return "T (stopped)";
    case 't':
      return "t (tracing stop)";
    case 'Z':
      return "Z (zombie)";
    default:
      return "S (sleeping)";
  }
}

struct SignalFacts {
  SignalSet thread_pending, shared_pending, blocked, ignored, caught;
  size_t queued = 0;
};

SignalFacts signal_facts(const Snapshot& snapshot) {
  SignalFacts facts;
  if (snapshot.task != nullptr) {
    facts.thread_pending = snapshot.task->pending.pending();
    facts.blocked = snapshot.task->current_mask();
    facts.queued += snapshot.task->pending.size();
  }
  const ThreadGroup& group = *snapshot.group;
  facts.shared_pending = group.pending.pending();
  facts.queued += group.pending.size();
  if (group.handlers == nullptr) return facts;
  for (int signo = 1; signo <= kernel::kSignals; ++signo) {
    const uint64_t handler = (*group.handlers)[signo].handler;
    if (handler == reinterpret_cast<uint64_t>(SIG_IGN))
      facts.ignored.add(signo);
    else if (handler != reinterpret_cast<uint64_t>(SIG_DFL))
      facts.caught.add(signo);
  }
  return facts;
}

pid_t parent_id(const ThreadGroup& group) { return group.parent != nullptr ? group.parent->id : 0; }
pid_t group_id(const ThreadGroup& group) {
  return group.process_group != nullptr ? group.process_group->id : 0;
}
pid_t session_id(const ThreadGroup& group) {
  return group.process_group != nullptr && group.process_group->session != nullptr
             ? group.process_group->session->id
             : 0;
}

// A command name as status shows it: one line, whatever the program chose.
std::string escaped(const std::string& name) {
  std::string text;
  for (char c : name) {
    if (c == '\n')
      text += "\\n";
    else if (c == '\\')
      text += "\\\\";
    else
      text += c;
  }
  return text;
}

std::string limit_value(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : fmt::format("{}", value);
}

// Linux counts a process's age on CLOCK_BOOTTIME, which linux.timeOffsets may set apart from CLOCK_MONOTONIC.
// How far apart they are is asked once: a start that varied by a tick would be another process's to ps(1).
Nanoseconds on_boot_clock(Nanoseconds monotonic) {
  static const Nanoseconds ahead = read_clock(CLOCK_BOOTTIME) - monotonic_now();
  return monotonic + ahead;
}

}  // namespace

Result<std::string> stat_text(const Snapshot& snapshot) {
  const ThreadGroup& group = *snapshot.group;
  const Task* task = snapshot.task;
  const bool permitted = check_access(snapshot).ok();
  const auto memory = snapshot.memory();
  const MemoryFacts facts = memory != nullptr ? measure(*memory) : MemoryFacts{};
  const SignalFacts signals = signal_facts(snapshot);

  unsigned terminal_device = 0;
  pid_t terminal_group = -1;
  if (group.process_group != nullptr && group.process_group->session != nullptr &&
      group.process_group->session->terminal != nullptr) {
    const auto& terminal = *group.process_group->session->terminal;
    terminal_device = terminal.device();
    const auto foreground = terminal.foreground.lock();
    if (terminal_device != 0) terminal_group = foreground != nullptr ? foreground->id : 0;
  }
  const rusage usage = snapshot.thread_only ? task->usage() : kernel::usage_of(group);
  const int nice = task != nullptr ? task->scheduling.nice : 0;
  std::string text =
      fmt::format("{} ({}) {} {} {} {} {} {} ", snapshot.id(), snapshot.name(), state_letter(snapshot),
                  parent_id(group), group_id(group), session_id(group), terminal_device, terminal_group);
  text += fmt::format("{} {} {} {} {} ", 0x400000u /* PF_RANDOMIZE */, group.usage.ru_minflt,
                      group.children_usage.ru_minflt, group.usage.ru_majflt, group.children_usage.ru_majflt);
  text += fmt::format("{} {} {} {} ", to_nanoseconds(usage.ru_utime) / kTick,
                      to_nanoseconds(usage.ru_stime) / kTick,
                      to_nanoseconds(group.children_usage.ru_utime) / kTick,
                      to_nanoseconds(group.children_usage.ru_stime) / kTick);
  text +=
      fmt::format("{} {} {} 0 {} ", 20 + nice, nice, std::max<size_t>(group.tasks.size(), group.dead ? 0 : 1),
                  std::max<Nanoseconds>(0, on_boot_clock(group.start_time)) / kTick);
  text += fmt::format("{} {} {} ", facts.size, facts.resident / mm::kPageSize, group.limit(RLIMIT_RSS));
  if (memory != nullptr && permitted) {
    const auto& layout = memory->layout;
    text += fmt::format("{} {} {} 0 0 ", layout.code_start, layout.code_end, layout.stack_start);
  } else {
    text += memory != nullptr ? "1 1 0 0 0 " : "0 0 0 0 0 ";
  }
  constexpr uint64_t kLegacySignals = 0x7fffffff;  // the first 31: the rest is in status
  text +=
      fmt::format("{} {} {} {} ", (signals.thread_pending | signals.shared_pending).bits() & kLegacySignals,
                  signals.blocked.bits() & kLegacySignals, signals.ignored.bits() & kLegacySignals,
                  signals.caught.bits() & kLegacySignals);
  const bool leader = task == nullptr || task->tid == group.id;
  const kernel::Scheduling scheduling = task != nullptr ? task->scheduling : kernel::Scheduling{};
  text += fmt::format("0 0 0 {} 0 {} {} 0 0 0 ", leader ? group.exit_signal : -1, scheduling.priority,
                      scheduling.policy);
  if (memory != nullptr && permitted) {
    const auto& layout = memory->layout;
    text += fmt::format("{} {} {} {} {} {} {} ", layout.data_start, layout.data_end, memory->heap_start(),
                        layout.arg_start, layout.arg_end, layout.env_start, layout.env_end);
  } else {
    text += "0 0 0 0 0 0 0 ";
  }
  text += fmt::format("{}\n", permitted && group.dead ? group.wait_status : 0);
  return text;
}

Result<std::string> status_text(const Snapshot& snapshot) {
  const ThreadGroup& group = *snapshot.group;
  const Task* task = snapshot.task;
  static const vfs::Credentials kRoot;
  const vfs::Credentials& who = task != nullptr && task->credentials != nullptr ? *task->credentials : kRoot;
  const auto memory = snapshot.memory();

  std::string text = fmt::format("Name:\t{}\n", escaped(snapshot.name()));
  if (task != nullptr && task->fs_context != nullptr)
    text += fmt::format("Umask:\t{:04o}\n", task->fs_context->umask);
  text += fmt::format("State:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n",
                      state_name(state_letter(snapshot)), group.id, snapshot.id(), parent_id(group),
                      task != nullptr && task->traced != nullptr ? task->traced->tracer->group->id : 0);
  text += fmt::format("Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n", who.uid, who.euid, who.suid, who.fsuid,
                      who.gid, who.egid, who.sgid, who.fsgid);
  const int highest = task != nullptr && task->fd_table != nullptr ? task->fd_table->highest() : 0;
  text += fmt::format("FDSize:\t{}\nGroups:\t", task == nullptr ? 0 : std::max(64, (highest + 63) / 64 * 64));
  for (gid_t member : who.groups) text += fmt::format("{} ", member);
  text += fmt::format("\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\n", group.id, snapshot.id(),
                      group_id(group), session_id(group));
  if (memory != nullptr) {
    const MemoryFacts facts = measure(*memory);
    const auto row = [&](const char* name, uint64_t bytes) {
      text += fmt::format("{}:\t{:>8} kB\n", name, bytes >> 10);
    };
    row("VmPeak", facts.size);
    row("VmSize", facts.size);
    row("VmLck", facts.locked);
    row("VmPin", 0);
    row("VmHWM", facts.resident);
    row("VmRSS", facts.resident);
    row("RssAnon", facts.anonymous);
    row("RssFile", facts.file);
    row("RssShmem", facts.shared);
    row("VmData", facts.data);
    row("VmStk", facts.stack);
    row("VmExe", facts.executable);
    row("VmLib", facts.libraries);
    row("VmPTE", mm::page_ceil(facts.resident / 512) + mm::kPageSize);
    row("VmSwap", 0);
    row("HugetlbPages", 0);
    text += "CoreDumping:\t0\nTHP_enabled:\t1\n";
  }
  const SignalFacts signals = signal_facts(snapshot);
  text +=
      fmt::format("Threads:\t{}\nSigQ:\t{}/{}\n", std::max<size_t>(group.tasks.size(), group.dead ? 0 : 1),
                  signals.queued, group.limit(RLIMIT_SIGPENDING));
  text += fmt::format(
      "SigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
      signals.thread_pending.bits(), signals.shared_pending.bits(), signals.blocked.bits(),
      signals.ignored.bits(), signals.caught.bits());
  text += fmt::format(
      "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\n",
      who.cap_inheritable, who.cap_permitted, who.cap_effective, who.cap_bounding, who.cap_ambient);
  text += fmt::format("NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\n", who.no_new_privs ? 1 : 0,
                      task != nullptr ? task->seccomp_mode : 0,
                      task != nullptr && task->seccomp != nullptr ? task->seccomp->depth : 0);
  text += "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\tunknown\n";
  const bool chosen = task != nullptr && !task->scheduling.cpus.empty();  // sched_setaffinity(2)
  text +=
      fmt::format("Cpus_allowed:\t{}\nCpus_allowed_list:\t{}\n",
                  chosen ? cpu_mask(task->scheduling.cpus, group.kernel.cpus) : cpu_mask(group.kernel.cpus),
                  chosen ? cpu_list(task->scheduling.cpus) : cpu_list(group.kernel.cpus));
  text += "Mems_allowed:\t1\nMems_allowed_list:\t0\n";
  text += fmt::format("voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n", group.usage.ru_nvcsw,
                      group.usage.ru_nivcsw);
  return text;
}

Result<std::string> limits_text(const Snapshot& snapshot) {
  struct Row {
    int resource;
    const char* name;
    const char* unit;
  };
  static constexpr Row kRows[] = {
      {RLIMIT_CPU, "Max cpu time", "seconds"},         {RLIMIT_FSIZE, "Max file size", "bytes"},
      {RLIMIT_DATA, "Max data size", "bytes"},         {RLIMIT_STACK, "Max stack size", "bytes"},
      {RLIMIT_CORE, "Max core file size", "bytes"},    {RLIMIT_RSS, "Max resident set", "bytes"},
      {RLIMIT_NPROC, "Max processes", "processes"},    {RLIMIT_NOFILE, "Max open files", "files"},
      {RLIMIT_MEMLOCK, "Max locked memory", "bytes"},  {RLIMIT_AS, "Max address space", "bytes"},
      {RLIMIT_LOCKS, "Max file locks", "locks"},       {RLIMIT_SIGPENDING, "Max pending signals", "signals"},
      {RLIMIT_MSGQUEUE, "Max msgqueue size", "bytes"}, {RLIMIT_NICE, "Max nice priority", ""},
      {RLIMIT_RTPRIO, "Max realtime priority", ""},    {RLIMIT_RTTIME, "Max realtime timeout", "us"},
  };
  std::string text =
      fmt::format("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  for (const Row& row : kRows) {
    const rlimit& limit = snapshot.group->limits[static_cast<size_t>(row.resource)];
    text += fmt::format("{:<25} {:<20} {:<20} ", row.name, limit_value(limit.rlim_cur),
                        limit_value(limit.rlim_max));
    text += *row.unit != '\0' ? fmt::format("{:<10}\n", row.unit) : "\n";
  }
  return text;
}

Result<std::string> oom_score_text(const Snapshot& snapshot) {
  // Linux's scale: 666 for a process that uses nothing, shifted by the adjustment, which weighs as much as
  // memory.
  const auto memory = snapshot.memory();
  const kernel::Kernel& kernel = snapshot.group->kernel;
  const uint64_t total =
      kernel.memory_limit_bytes != 0 ? kernel.memory_limit_bytes : kernel.host_memory_bytes;
  int64_t points = 0;
  if (memory != nullptr && total != 0) {
    const uint64_t used = std::min(measure(*memory).resident, total);
    points = static_cast<int64_t>(used * 1000 / total);
  }
  points += snapshot.group->oom_score_adj;
  return fmt::format("{}\n", std::max<int64_t>(0, (1000 + points) * 2 / 3));
}

std::string cpu_list(const std::vector<uint64_t>& cpus) {
  const auto has = [&](size_t cpu) {
    return cpu / 64 < cpus.size() && (cpus[cpu / 64] >> cpu % 64 & 1) != 0;
  };
  std::string text;
  for (size_t first = 0; first < cpus.size() * 64; ++first) {
    if (!has(first)) continue;
    size_t last = first;
    while (has(last + 1)) ++last;
    text += text.empty() ? "" : ",";
    text += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    first = last;
  }
  return text;
}

std::string cpu_mask(const std::vector<uint64_t>& cpus, unsigned count) {
  // The kernel's %*pb: groups of 32 bits, the highest first and not padded.
  std::string text;
  const unsigned groups = (std::max(count, 1u) + 31) / 32;
  for (unsigned i = groups; i-- > 0;) {
    const auto bits = i / 2 < cpus.size() ? static_cast<uint32_t>(cpus[i / 2] >> i % 2 * 32) : 0;
    text += i + 1 == groups ? fmt::format("{:x}", bits) : fmt::format(",{:08x}", bits);
  }
  return text;
}

namespace {

std::vector<uint64_t> first_cpus(unsigned count) {
  count = std::max(count, 1u);
  std::vector<uint64_t> set((count + 63) / 64, ~uint64_t{0});
  if (count % 64 != 0) set.back() = (uint64_t{1} << count % 64) - 1;
  return set;
}

}  // namespace

std::string cpu_list(unsigned cpus) { return cpu_list(first_cpus(cpus)); }
std::string cpu_mask(unsigned cpus) { return cpu_mask(first_cpus(cpus), cpus); }

}  // namespace sentry::fs::proc
