// bulkhead check: what this host offers, tried rather than guessed, and what is missing for what.
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sched.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>

#include "runtime/cgroup.h"
#include "runtime/host_calls.h"
#include "runtime/jail.h"
#include "runtime/manual.h"
#include "runtime/programs.h"
#include "runtime/resource_limits.h"
#include "runtime/text_file.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-check",
    .summary = "say what this host offers and what is missing for what",
    .synopsis = "bulkhead check",
    .description =
        "Tries what bulkhead needs of its host, as the calling user, and prints a line for each: \"have\" or "
        "\"missing\", what was found, and what it is for. Lines that say \"required\" must be there for any "
        "sandbox; the others cost a limit or some speed.",
    .exit_status = "0 if sandboxes can run here, 1 if something required is missing, 125 if bulkhead fails.",
    .see_also = "bulkhead(1), user_namespaces(7), cgroups(7), seccomp(2), ptrace(2)",
};

enum class Need { kRequired, kOptional };

struct Finding {
  const char* name;
  bool have;
  std::string detail;
  Need need;
  const char* purpose;
};

std::string because(int error) { return strerrordesc_np(error); }

// Runs a probe in a child, which a probe may leave in any state. Its exit status; -1 if it was killed.
int in_child(const std::function<int()>& probe) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(probe());
  int status = 0;
  if (pid < 0 || TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

Finding check_kernel() {
  utsname name{};
  ::uname(&name);
  int major = 0, minor = 0;
  const bool known = std::sscanf(name.release, "%d.%d", &major, &minor) == 2;
  const bool new_enough = known && (major > 5 || (major == 5 && minor >= 19));
  return {"kernel", new_enough, fmt::format("Linux {} on {}", name.release, name.machine), Need::kRequired,
          "Linux 5.19 or newer: seccomp wait_killable, mount_setattr, openat2"};
}

Finding check_namespaces() {
  constexpr uint64_t kAll = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                            CLONE_NEWUTS | CLONE_NEWCGROUP;
  int pidfd = -1;
  const pid_t pid = clone_process(kAll, &pidfd);
  if (pid == 0) ::_exit(0);
  const int error = errno;
  const sentry::Fd owned(pidfd);
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  std::string detail = pid > 0 ? "user, pid, mount, net, ipc, uts, cgroup" : because(error);
  if (pid < 0) {
    for (const char* knob :
         {"/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone",
          "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"})
      if (const auto value = read_text_file(knob))
        detail += fmt::format("; {} is {}", knob, value->substr(0, value->find('\n')));
  }
  return {"namespaces", pid > 0, detail, Need::kRequired, "each jailed program has its own"};
}

Finding check_time_namespace() {
  const bool have = in_child([] { return ::unshare(CLONE_NEWUSER | CLONE_NEWTIME) == 0 ? 0 : 1; }) == 0;
  return {"time namespace", have, "", Need::kOptional, "hides the host's uptime from the sandbox"};
}

Finding check_id_maps() {
  const bool have = may_map_ids();
  return {"id mapping", have, have ? "any id" : "this user's id only", Need::kOptional,
          "a host user of its own for each sandbox; files of other users keep their owners"};
}

bool seccomp_action(uint32_t action) {
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

Finding check_seccomp() {
  const bool have = seccomp_action(SECCOMP_RET_KILL_PROCESS);
  return {"seccomp filter", have, have ? "kill_process" : because(errno), Need::kRequired,
          "limits each jailed program to its list of host calls"};
}

Finding check_seccomp_trap() {
  return {"seccomp trap", seccomp_action(SECCOMP_RET_TRAP), "", Need::kRequired, "the trap platform"};
}

Finding check_seccomp_notify() {
  return {"seccomp notify", seccomp_action(SECCOMP_RET_USER_NOTIF), "", Need::kRequired, "the trap platform"};
}

// A flag that the kernel does not know is EINVAL before it looks at the (absent) filter, which is EFAULT.
Finding check_wait_killable() {
  const bool have = in_child([] {
                      const long status = ::syscall(
                          SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                          SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, nullptr);
                      return status < 0 && errno == EFAULT ? 0 : 1;
                    }) == 0;
  return {"seccomp wait_killable", have, have ? "" : "Linux 5.19 has it", Need::kRequired,
          "the trap platform"};
}

Finding check_processor() {
  constexpr unsigned long kFsgsbase = 2;  // AT_HWCAP2, asm/hwcap2.h
  const bool have = (::getauxval(AT_HWCAP2) & kFsgsbase) != 0 && __builtin_cpu_supports("bmi2");
  return {"processor", have, have ? "FSGSBASE, BMI2" : "no FSGSBASE (Linux 5.9) or no BMI2", Need::kRequired,
          "the trap platform"};
}

// As the ptrace platform uses it: a child that asks to be traced and stops at a system call that is not
// executed.
Finding check_ptrace() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    ::raise(SIGSTOP);
    ::_exit(::getppid() == 0 ? 1 : 2);
  }
  int status = 0;
  bool have = pid > 0 && ::waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
  const bool emulates = have && ::ptrace(PTRACE_SYSEMU, pid, nullptr, nullptr) == 0 &&
                        ::waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
  if (pid > 0 && !WIFEXITED(status)) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  have = have && emulates;
  return {"ptrace", have, have ? "PTRACE_SYSEMU" : "not permitted", Need::kOptional, "the ptrace platform"};
}

