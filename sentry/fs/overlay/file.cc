// Open regular files of an overlay.
#include <sys/mman.h>

#include "sentry/fs/overlay/nodes.h"

namespace sentry::fs::overlay {
namespace {

// Reads from the lower file until the contents are ours, whoever made them so. Either file is opened when it
// is first needed.
class OpenFile final : public vfs::SeekableFile {
 public:
  OpenFile(const vfs::Path& path, std::shared_ptr<RegularFile> node, vfs::FileRef lower, int flags)
      : SeekableFile(path, node, flags), node_(std::move(node)), lower_(std::move(lower)) {}

  Result<std::shared_ptr<mm::Mappable>> mmap(int prot, int flags) override {
    // A shared mapping of a file that may be written: its pages are the file's own from the start.
    if ((flags & MAP_TYPE) != MAP_PRIVATE && writable()) TRY(node_->copy_contents());
    if (!node_->copied()) {
      auto mapping = TRY(node_->map_lower(*TRY(lower()), prot, flags, path()));
      if (!node_->copied()) return mapping;  // still
    }
    return TRY(upper())->mmap(prot, flags);
  }
  Result<> fsync(bool) override { return {}; }
  Result<> truncate(uint64_t size, vfs::SetId set_id) override {
    TRY(node_->copy_contents(size));
    TRY(TRY(upper())->truncate(size, set_id));
    node_->leave_lower();
    return {};
  }
  Result<> fallocate(int mode, uint64_t offset, uint64_t length, vfs::SetId set_id) override {
    TRY(node_->copy_contents());
    return TRY(upper())->fallocate(mode, offset, length, set_id);
  }

 protected:
  Result<size_t> read_at(mm::Sink& sink, uint64_t offset, bool nowait) override {
    IoOptions options;
    options.offset = offset;
    options.nowait = nowait;
    if (node_->copied()) return TRY(upper())->read(sink, options);
    size_t done = TRY(TRY(lower())->read(sink, options));
    // The lower file may stop where the host's cache does; programs take a short read of a file for its end.
    while (sink.remaining() > 0 && done > 0 && !nowait && !node_->copied()) {
      if (offset + done >= TRY(node_->lower()->getattr()).size) break;
      options.offset = offset + done;
      const Result<size_t> more = TRY(lower())->read(sink, options);
      if (!more.ok() || *more == 0) break;
      done += *more;
    }
    return done;
  }
  Result<size_t> write_at(mm::Source& source, uint64_t& offset, bool append, bool nowait,
                          vfs::SetId set_id) override {
    if (source.remaining() == 0) return size_t{0};
    TRY(node_->copy_contents());
    IoOptions options;
    options.offset = offset;
    options.append = append;
    options.nowait = nowait;
    options.set_id = set_id;
    const size_t count = TRY(TRY(upper())->write(source, options));
    // Nobody has run since it ended: the end is that of this write.
    if (append) offset = node_->upper_file().content().size() - count;
    return count;
  }
  Result<uint64_t> size() override {
    if (node_->copied()) return node_->upper_file().content().size();
    return TRY(node_->lower()->getattr()).size;
  }
  Result<uint64_t> find_data(uint64_t offset, bool data) override {
    if (node_->copied()) return node_->upper_file().content().find(offset, data);
    return TRY(lower())->seek(static_cast<int64_t>(offset), data ? SEEK_DATA : SEEK_HOLE);
  }

 private:
  Result<vfs::File*> lower() {
    if (lower_ == nullptr) lower_ = TRY(node_->lower()->open({}, O_RDONLY));
    return lower_.get();
  }
  Result<vfs::File*> upper() {
    if (upper_ == nullptr) {
      // O_APPEND comes with each write.
      upper_ = TRY(node_->upper()->open(path(), (flags() & ~O_APPEND & ~O_ACCMODE) | O_RDWR));
      upper_->credentials = credentials;
      lower_.reset();
    }
    return upper_.get();
  }

  std::shared_ptr<RegularFile> node_;
  vfs::FileRef lower_, upper_;
};

}  // namespace

Result<vfs::FileRef> RegularFile::open(const vfs::Path& path, int flags) {
  auto self = std::static_pointer_cast<RegularFile>(shared_from_this());
  // Whether the lower file can be opened must be known now; who only writes may be about to truncate.
  vfs::FileRef below;
  if (!copied() && (flags & O_ACCMODE) != O_WRONLY) below = TRY(lower_->open({}, O_RDONLY));
  return vfs::FileRef(std::make_shared<OpenFile>(path, std::move(self), std::move(below), flags));
}

}  // namespace sentry::fs::overlay
