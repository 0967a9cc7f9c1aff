#include "sentry/init/sandbox.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <csignal>

#include "sentry/base/footprint.h"
#include "sentry/base/log.h"
#include "sentry/fs/dev/devices.h"
#include "sentry/fs/pidfd/pidfd.h"
#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/fs/tmpfs/quota.h"
#include "sentry/init/container.h"
#include "sentry/init/surface.h"
#include "sentry/kernel/kernel.h"
#include "sentry/net/tables.h"
#include "sentry/syscalls/strace.h"
#include "sentry/syscalls/table.h"
#include "sentry/vfs/changes.h"

namespace sentry::init {
namespace {

constexpr Nanoseconds kSettled = 50 * kMillisecond;

class Sandbox {
 public:
  explicit Sandbox(const boot::Boot& boot)
      : platform_(platform::make_platform(boot.platform, loop_)),
        kernel_(loop_, *platform_, memory_file_,
                boot.strace ? &syscalls::dispatch_traced : &syscalls::dispatch) {
    loop_.set_trap_source(platform_.get());
    kernel_.hostname = boot.hostname;
    kernel_.domainname = boot.domainname.empty() ? "(none)" : boot.domainname;
    if (boot.max_tasks != 0) kernel_.max_tasks = boot.max_tasks;
    kernel_.memory_limit_bytes = boot.memory_limit_bytes;
    kernel_.host_cpus = static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN));
    kernel_.limit_cpu(boot.cpu_quota_us, boot.cpu_period_us);
    struct sysinfo host {};
    ::sysinfo(&host);
    kernel_.host_memory_bytes = uint64_t{host.totalram} * host.mem_unit;
    kernel_.uid_mappings = boot.uid_mappings;
    kernel_.gid_mappings = boot.gid_mappings;
    fs::tmpfs::Budget::of_sandbox()->limit_bytes = boot.memory_limit_bytes;
    platform_->allow_local_answers(!boot.strace);
    if (const auto counts = platform_->change_counts(); !counts.empty()) vfs::count_changes_at(counts);
    if (boot.strace) kernel_.observer = syscalls::make_strace();
    fs::pidfd::serve_clone();
    vfs::set_fifo_opener(fs::pipe::open_fifo);
    for (const net::Table& table : net::tables()) fs::proc::register_net_file(table.name, table.text);
    vfs::DeviceRegistry::current().set_policy(
        [](uint32_t type, unsigned major, unsigned minor, unsigned access) {
          const kernel::Task* task = kernel::Task::current_or_null();
          return task == nullptr ||
                 task->group->container->may_use_device(type == S_IFBLK ? 'b' : 'c', major, minor, access);
        });
    fs::dev::register_memory_devices(vfs::DeviceRegistry::current(), kernel_);
    const auto over = [this] {
      ended_ = true;
      loop_.stop();
    };
    first_ = std::make_shared<GuestContainer>(
        kernel_, kernel_.container, devpts_, boot,
        GuestContainer::Events{.add_container = [this](Order order) { add(std::move(order)); },
                               .ended = over,
                               .gofer_lost = [this] { loop_.stop(); }});
  }

  int run() {
    loop_.fibers().spawn([this] { first_->start(); });
    settled_.arm(monotonic_now() + kSettled);
    loop_.run();
    return ended_ ? 0 : kInternalFault;
  }

 private:
  // A container that joins: its link, its boot document, and what that names.
  void add(Order order) {
    if (order.fds.size() < 2) return;
    const auto bytes = read_document(order.fds[1]);
    auto boot = bytes ? boot::decode(*bytes) : std::nullopt;
    if (!boot) return log("the document of a further container is not one of this version");
    boot->control_fd = order.fds[0].release();
    take_fd(order.fds, boot->gofer_fd);
    take_fds(order.fds, boot->process);
    const auto place = std::make_shared<std::weak_ptr<GuestContainer>>();
    const auto ended = [this, place] {
      loop_.post(
          [this, place] { std::erase_if(others_, [&](const auto& each) { return each == place->lock(); }); });
    };
    const auto added = std::make_shared<GuestContainer>(
        kernel_, std::make_shared<kernel::Container>(), devpts_, std::move(*boot),
        GuestContainer::Events{
            .add_container = [](const Order&) { log("only a sandbox's first container adds others"); },
            .ended = ended,
            .gofer_lost = [] {}});
    *place = added;
    others_.push_back(added);
    loop_.fibers().spawn([added] { added->start(); });
  }

  EventLoop loop_;
  mm::MemoryFile memory_file_;
  std::unique_ptr<platform::Platform> platform_;
  kernel::Kernel kernel_;
  const std::shared_ptr<fs::tty::Devpts> devpts_ = fs::tty::Devpts::create();
  std::shared_ptr<GuestContainer> first_;
  std::vector<std::shared_ptr<GuestContainer>> others_;
  // Starting has touched most of this program, and running needs little of it. Sandboxes that are over sooner
  // need not pay for that; others should have it behind them when their work begins.
  Timer settled_{loop_, [] { drop_clean_pages(); }};
  bool ended_ = false;
};

}  // namespace

int run_sandbox(const boot::Boot& boot) {
  // Data on its way into guest memory waits in the heap, up to a large read's worth: the pages of that are
  // not to be given back and taken again for each.
  // So is room for a small sandbox's kernel, which costs nothing until it is touched.
  constexpr int kRoom = 2 << 20;
  ::mallopt(M_TOP_PAD, kRoom);
  ::mallopt(M_TRIM_THRESHOLD, kRoom + (2 << 20));
  ::mallopt(M_MMAP_THRESHOLD, 512 << 10);
  ::signal(SIGPIPE, SIG_IGN);
  // Everything that the surface no longer allows happens in the constructor.
  static Sandbox* sandbox = new Sandbox(boot);
  // Stubs must stay dumpable for process_vm_readv(2); the sentry itself need not be seen into.
  ::prctl(PR_SET_DUMPABLE, 0);
  enter_surface(sentry_surface(boot.platform));
  const int status = sandbox->run();
  // Not destroyed: the stubs die with this process, and what else there is goes with it.
  ::_exit(status);
}

}  // namespace sentry::init
