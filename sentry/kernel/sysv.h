// System V IPC, sysvipc(7): what shared memory segments, semaphore sets and message queues have in common.
// Identifiers, keys, owners and permissions.
#pragma once

#include <sys/ipc.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/kernel/sysctl.h"
#include "sentry/vfs/credentials.h"

namespace sentry::kernel {

class SharedMemoryTable;
class SemaphoreTable;
class MessageTable;

// One object. IPC_RMID sets `removed`: who waits for it wakes up to EIDRM.
struct IpcObject {
  int id = -1;
  key_t key = IPC_PRIVATE;
  uid_t uid = 0, cuid = 0;
  gid_t gid = 0, cgid = 0;
  uint32_t mode = 0;  // 0777
  bool removed = false;
  time_t change_time = 0;  // shm_ctime and its like
};

// Read and write permission for somebody, as bits 0444 and 0222 of `wanted`; EACCES.
Result<> check_access(const vfs::Credentials& who, const IpcObject& object, int wanted);
// IPC_SET and IPC_RMID: owner, creator or CAP_SYS_ADMIN; EPERM.
Result<> check_owner(const vfs::Credentials& who, const IpcObject& object);
ipc_perm to_ipc_perm(const IpcObject& object);
// IPC_SET's part that all three kinds share.
void set_owner(IpcObject& object, const ipc_perm& wanted);
// The time for `change_time` and its like, in seconds of CLOCK_REALTIME.
time_t ipc_time();

// Objects of one kind, by identifier and by key. An identifier is an index and a sequence number, so that one
// that has gone is not mistaken for what took its place.
template <typename T>
class IpcTable {
 public:
  // `maximum` is the number at `index` of it.
  explicit IpcTable(const Sysctl& maximum, size_t index = 0) : maximum_(maximum), index_(index) {}

  // EINVAL where there is no such object.
  Result<std::shared_ptr<T>> find(int id) {
    auto object = TRY(at(id % kIndexes));
    if (id < 0 || object->id != id) return Errno(EINVAL);
    return object;
  }
  // By index alone, as SHM_STAT and its like do; EINVAL.
  Result<std::shared_ptr<T>> at(int index) {
    const auto found = slots_.find(index);
    if (index < 0 || found == slots_.end()) return Errno(EINVAL);
    auto object = found->second.weak.lock();
    if (object == nullptr) {
      erase(found);
      return Errno(EINVAL);
    }
    return object;
  }

  // shmget(2) and its like: finds or makes. `fits` is asked of an object that exists, `make` makes a new one.
  template <typename Fits, typename Make>
  Result<int> get(const vfs::Credentials& who, key_t key, int flags, Fits fits, Make make) {
    if (key != IPC_PRIVATE) {
      if (const auto found = keys_.find(key); found != keys_.end()) {
        if ((flags & IPC_CREAT) != 0 && (flags & IPC_EXCL) != 0) return Errno(EEXIST);
        T& object = *TRY(find(found->second));
        TRY(fits(object));
        TRY(check_access(who, object, flags));
        return object.id;
      }
      if ((flags & IPC_CREAT) == 0) return Errno(ENOENT);
    }
    std::shared_ptr<T> object = TRY(make());
    object->key = key;
    object->uid = object->cuid = who.euid;
    object->gid = object->cgid = who.egid;
    object->mode = static_cast<uint32_t>(flags) & 0777;
    object->change_time = ipc_time();
    return add(std::move(object));
  }

  // IPC_RMID: nothing finds it any more.
  void remove(T& object) {
    retire(object);
    object.removed = true;
    if (const auto found = slots_.find(object.id % kIndexes); found != slots_.end()) erase(found);
  }
  // Its key is free, its identifier stays good for as long as somebody else holds the object.
  void retire(T& object) {
    if (object.key != IPC_PRIVATE) keys_.erase(object.key);
    object.key = IPC_PRIVATE;
    if (const auto found = slots_.find(object.id % kIndexes); found != slots_.end())
      found->second.strong.reset();
  }

  std::vector<std::shared_ptr<T>> all() {
    sweep();
    std::vector<std::shared_ptr<T>> objects;
    for (const auto& [index, slot] : slots_) objects.push_back(slot.weak.lock());
    return objects;
  }
  size_t size() {
    sweep();
    return slots_.size();
  }
  bool full() { return slots_.size() >= maximum_[index_] && size() >= maximum_[index_]; }
  // The highest index in use, 0 if there is none: what IPC_INFO answers.
  int highest() {
    sweep();
    return slots_.empty() ? 0 : slots_.rbegin()->first;
  }

 private:
  static constexpr int kIndexes = 1 << 15;  // IPCMNI
  struct Slot {
    std::shared_ptr<T> strong;  // null once retired
    std::weak_ptr<T> weak;
  };

  Result<int> add(std::shared_ptr<T> object) {
    if (full()) return Errno(ENOSPC);
    while (slots_.contains(lowest_free_)) ++lowest_free_;
    const int index = lowest_free_;
    // A new round of sequence numbers whenever an index below the last one is taken again.
    if (index <= last_index_) sequence_ = (sequence_ + 1) % (INT32_MAX / kIndexes);
    last_index_ = index;
    object->id = sequence_ * kIndexes + index;
    if (object->key != IPC_PRIVATE) keys_[object->key] = object->id;
    const int id = object->id;
    std::weak_ptr<T> weak = object;
    slots_[index] = Slot{std::move(object), std::move(weak)};
    return id;
  }
  void sweep() {
    for (auto next = slots_.begin(); next != slots_.end();)
      next = next->second.weak.expired() ? erase(next) : std::next(next);
  }
  typename std::map<int, Slot>::iterator erase(typename std::map<int, Slot>::iterator slot) {
    lowest_free_ = std::min(lowest_free_, slot->first);
    return slots_.erase(slot);
  }

  const Sysctl& maximum_;
  const size_t index_;
  std::map<int, Slot> slots_;
  std::map<key_t, int> keys_;
  int sequence_ = 0;
  int last_index_ = -1;
  int lowest_free_ = 0;  // none below
};

// The sandbox's System V IPC: one namespace.
struct SysvIpc {
  SysvIpc();
  ~SysvIpc();
  std::unique_ptr<SharedMemoryTable> shared_memory;
  std::shared_ptr<SemaphoreTable> semaphores;
  std::unique_ptr<MessageTable> messages;
};

}  // namespace sentry::kernel
