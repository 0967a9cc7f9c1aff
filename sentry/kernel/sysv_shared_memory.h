// Shared memory segments: shmget(2), shmop(2).
#pragma once

#include <cstdint>
#include <memory>

#include "sentry/kernel/sysv.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"

namespace sentry::kernel {

class Task;

// A segment: memory of the sandbox that lives until it is removed and nobody has it attached.
class SharedMemorySegment final : public IpcObject, public mm::Mappable {
 public:
  SharedMemorySegment(std::unique_ptr<mm::MemorySlice> slice, uint64_t size_in, key_t key_in)
      : size(size_in), slice_(std::move(slice)), name_(key_in) {}
  Result<Backing> backing(uint64_t offset, uint64_t length, bool shared_write) override;
  Result<> punch(uint64_t offset, uint64_t length) override;
  Identity identity() const override;

  const uint64_t size;  // as asked for, in bytes
  bool locked = false;  // SHM_LOCK, kept for those who ask
  pid_t creator = 0, last_user = 0;
  time_t attach_time = 0, detach_time = 0;

 private:
  std::unique_ptr<mm::MemorySlice> slice_;
  const key_t name_;  // the key that it was made with, for /proc/PID/maps
};

class SharedMemoryTable : public IpcTable<SharedMemorySegment> {
 public:
  SharedMemoryTable() : IpcTable(Sysctls::current().shmmni) {}

  // shmget(2): the identifier.
  Result<int> get(Task& task, key_t key, uint64_t size, int flags);
  // shmat(2): where it is. shmdt(2).
  Result<uint64_t> attach(Task& task, int id, uint64_t address, int flags);
  Result<> detach(Task& task, uint64_t address);
  // IPC_RMID. Who has the segment attached keeps it, and its identifier keeps working, until the last one
  // detaches.
  Result<> remove(Task& task, int id);
  uint64_t pages();
};

}  // namespace sentry::kernel
