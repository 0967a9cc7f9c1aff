#include "sentry/fs/pipe/pipe_file.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <climits>

namespace sentry::fs::pipe {

PipeFile::PipeFile(vfs::Path path, vfs::InodeRef inode, int flags, std::shared_ptr<Pipe> pipe)
    : File(std::move(path), std::move(inode), flags), pipe_(std::move(pipe)) {
  if (readable()) pipe_->add_reader();
  if (writable()) pipe_->add_writer();
}

PipeFile::~PipeFile() {
  if (readable()) pipe_->drop_reader();
  if (writable()) pipe_->drop_writer();
  // What a FIFO still holds goes with its last descriptor.
  if (pipe_->readers() == 0 && pipe_->writers() == 0 && inode()->attachment == pipe_)
    inode()->attachment.reset();
}

Result<size_t> PipeFile::read(mm::Sink& sink, const IoOptions& options) {
  return pipe_->read(sink, options.nonblocking || nonblocking());
}

Result<size_t> PipeFile::write(mm::Source& source, const IoOptions& options) {
  return pipe_->write(source, options.nonblocking || nonblocking(), (flags() & O_DIRECT) != 0);
}

Events PipeFile::poll() {
  Events events = 0;
  if (readable()) {
    if (!pipe_->empty()) events |= EPOLLIN | EPOLLRDNORM;
    if (pipe_->writers() == 0 && pipe_->total_writers() != writers_not_seen_from_) events |= EPOLLHUP;
  }
  if (writable()) {
    if (!pipe_->full()) events |= EPOLLOUT | EPOLLWRNORM;
    if (pipe_->readers() == 0) events |= EPOLLERR;
  }
  return events;
}

Result<uint64_t> PipeFile::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  if (request != FIONREAD) return Errno(ENOTTY);
  const int count = static_cast<int>(std::min<size_t>(pipe_->size(), INT_MAX));
  TRY(memory.write(mm::GuestPtr<int>(argument), count));
  return uint64_t{0};
}

Ends make_pipe(int flags, const vfs::CredentialsRef& owner) {
  const vfs::InodeRef inode = vfs::make_anonymous_inode(S_IFIFO | 0600, "pipe", owner);
  auto pipe = std::make_shared<Pipe>();
  inode->attachment = pipe;  // /proc/PID/fd/N opens it again, as a FIFO
  Ends ends{
      std::make_shared<PipeFile>(vfs::Path{}, inode, O_RDONLY | (flags & O_NONBLOCK), pipe),
      std::make_shared<PipeFile>(vfs::Path{}, inode, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)), pipe),
  };
  ends.reader->credentials = ends.writer->credentials = owner;
  return ends;
}

Result<vfs::FileRef> open_fifo(const vfs::Path& path, const vfs::InodeRef& inode, int flags) {
  auto pipe = std::static_pointer_cast<Pipe>(inode->attachment);
  if (pipe == nullptr) pipe = std::make_shared<Pipe>();
  const bool waits = (flags & O_NONBLOCK) == 0;
  const int mode = flags & O_ACCMODE;
  // A pipe(2) that is opened again through /proc has had its partner.
  if (!vfs::anonymous_name(*inode).empty())
    return vfs::FileRef(std::make_shared<PipeFile>(path, inode, flags, pipe));
  if (mode == O_WRONLY && !waits && pipe->readers() == 0) return Errno(ENXIO);
  inode->attachment = pipe;
  // From here on the file's destructor undoes everything.
  auto file = std::make_shared<PipeFile>(path, inode, flags, pipe);
  if (mode == O_RDONLY && pipe->writers() == 0) {
    const uint64_t seen = pipe->total_writers();
    if (waits)
      TRY(wait_until(pipe->queue(), kAllEvents, [&] { return pipe->total_writers() != seen; }));
    else
      file->writers_not_seen_from_ = seen;
  } else if (mode == O_WRONLY && pipe->readers() == 0) {
    const uint64_t seen = pipe->total_readers();
    TRY(wait_until(pipe->queue(), kAllEvents, [&] { return pipe->total_readers() != seen; }));
  }
  return file;
}

Pipe* pipe_of(vfs::File& file) {
  auto* end = dynamic_cast<PipeFile*>(&file);
  return end != nullptr ? end->pipe().get() : nullptr;
}

}  // namespace sentry::fs::pipe
