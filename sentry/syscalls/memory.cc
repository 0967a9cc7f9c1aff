// mmap(2) and its family.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using mm::kPageSize;

Result<Address> sys_mmap(Task& task, GuestPtr<void> hint, uint64_t length, Flags<kProtNames> prot,
                         Flags<kMapNames> flags, FdNumber fd, FileOffset offset) {
  const uint64_t address = hint.address();
  constexpr int kTypeMask = 0xf, kSharedValidate = 3;
  const int type = flags & kTypeMask;
  if (offset % kPageSize != 0) return Errno(EINVAL);
  if ((flags & MAP_ANONYMOUS) == 0) TRY(task.fds().get_io(fd.value));
  if (type != MAP_SHARED && type != MAP_PRIVATE && type != kSharedValidate) return Errno(EINVAL);
  constexpr int kMapSync = 0x80000;  // MAP_SYNC: nothing here is persistent memory
  if (type == kSharedValidate && (flags & kMapSync) != 0) return Errno(EOPNOTSUPP);
  if ((flags & MAP_HUGETLB) != 0)
    return Errno(length == 0 ? EINVAL : ENOMEM);  // no huge pages are reserved here
  const bool shared = type != MAP_PRIVATE;
  mm::MmapRequest request;
  request.address = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0 ? address : mm::page_floor(address);
  request.length = length;
  request.prot = prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
  request.flags = (flags & ~kTypeMask) | (shared ? MAP_SHARED : MAP_PRIVATE);
  request.offset = offset;
  if ((flags & MAP_ANONYMOUS) != 0) {
    if (length == 0) return Errno(EINVAL);
    if (shared) {
      if (mm::page_ceil(length) < length || length > mm::MemoryFile::kLargestSlice) return Errno(ENOMEM);
      request.file = TRY(task.memory().shared_anonymous(length));
      request.offset = 0;
    }
    return as_address(task.memory().mmap(request));
  }
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  if (length == 0) return Errno(EINVAL);
  if (offset + length < offset || offset + length > uint64_t{1} << 62) return Errno(EOVERFLOW);
  if (!file->readable()) return Errno(EACCES);
  if (shared && (prot & PROT_WRITE) != 0 && !file->writable()) return Errno(EACCES);
  const bool noexec = file->path().mount != nullptr && file->path().mount->noexec;
  if (noexec && (prot & PROT_EXEC) != 0) return Errno(EPERM);
  if (shared && !file->writable()) request.max_prot &= ~PROT_WRITE;
  if (noexec) request.max_prot &= ~PROT_EXEC;
  Result<std::shared_ptr<mm::Mappable>> mapped = file->mmap(request.prot, request.flags);
  // To be written, the file may have got memory of its own.
  if (shared && file->writable() && file->inode() != nullptr) vfs::changed(*file->inode());
  request.file = TRY(std::move(mapped));
  // fcntl(2), "File sealing": a shared mapping of what is sealed can never become writable.
  if (const Result<int> seals = file->seals();
      shared && seals.ok() && (*seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
    request.max_prot &= ~PROT_WRITE;
  return as_address(task.memory().mmap(request));
}

Result<> sys_munmap(Task& task, GuestPtr<void> address, uint64_t length) {
  return task.memory().munmap(address.address(), length);
}

Result<> sys_mprotect(Task& task, GuestPtr<void> address, uint64_t length, Flags<kProtNames> prot) {
  return task.memory().mprotect(address.address(), length, prot);
}

// No protection keys are handed out (pkey_alloc), so only the default key can be named.
Result<> sys_pkey_mprotect(Task& task, GuestPtr<void> address, uint64_t length, Flags<kProtNames> prot,
                           int key) {
  if (key != -1 && key != 0) return Errno(EINVAL);
  return task.memory().mprotect(address.address(), length, prot);
}
Result<int> sys_pkey_alloc(Task&, unsigned flags, unsigned rights) {
  if (flags != 0 || rights > 3) return Errno(EINVAL);
  return Errno(ENOSPC);  // as on a CPU without them
}
Result<> sys_pkey_free(Task&, int) { return Errno(EINVAL); }

Result<Address> sys_mremap(Task& task, GuestPtr<void> address, uint64_t old_size, uint64_t new_size,
                           Flags<kMremapNames> flags, RemapTarget target) {
  return as_address(task.memory().mremap(address.address(), old_size, new_size, flags, target.address()));
}

Result<Address> sys_brk(Task& task, GuestPtr<void> address) {
  return as_address(task.memory().brk(address.address()));
}

Result<> sys_madvise(Task& task, GuestPtr<void> address, uint64_t length, Choice<kAdviceNames> advice) {
  return task.memory().madvise(address.address(), length, advice);
}

Result<> sys_msync(Task& task, GuestPtr<void> address, uint64_t length, Flags<kMsyncNames> flags) {
  return task.memory().msync(address.address(), length, flags);
}

Result<> sys_mincore(Task& task, GuestPtr<void> address, uint64_t length, GuestPtr<uint8_t> residency) {
  uint64_t at = address.address();
  if (at % mm::kPageSize != 0) return Errno(EINVAL);
  if (length > mm::kGuestEnd || at > mm::kGuestEnd - length) return Errno(ENOMEM);
  const uint64_t end = at + mm::page_ceil(length);
  if (residency.address() > mm::kGuestEnd) return Errno(EFAULT);
  // The host's page tables are not the sentry's to read; every mapped page counts as resident. What comes
  // before a hole is told nevertheless.
  const std::vector<uint8_t> resident(4096, 1);
  for (uint64_t told = 0; at < end;) {
    const mm::Vma* const vma = task.memory().find(at);
    if (vma == nullptr) return Errno(ENOMEM);
    const uint64_t pages =
        std::min<uint64_t>((std::min(end, vma->end) - at) / mm::kPageSize, resident.size());
    TRY(task.memory().write(residency.address() + told, resident.data(), static_cast<size_t>(pages)));
    told += pages;
    at += pages * mm::kPageSize;
  }
  return {};
}

Result<> lock_memory(Task& task, GuestPtr<void> address, uint64_t length, bool lock) {
  if (lock && length > task.memory().limits().memlock) return Errno(ENOMEM);
  const uint64_t start = mm::page_floor(address.address());
  if (start + mm::page_ceil(length + (address.address() - start)) < start) return Errno(EINVAL);
  return task.memory().mlock(address.address(), length, lock);
}
Result<> sys_mlock(Task& task, GuestPtr<void> address, uint64_t length) {
  return lock_memory(task, address, length, true);
}
Result<> sys_mlock2(Task& task, GuestPtr<void> address, uint64_t length, unsigned flags) {
  if ((flags & ~1u) != 0) return Errno(EINVAL);
  return lock_memory(task, address, length, true);
}
Result<> sys_munlock(Task& task, GuestPtr<void> address, uint64_t length) {
  return lock_memory(task, address, length, false);
}
Result<> sys_mlockall(Task& task, int flags) {
  constexpr int kOnFault = 4;  // MCL_ONFAULT: only with one of the others
  if (flags == 0 || flags == kOnFault || (flags & ~7) != 0) return Errno(EINVAL);
  (void)task;
  return {};
}
Result<> sys_munlockall(Task& task) {
  (void)task;
  return {};
}

// membarrier(2): the sentry orders nothing between the guest's cores; what the host would do by interrupting
// each of them happens when every thread enters the kernel, which only the host can see. Not offered.
Result<int> sys_membarrier(Task&, int command, unsigned, int) {
  if (command == 0) return 0;  // MEMBARRIER_CMD_QUERY: none
  return Errno(EINVAL);
}

Result<int> sys_get_mempolicy(Task& task, GuestPtr<int> mode, GuestPtr<uint64_t> mask, uint64_t nodes,
                              GuestPtr<void> address, uint64_t flags) {
  constexpr uint64_t kAddress = 2, kAllowed = 4;  // MPOL_F_*
  if ((flags & ~7ull) != 0 || (mask && nodes < 1)) return Errno(EINVAL);
  if ((flags & kAllowed) != 0 && (flags & ~kAllowed) != 0) return Errno(EINVAL);
  if ((flags & kAddress) == 0 && (address || (flags & 1) != 0)) return Errno(EINVAL);
  if (mode) TRY(task.memory().write(mode, 0));  // MPOL_DEFAULT
  if (mask && nodes > 0) TRY(task.memory().write(mask, uint64_t{(flags & 4) != 0 ? 1u : 0u}));
  return 0;
}
// The mode with its flags (MPOL_F_*), and the nodes that it needs or must not have: of the one that there is.
Result<> check_policy(Task& task, int mode, GuestPtr<const uint64_t> mask, uint64_t bits) {
  constexpr int kStatic = 1 << 15, kRelative = 1 << 14, kBalancing = 1 << 13;
  constexpr int kDefault = 0, kPreferred = 1, kLocal = 4, kModes = 7;
  const int flags = mode & (kStatic | kRelative | kBalancing);
  const int policy = mode & ~flags;
  if (policy < 0 || policy >= kModes || (flags & (kStatic | kRelative)) == (kStatic | kRelative))
    return Errno(EINVAL);
  uint64_t nodes = 0;
  if (mask && bits > 1) {
    if (bits > mm::kPageSize * 8) return Errno(EINVAL);
    for (uint64_t word = 0; word * 64 < bits - 1; ++word) {
      uint64_t value = TRY(task.memory().read(mask.at(word)));
      const uint64_t left = bits - 1 - word * 64;
      if (left < 64) value &= (uint64_t{1} << left) - 1;
      if (word == 0) nodes = value;
      if ((word == 0 ? value & ~uint64_t{1} : value) != 0) return Errno(EINVAL);  // nodes that are not there
    }
  }
  const bool none_wanted = policy == kDefault || policy == kLocal;
  if (none_wanted ? nodes != 0 || (policy == kDefault && flags != 0) : nodes == 0 && policy != kPreferred)
    return Errno(EINVAL);
  return {};
}

Result<> sys_set_mempolicy(Task& task, int mode, GuestPtr<const uint64_t> mask, uint64_t bits) {
  return check_policy(task, mode, mask, bits);
}
Result<> sys_mbind(Task& task, GuestPtr<void> address, uint64_t, int mode, GuestPtr<const uint64_t> mask,
                   uint64_t bits, unsigned flags) {
  constexpr unsigned kFlags = 7;  // MPOL_MF_*
  if (address.address() % kPageSize != 0 || (flags & ~kFlags) != 0) return Errno(EINVAL);
  return check_policy(task, mode, mask, bits);
}

constexpr Entry kCalls[] = {
    COMPLETE(mmap, sys_mmap),
    COMPLETE(munmap, sys_munmap),
    COMPLETE(mprotect, sys_mprotect),
    COMPLETE(mremap, sys_mremap),
    COMPLETE(brk, sys_brk),
    PARTIAL(madvise, sys_madvise, "no MADV_REMOVE, MERGEABLE, COLLAPSE, GUARD_*"),
    COMPLETE(msync, sys_msync),
    PARTIAL(mincore, sys_mincore, "every mapped page counts as resident"),
    PARTIAL(mlock, sys_mlock, "populates; the host may still swap"),
    PARTIAL(mlock2, sys_mlock2, "populates; the host may still swap"),
    COMPLETE(munlock, sys_munlock),
    PARTIAL(mlockall, sys_mlockall, "accepted without effect"),
    COMPLETE(munlockall, sys_munlockall),
    PARTIAL(membarrier, sys_membarrier, "offers no command"),
    COMPLETE(pkey_mprotect, sys_pkey_mprotect),
    PARTIAL(pkey_alloc, sys_pkey_alloc, "as on a CPU without protection keys"),
    PARTIAL(pkey_free, sys_pkey_free, "as on a CPU without protection keys"),
    PARTIAL(get_mempolicy, sys_get_mempolicy, "one node"),
    PARTIAL(set_mempolicy, sys_set_mempolicy, "one node"),
    PARTIAL(mbind, sys_mbind, "one node"),
    ABSENT(remap_file_pages, ENOSYS, "deprecated since Linux 3.16"),
    ABSENT(migrate_pages, ENOSYS, "one node"),
    ABSENT(move_pages, ENOSYS, "one node"),
    ABSENT(userfaultfd, ENOSYS, "faults are the host's"),
    ABSENT(memfd_secret, ENOSYS, "not offered by the host either, by default"),
    ABSENT(process_madvise, ENOSYS, "not implemented"),
    ABSENT(process_mrelease, ENOSYS, "not implemented"),
};

}  // namespace

std::span<const Entry> memory_calls() { return kCalls; }

}  // namespace sentry::syscalls
