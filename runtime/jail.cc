#include "runtime/jail.h"

#include <cap-ng.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "runtime/host_calls.h"
#include "runtime/text_file.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

using sentry::Fd;

// Every namespace that clone3(2) makes. The time namespace is entered later, since its clocks must be set
// first.
constexpr uint64_t kNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

// The sentry's id inside its user namespace. Not 0: then no exec can yield capabilities (capabilities(7)).
constexpr uid_t kSentryId = 65534;
// Host ids of sentries: this plus the runtime's pid, which is below 2^22 (proc(5), pid_max). User databases
// end far below, and container engines' ranges (subuid(5)) lie below too.
constexpr uid_t kSentryIdBase = 0x70000000;

// The capabilities of a task as /proc/self/status shows them.
uint64_t effective_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return 0;
  return data[0].effective | uint64_t{data[1].effective} << 32;
}

constexpr uint64_t bit(unsigned capability) { return uint64_t{1} << capability; }

// The identity map over all ids that this process's own user namespace has.
std::string full_map(const char* own_map) {
  std::string map;
  const std::optional<std::string> text = read_text_file(own_map);
  const char* at = text ? text->c_str() : "";
  unsigned long inside = 0, outside = 0, count = 0;
  int used = 0;
  while (std::sscanf(at, "%lu %lu %lu%n", &inside, &outside, &count, &used) == 3) {
    map += fmt::format("{} {} {}\n", inside, inside, count);
    at += used;
  }
  return map;
}

// True if `id` exists in this process's own user namespace.
bool has_id(const char* own_map, unsigned long id) {
  const std::optional<std::string> text = read_text_file(own_map);
  const char* at = text ? text->c_str() : "";
  unsigned long inside = 0, outside = 0, count = 0;
  int used = 0;
  while (std::sscanf(at, "%lu %lu %lu%n", &inside, &outside, &count, &used) == 3) {
    if (id >= inside && id - inside < count) return true;
    at += used;
  }
  return false;
}

// The child's half: each step is one fact about the jail. Runs after clone3, so nothing here may outlive exec
// except by intent.
class JailBuilder {
 public:
  JailBuilder(JailSpec& spec, int report_fd, int parent_pidfd)
      : spec_(spec), report_fd_(report_fd), parent_pidfd_(parent_pidfd) {}

  // Comes back only with a failure.
  Outcome<> run() {
    TRY(wait_for_ids());
    TRY(own_session());
    TRY(own_clocks());
    TRY(take_ids());
    TRY(make_mounts_private());
    if (spec_.prepare) TRY(spec_.prepare(spec_));
    TRY(enter_empty_root());
    TRY(set_rlimits());
    TRY(keep_listed_fds());
    TRY(drop_capabilities());
    TRY(die_with_runtime());
    return execute();
  }

 private:
  Outcome<> wait_for_ids() {
    char go = 0;
    if (TEMP_FAILURE_RETRY(::read(report_fd_, &go, 1)) != 1) ::_exit(kStatusFailure);  // the runtime is gone
    return {};
  }

  // The terminal's signals and hangups are for the runtime, which passes on what the program should get.
  Outcome<> own_session() {
    if (::setsid() < 0) return step_failed("start a session");
    for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return step_failed("unblock signals");
    return {};
  }

