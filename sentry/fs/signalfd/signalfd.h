// signalfd(2): pending signals of whoever reads.
#pragma once

#include "sentry/kernel/signal.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::signalfd {

class SignalFile final : public vfs::File {
 public:
  SignalFile(vfs::InodeRef inode, int flags, kernel::SignalSet signals);

  void set_signals(kernel::SignalSet signals);

  // As many struct signalfd_siginfo as fit and are pending; EINVAL without room for one.
  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  // Of the calling task and its process; so is the queue, which is what epoll registers with.
  Events poll() override;
  WaitQueue* wait_queue() override;
  std::string fdinfo() override;

 private:
  kernel::SignalSet signals_;
};

// `flags`: SFD_NONBLOCK. SIGKILL and SIGSTOP are left out silently.
vfs::FileRef make_signalfd(kernel::SignalSet signals, int flags, const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::signalfd
