// splice(2), tee(2), vmsplice(2): between pipes and files. The bytes are copied; Linux may move pages, which
// no program can tell from outside.
#include <fcntl.h>

#include <algorithm>

#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/syscalls/descriptor.h"
#include "sentry/syscalls/iovec.h"

namespace sentry::syscalls {
namespace {

using fs::pipe::Pipe;
using vfs::FileRef;

constexpr unsigned kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
// Bytes copied at a time.
constexpr size_t kPiece = 64 * 1024;

// EPIPE brings SIGPIPE, as with write(2).
Result<size_t> signal_if_broken(Task& task, Result<size_t> result) {
  if (result.is(EPIPE)) task.send(kernel::make_signal(SIGPIPE));
  return result;
}

Result<size_t> file_to_pipe(vfs::File& in, std::optional<uint64_t>& offset, Pipe& out, size_t length,
                            bool nonblocking) {
  const size_t room = TRY(out.await_room(nonblocking));
  std::vector<std::byte> buffer(std::min({length, room, kPiece}));
  mm::BufferSink sink(buffer.data(), buffer.size());
  vfs::File::IoOptions options;
  options.offset = offset;
  options.nonblocking = in.nonblocking();
  const size_t count = TRY(in.read(sink, options));
  if (offset) *offset += count;
  out.append(buffer.data(), count);
  return count;
}

Result<size_t> pipe_to_file(Pipe& in, vfs::File& out, std::optional<uint64_t>& offset, size_t length,
                            bool nonblocking, vfs::SetId set_id) {
  std::vector<std::byte> buffer;
  size_t total = 0;
  while (total < length) {
    // Only the first bytes are waited for.
    if (total != 0 && in.empty()) break;
    const size_t ready = TRY(in.await_data(nonblocking));
    if (ready == 0) break;
    buffer.resize(std::min({length - total, ready, kPiece}));
    const size_t taken = in.take(buffer.data(), buffer.size());
    mm::BufferSource source(buffer.data(), taken);
    vfs::File::IoOptions options;
    options.offset = offset;
    options.nonblocking = out.nonblocking();
    options.set_id = set_id;
    const Result<size_t> written = out.write(source, options);
    const size_t count = written.value_or(0);
    in.put_back(buffer.data() + count, taken - count);
    total += count;
    if (offset) *offset += count;
    if (!written.ok()) {
      if (total != 0) return total;
      return written.error();
    }
    if (count < taken) break;
  }
  return total;
}

// Waits until `in` has data and `out` has room; 0 at the end of file, else how much can go over.
Result<size_t> await_both(Pipe& in, Pipe& out, size_t length, bool nonblocking) {
  for (;;) {
    const size_t ready = TRY(in.await_data(nonblocking));
    if (ready == 0) return size_t{0};
    const size_t room = TRY(out.await_room(nonblocking));
    if (in.size() != 0) return std::min({length, in.size(), room, kPiece});
  }
}

Result<std::optional<uint64_t>> read_offset(Task& task, GuestPtr<int64_t> place, vfs::File& file) {
  if (!place) return std::optional<uint64_t>{};
  const int64_t offset = TRY(task.memory().read(place));
  if (!file.seekable() || offset < 0) return Errno(EINVAL);
  return std::optional<uint64_t>{static_cast<uint64_t>(offset)};
}

}  // namespace

Result<size_t> sys_splice(Task& task, FdNumber in_fd, GuestPtr<int64_t> in_place, FdNumber out_fd,
                          GuestPtr<int64_t> out_place, size_t length, unsigned flags) {
  if (length == 0) return size_t{0};
  if ((flags & ~kSpliceFlags) != 0) return Errno(EINVAL);
  const FileRef in = TRY(task.fds().get_io(in_fd.value));
  const FileRef out = TRY(task.fds().get_io(out_fd.value));
  Pipe* const in_pipe = fs::pipe::pipe_of(*in);
  Pipe* const out_pipe = fs::pipe::pipe_of(*out);
  if ((in_pipe != nullptr && in_place) || (out_pipe != nullptr && out_place)) return Errno(ESPIPE);
  if (!in->readable() || !out->writable()) return Errno(EBADF);
  bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  length = static_cast<size_t>(std::min<uint64_t>(length, kMaximumTransfer));

  if (in_pipe != nullptr && out_pipe != nullptr) {
    if (in_pipe == out_pipe) return Errno(EINVAL);
    nonblocking = nonblocking || in->nonblocking() || out->nonblocking();
    const Result<size_t> count = await_both(*in_pipe, *out_pipe, length, nonblocking);
    if (!count.ok()) return signal_if_broken(task, count.error());
    std::vector<std::byte> buffer(*count);
    out_pipe->append(buffer.data(), in_pipe->take(buffer.data(), buffer.size()));
    return count;
  }
  if (in_pipe != nullptr) {
    std::optional<uint64_t> offset = TRY(read_offset(task, out_place, *out));
    if ((out->flags() & O_APPEND) != 0) return Errno(EINVAL);
    const size_t count = TRY(
        signal_if_broken(task, pipe_to_file(*in_pipe, *out, offset, length, nonblocking || in->nonblocking(),
                                            vfs::set_id_after_change(*task.credentials))));
    if (offset) TRY(task.memory().write(out_place, static_cast<int64_t>(*offset)));
    return count;
  }
  if (out_pipe != nullptr) {
    std::optional<uint64_t> offset = TRY(read_offset(task, in_place, *in));
    const size_t count = TRY(signal_if_broken(
        task, file_to_pipe(*in, offset, *out_pipe, length, nonblocking || out->nonblocking())));
    if (offset) TRY(task.memory().write(in_place, static_cast<int64_t>(*offset)));
    return count;
  }
  return Errno(EINVAL);
}

Result<size_t> sys_tee(Task& task, FdNumber in_fd, FdNumber out_fd, size_t length, unsigned flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno(EINVAL);
  if (length == 0) return size_t{0};
  const FileRef in = TRY(task.fds().get_io(in_fd.value));
  const FileRef out = TRY(task.fds().get_io(out_fd.value));
  if (!in->readable() || !out->writable()) return Errno(EBADF);
  Pipe* const in_pipe = fs::pipe::pipe_of(*in);
  Pipe* const out_pipe = fs::pipe::pipe_of(*out);
  if (in_pipe == nullptr || out_pipe == nullptr || in_pipe == out_pipe) return Errno(EINVAL);
  const bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0 || in->nonblocking() || out->nonblocking();
  const Result<size_t> count = await_both(*in_pipe, *out_pipe, length, nonblocking);
  if (!count.ok()) return signal_if_broken(task, count.error());
  std::vector<std::byte> buffer(*count);
  out_pipe->append(buffer.data(), in_pipe->peek(buffer.data(), buffer.size()));
  return count;
}

Result<size_t> sys_vmsplice(Task& task, FdNumber fd, GuestPtr<const iovec> pieces, size_t count,
                            unsigned flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno(EINVAL);
  const FileRef file = TRY(task.fds().get_io(fd.value));
  Pipe* const pipe = fs::pipe::pipe_of(*file);
  if (pipe == nullptr) return Errno(EBADF);
  const std::vector<mm::GuestRange> ranges = TRY(read_iovec(task, pieces, count));
  const bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  if (!file->writable()) {
    mm::GuestSink sink(task.memory(), ranges);
    return pipe->read(sink, nonblocking);
  }
  mm::GuestSource source(task.memory(), ranges);
  if (source.remaining() == 0) return size_t{0};
  for (;;) {
    const Result<size_t> room = pipe->await_room(nonblocking);
    if (!room.ok()) return signal_if_broken(task, room.error());
    const Result<size_t> written = pipe->write(source, true, false);
    if (!written.is(EAGAIN) || nonblocking) return signal_if_broken(task, written);
    // While the bytes were fetched others have filled the pipe.
  }
}

}  // namespace sentry::syscalls