  // time_namespaces(7): offsets are set between unshare(2) and the first process inside. exec would enter by
  // itself only since Linux 6.3, setns(2) does so on all.
  Outcome<> own_clocks() {
    if (!spec_.own_clocks) return {};
    if (::unshare(CLONE_NEWTIME) != 0)
      return errno == EINVAL ? Outcome<>{} : step_failed("unshare the clocks");
    timespec monotonic{}, boottime{};
    ::clock_gettime(CLOCK_MONOTONIC, &monotonic);
    ::clock_gettime(CLOCK_BOOTTIME, &boottime);
    const std::string offsets =
        spec_.clocks ? fmt::format("monotonic {}\nboottime {}\n", text_of(spec_.clocks->monotonic),
                                   text_of(spec_.clocks->boottime))
                     : fmt::format("monotonic {}\nboottime {}\n", negated(monotonic), negated(boottime));
    if (!write_text_file("/proc/self/timens_offsets", offsets)) return step_failed("set the clocks");
    const Fd clocks(::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC));
    if (!clocks || ::setns(clocks.get(), CLONE_NEWTIME) != 0) return step_failed("enter the time namespace");
    return {};
  }

  static std::string text_of(const ClockOffsets::Offset& offset) {
    return fmt::format("{} {}", offset.seconds, offset.nanoseconds);
  }

  // "SECONDS NANOSECONDS", the latter not negative, as timens_offsets has it. The clocks start some way above
  // zero: the coarse ones lag behind, and a program may look a little back.
  static std::string negated(const timespec& time) {
    constexpr long kNanoseconds = 1'000'000'000, kStart = 100;
    if (time.tv_nsec == 0) return fmt::format("{} 0", kStart - time.tv_sec);
    return fmt::format("{} {}", kStart - time.tv_sec - 1, kNanoseconds - time.tv_nsec);
  }

  Outcome<> take_ids() {
    const Identity& identity = spec_.identity;
    if (identity.privileged && ::setgroups(0, nullptr) != 0) return step_failed("drop supplementary groups");
    if (::setresgid(identity.gid, identity.gid, identity.gid) != 0) return step_failed("set the group id");
    if (::setresuid(identity.uid, identity.uid, identity.uid) != 0) return step_failed("set the user id");
    return {};
  }

  // What is mounted on the host later must not appear in the jail.
  Outcome<> make_mounts_private() {
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return step_failed("detach mounts");
    return {};
  }

  // An empty, read-only tmpfs becomes the root and the host's tree is gone: pivot_root(2), "pivot_root(.,
  // .)". Where the filter of a container that we are in refuses that (Docker's does), the tmpfs covers the
  // host's tree instead, and without capabilities nothing leads below it.
  Outcome<> enter_empty_root() {
    const Fd fs(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!fs || ::fsconfig(fs.get(), FSCONFIG_SET_STRING, "mode", "0555", 0) != 0 ||
        ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
      return step_failed("make an empty root");
    const Fd root(::fsmount(fs.get(), FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    if (!root) return step_failed("mount an empty root");
    if (::move_mount(root.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0)
      return step_failed("attach an empty root");
#ifdef BULKHEAD_DYNAMIC_JAILS
    TRY(keep_shared_libraries(root.get()));
#endif
    if (::fchdir(root.get()) != 0) return step_failed("enter the empty root");
    if (pivot_root(".", ".") == 0) {
      if (::umount2(".", MNT_DETACH) != 0) return step_failed("detach the host's root");
    } else if ((errno != EPERM && errno != ENOSYS) || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
               ::chroot(".") != 0) {
      return step_failed("enter the empty root");
    }
    if (::chdir("/") != 0) return step_failed("enter the root directory");
    return {};
  }

#ifdef BULKHEAD_DYNAMIC_JAILS
  // Sanitized builds are dynamic: they need the loader, the libraries and /proc/self/maps.
  Outcome<> keep_shared_libraries(int root) {
    if (::mount_setattr(root, "", AT_EMPTY_PATH, &kWritable, sizeof kWritable) != 0)
      return step_failed("open the root for shared libraries");
    for (const char* name : {"usr", "lib", "lib64", "proc"}) {
      const std::string from = fmt::format("/{}", name);
      const bool is_proc = from == "/proc";
      const Fd tree(is_proc ? mount_proc()
                            : ::open_tree(AT_FDCWD, from.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
      if (!tree || ::mkdirat(root, name, 0755) != 0 ||
          ::move_mount(tree.get(), "", root, name, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return step_failed("keep the shared libraries");
    }
    return {};
  }

  static int mount_proc() {
    const Fd fs(::fsopen("proc", FSOPEN_CLOEXEC));
    if (!fs || ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return -1;
    return ::fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  }

  static inline mount_attr kWritable{0, MOUNT_ATTR_RDONLY, 0, 0};
#endif

  Outcome<> set_rlimits() {
    const rlimit no_core{0, 0};
    if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return step_failed("forbid core files");
    return {};
  }

  // Descriptors 0..n-1 are spec_.fds, then come the program and the runtime's pidfd, both closed by exec.
  Outcome<> keep_listed_fds() {
    const int count = static_cast<int>(spec_.fds.size());
    std::vector<int> wanted = spec_.fds;
    wanted.push_back(spec_.program_fd);
    wanted.push_back(parent_pidfd_);
    wanted.push_back(report_fd_);
    // First out of the way, so that no dup2 below overwrites one that is still needed.
    const int above = static_cast<int>(wanted.size());
    for (int& fd : wanted) {
      if (fd < 0) continue;
      fd = ::fcntl(fd, F_DUPFD_CLOEXEC, above);
      if (fd < 0) return step_failed("arrange descriptors");
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
      const int target = static_cast<int>(i);
      if (wanted[i] < 0) {
        ::close(target);
      } else if (::dup3(wanted[i], target, target >= count ? O_CLOEXEC : 0) < 0) {
        return step_failed("place descriptors");
      }
    }
    if (::close_range(static_cast<unsigned>(wanted.size()), ~0U, 0) != 0)
      return step_failed("close descriptors");
    program_fd_ = count;
    parent_pidfd_ = count + 1;
    report_fd_ = count + 2;
    return {};
  }

  // The bounding set too, so that no exec can bring one back.
  Outcome<> drop_capabilities() {
    ::capng_clear(CAPNG_SELECT_ALL);
    for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
      if (spec_.capabilities & bit(capability))
        ::capng_update(CAPNG_ADD,
                       static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET),
                       capability);
    }
    if (spec_.capabilities == 0 &&
        ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                       SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                       SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) != 0)
      return step_failed("lock the secure bits");
    // The order matters: the bounding set can be changed only while CAP_SETPCAP is there.
    if (::capng_apply(CAPNG_SELECT_BOUNDS) != 0 || ::capng_apply(CAPNG_SELECT_CAPS) != 0)
      return step_failed("drop capabilities");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return step_failed("set no_new_privs");
    return {};
  }

  // prctl(2): the signal is lost if the parent died before the call, and cleared by a change of ids; so this
  // comes last, and the parent's pidfd tells whether it was in time.
  Outcome<> die_with_runtime() {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return step_failed("tie the process to the runtime");
    pollfd parent{parent_pidfd_, POLLIN, 0};
    if (::poll(&parent, 1, 0) != 0) ::_exit(kStatusFailure);
    return {};
  }

  Outcome<> execute() {
    std::vector<char*> argv;
    for (std::string& arg : spec_.args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    char* const envp[] = {nullptr};
    ::syscall(SYS_execveat, program_fd_, "", argv.data(), envp, AT_EMPTY_PATH);
    if (errno == EACCES)
      return with_advice(system_failure(errno, "cannot execute bulkhead-{}", spec_.name),
                         "the program must be readable and executable for everyone");
    return step_failed("execute the program");
  }

  Failure step_failed(const char* what) const {
    return system_failure(errno, "cannot build the {}'s jail: {}", spec_.name, what);
  }

  JailSpec& spec_;
  int report_fd_, parent_pidfd_;
  int program_fd_ = -1;
};

[[noreturn]] void run_child(JailSpec& spec, Fd report, Fd parent) {
  const int low_report = report.get();
  JailBuilder builder(spec, low_report, parent.get());
  const Outcome<> outcome = builder.run();
  // The report socket has moved if the descriptors were arranged already.
  const int moved = static_cast<int>(spec.fds.size()) + 2;
  for (const int fd : {low_report, moved})
    if (::send(fd, outcome.error().message.data(), outcome.error().message.size(), MSG_NOSIGNAL) >= 0) break;
  ::_exit(kStatusFailure);
}

// user_namespaces(7): where setgroups(2) is denied, as in a namespace that an ordinary user has made, it is
// in all namespaces below.
bool may_set_groups() { return read_text_file("/proc/self/setgroups").value_or("").starts_with("allow"); }

}  // namespace

bool may_map_ids() {
  // user_namespaces(7): CAP_SETFCAP is what mapping id 0 takes.
  constexpr uint64_t kNeeded = bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETFCAP) | bit(CAP_SYS_ADMIN);
  static const bool may =
      ::geteuid() == 0 && (effective_capabilities() & kNeeded) == kNeeded && may_set_groups();
  return may;
}

Identity sentry_identity() {
  uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
  const bool privileged = may_map_ids();
  if (privileged) {
    const uid_t own = kSentryIdBase + static_cast<uid_t>(::getpid());
    if (has_id("/proc/self/uid_map", own) && has_id("/proc/self/gid_map", own)) uid = gid = own;
  }
  return {fmt::format("{} {} 1\n", kSentryId, uid), fmt::format("{} {} 1\n", kSentryId, gid), kSentryId,
          kSentryId, privileged};
}

Identity gofer_identity() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (may_map_ids()) return {full_map("/proc/self/uid_map"), full_map("/proc/self/gid_map"), uid, gid, true};
  return {fmt::format("{} {} 1\n", uid, uid), fmt::format("{} {} 1\n", gid, gid), uid, gid, false};
}

uint64_t gofer_capabilities(TreeAccess access) {
  if (!may_map_ids()) return 0;
  if (access == TreeAccess::kRead) return bit(CAP_DAC_READ_SEARCH);
  return bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FOWNER) | bit(CAP_FSETID);
}

Jailed& Jailed::operator=(Jailed&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    report_ = std::move(other.report_);
  }
  return *this;
}

Outcome<Jailed> Jailed::start(JailSpec spec) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return system_failure(errno, "cannot make a socket pair");
  Fd ours(ends[0]), theirs(ends[1]);
  Fd parent(pidfd_open(::getpid()));
  if (!parent) return system_failure(errno, "cannot open a pidfd (Linux 5.3 and later have it)");
  int pidfd = -1;
  const pid_t pid = clone_process(kNamespaces, &pidfd);
  if (pid == 0) {
    ours.reset();
    run_child(spec, std::move(theirs), std::move(parent));
  }
  if (pid < 0) {
    const int error = errno;
    Failure failed = system_failure(error, "cannot make the {}'s namespaces", spec.name);
    if (error == EPERM || error == ENOSPC || error == EINVAL || error == EUSERS)
      return with_advice(
          std::move(failed),
          "user namespaces must be allowed: see user.max_user_namespaces, kernel.unprivileged_userns_clone "
          "and `bulkhead check`");
    if (error == ENOSYS)
      return with_advice(
          std::move(failed),
          "a seccomp filter refuses clone3(2), as Docker's does in a container: start that one with "
          "--security-opt seccomp=unconfined, or with a profile that allows user namespaces");
    rlimit processes{};
    if (error == EAGAIN && ::getrlimit(RLIMIT_NPROC, &processes) == 0 && processes.rlim_cur != RLIM_INFINITY)
      return with_advice(
          std::move(failed),
          fmt::format("this user may have {} processes and threads, `ulimit -u`; a sandbox takes 4, and one "
                      "for each process and thread inside",
                      processes.rlim_cur));
    return failed;
  }
  Jailed jailed;
  jailed.pid_ = pid;
  jailed.pidfd_ = Fd(pidfd);
  jailed.report_ = std::move(ours);
  return jailed;
}

