#include "runtime/sandbox.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "runtime/programs.h"
#include "runtime/resource_limits.h"
#include "runtime/stdio.h"
#include "runtime/terminal.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

using sentry::Fd;

struct Pair {
  Fd ours, theirs;
};

Outcome<Pair> socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
    return system_failure(errno, "cannot make a socket pair");
  return Pair{Fd(ends[0]), Fd(ends[1])};
}

// The sentry's descriptors. 0 and 1 are nothing; the log is where stderr is expected.
enum SentryFd {
  kSentryLog = 2,
  kSentryBoot,
  kSentryControl,
  kSentryGofer,
  kSentryStdio,
  kSentryConsole = kSentryStdio + 3,
  kSentryFds
};

// The gofer's. Attach points follow, then its own /proc/self/fd.
enum GoferFd { kGoferLog = 2, kGoferSocket, kGoferAttach };

JailSpec sentry_spec(const SandboxPlan& plan, const Program& program, int null_fd, int boot_fd,
                     int control_fd, int gofer_fd, int console_fd) {
  JailSpec spec;
  spec.name = "sentry";
  spec.program_fd = program.fd.get();
  spec.args = {"bulkhead-sentry", "--boot", std::to_string(kSentryBoot)};
  spec.fds.assign(kSentryFds, -1);
  spec.fds[0] = spec.fds[1] = null_fd;
  spec.fds[kSentryLog] = plan.log_fd;
  spec.fds[kSentryBoot] = boot_fd;
  spec.fds[kSentryControl] = control_fd;
  spec.fds[kSentryGofer] = gofer_fd;
  for (size_t i = 0; i < 3; ++i) spec.fds[kSentryStdio + i] = plan.stdio[i];
  spec.fds[kSentryConsole] = console_fd;
  spec.fds.insert(spec.fds.end(), plan.more_fds.begin(), plan.more_fds.end());
  spec.identity = sentry_identity();
  spec.own_clocks = true;
  spec.clocks = plan.clocks;
  return spec;
}

JailSpec gofer_spec(const SandboxPlan& plan, const Program& program, int null_fd, int socket_fd) {
  JailSpec spec;
  spec.name = "gofer";
  spec.program_fd = program.fd.get();
  spec.args = {"bulkhead-gofer", "--socket", std::to_string(kGoferSocket), "--log",
               std::to_string(kGoferLog)};
  if (plan.boot.log_json) spec.args.push_back("--log-json");
  spec.fds = {null_fd, null_fd, plan.log_fd, socket_fd};
  for (size_t i = 0; i < plan.attaches.size(); ++i) {
    spec.args.push_back("--attach");
    spec.args.push_back(fmt::format("{}{}", kGoferAttach + i, plan.attaches[i].writable ? "" : ":ro"));
    spec.fds.push_back(-1);
  }
  spec.args.push_back("--proc");
  spec.args.push_back(std::to_string(spec.fds.size()));
  spec.fds.push_back(-1);
  spec.identity = plan.gofer_identity ? *plan.gofer_identity : gofer_identity();
  const bool writes = std::any_of(plan.attaches.begin(), plan.attaches.end(),
                                  [](const Attach& attach) { return attach.writable; });
  spec.capabilities = gofer_capabilities(writes ? TreeAccess::kWrite : TreeAccess::kRead);
  spec.prepare = [attaches = plan.attaches, before = plan.before_trees](JailSpec& self) -> Outcome<> {
    if (before) TRY(before());
    // The gofer reopens descriptors by name; the clone's ".." leads nowhere. It must be taken before /proc is
    // covered.
    Fd proc(::open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!proc) return system_failure(errno, "cannot open the gofer's /proc/self/fd");
    std::vector<Fd> fds = TRY(open_attaches(attaches));
    for (size_t i = 0; i < fds.size(); ++i) self.fds[kGoferAttach + i] = fds[i].release();
    self.fds.back() = proc.release();
    return {};
  };
  return spec;
}

}  // namespace

Outcome<Fd> document_file(const std::string& bytes) {
  Fd file(::memfd_create("boot", MFD_CLOEXEC));
  if (!file) return system_failure(errno, "cannot make a memfd");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t size =
        ::pwrite(file.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (size <= 0) return system_failure(errno, "cannot write the boot document");
    done += static_cast<size_t>(size);
  }
  return file;
}

