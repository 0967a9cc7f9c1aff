// File descriptors of a task: files_struct.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/vfs/file.h"

namespace sentry::vfs {

class FdTable {
 public:
  static constexpr int kMaximum = 1 << 20;  // fs.nr_open; a limit above is cut

  FdTable() = default;
  ~FdTable();
  // fork(2)'s copy: the same descriptions, a table of its own.
  std::shared_ptr<FdTable> clone() const;

  Result<FileRef> get(int fd) const;     // EBADF; O_PATH files too
  Result<FileRef> get_io(int fd) const;  // EBADF for O_PATH files
  // The lowest free descriptor from `from`; EMFILE at `limit` (RLIMIT_NOFILE).
  Result<int> install(FileRef file, bool cloexec, uint64_t limit, int from = 0);
  // EMFILE if install() could not find one now.
  Result<> check_room(uint64_t limit) const;
  // dup3(2): replaces what is there. EBADF beyond the limit.
  Result<> install_at(int fd, FileRef file, bool cloexec, uint64_t limit);
  Result<> close(int fd);  // EBADF; the file's flush error
  FileRef remove(int fd);  // null if absent; no flush
  Result<bool> cloexec(int fd) const;
  Result<> set_cloexec(int fd, bool value);
  void close_on_exec();
  void close_all();
  Result<> close_range(unsigned first, unsigned last, bool only_mark_cloexec);
  std::vector<int> list() const;
  int highest() const { return static_cast<int>(slots_.size()); }  // one beyond

 private:
  struct Slot {
    FileRef file;
    bool cloexec = false;
  };
  size_t find_free(size_t from) const;  // may be slots_.size() or more
  void put(size_t index, FileRef file, bool cloexec);
  FileRef take(size_t index);
  Result<> closed(const FileRef& file);  // what close(2) owes the file

  std::vector<Slot> slots_;
  std::vector<uint64_t> used_;  // a bit a slot
  size_t lowest_free_ = 0;      // no free slot below
};

}  // namespace sentry::vfs
