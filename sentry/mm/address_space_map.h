// A guest address space as the kernel sees it: VMAs, heap, stack; what Linux calls mm_struct. It decides what
// is mapped and orders the platform to map it; page faults are the host's.
#pragma once

#include <sys/mman.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "sentry/base/extent_set.h"
#include "sentry/base/result.h"
#include "sentry/base/wait_queue.h"
#include "sentry/mm/gap_index.h"
#include "sentry/mm/guest_pointer.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/transfer.h"
#include "sentry/mm/windows.h"
#include "sentry/platform/platform.h"

namespace sentry::mm {

using platform::in_guest_range;
using platform::kGuestEnd;
using platform::kGuestStart;
using platform::kPageSize;

constexpr uint64_t page_floor(uint64_t value) { return value & ~(kPageSize - 1); }
constexpr uint64_t page_ceil(uint64_t value) { return (value + kPageSize - 1) & ~(kPageSize - 1); }

inline constexpr int kProtMask = PROT_READ | PROT_WRITE | PROT_EXEC;

// One mapping; its start is its key in the map.
struct Vma {
  // Whoever maps it shared may write it, now or by mprotect. Only then does the host share it: protection is
  // the guest's to change, and what is mapped privately stays the file's whatever it makes of it.
  bool writes_file() const { return shared && (max_prot & PROT_WRITE) != 0; }
  int sharing() const { return writes_file() ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE; }

  uint64_t end = 0;
  int prot = 0;      // PROT_*
  int max_prot = 7;  // what mprotect may raise it to (a file opened read-only, mapped shared: no PROT_WRITE)
  bool shared = false;
  bool grows_down = false;
  bool locked = false;
  bool dont_fork = false;
  bool wipe_on_fork = false;
  bool no_reserve = false;
  bool untouched = false;          // private, and the host has the pages of the file here and no others
  std::shared_ptr<Mappable> file;  // null: private anonymous
  uint64_t offset = 0;             // of `start` in the file
  const char* name = nullptr;      // "[heap]", "[stack]" for /proc
};

struct MmapRequest {
  uint64_t address = 0;
  uint64_t length = 0;
  int prot = 0;
  int flags = 0;  // MAP_*, as mmap(2)
  std::shared_ptr<Mappable> file;
  uint64_t offset = 0;
  int max_prot = 7;
  const char* name = nullptr;
};

// The top of the guest's range is the stack's: its start lies at most kStackShift below the top, and other
// mappings are placed below the room that it may grow into (Linux's mmap_base()).
inline constexpr uint64_t kStackShift = uint64_t{64} << 20;
inline constexpr uint64_t kStackRoom = kStackShift + (uint64_t{256} << 20);
// Between a growing stack and its neighbour, as Linux's default.
inline constexpr uint64_t kStackGap = 256 * kPageSize;

class AddressSpaceMap : public std::enable_shared_from_this<AddressSpaceMap> {
 public:
  // Room of the guest's rlimits, asked at each use.
  struct Limits {
    uint64_t address_space = ~0ull;  // RLIMIT_AS
    uint64_t data = ~0ull;           // RLIMIT_DATA
    uint64_t stack = 8 << 20;        // RLIMIT_STACK
    uint64_t memlock = ~0ull;        // RLIMIT_MEMLOCK
    // What one call may add to private writable memory: vm.overcommit_memory 0 refuses more than there is.
    uint64_t overcommit = ~0ull;
  };

  AddressSpaceMap(std::unique_ptr<platform::AddressSpace> space, MemoryFile& memory_file,
                  bool randomize = true);
  ~AddressSpaceMap();

  // fork(2): the same mappings over a copy. The context is the caller's host thread. What changes mappings
  // waits meanwhile, so that the map and the host's copy are of one moment (Linux: mmap_lock).
  struct Forked {
    std::shared_ptr<AddressSpaceMap> map;
    std::unique_ptr<platform::Context> context;
  };
  Result<Forked> fork(platform::Context& caller);
  platform::AddressSpace& platform_space() { return *space_; }

  // mmap(2) and its family; errors as in their man pages.
  Result<uint64_t> mmap(const MmapRequest& request);
  Result<> munmap(uint64_t address, uint64_t length);
  Result<> mprotect(uint64_t address, uint64_t length, int prot);
  Result<uint64_t> mremap(uint64_t old_address, uint64_t old_size, uint64_t new_size, int flags,
                          uint64_t new_address);
  Result<uint64_t> brk(uint64_t address);
  Result<> madvise(uint64_t address, uint64_t length, int advice);
  Result<> msync(uint64_t address, uint64_t length, int flags);
  Result<> mlock(uint64_t address, uint64_t length, bool lock);
  // Anonymous shared memory (MAP_SHARED | MAP_ANONYMOUS): a Mappable over a slice.
  Result<std::shared_ptr<Mappable>> shared_anonymous(uint64_t length);

