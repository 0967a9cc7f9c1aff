#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <utility>

#include "sentry/fs/gofer/tree.h"

namespace sentry::fs::gofer {
namespace {

constexpr size_t kChunk = 32 * 1024;  // of a fiber's stack

class GoferFile final : public vfs::SeekableFile {
 public:
  GoferFile(vfs::Path path, std::shared_ptr<GoferInode> inode, int flags, HandleRef handle)
      : SeekableFile(std::move(path), inode, flags), node_(std::move(inode)), handle_(std::move(handle)) {}

  Result<std::shared_ptr<mm::Mappable>> mmap(int, int flags) override {
    const bool shared_write = (flags & MAP_SHARED) != 0 && writable();
    return node_->mappable(shared_write, path());
  }
  Result<> fsync(bool data_only) override {
    TRY(node_->tree().call(protocol::Op::kFsync, handle_->id, [&](protocol::Writer& w) {
      w.put(protocol::FsyncRequest{data_only ? 1u : 0u, 0});
    }));
    return {};
  }
  Result<> fallocate(int mode, uint64_t offset, uint64_t length, vfs::SetId set_id) override {
    const uint32_t before = node_->attr().mode;
    TRY(node_->fallocate(*handle_, mode, offset, length));
    settle_set_id(before, set_id);
    return node_->refresh();
  }

 protected:
  Result<size_t> read_at(mm::Sink& sink, uint64_t offset, bool nonblocking) override {
    char buffer[kChunk];
    size_t done = 0;
    const uint64_t end = node_->attr().size;
    if (handle_->fd && !nonblocking && offset < end) {
      const HandleRef open = handle_;
      const uint64_t wanted = std::min(sink.remaining(), end - offset);
      // Where others may make it shorter, only the host knows what is there.
      if (node_->tree().exclusive() && std::exchange(read_before_, true) && is_as_long()) {
        const mm::MappableOpener mapping = [this] { return node_->mappable(false, path()); };
        done = sink.put_shown(node_.get(), mapping, offset, static_cast<size_t>(wanted)).value_or(0);
      }
      if (done == 0) done = sink.put_from(open->fd.get(), offset, static_cast<size_t>(wanted)).value_or(0);
    }
    while (sink.remaining() > 0) {
      const size_t want = static_cast<size_t>(std::min<uint64_t>(sink.remaining(), sizeof buffer));
      const Result<size_t> got = fetch(buffer, want, offset + done, nonblocking);
      if (!got.ok()) {
        if (done == 0) return got.error();
        break;
      }
      if (*got == 0) break;
      const Result<size_t> put = sink.put(buffer, *got);
      if (!put.ok()) {
        if (done == 0) return put.error();
        break;
      }
      done += *put;
      if (!sink.catch_up().ok() || *put < *got) break;
      // Less is the end of the file, or of what the host has cached: programs take it for the former.
      if (*got < want && offset + done >= node_->attr().size) break;
    }
    return done;
  }

  Result<size_t> write_at(mm::Source& source, uint64_t& offset, bool append, bool,
                          vfs::SetId set_id) override {
    const uint32_t before = node_->attr().mode;
    node_->finish_reads();
    size_t done = 0;
    char buffer[kChunk];
    while (source.remaining() > 0) {
      const Result<size_t> taken = source.get(buffer, sizeof buffer);
      if (!taken.ok()) {
        if (done == 0) return taken.error();
        break;
      }
      const size_t size = *taken;
      if (size == 0) break;
      const auto reply = node_->tree().call(protocol::Op::kWrite, handle_->id, [&](protocol::Writer& w) {
        w.put(protocol::WriteRequest{offset + done, protocol::kInPacket, static_cast<uint32_t>(size),
                                     append ? protocol::kWriteAppend : 0});
        w.bytes(buffer, size);
      });
      if (!reply.ok()) {
        source.unget(size);
        if (done == 0) return reply.error();
        break;
      }
      protocol::Reader reader(reply->body);
      const auto answer = TRY(take<protocol::WriteReply>(reader));
      const size_t written = std::min<size_t>(answer.count, size);
      if (append && done == 0) offset = answer.size - written;
      done += written;
      node_->grown(append ? answer.size : offset + done);
      if (written < size) {
        source.unget(size - written);
        break;
      }
    }
    if (done != 0) settle_set_id(before, set_id);
    return done;
  }

