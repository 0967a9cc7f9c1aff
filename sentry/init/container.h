// A container of the sandbox: its tree, its first process, and those that exec adds.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "sentry/boot/boot.h"
#include "sentry/fs/gofer/client.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/init/guest_process.h"
#include "sentry/kernel/kernel.h"

namespace sentry::init {

class GuestContainer : public std::enable_shared_from_this<GuestContainer> {
 public:
  struct Events {
    std::function<void(Order)> add_container;
    std::function<void()> ended;  // its first process has, and the runtime knows; or the runtime has gone
    std::function<void()> gofer_lost;
  };
  // `devpts` is the sandbox's one.
  GuestContainer(kernel::Kernel& kernel, std::shared_ptr<kernel::Container> container,
                 std::shared_ptr<fs::tty::Devpts> devpts, boot::Boot boot, Events events);

  // Mounts and starts the first process. On a fiber.
  void start();

 private:
  std::optional<Failure> prepare();
  void handle(Order order);
  void set_limits(const Order& order);
  void signal_all(int signal);
  void add_process(Order order);
  std::optional<Failure> start_added(GuestProcess& added, std::vector<Fd>& fds);

  kernel::Kernel& kernel_;
  const std::shared_ptr<kernel::Container> container_;
  boot::Boot boot_;
  Events events_;
  std::shared_ptr<fs::gofer::Client> gofer_;
  const std::shared_ptr<fs::tty::Devpts> devpts_;
  std::shared_ptr<const kernel::SeccompFilter> seccomp_;
  GuestProcess first_;
  std::vector<std::shared_ptr<GuestProcess>> others_;
};

// The bytes of a file that the runtime sent: a boot document or a process's. Nothing if it is larger than
// any.
std::optional<std::string> read_document(const Fd& file);
// Turns what a document names by place in a message into the descriptors themselves.
void take_fds(std::vector<Fd>& fds, boot::Process& process);
void take_fd(std::vector<Fd>& fds, int32_t& place);

}  // namespace sentry::init