Outcome<Sandbox> Sandbox::start(SandboxPlan plan) {
  const RaisedLimits limits = TRY(RaisedLimits::raise());
  const Program sentry_program = TRY(find_program("bulkhead-sentry"));
  const Program gofer_program = TRY(find_program("bulkhead-gofer"));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return system_failure(errno, "cannot open /dev/null");

  Sandbox sandbox;
  Pair control = TRY(socket_pair(SOCK_SEQPACKET));
  Pair gofer_link = TRY(socket_pair(SOCK_SEQPACKET));
  Pair console;
  sentry::boot::Process& process = plan.boot.process;
  if (process.terminal) {
    console = TRY(socket_pair(SOCK_STREAM));
    process.console_fd = kSentryConsole;
  }
  name_terminals(process, plan.stdio);
  name_open_flags(process, plan.stdio, plan.more_fds);
  for (int i = 0; i < 3; ++i)
    process.stdio_fds[i] = plan.stdio[static_cast<size_t>(i)] < 0 ? -1 : static_cast<int>(kSentryStdio) + i;
  plan.boot.log_fd = kSentryLog;
  plan.boot.control_fd = kSentryControl;
  plan.boot.gofer_fd = kSentryGofer;
  for (size_t i = 0; i < plan.more_fds.size(); ++i)
    process.more_fds.push_back(static_cast<int>(kSentryFds + i));
  const Fd boot = TRY(document_file(sentry::boot::encode(plan.boot)));
  if (plan.limits.any()) sandbox.cgroup_ = TRY(Cgroup::create(plan.id, plan.limits));

  // The gofer first: it has more to do before it runs.
  JailSpec gofer = gofer_spec(plan, gofer_program, null.get(), gofer_link.ours.get());
  const Identity gofer_ids = gofer.identity;
  sandbox.gofer_ = TRY(Jailed::start(std::move(gofer)));
  TRY(sandbox.cgroup_.add(sandbox.gofer_.pid()));
  if (plan.place) TRY(plan.place(sandbox.gofer_.pid()));
  TRY(sandbox.gofer_.release(gofer_ids));
  JailSpec sentry = sentry_spec(plan, sentry_program, null.get(), boot.get(), control.theirs.get(),
                                gofer_link.theirs.get(), console.theirs.get());
  const Identity sentry_ids = sentry.identity;
  sandbox.sentry_ = TRY(Jailed::start(std::move(sentry)));
  TRY(sandbox.cgroup_.add(sandbox.sentry_.pid()));
  if (plan.place) TRY(plan.place(sandbox.sentry_.pid()));
  TRY(sandbox.sentry_.release(sentry_ids));
  sandbox.control_ = std::move(control.ours);
  sandbox.console_ = std::move(console.ours);
  return sandbox;
}

Sandbox Sandbox::attached(Fd link, Fd console) {
  Sandbox sandbox;
  sandbox.control_ = std::move(link);
  sandbox.console_ = std::move(console);
  return sandbox;
}

Outcome<Sandbox::Joining> Sandbox::start_container(SandboxPlan plan) {
  const RaisedLimits limits = TRY(RaisedLimits::raise());
  const Program gofer_program = TRY(find_program("bulkhead-gofer"));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return system_failure(errno, "cannot open /dev/null");
  Joining joining;
  Pair control = TRY(socket_pair(SOCK_SEQPACKET));
  Pair gofer_link = TRY(socket_pair(SOCK_SEQPACKET));
  JailSpec gofer = gofer_spec(plan, gofer_program, null.get(), gofer_link.ours.get());
  const Identity ids = gofer.identity;
  joining.sandbox.gofer_ = TRY(Jailed::start(std::move(gofer)));
  TRY(joining.sandbox.gofer_.release(ids));
  joining.sandbox.control_ = std::move(control.ours);

  // The documents name descriptors by their place in the message.
  joining.fds = {control.theirs.get(), -1};
  const auto place = [&](int fd) {
    if (fd < 0) return -1;
    joining.fds.push_back(fd);
    return static_cast<int>(joining.fds.size()) - 1;
  };
  sentry::boot::Process& process = plan.boot.process;
  plan.boot.gofer_fd = place(gofer_link.theirs.get());
  if (process.terminal) {
    Pair console = TRY(socket_pair(SOCK_STREAM));
    process.console_fd = place(console.theirs.get());
    joining.sandbox.console_ = std::move(console.ours);
    joining.owned.push_back(std::move(console.theirs));
  }
  name_terminals(process, plan.stdio);
  name_open_flags(process, plan.stdio, plan.more_fds);
  for (size_t i = 0; i < 3; ++i) process.stdio_fds[i] = place(plan.stdio[i]);
  for (const int fd : plan.more_fds) process.more_fds.push_back(place(fd));
  Fd document = TRY(document_file(sentry::boot::encode(plan.boot)));
  joining.fds[1] = document.get();
  joining.owned.push_back(std::move(document));
  joining.owned.push_back(std::move(control.theirs));
  joining.owned.push_back(std::move(gofer_link.theirs));
  return joining;
}

void Sandbox::tell(const sentry::boot::Control& message) const {
  ::send(control_.get(), &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Sandbox::kill() {
  sentry_.kill();
  gofer_.kill();
}

}  // namespace runtime
