#include "sentry/vfs/fd_table.h"

#include <algorithm>
#include <bit>

#include "sentry/vfs/lock.h"

namespace sentry::vfs {
namespace {

constexpr size_t kBits = 64;

}  // namespace

FdTable::~FdTable() { close_all(); }

std::shared_ptr<FdTable> FdTable::clone() const {
  auto copy = std::make_shared<FdTable>();
  copy->slots_ = slots_;
  copy->used_ = used_;
  copy->lowest_free_ = lowest_free_;
  return copy;
}

Result<FileRef> FdTable::get(int fd) const {
  const auto index = static_cast<size_t>(fd);  // a negative one is beyond any table
  if (index >= slots_.size() || slots_[index].file == nullptr) return Errno(EBADF);
  return slots_[index].file;
}

Result<FileRef> FdTable::get_io(int fd) const {
  FileRef file = TRY(get(fd));
  if ((file->flags() & O_PATH) != 0) return Errno(EBADF);
  return file;
}

size_t FdTable::find_free(size_t from) const {
  from = std::max(from, lowest_free_);
  for (size_t word = from / kBits; word < used_.size(); ++word) {
    uint64_t bits = used_[word];
    if (word == from / kBits) bits |= (uint64_t{1} << from % kBits) - 1;
    if (bits != ~uint64_t{0}) return word * kBits + static_cast<size_t>(std::countr_one(bits));
  }
  return std::max(from, used_.size() * kBits);
}

void FdTable::put(size_t index, FileRef file, bool cloexec) {
  if (index >= slots_.size()) {
    if (index >= slots_.capacity()) slots_.reserve(std::max({size_t{16}, index + 1, slots_.capacity() * 2}));
    slots_.resize(index + 1);
    used_.resize(index / kBits + 1);
  }
  slots_[index] = {std::move(file), cloexec};
  used_[index / kBits] |= uint64_t{1} << index % kBits;
}

FileRef FdTable::take(size_t index) {
  if (index >= slots_.size()) return nullptr;
  FileRef file = std::move(slots_[index].file);
  slots_[index] = {};
  used_[index / kBits] &= ~(uint64_t{1} << index % kBits);
  lowest_free_ = std::min(lowest_free_, index);
  return file;
}

Result<int> FdTable::install(FileRef file, bool cloexec, uint64_t limit, int from) {
  const size_t index = find_free(static_cast<size_t>(from));
  if (index >= std::min(limit, uint64_t{kMaximum})) return Errno(EMFILE);
  put(index, std::move(file), cloexec);
  if (static_cast<size_t>(from) <= lowest_free_) lowest_free_ = index + 1;
  return static_cast<int>(index);
}

Result<> FdTable::check_room(uint64_t limit) const {
  return find_free(0) < std::min(limit, uint64_t{kMaximum}) ? Result<>() : Result<>(Errno(EMFILE));
}

Result<> FdTable::install_at(int fd, FileRef file, bool cloexec, uint64_t limit) {
  const auto index = static_cast<size_t>(fd);
  if (fd < 0 || index >= std::min(limit, uint64_t{kMaximum})) return Errno(EBADF);
  const FileRef replaced = index < slots_.size() ? std::move(slots_[index].file) : nullptr;
  put(index, std::move(file), cloexec);
  // dup2(2): errors of closing what was there are lost.
  if (replaced != nullptr) (void)closed(replaced);
  return {};
}

Result<> FdTable::closed(const FileRef& file) {
  if (file->inode() != nullptr && file->inode()->has_locks() && (file->flags() & O_PATH) == 0)
    release_locks(*file->inode(), this);
  file->windows.drop();
  return file->flush();
}

Result<> FdTable::close(int fd) {
  const FileRef file = take(static_cast<size_t>(fd));
  if (file == nullptr) return Errno(EBADF);
  return closed(file);
}

FileRef FdTable::remove(int fd) {
  FileRef file = take(static_cast<size_t>(fd));
  if (file != nullptr) file->windows.drop();
  return file;
}

Result<bool> FdTable::cloexec(int fd) const {
  (void)TRY(get(fd));
  return slots_[static_cast<size_t>(fd)].cloexec;
}

Result<> FdTable::set_cloexec(int fd, bool value) {
  (void)TRY(get(fd));
  slots_[static_cast<size_t>(fd)].cloexec = value;
  return {};
}

// Closing may park (a flush), and the table may change meanwhile: each step looks afresh.
void FdTable::close_on_exec() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].cloexec) continue;
    if (const FileRef file = take(i)) (void)closed(file);
  }
}

void FdTable::close_all() {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (const FileRef file = take(i)) (void)closed(file);
  slots_.clear();
  used_.clear();
  lowest_free_ = 0;
}

Result<> FdTable::close_range(unsigned first, unsigned last, bool only_mark_cloexec) {
  if (first > last) return Errno(EINVAL);
  for (size_t i = first; i < slots_.size() && i <= last; ++i) {
    if (slots_[i].file == nullptr) continue;
    if (only_mark_cloexec)
      slots_[i].cloexec = true;
    else
      (void)closed(take(i));
  }
  return {};
}

std::vector<int> FdTable::list() const {
  std::vector<int> numbers;
  for (size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].file != nullptr) numbers.push_back(static_cast<int>(i));
  return numbers;
}

}  // namespace sentry::vfs