  // A fault that the guest's mappings explain: grows the stack, or maps what has come to exist behind a file
  // mapping. Whether guest code may go on; otherwise the signal is the guest's.
  struct FaultAnswer {
    bool resolved;
    int signo;
    int code;
  };
  // What a thread was told to try again though nothing had been amiss by then: once, as things are.
  struct FaultRetry {
    uint64_t page = 0, changes = 0;
  };
  FaultAnswer handle_fault(uint64_t address, const siginfo_t& info, FaultRetry& retry);

  // Copies between guest and sentry memory. EFAULT unless all of it could be copied.
  Result<> read(uint64_t address, void* buffer, size_t size);
  Result<> write(uint64_t address, const void* data, size_t size);
  template <typename T>
  Result<std::remove_const_t<T>> read(GuestPtr<T> pointer) {
    std::remove_const_t<T> value;
    TRY(read(pointer.address(), &value, sizeof value));
    return value;
  }
  template <typename T>
  requires(!std::is_const_v<T>) Result<> write(GuestPtr<T> pointer, const T& value) {
    return write(pointer.address(), &value, sizeof value);
  }
  template <typename T>
  Result<std::vector<std::remove_const_t<T>>> read_array(GuestPtr<T> pointer, size_t count) {
    std::vector<std::remove_const_t<T>> values(count);
    TRY(read(pointer.address(), values.data(), count * sizeof(T)));
    return values;
  }
  // Whether all of that may be written, and will be when the guest goes on
  // (platform::AddressSpace::defers_writes).
  bool defers_write(uint64_t address, size_t size);
  // As much as can be copied; EFAULT if nothing could.
  Result<size_t> read_some(uint64_t address, void* buffer, size_t size);
  Result<size_t> write_some(uint64_t address, const void* data, size_t size);
  // The same between guest memory and a host file, past the sentry (platform::AddressSpace::pread).
  // EOPNOTSUPP, and fewer bytes than there are, say that the rest has to come by way of the sentry.
  Result<size_t> fill_some(uint64_t address, size_t size, int host_fd, uint64_t offset);
  Result<size_t> store_some(uint64_t address, size_t size, int host_fd, uint64_t offset);
  // The same from a file, where this address space has a window on it or it is worth one; EOPNOTSUPP
  // otherwise.
  Result<size_t> copy_from_window(const WindowRequest& request, uint64_t offset, uint64_t address,
                                  size_t size);
  Windows& windows() { return windows_; }
  bool forking() const { return forking_; }
  // As a debugger reads and writes: whatever the protection says, but for writes to shared memory.
  Result<size_t> read_forced(uint64_t address, void* buffer, size_t size);
  Result<size_t> write_forced(uint64_t address, const void* data, size_t size);
  // A NUL-terminated string of less than `limit` bytes; ENAMETOOLONG if it is not terminated by then.
  Result<std::string> read_string(uint64_t address, size_t limit);

  // exec's part: where things are.
  void set_heap(uint64_t start);
  void set_limits(const Limits& limits) { limits_ = limits; }
  const Limits& limits() const { return limits_; }

  const std::map<uint64_t, Vma>& vmas() const { return vmas_; }
  const Vma* find(uint64_t address) const;  // the VMA that holds it, or null
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t heap_start() const { return heap_start_; }
  uint64_t heap_end() const { return heap_end_; }

  // For /proc: set by exec, changed by prctl(PR_SET_MM).
  struct Layout {
    uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0, stack_start = 0;
    uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
    std::vector<uint64_t> auxv;
  } layout;
  std::shared_ptr<void> executable;  // the vfs path of /proc/PID/exe, kept opaque here; see kernel/exec.h
  bool dumpable = true;
  bool huge_pages_disabled = false;  // PR_SET_THP_DISABLE: kept for who asks; the host backs the memory

  // A call came from the `syscall` instruction at this address by an entry that costs more than it would have
  // to (platform::Trap::costly). Often enough, and the file's text is mapped with the site rewritten.
  void note_costly_call(uint64_t site, platform::SitePatcher& patcher);
  // Where the program is that has stopped at this address, if that is in an image's trampolines or on the way
  // there: at one of the instructions that have been displaced, or behind them.
  struct Displaced {
    uint64_t address;
    bool executed;
  };
  std::optional<Displaced> displaced(uint64_t address) const;

