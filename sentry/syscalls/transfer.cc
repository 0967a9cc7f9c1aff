// read(2), write(2) and their family; sendfile(2), copy_file_range(2).
#include <algorithm>

#include "sentry/syscalls/file.h"
#include "sentry/syscalls/iovec.h"
#include "sentry/vfs/bounce_buffer.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/operations.h"

namespace sentry::syscalls {
namespace {

using vfs::File;
using vfs::FileRef;

constexpr int kRwfHipri = 1, kRwfDsync = 2, kRwfSync = 4, kRwfNowait = 8, kRwfAppend = 16, kRwfNoappend = 32;

// access_ok: a buffer must lie in the half of the address space that is a program's.
Result<> check_buffer(uint64_t address, size_t count) {
  constexpr uint64_t kTop = uint64_t{1} << 47;
  if (count > kTop || address > kTop - count) return Errno(EFAULT);
  return {};
}

Result<FileRef> readable_file(Task& task, int fd) {
  FileRef file = TRY(task.fds().get_io(fd));
  if (!file->readable()) return Errno(EBADF);
  return file;
}

Result<FileRef> writable_file(Task& task, int fd) {
  FileRef file = TRY(task.fds().get_io(fd));
  if (!file->writable()) return Errno(EBADF);
  return file;
}

// Where a positioned transfer goes: EINVAL for a negative place, ESPIPE for a stream.
Result<FileRef> positioned(Result<FileRef> file, int64_t offset) {
  if (offset < 0) return Errno(EINVAL);
  if (file.ok() && !(*file)->seekable()) return Errno(ESPIPE);
  return file;
}

Result<size_t> do_read(File& file, mm::Sink& sink, std::optional<uint64_t> offset, int flags = 0) {
  File::IoOptions options;
  options.offset = offset;
  options.nowait = (flags & kRwfNowait) != 0;
  options.nonblocking = file.nonblocking() || options.nowait;
  const Result<size_t> count = file.read(sink, options);
  if (count.ok() && *count != 0) vfs::notify(file.path(), IN_ACCESS);
  return count;
}

// What RLIMIT_FSIZE leaves of a write of `count` bytes to a regular file (generic_write_check_limits).
Result<uint64_t> clip_to_file_limit(Task& task, File& file, std::optional<uint64_t> offset, bool append,
                                    uint64_t count) {
  const uint64_t limit = task.group->limit(RLIMIT_FSIZE);
  if (limit == RLIM_INFINITY || count == 0 || file.inode() == nullptr || !S_ISREG(file.inode()->type()))
    return count;
  uint64_t at = offset.value_or(file.position);
  if (append || (file.flags() & O_APPEND) != 0) at = TRY(file.inode()->getattr()).size;
  if (at >= limit) {
    task.send(kernel::make_signal(SIGXFSZ));
    return Errno(EFBIG);
  }
  return std::min(count, limit - at);
}

Result<size_t> do_write(Task& task, File& file, mm::Source& source, std::optional<uint64_t> offset,
                        int flags = 0) {
  File::IoOptions options;
  options.offset = offset;
  options.nowait = (flags & kRwfNowait) != 0;
  options.nonblocking = file.nonblocking() || options.nowait;
  options.append = (flags & kRwfAppend) != 0;
  options.set_id = vfs::set_id_after_change(*task.credentials);
  const Result<size_t> count = file.write(source, options);
  if (count.ok() && *count != 0) vfs::notify(file.path(), IN_MODIFY);
  // Pages may have come to be, though nothing is in them.
  if (!count.ok() && file.inode() != nullptr) vfs::changed(*file.inode());
  if (count.is(EPIPE)) task.send(kernel::make_signal(SIGPIPE));
  return count;
}

Result<size_t> write_buffer(Task& task, File& file, uint64_t address, size_t count,
                            std::optional<uint64_t> offset) {
  TRY(check_buffer(address, count));
  const uint64_t clipped =
      TRY(clip_to_file_limit(task, file, offset, false, std::min<uint64_t>(count, kMaximumTransfer)));
  mm::GuestSource source(task.memory(), address, clipped);
  return do_write(task, file, source, offset);
}

Result<size_t> read_buffer(Task& task, File& file, uint64_t address, size_t count,
                           std::optional<uint64_t> offset) {
  TRY(check_buffer(address, count));
  if (static_cast<ssize_t>(count) < 0) return Errno(EINVAL);
  mm::GuestSink sink(task.memory(), address, std::min<uint64_t>(count, kMaximumTransfer), &file.windows);
  return do_read(file, sink, offset);
}

Result<size_t> read_pieces(Task& task, File& file, GuestPtr<const iovec> pieces, size_t count,
                           std::optional<uint64_t> offset, int flags = 0) {
  std::vector<mm::GuestRange> ranges = TRY(read_iovec(task, pieces, count));
  for (const mm::GuestRange& range : ranges) TRY(check_buffer(range.address, range.length));
  mm::GuestSink sink(task.memory(), std::move(ranges), &file.windows);
  return do_read(file, sink, offset, flags);
}

Result<size_t> write_pieces(Task& task, File& file, GuestPtr<const iovec> pieces, size_t count,
                            std::optional<uint64_t> offset, int flags = 0) {
  std::vector<mm::GuestRange> ranges = TRY(read_iovec(task, pieces, count));
  uint64_t total = 0;
  for (const mm::GuestRange& range : ranges) {
    TRY(check_buffer(range.address, range.length));
    total += range.length;
  }
  uint64_t clipped = TRY(clip_to_file_limit(task, file, offset, (flags & kRwfAppend) != 0, total));
  for (mm::GuestRange& range : ranges) {
    range.length = std::min(range.length, clipped);
    clipped -= range.length;
  }
  mm::GuestSource source(task.memory(), std::move(ranges));
  return do_write(task, file, source, offset, flags);
}

// preadv2(2): EOPNOTSUPP for what is not known. RWF_HIPRI concerns storage that is polled, which nothing here
// is.
Result<> check_rw_flags(int flags) {
  constexpr int kKnown = kRwfHipri | kRwfDsync | kRwfSync | kRwfNowait | kRwfAppend | kRwfNoappend;
  if ((flags & ~kKnown) != 0) return Errno(EOPNOTSUPP);
  if ((flags & kRwfAppend) != 0 && (flags & kRwfNoappend) != 0) return Errno(EINVAL);
  if ((flags & kRwfNoappend) != 0) return Errno(EOPNOTSUPP);
  return {};
}

// Copies up to `count` bytes from a place in `in` to `out`, which may be a stream. Stops short where either
// does.
Result<size_t> copy_between(Task& task, File& in, std::optional<uint64_t> in_offset, File& out,
                            std::optional<uint64_t> out_offset, uint64_t count) {
  vfs::BounceBuffer buffer;
  size_t done = 0;
  const auto failed = [&](Errno error) -> Result<size_t> {
    if (done == 0) return error;
    return done;
  };
  while (done < count) {
    mm::BufferSink sink(buffer.data(), std::min<uint64_t>(buffer.size(), count - done));
    std::optional<uint64_t> from = in_offset, to = out_offset;
    if (from) *from += done;
    const Result<size_t> got = do_read(in, sink, from);
    if (!got.ok()) return failed(got.error());
    if (*got == 0) break;
    size_t stored = 0;
    while (stored < *got) {
      if (out_offset) to = *out_offset + done;
      const Result<uint64_t> clipped = clip_to_file_limit(task, out, to, false, *got - stored);
      if (!clipped.ok()) return failed(clipped.error());
      mm::BufferSource source(buffer.data() + stored, *clipped);
      const Result<size_t> put = do_write(task, out, source, to);
      if (!put.ok()) return failed(put.error());
      if (*put == 0) return done;
      stored += *put;
      done += *put;
    }
  }
  return done;
}

Result<std::optional<uint64_t>> read_offset(Task& task, GuestPtr<int64_t> place) {
  if (place.is_null()) return std::optional<uint64_t>();
  return std::optional(static_cast<uint64_t>(TRY(task.memory().read(place))));
}

}  // namespace

Result<> check_file_limit(Task& task, uint64_t end) {
  if (end <= task.group->limit(RLIMIT_FSIZE)) return {};
  task.send(kernel::make_signal(SIGXFSZ));
  return Errno(EFBIG);
}

Result<size_t> sys_read(Task& task, FdNumber fd, OutBuffer buffer, size_t count) {
  const FileRef file = TRY(readable_file(task, fd.value));
  return read_buffer(task, *file, buffer.address(), count, std::nullopt);
}

Result<size_t> sys_write(Task& task, FdNumber fd, InBuffer buffer, size_t count) {
  const FileRef file = TRY(writable_file(task, fd.value));
  if (static_cast<ssize_t>(count) < 0) return Errno(EINVAL);
  return write_buffer(task, *file, buffer.address(), count, std::nullopt);
}

Result<size_t> sys_pread64(Task& task, FdNumber fd, OutBuffer buffer, size_t count, int64_t offset) {
  const FileRef file = TRY(positioned(readable_file(task, fd.value), offset));
  return read_buffer(task, *file, buffer.address(), count, static_cast<uint64_t>(offset));
}

Result<size_t> sys_pwrite64(Task& task, FdNumber fd, InBuffer buffer, size_t count, int64_t offset) {
  const FileRef file = TRY(positioned(writable_file(task, fd.value), offset));
  if (static_cast<ssize_t>(count) < 0) return Errno(EINVAL);
  return write_buffer(task, *file, buffer.address(), count, static_cast<uint64_t>(offset));
}

Result<size_t> sys_readv(Task& task, FdNumber fd, Scatter pieces, size_t count) {
  const FileRef file = TRY(readable_file(task, fd.value));
  return read_pieces(task, *file, pieces, count, std::nullopt);
}

Result<size_t> sys_writev(Task& task, FdNumber fd, Gather pieces, size_t count) {
  const FileRef file = TRY(writable_file(task, fd.value));
  return write_pieces(task, *file, pieces, count, std::nullopt);
}

// On 64-bit machines the offset is one register and the next is ignored (pos_from_hilo).
Result<size_t> sys_preadv(Task& task, FdNumber fd, Scatter pieces, size_t count, int64_t offset, uint64_t) {
  const FileRef file = TRY(positioned(readable_file(task, fd.value), offset));
  return read_pieces(task, *file, pieces, count, static_cast<uint64_t>(offset));
}

Result<size_t> sys_pwritev(Task& task, FdNumber fd, Gather pieces, size_t count, int64_t offset, uint64_t) {
  const FileRef file = TRY(positioned(writable_file(task, fd.value), offset));
  return write_pieces(task, *file, pieces, count, static_cast<uint64_t>(offset));
}

Result<size_t> sys_preadv2(Task& task, FdNumber fd, Scatter pieces, size_t count, int64_t offset, uint64_t,
                           int flags) {
  std::optional<uint64_t> place;
  FileRef file;
  if (offset == -1) {
    file = TRY(readable_file(task, fd.value));
  } else {
    file = TRY(positioned(readable_file(task, fd.value), offset));
    place = static_cast<uint64_t>(offset);
  }
  TRY(check_rw_flags(flags));
  if ((flags & kRwfAppend) != 0) return Errno(EOPNOTSUPP);
  return read_pieces(task, *file, pieces, count, place, flags);
}

Result<size_t> sys_pwritev2(Task& task, FdNumber fd, Gather pieces, size_t count, int64_t offset, uint64_t,
                            int flags) {
  std::optional<uint64_t> place;
  FileRef file;
  if (offset == -1) {
    file = TRY(writable_file(task, fd.value));
  } else {
    file = TRY(positioned(writable_file(task, fd.value), offset));
    place = static_cast<uint64_t>(offset);
  }
  TRY(check_rw_flags(flags));
  const size_t written = TRY(write_pieces(task, *file, pieces, count, place, flags));
  // generic_write_sync
  if ((flags & (kRwfDsync | kRwfSync)) != 0 && written != 0 && S_ISREG(file->inode()->type()))
    TRY(file->fsync((flags & kRwfSync) == 0));
  return written;
}

Result<uint64_t> sys_lseek(Task& task, FdNumber fd, int64_t offset, Choice<kSeekNames> whence) {
  const FileRef file = TRY(task.fds().get_io(fd.value));
  if (whence < 0 || whence > SEEK_HOLE) return Errno(EINVAL);
  if (!file->seekable()) return Errno(ESPIPE);
  return file->seek(offset, whence);
}

Result<size_t> sys_sendfile(Task& task, FdNumber out, FdNumber in, GuestPtr<int64_t> offset, size_t count) {
  std::optional<uint64_t> place = TRY(read_offset(task, offset));
  const FileRef from = TRY(readable_file(task, in.value));
  if (place && !from->seekable()) return Errno(ESPIPE);
  if (place && static_cast<int64_t>(*place) < 0) return Errno(EINVAL);
  const FileRef to = TRY(writable_file(task, out.value));
  // sendfile(2): the input must be something that could be mapped; the output must not append.
  const bool device = from->inode() != nullptr && S_ISCHR(from->inode()->type());
  if ((!from->seekable() && !device) || (to->flags() & O_APPEND) != 0) return Errno(EINVAL);
  if (static_cast<ssize_t>(count) < 0) return Errno(EINVAL);
  const bool own_position = !place && from->seekable();
  if (own_position) place = from->position;
  const size_t done =
      TRY(copy_between(task, *from, place, *to, std::nullopt, std::min<uint64_t>(count, kMaximumTransfer)));
  if (own_position)
    from->position = *place + done;
  else if (!offset.is_null())
    TRY(task.memory().write(offset, static_cast<int64_t>(*place + done)));
  return done;
}

Result<size_t> sys_copy_file_range(Task& task, FdNumber in, GuestPtr<int64_t> in_offset, FdNumber out,
                                   GuestPtr<int64_t> out_offset, size_t length, unsigned flags) {
  const FileRef from = TRY(task.fds().get_io(in.value));
  const FileRef to = TRY(task.fds().get_io(out.value));
  std::optional<uint64_t> in_place = TRY(read_offset(task, in_offset));
  std::optional<uint64_t> out_place = TRY(read_offset(task, out_offset));
  if (flags != 0) return Errno(EINVAL);
  if (from->inode()->is_directory() || to->inode()->is_directory()) return Errno(EISDIR);
  if (!S_ISREG(from->inode()->type()) || !S_ISREG(to->inode()->type())) return Errno(EINVAL);
  if (!from->readable() || !to->writable() || (to->flags() & O_APPEND) != 0) return Errno(EBADF);
  // As between file systems that cannot: callers go on with read(2) and write(2).
  if (from->host_position() || to->host_position()) return Errno(EXDEV);
  if (&from->inode()->superblock() != &to->inode()->superblock()) return Errno(EXDEV);
  const bool moves_in = !in_place, moves_out = !out_place;
  const uint64_t start = in_place.value_or(from->position), target = out_place.value_or(to->position);
  uint64_t count = std::min<uint64_t>(length, kMaximumTransfer);
  if (start + count < start || target + count < target) return Errno(EOVERFLOW);
  const uint64_t size = TRY(from->inode()->getattr()).size;
  count = start >= size ? 0 : std::min(count, size - start);
  if (static_cast<int64_t>(start) < 0 || static_cast<int64_t>(target) < 0) return Errno(EINVAL);
  if (from->inode() == to->inode() && start < target + count && target < start + count) return Errno(EINVAL);
  if (count == 0) return size_t{0};
  const size_t done = TRY(copy_between(task, *from, start, *to, target, count));
  if (moves_in)
    from->position = start + done;
  else
    TRY(task.memory().write(in_offset, static_cast<int64_t>(start + done)));
  if (moves_out)
    to->position = target + done;
  else
    TRY(task.memory().write(out_offset, static_cast<int64_t>(target + done)));
  return done;
}

// Everything here is memory, or cached by the host: there is nothing to read ahead.
Result<> sys_readahead(Task& task, FdNumber fd, int64_t, size_t) {
  const FileRef file = TRY(readable_file(task, fd.value));
  if (file->inode() == nullptr || !S_ISREG(file->inode()->type())) return Errno(EINVAL);
  return {};
}

Result<> sys_fadvise64(Task& task, FdNumber fd, int64_t, int64_t length, int advice) {
  const FileRef file = TRY(task.fds().get_io(fd.value));
  if (file->inode() != nullptr && S_ISFIFO(file->inode()->type())) return Errno(ESPIPE);
  if (length < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE) return Errno(EINVAL);
  return {};
}

}  // namespace sentry::syscalls