Finding check_yama() {
  const auto scope = read_text_file("/proc/sys/kernel/yama/ptrace_scope");
  if (!scope)
    return {"yama", true, "not active", Need::kOptional,
            "the ptrace platform: must let a process trace its own children"};
  // Documentation/admin-guide/LSM/Yama.rst: 0 and 1 allow what the sentry does, 2 asks for a capability, 3
  // forbids.
  const bool fine = (*scope)[0] <= '1';
  return {"yama", fine, fmt::format("ptrace_scope is {}", (*scope)[0]), Need::kOptional,
          "must let a process trace its own children (0 or 1)"};
}

Finding check_io_uring() {
  io_uring_params params{};
  params.flags = IORING_SETUP_R_DISABLED;
  const sentry::Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &params)));
  if (!ring)
    return {"io_uring", false, because(errno), Need::kOptional,
            "the gofer waits for disks with it; else plain calls"};
  io_uring_restriction restriction{};
  restriction.opcode = IORING_RESTRICTION_SQE_OP;
  restriction.sqe_op = IORING_OP_READ;
  const bool restricted =
      ::syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_RESTRICTIONS, &restriction, 1) == 0;
  return {"io_uring", restricted, restricted ? "with restrictions" : "without restrictions", Need::kOptional,
          "the gofer waits for disks with it; else plain calls"};
}

Finding check_pidfd() {
  const sentry::Fd self(pidfd_open(::getpid()));
  return {"pidfd", static_cast<bool>(self), self ? "" : because(errno), Need::kRequired,
          "watching and ending jailed programs without mistaking them"};
}

// Descriptor -1 is refused only by a kernel that knows the call.
Finding check_mount_setattr() {
  mount_attr attributes{};
  const bool have =
      ::mount_setattr(-1, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0 || errno != ENOSYS;
  return {"mount_setattr", have, have ? "" : because(ENOSYS), Need::kRequired,
          "read-only views of host directories"};
}

Finding check_limits() {
  const Outcome<RaisedLimits> raised = RaisedLimits::raise();
  return {"resource limits", raised.ok(), raised ? "" : raised.error().message, Need::kRequired,
          "room for the sandbox's own processes"};
}

Finding check_controller(const char* label, const char* name, const char* purpose) {
  const Controller controller = find_controller(name);
  if (controller.version == 0) return {label, false, "no such controller", Need::kOptional, purpose};
  const bool writable = ::access(controller.parent.c_str(), W_OK) == 0;
  return {label, writable,
          fmt::format("version {}, {}{}", controller.version, controller.parent,
                      writable ? "" : ": not writable for this user"),
          Need::kOptional, purpose};
}

Finding check_program(const char* name) {
  const Outcome<Program> program = find_program(name);
  return {name, program.ok(), program ? program->path : program.error().message, Need::kRequired,
          "a jailed program"};
}

int print(const std::vector<Finding>& findings) {
  bool fine = true;
  for (const Finding& finding : findings) {
    const bool required = finding.need == Need::kRequired;
    fine = fine && (finding.have || !required);
    const std::string detail = finding.detail.empty() ? "" : fmt::format(" ({})", finding.detail);
    fmt::print("{:<8} {:<22} {}: {}{}\n", finding.have ? "have" : "missing", finding.name,
               required ? "required" : "optional", finding.purpose, detail);
  }
  fmt::print("{}\n", fine ? "Sandboxes can run here."
                          : "Sandboxes cannot run here: see the lines \"missing ... required\".");
  const int status = finish_output();
  return status != 0 || fine ? status : 1;
}

}  // namespace

int check_verb(const std::vector<std::string>& arguments) {
  CLI::App parser;
  parser.set_help_flag("--help", "Show this page.");
  if (const std::optional<int> status = parse(parser, kManual, arguments)) return *status;
  return print(
      {check_kernel(),
       check_namespaces(),
       check_time_namespace(),
       check_id_maps(),
       check_seccomp(),
       check_seccomp_trap(),
       check_seccomp_notify(),
       check_wait_killable(),
       check_processor(),
       check_ptrace(),
       check_yama(),
       check_io_uring(),
       check_pidfd(),
       check_mount_setattr(),
       check_limits(),
       check_controller("cgroup memory", "memory", "--memory for root; others are watched from outside"),
       check_controller("cgroup pids", "pids", "--pids as a second net for root; the sentry counts too"),
       check_controller("cgroup cpu", "cpu", "--cpus, for root"),
       check_program("bulkhead-sentry"),
       check_program("bulkhead-gofer")});
}

}  // namespace runtime