  Result<uint64_t> size() override { return node_->current_size(); }

 private:
  // The host drops set-id bits with a change of the data, since no capability of the gofer's counts there:
  // puts back what is to be kept, unless somebody has changed the mode meanwhile.
  void settle_set_id(uint32_t before, vfs::SetId set_id) {
    const uint32_t without = vfs::without_set_id(before);
    if (without == before || node_->attr().mode != before) return;
    vfs::AttributeChange change;
    change.mode = (set_id == vfs::SetId::kKept ? before : without) & 07777;
    if (node_->setattr(change).ok()) return;
    // Another user's file, and the gofer an ordinary user's: it is as the host has left it.
    protocol::Attr attr = node_->attr();
    attr.mode = without;
    node_->update(attr);
  }

  // Whether the file still reaches to its end as we know it, by a look some milliseconds ago at most: even of
  // a tree that only the sandbox is to change the host may cut a file (a log's).
  bool is_as_long() {
    const Nanoseconds now = read_clock(CLOCK_MONOTONIC_COARSE);
    if (looked_ == now) return true;
    char last;
    iovec vec{&last, 1};
    const auto place = static_cast<off_t>(node_->attr().size - 1);
    if (::preadv2(handle_->fd.get(), &vec, 1, place, RWF_NOWAIT) != 1) return false;
    looked_ = now;
    return true;
  }

  // From the host's page cache if it is there, else by the gofer.
  Result<size_t> fetch(char* buffer, size_t size, uint64_t offset, bool nonblocking) {
    if (handle_->fd && handle_->nowait) {
      iovec vec{buffer, size};
      const ssize_t got = ::preadv2(handle_->fd.get(), &vec, 1, static_cast<off_t>(offset), RWF_NOWAIT);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EAGAIN && errno != EOPNOTSUPP) return Errno(errno);
      if (errno == EAGAIN && nonblocking) return Errno(EAGAIN);
    }
    const Client::Reply reply =
        TRY(node_->tree().call(protocol::Op::kRead, handle_->id, [&](protocol::Writer& w) {
          w.put(protocol::ReadRequest{offset, protocol::kInPacket, static_cast<uint32_t>(size), 0});
        }));
    protocol::Reader reader(reply.body);
    const auto answer = TRY(take<protocol::ReadReply>(reader));
    if (answer.count > size || answer.count != reader.rest().size()) return Errno(EIO);
    std::memcpy(buffer, reader.rest().data(), answer.count);
    return size_t{answer.count};
  }

  std::shared_ptr<GoferInode> node_;
  HandleRef handle_;
  bool read_before_ = false;
  Nanoseconds looked_ = 0;
};

class GoferDirectory final : public vfs::DirectoryFile {
 public:
  GoferDirectory(vfs::Path path, std::shared_ptr<GoferInode> inode, int flags)
      : DirectoryFile(std::move(path), inode, flags), node_(std::move(inode)) {}

  Result<> readdir(vfs::DirectorySink& sink) override {
    if (position == 0 || listing_ == nullptr) listing_ = TRY(node_->listing());
    if (!add_dots(sink)) return {};
    while (position - 2 < listing_->size()) {
      const DirectoryEntry& entry = (*listing_)[static_cast<size_t>(position - 2)];
      if (!sink.add(entry.name, entry.ino, entry.type, position + 1)) return {};
      ++position;
    }
    return {};
  }

 private:
  std::shared_ptr<GoferInode> node_;
  Listing listing_;  // as it was when reading began: entries have places in it
};

}  // namespace

Result<vfs::FileRef> open_regular(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path,
                                  int flags) {
  const bool write = (flags & O_ACCMODE) != O_RDONLY;
  HandleRef handle = TRY(inode->handle(write));
  return vfs::FileRef(std::make_shared<GoferFile>(path, inode, flags, std::move(handle)));
}

vfs::FileRef open_directory(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path, int flags) {
  return std::make_shared<GoferDirectory>(path, inode, flags);
}

}  // namespace sentry::fs::gofer
