#include "gofer/id_table.h"

#include <cerrno>

namespace gofer {

Id IdTable::insert(Entry entry) {
  uint32_t index = first_free_;
  if (index == kNone) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    first_free_ = slots_[index].next_free;
  }
  Slot& slot = slots_[index];
  slot.used = true;
  slot.entry = std::move(entry);
  slot.entry.id = Id{slot.generation} << 32 | index;
  ++held_;
  return slot.entry.id;
}

Result<Entry*> IdTable::find(Id id) {
  const auto index = static_cast<uint32_t>(id);
  const auto generation = static_cast<uint32_t>(id >> 32);
  if (index >= slots_.size()) return Errno(EBADF);
  Slot& slot = slots_[index];
  if (generation == slot.generation && slot.used) return &slot.entry;
  if (generation == 0 || generation >= slot.generation) return Errno(EBADF);
  return Errno(ESTALE);
}

Result<Entry*> IdTable::node(Id id) {
  Entry* entry = TRY(find(id));
  if (entry->kind != Entry::Kind::kNode) return Errno(EBADF);
  return entry;
}

Result<Entry*> IdTable::handle(Id id) {
  Entry* entry = TRY(find(id));
  if (entry->kind != Entry::Kind::kHandle) return Errno(EBADF);
  return entry;
}

void IdTable::release(Id id) {
  auto found = find(id);
  if (!found.ok() || (*found)->pinned) return;
  const auto index = static_cast<uint32_t>(id);
  Slot& slot = slots_[index];
  drop_directory(slot.entry);
  slot.entry = Entry{};
  slot.used = false;
  --held_;
  // A slot whose generations are used up is never used again: an id names one file for all time.
  if (++slot.generation == 0) return;
  slot.next_free = first_free_;
  first_free_ = index;
}

void IdTable::hold_directory(Entry& node, Fd fd) {
  if (!node.directory) ++held_;
  node.directory = std::move(fd);
  node.position = 0;
}

void IdTable::drop_directory(Entry& node) {
  if (!node.directory) return;
  node.directory.reset();
  --held_;
}

}  // namespace gofer