 private:
  void await_fork();
  size_t writable(uint64_t address, size_t size);
  static TextImage* text_image(const Vma& vma);
  TextImage* image_for(uint64_t start, const Vma& vma);
  void restore_text(uint64_t start, uint64_t end);
  bool reach_trampolines(TextImage& image, uint64_t base);
  void map_text_page(TextImage& image, uint64_t start, const Vma& vma, uint64_t page);
  void renew_text();
  void lose_trampolines(const Mappable& file);
  friend class Mappable;
  friend class Windows;
  using Iterator = std::map<uint64_t, Vma>::iterator;
  // Room for `length` bytes below `top`, at `hint` if it is free.
  Result<uint64_t> find_gap(uint64_t length, uint64_t hint, uint64_t top) const;
  Result<> split_at(uint64_t address);
  Result<> host_map(uint64_t start, const Vma& vma, uint64_t from, uint64_t to, bool shown = false);
  // Whether the host has the file's pages already where this VMA is to be, protected in whatever way.
  bool shows(uint64_t start, const Vma& vma) const;
  bool protected_otherwise(uint64_t start, const Vma& vma) const;
  Result<> map_beyond(uint64_t start, const Vma& vma, uint64_t from, uint64_t to);
  void reach(uint64_t start, uint64_t end);
  Result<> unmap(uint64_t start, uint64_t length);
  Result<> move_pages(uint64_t source, uint64_t length, uint64_t target, const Vma& vma, bool keep);
  Result<> punch(uint64_t start, uint64_t end);
  bool map_anew(const Vma& vma, uint64_t from, uint64_t to);
  void forget(uint64_t start, uint64_t end);  // drops VMAs that lie wholly inside
  void insert(uint64_t start, Vma vma);       // and merges with its neighbours
  void count(uint64_t start, const Vma& vma, int sign);
  void attach(const Vma& vma);
  void detach(const Vma& vma);
  void keep_window(Mappable& file);
  void forget_window(Mappable& file);
  void invalidate(Mappable& file, uint64_t offset, uint64_t length);
  void replace(const Mappable& file, const std::shared_ptr<Mappable>& successor, uint64_t offset);
  bool covered(uint64_t start, uint64_t end) const;
  uint64_t mapped_from(uint64_t start) const;  // bytes, up to the first hole
  bool resolve_fault(uint64_t address);
  bool try_grow_stack(uint64_t address);
  template <typename Copy>
  Result<size_t> force(uint64_t address, size_t size, int needed, Copy copy);
  Result<> populate(uint64_t start, uint64_t end, bool write = false);

  std::unique_ptr<platform::AddressSpace> space_;
  // Those whose trampolines are mapped, by id.
  struct ReachedImage {
    uint64_t base = 0;  // of the text that can use them
    const Mappable* trampolines = nullptr;
    // As many sites as the image had rewritten when the text was mapped, none if there was no image; and when
    // single pages were.
    std::optional<size_t> patches;
    struct Page {
      uint64_t offset;
      size_t patches;
    };
    std::vector<Page> pages;
    size_t looked_at = 0;  // by renew_text()
    size_t patches_of(uint64_t page) const;
    void text_mapped(size_t when) { patches = std::min(patches.value_or(when), when); }
    void page_mapped(uint64_t page, size_t when);
  };
  std::map<uint64_t, ReachedImage> images_;
  std::unordered_map<uint64_t, uint8_t> costly_;
  uint64_t changes_ = 0;  // of mappings, and of memory against its protection: counted
  bool forking_ = false;
  WaitQueue forked_;
  struct Invalidated {
    Mappable* file;
    uint64_t offset, length;
  };
  std::vector<Invalidated> invalidated_;                 // meanwhile, and to be done in the copy too
  std::vector<std::pair<uint64_t, uint64_t>> replaced_;  // likewise: to be mapped anew
  MemoryFile& memory_file_;
  std::map<uint64_t, Vma> vmas_;
  GapIndex gaps_{kGuestStart, kGuestEnd};
  uint64_t mapped_bytes_ = 0;
  uint64_t data_bytes_ = 0;    // private and writable: RLIMIT_DATA's measure
  uint64_t locked_bytes_ = 0;  // RLIMIT_MEMLOCK's
  uint64_t heap_start_ = 0, heap_end_ = 0;
  uint64_t mmap_top_;
  bool advised_ = false;  // the host has been told about huge pages
  std::set<std::pair<uint64_t, uint64_t>>
      mapped_anew_;   // by madvise(): where the host may see several mappings
  ExtentSet beyond_;  // pages, by address, that are mapped as lying beyond their files' ends
  Limits limits_;
  Windows windows_{*this};
};

}  // namespace sentry::mm
