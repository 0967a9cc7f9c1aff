// process_vm_readv(2), process_vm_writev(2): between processes of one sandbox, through the sentry.
#include "sentry/syscalls/process_vm.h"

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/trace.h"
#include "sentry/syscalls/iovec.h"

namespace sentry::syscalls {
namespace {

// Moves bytes from one list of pieces to another until either ends or a page is missing.
Result<uint64_t> transfer(mm::AddressSpaceMap& from, std::vector<mm::GuestRange> sources,
                          mm::AddressSpaceMap& to, std::vector<mm::GuestRange> targets) {
  mm::GuestSource source(from, std::move(sources));
  mm::GuestSink sink(to, std::move(targets));
  char buffer[16 * 1024];
  uint64_t done = 0;
  while (source.remaining() > 0 && sink.remaining() > 0) {
    const Result<size_t> got =
        source.get(buffer, static_cast<size_t>(std::min<uint64_t>(sizeof buffer, sink.remaining())));
    if (!got.ok() || *got == 0) {
      if (done == 0 && !got.ok()) return got.error();
      break;
    }
    const Result<size_t> put = sink.put(buffer, *got);
    if (!put.ok()) {
      if (done == 0) return put.error();
      break;
    }
    done += *put;
    if (*put < *got) break;
  }
  return done;
}

struct Pieces {
  std::shared_ptr<mm::AddressSpaceMap> memory;
  std::vector<mm::GuestRange> local, remote;
};

Result<Pieces> gather(Task& task, pid_t pid, GuestPtr<const iovec> local, uint64_t local_count,
                      GuestPtr<const iovec> remote, uint64_t remote_count, uint64_t flags) {
  if (flags != 0) return Errno(EINVAL);
  Pieces pieces;
  pieces.local = TRY(read_iovec(task, local, local_count));
  if (pieces.local.empty()) return pieces;  // nothing to move: nobody is looked for
  pieces.remote = TRY(read_iovec(task, remote, remote_count));
  const Task* target = task.kernel.find_task(pid);
  if (target == nullptr || target->memory_map == nullptr) return Errno(ESRCH);
  if (!kernel::may_attach(task, *target)) return Errno(EPERM);
  pieces.memory = target->memory_map;
  return pieces;
}

}  // namespace

Result<uint64_t> sys_process_vm_readv(Task& task, pid_t pid, GuestPtr<const iovec> local,
                                      uint64_t local_count, GuestPtr<const iovec> remote,
                                      uint64_t remote_count, uint64_t flags) {
  Pieces pieces = TRY(gather(task, pid, local, local_count, remote, remote_count, flags));
  if (pieces.memory == nullptr) return uint64_t{0};
  return transfer(*pieces.memory, std::move(pieces.remote), task.memory(), std::move(pieces.local));
}

Result<uint64_t> sys_process_vm_writev(Task& task, pid_t pid, GuestPtr<const iovec> local,
                                       uint64_t local_count, GuestPtr<const iovec> remote,
                                       uint64_t remote_count, uint64_t flags) {
  Pieces pieces = TRY(gather(task, pid, local, local_count, remote, remote_count, flags));
  if (pieces.memory == nullptr) return uint64_t{0};
  const auto count = transfer(task.memory(), std::move(pieces.local), *pieces.memory, std::move(pieces.remote));
  // A thread there that asks for nothing is to find it, too.
  (void)pieces.memory->platform_space().take_effect();
  return count;
}

}  // namespace sentry::syscalls
