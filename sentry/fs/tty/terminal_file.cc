#include "sentry/fs/tty/terminal_file.h"

#include <linux/capability.h>

namespace sentry::fs::tty {

using kernel::Task;

TerminalFile::TerminalFile(vfs::Path path, vfs::InodeRef inode, int flags, std::shared_ptr<Terminal> terminal)
    : File(std::move(path), std::move(inode), flags),
      terminal_(std::move(terminal)),
      generation_(terminal_->generation()) {
  terminal_->slave_opened();
}

TerminalFile::~TerminalFile() { terminal_->slave_closed(); }

Result<size_t> TerminalFile::read(mm::Sink& sink, const IoOptions& options) {
  return terminal_->read(sink, options.nonblocking || nonblocking(), generation_);
}

Result<size_t> TerminalFile::write(mm::Source& source, const IoOptions& options) {
  return terminal_->write(source, options.nonblocking || nonblocking(), generation_);
}

Result<uint64_t> TerminalFile::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  // hung_up_tty_ioctl of Linux.
  if (terminal_->hung_up(generation_)) return Errno(request == TIOCSPGRP ? ENOTTY : EIO);
  return terminal_->ioctl(memory, request, argument, *this, false);
}

Result<vfs::FileRef> open_terminal(const std::shared_ptr<Terminal>& terminal, const vfs::Path& path,
                                   const vfs::InodeRef& inode, int flags) {
  if (!terminal->master_open() || terminal->locked) return Errno(EIO);
  Task* task = Task::current_or_null();
  if (terminal->exclusive && task != nullptr && !task->credentials->capable(CAP_SYS_ADMIN))
    return Errno(EBUSY);
  auto file =
      std::make_shared<TerminalFile>(path, inode, flags & ~(O_NOCTTY | O_CREAT | O_EXCL | O_TRUNC), terminal);
  if (task != nullptr && (flags & O_NOCTTY) == 0) terminal->acquire_at_open(*task, file->readable());
  return vfs::FileRef(std::move(file));
}

Result<vfs::FileRef> open_controlling_terminal(const vfs::Path& path, const vfs::InodeRef& inode, int flags) {
  const Task* task = Task::current_or_null();
  if (task == nullptr || task->group->process_group == nullptr ||
      task->group->process_group->session == nullptr)
    return Errno(ENXIO);
  // Terminals are made here only.
  const auto terminal = std::static_pointer_cast<Terminal>(task->group->process_group->session->terminal);
  if (terminal == nullptr || terminal->device() == 0) return Errno(ENXIO);
  return vfs::FileRef(std::make_shared<TerminalFile>(path, inode, flags, terminal));
}

}  // namespace sentry::fs::tty
