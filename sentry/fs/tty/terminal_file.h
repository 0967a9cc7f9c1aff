// A terminal as programs have it open: /dev/pts/N, /dev/tty, /dev/console.
#pragma once

#include "sentry/fs/tty/terminal.h"

namespace sentry::fs::tty {

class TerminalFile final : public vfs::File {
 public:
  TerminalFile(vfs::Path path, vfs::InodeRef inode, int flags, std::shared_ptr<Terminal> terminal);
  ~TerminalFile() override;

  Terminal& terminal() const { return *terminal_; }

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Result<size_t> write(mm::Source& source, const IoOptions& options) override;
  Events poll() override { return terminal_->slave_poll(generation_); }
  WaitQueue* wait_queue() override { return &terminal_->slave_queue(); }
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;

 private:
  const std::shared_ptr<Terminal> terminal_;
  const Terminal::Generation generation_;
};

// open(2) of a terminal's slave side: EIO while it is locked or its master has gone, EBUSY if another has it
// exclusively. Without O_NOCTTY it may become the caller's controlling terminal.
Result<vfs::FileRef> open_terminal(const std::shared_ptr<Terminal>& terminal, const vfs::Path& path,
                                   const vfs::InodeRef& inode, int flags);

// /dev/tty: the caller's controlling terminal, ENXIO if it has none.
Result<vfs::FileRef> open_controlling_terminal(const vfs::Path& path, const vfs::InodeRef& inode, int flags);

}  // namespace sentry::fs::tty