Outcome<> Jailed::release(const Identity& identity) {
  const std::string proc = fmt::format("/proc/{}/", pid_);
  // user_namespaces(7): without privilege, gid_map can be written only once setgroups is given up.
  if (!identity.privileged && !write_text_file(proc + "setgroups", "deny") && errno != ENOENT)
    return system_failure(errno, "cannot deny setgroups in the user namespace");
  if (!write_text_file(proc + "uid_map", identity.uid_map))
    return system_failure(errno, "cannot map user ids \"{}\"", identity.uid_map.substr(0, 60));
  if (!write_text_file(proc + "gid_map", identity.gid_map))
    return system_failure(errno, "cannot map group ids \"{}\"", identity.gid_map.substr(0, 60));
  if (::send(report_.get(), "g", 1, MSG_NOSIGNAL) != 1)
    return system_failure(errno, "a jailed process died before it started");
  return {};
}

Outcome<> Jailed::read_report() {
  std::array<char, 4096> text;
  const ssize_t size = TEMP_FAILURE_RETRY(::recv(report_.get(), text.data(), text.size(), 0));
  report_.reset();
  if (size > 0) return Failure{std::string(text.data(), static_cast<size_t>(size))};
  return {};
}

Outcome<> Jailed::report_so_far() const {
  std::array<char, 4096> text;
  const ssize_t size = report_ ? ::recv(report_.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_PEEK) : 0;
  if (size > 0) return Failure{std::string(text.data(), static_cast<size_t>(size))};
  return {};
}

void Jailed::kill() {
  if (pidfd_) pidfd_send_signal(pidfd_.get(), SIGKILL);
}

int Jailed::reap() {
  int status = 0;
  const auto reaped = TEMP_FAILURE_RETRY(::waitpid(pid_, &status, __WALL));
  BULKHEAD_CHECK(reaped == pid_, "waitpid({}): {}", pid_, strerrordesc_np(errno));
  pidfd_.reset();
  report_.reset();
  return status;
}

void Jailed::kill_and_reap() {
  if (!pidfd_) return;
  kill();
  reap();
}

}  // namespace runtime
