#include "sentry/kernel/sysv_shared_memory.h"

#include <sys/mman.h>
#include <sys/shm.h>

#include <cstdio>
#include <vector>

#include "sentry/kernel/kernel.h"

namespace sentry::kernel {

using mm::kPageSize;

Result<mm::Mappable::Backing> SharedMemorySegment::backing(uint64_t offset, uint64_t length, bool) {
  const uint64_t end = mm::page_ceil(size);
  if (offset >= end) return Backing{-1, 0, length};
  return Backing{slice_->host_fd(), slice_->host_offset(offset), std::min(length, end - offset)};
}

Result<> SharedMemorySegment::punch(uint64_t offset, uint64_t length) {
  if (offset >= slice_->size()) return {};
  return slice_->discard(offset, std::min(length, slice_->size() - offset));
}

mm::Mappable::Identity SharedMemorySegment::identity() const {
  char path[sizeof "/SYSV01234567 (deleted)"];
  std::snprintf(path, sizeof path, "/SYSV%08x (deleted)", static_cast<unsigned>(name_));
  Identity identity;
  identity.path = path;
  identity.device_minor = 1;  // the kernel's own tmpfs
  identity.inode = static_cast<uint64_t>(id);
  return identity;
}

Result<int> SharedMemoryTable::get(Task& task, key_t key, uint64_t size, int flags) {
  const auto fits = [&](const SharedMemorySegment& segment) -> Result<> {
    if (segment.size < size) return Errno(EINVAL);
    return {};
  };
  const auto make = [&]() -> Result<std::shared_ptr<SharedMemorySegment>> {
    const Sysctls& limits = Sysctls::current();
    if (size == 0 || size > limits.shmmax.value()) return Errno(EINVAL);
    if ((flags & SHM_HUGETLB) != 0) return Errno(ENOMEM);  // no huge pages are reserved here
    if (size > mm::MemoryFile::kLargestSlice) return Errno(ENOMEM);
    if (pages() + mm::page_ceil(size) / kPageSize > limits.shmall.value()) return Errno(ENOSPC);
    auto slice = TRY(task.kernel.memory_file.allocate_shared(mm::page_ceil(size)));
    auto segment = std::make_shared<SharedMemorySegment>(std::move(slice), size, key);
    segment->creator = task.group->id;
    return segment;
  };
  return IpcTable::get(*task.credentials, key, flags, fits, make);
}

Result<uint64_t> SharedMemoryTable::attach(Task& task, int id, uint64_t address, int flags) {
  if (id < 0) return Errno(EINVAL);
  const bool remap = (flags & SHM_REMAP) != 0;
  if (address % kPageSize != 0) {
    if ((flags & SHM_RND) == 0) return Errno(EINVAL);
    address = mm::page_floor(address);
  }
  if (address == 0 && remap) return Errno(EINVAL);
  const bool read_only = (flags & SHM_RDONLY) != 0, executable = (flags & SHM_EXEC) != 0;
  const auto segment = TRY(find(id));
  TRY(check_access(*task.credentials, *segment, 0444 | (read_only ? 0 : 0222) | (executable ? 0111 : 0)));

  mm::MmapRequest request;
  request.address = address;
  request.length = segment->size;
  request.prot = PROT_READ | (read_only ? 0 : PROT_WRITE) | (executable ? PROT_EXEC : 0);
  request.max_prot = read_only ? PROT_READ | PROT_EXEC : request.max_prot;
  request.flags = MAP_SHARED | (address == 0 ? 0 : remap ? MAP_FIXED : MAP_FIXED_NOREPLACE);
  request.file = segment;
  const Result<uint64_t> start = task.memory().mmap(request);
  if (start.is(EEXIST)) return Errno(EINVAL);
  if (!start.ok()) return start;
  segment->attach_time = ipc_time();
  segment->last_user = task.group->id;
  return start;
}

Result<> SharedMemoryTable::detach(Task& task, uint64_t address) {
  if (address % kPageSize != 0) return Errno(EINVAL);
  mm::AddressSpaceMap& memory = task.memory();
  // The attachment that starts at `address`: its first part may have been unmapped since, the rest still
  // counts.
  std::shared_ptr<SharedMemorySegment> segment;
  std::vector<std::pair<uint64_t, uint64_t>> parts;
  for (auto next = memory.vmas().lower_bound(address); next != memory.vmas().end(); ++next) {
    const auto& [start, vma] = *next;
    if (segment != nullptr && start >= address + mm::page_ceil(segment->size)) break;
    if (vma.file == nullptr || start - address != vma.offset) continue;
    auto candidate = std::dynamic_pointer_cast<SharedMemorySegment>(vma.file);
    if (candidate == nullptr || (segment != nullptr && candidate != segment)) continue;
    segment = std::move(candidate);
    parts.emplace_back(start, vma.end - start);
  }
  if (segment == nullptr) return Errno(EINVAL);
  for (const auto& [start, length] : parts) TRY(memory.munmap(start, length));
  segment->detach_time = ipc_time();
  segment->last_user = task.group->id;
  return {};
}

Result<> SharedMemoryTable::remove(Task& task, int id) {
  const auto segment = TRY(find(id));
  TRY(check_owner(*task.credentials, *segment));
  segment->removed = true;
  retire(*segment);
  return {};
}

uint64_t SharedMemoryTable::pages() {
  uint64_t sum = 0;
  for (const auto& segment : all()) sum += mm::page_ceil(segment->size) / kPageSize;
  return sum;
}

}  // namespace sentry::kernel
