#include "sentry/init/container.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "sentry/base/log.h"
#include "sentry/fs/proc/sysctl.h"
#include "sentry/fs/tmpfs/quota.h"
#include "sentry/vfs/special.h"

namespace sentry::init {
namespace {

using boot::Control;

Result<std::shared_ptr<const kernel::SeccompFilter>> make_filter(const std::string& bytes) {
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  return kernel::make_filter(std::move(program), nullptr);
}

}  // namespace

void take_fd(std::vector<Fd>& fds, int32_t& place) {
  const auto index = static_cast<size_t>(place);
  place = place >= 0 && index < fds.size() ? fds[index].release() : -1;
}

void take_fds(std::vector<Fd>& fds, boot::Process& process) {
  for (int32_t& place : process.stdio_fds) take_fd(fds, place);
  for (int32_t& place : process.more_fds) take_fd(fds, place);
  take_fd(fds, process.console_fd);
}

std::optional<std::string> read_document(const Fd& file) {
  constexpr off_t kMost = 32 << 20;
  struct stat status {};
  // By number: the C library's fstat asks through newfstatat(2).
  if (::syscall(SYS_fstat, file.get(), &status) != 0 || status.st_size > kMost) return std::nullopt;
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const iovec piece{bytes.data() + done, bytes.size() - done};
    const ssize_t count = ::preadv2(file.get(), &piece, 1, static_cast<off_t>(done), 0);
    if (count <= 0) return std::nullopt;
    done += static_cast<size_t>(count);
  }
  return bytes;
}

GuestContainer::GuestContainer(kernel::Kernel& kernel, std::shared_ptr<kernel::Container> container,
                               std::shared_ptr<fs::tty::Devpts> devpts, boot::Boot boot, Events events)
    : kernel_(kernel),
      container_(std::move(container)),
      boot_(std::move(boot)),
      events_(std::move(events)),
      devpts_(std::move(devpts)),
      first_(kernel, Fd(boot_.control_fd),
             {.order = [this](Order order) { handle(std::move(order)); },
              .ended = [this](GuestProcess&) { events_.ended(); },
              .lost =
                  [this] {
                    kernel_.kill_all(*container_);
                    events_.ended();
                  }}) {
  container_->id = boot_.id;
  container_->device_rules = boot_.device_rules;
  if (boot_.gofer_fd >= 0)
    gofer_ = std::make_shared<fs::gofer::Client>(kernel.loop, Fd(boot_.gofer_fd), events_.gofer_lost);
}

void GuestContainer::start() {
  if (auto failure = prepare()) return first_.fail(*failure);
  if (boot_.own_init) kernel_.make_own_init();
  GuestProcess::Start start{.container = container_, .devpts = devpts_, .process = boot_.process};
  start.seccomp = seccomp_;
  start.first = true;
  start.held = boot_.held;
  start.job_control = boot_.job_control;
  first_.start(start);
}

std::optional<Failure> GuestContainer::prepare() {
  if (gofer_ != nullptr) {
    const auto attach_points = gofer_->hello();
    if (!attach_points.ok()) return Failure{attach_points.error().value(), "greeting the gofer"};
  }
  if (const auto refused = fs::proc::set_sysctls(kernel_, boot_.sysctl))
    return Failure{refused->error, fmt::format("config.json: linux.sysctl.{}", refused->what), 125};
  if (!boot_.seccomp.empty()) {
    const auto filter = make_filter(boot_.seccomp);
    if (!filter.ok()) return Failure{filter.error().value(), "reading the seccomp filter"};
    seccomp_ = *filter;
  }
  if (auto failure = first_.open_console(boot_.process, devpts_)) return failure;
  const auto& console = first_.console();
  if (container_ == kernel_.container)
    fs::tty::register_terminals(vfs::DeviceRegistry::current(), devpts_,
                                console != nullptr ? console->terminal() : nullptr);
  return mount_all({kernel_, container_, gofer_, devpts_}, boot_);
}

void GuestContainer::handle(Order order) {
  switch (order.control.kind) {
    case Control::Kind::kSignalAll:
      return signal_all(order.control.value);
    case Control::Kind::kFreeze:
      return kernel_.freeze(*container_);
    case Control::Kind::kThaw:
      return kernel_.thaw(*container_);
    case Control::Kind::kLimits:
      return set_limits(order);
    case Control::Kind::kAddProcess:
      return add_process(std::move(order));
    case Control::Kind::kAddContainer:
      return events_.add_container(std::move(order));
    default:
      log("a control message of kind {} is not for the sentry", static_cast<uint32_t>(order.control.kind));
  }
}

void GuestContainer::signal_all(int signal) {
  if (signal <= 0 || signal > kernel::kSignals) return;
  std::vector<std::shared_ptr<kernel::ThreadGroup>> members;
  for (const auto& [id, group] : kernel_.groups())
    if (group->container == container_ && !group->dead) members.push_back(group);
  for (const auto& group : members) group->send(kernel::make_signal(signal, SI_USER));
}

void GuestContainer::set_limits(const Order& order) {
  boot::Limits limits;
  if (order.text.size() != sizeof limits) return;
  std::memcpy(&limits, order.text.data(), sizeof limits);
  if (limits.tasks >= 0)
    kernel_.max_tasks = limits.tasks == 0 ? kernel::Kernel::kMostTasks : static_cast<uint32_t>(limits.tasks);
  const auto either = [](int64_t given, uint64_t now) {
    return given >= 0 ? static_cast<uint64_t>(given) : now;
  };
  kernel_.limit_cpu(either(limits.cpu_quota_us, kernel_.cpu_quota_us),
                    either(limits.cpu_period_us, kernel_.cpu_period_us));
  if (limits.memory_bytes < 0) return;
  kernel_.memory_limit_bytes = static_cast<uint64_t>(limits.memory_bytes);
  fs::tmpfs::Budget::of_sandbox()->limit_bytes = kernel_.memory_limit_bytes;
}

void GuestContainer::add_process(Order order) {
  if (order.fds.empty()) return;
  const auto added = std::make_shared<GuestProcess>(
      kernel_, std::move(order.fds[0]),
      GuestProcess::Events{.order = nullptr,
                           .ended =
                               [this](GuestProcess& over) {
                                 kernel_.loop.post([self = shared_from_this(), &over] {
                                   std::erase_if(self->others_,
                                                 [&](const auto& each) { return each.get() == &over; });
                                 });
                               },
                           .lost = nullptr});
  others_.push_back(added);
  const auto fds = std::make_shared<std::vector<Fd>>(std::move(order.fds));
  kernel_.loop.fibers().spawn([self = shared_from_this(), added, fds] {
    if (const auto failure = self->start_added(*added, *fds)) added->fail(*failure);
  });
}

std::optional<Failure> GuestContainer::start_added(GuestProcess& added, std::vector<Fd>& fds) {
  const auto bytes = fds.size() > 1 ? read_document(fds[1]) : std::nullopt;
  auto process = bytes ? boot::decode_process(*bytes) : std::nullopt;
  if (!process) return Failure{EINVAL, "reading what to execute"};
  if (container_->first == nullptr) return Failure{ESRCH, "the container has ended"};
  take_fds(fds, *process);
  GuestProcess::Start start{.container = container_, .devpts = devpts_, .process = std::move(*process)};
  start.seccomp = seccomp_;
  if (auto failure = added.open_console(start.process, devpts_)) return failure;
  added.start(start);
  return std::nullopt;
}

}  // namespace sentry::init
