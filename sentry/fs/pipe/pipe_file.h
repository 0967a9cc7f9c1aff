// The ends of pipes and open FIFOs.
#pragma once

#include "sentry/fs/pipe/pipe.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::pipe {

class PipeFile final : public vfs::File {
 public:
  // Counts itself as reader, writer or both by the access mode of `flags`.
  PipeFile(vfs::Path path, vfs::InodeRef inode, int flags, std::shared_ptr<Pipe> pipe);
  ~PipeFile() override;

  const std::shared_ptr<Pipe>& pipe() const { return pipe_; }

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Result<size_t> write(mm::Source& source, const IoOptions& options) override;
  Events poll() override;
  WaitQueue* wait_queue() override { return &pipe_->queue(); }
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;

 private:
  friend Result<vfs::FileRef> open_fifo(const vfs::Path&, const vfs::InodeRef&, int);
  std::shared_ptr<Pipe> pipe_;
  // A FIFO's reader that opened without waiting sees no hangup before its first writer has come: writers
  // until then.
  uint64_t writers_not_seen_from_ = ~uint64_t{0};
};

// pipe2(2): `flags` are O_NONBLOCK and O_DIRECT.
struct Ends {
  vfs::FileRef reader, writer;
};
Ends make_pipe(int flags, const vfs::CredentialsRef& owner);

// fifo(7): open(2) waits for the other end; ENXIO for a writer that may not wait, ERESTARTSYS. The pipe lives
// in inode->attachment while it is open.
Result<vfs::FileRef> open_fifo(const vfs::Path& path, const vfs::InodeRef& inode, int flags);

// The pipe behind a description, or null: splice(2), fcntl(2).
Pipe* pipe_of(vfs::File& file);

}  // namespace sentry::fs::pipe
