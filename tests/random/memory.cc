// An arena in which everything happens to memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "child.h"
#include "guard.h"
#include "operations.h"

namespace random_program {
namespace {

constexpr size_t kPage = 4096, kPages = 48, kFilePages = 8;

struct Arena {
  char* base = nullptr;
  int files[2] = {-1, -1};

  [[nodiscard]] char* page(size_t i) const { return base + i * kPage; }
};
Arena arena;
// Also what lies beyond a file's end, and files that become shorter.
bool beyond = false;

// A line of /proc/self/maps that concerns the arena, as pages of it.
struct Mapped {
  size_t first, end;
  int letters;  // 1 readable, 2 writable, 4 executable, 8 shared
  uint64_t inode;
};

template <typename F>
void each_mapping(F visit) {
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == nullptr) broken("/proc/self/maps");
  char line[512];
  auto base = reinterpret_cast<uint64_t>(arena.base), end = base + kPages * kPage;
  while (fgets(line, sizeof line, maps) != nullptr) {
    uint64_t from = 0, to = 0, inode = 0;
    char letters[5];
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &from, &to, letters, &inode) != 4)
      broken("a line of maps");
    if (to <= base || from >= end) continue;
    int value = (letters[0] == 'r' ? 1 : 0) + (letters[1] == 'w' ? 2 : 0) + (letters[2] == 'x' ? 4 : 0) +
                (letters[3] == 's' ? 8 : 0);
    visit(Mapped{(std::max(from, base) - base) / kPage, (std::min(to, end) - base) / kPage, value, inode});
  }
  fclose(maps);
}

// What each page may be used for, however the kernel has joined them.
void say_map() {
  char permissions[kPages + 1];
  memset(permissions, '.', kPages);
  permissions[kPages] = 0;
  each_mapping([&](const Mapped& mapped) {
    for (size_t page = mapped.first; page < mapped.end; ++page)
      permissions[page] = "0123456789abcdef"[mapped.letters];
  });
  say("  map %s", permissions);
}

// Whether a page there is the file's, whatever part of it.
bool of_file(size_t from, size_t size, int file) {
  struct stat status;
  must(fstat(file, &status), "fstat");
  bool found = false;
  each_mapping([&](const Mapped& mapped) {
    if (mapped.inode == status.st_ino && mapped.first * kPage < from + size && mapped.end * kPage > from)
      found = true;
  });
  return found;
}

struct Range {
  size_t first, count;
};

Range some_pages(Random& random, size_t most) {
  size_t first = random.below(kPages);
  return {first, 1 + random.below(std::min(most, kPages - first))};
}

int some_protection(Random& random) {
  return random.of({PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                    PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC});
}

void begin() {
  if (arena.base != nullptr) return;
  // Where the kernel places nothing by itself, also where a page of it is free.
  auto* place = reinterpret_cast<void*>(uint64_t{1} << 40);
  void* memory = mmap(place, kPages * kPage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory == MAP_FAILED) broken("mmap of the arena");
  arena.base = static_cast<char*>(memory);
  for (int& file : arena.files) {
    file = static_cast<int>(must(memfd_create("arena", MFD_CLOEXEC), "memfd_create"));
    must(ftruncate(file, kFilePages * kPage), "ftruncate");
  }
}

void map(Random& random) {
  Range range = some_pages(random, 8);
  int protection = some_protection(random);
  int flags = MAP_FIXED | random.of({MAP_PRIVATE, MAP_SHARED});
  int fd = -1;
  size_t offset = 0;
  if (random.one_in(2)) {
    flags |= MAP_ANONYMOUS | (random.one_in(4) ? MAP_NORESERVE : 0) | (random.one_in(8) ? MAP_POPULATE : 0);
  } else {
    fd = arena.files[random.below(2)];
    offset = random.below((beyond ? kFilePages : kFilePages - range.count) + 1) * kPage;
  }
  void* got =
      mmap(arena.page(range.first), range.count * kPage, protection, flags, fd, static_cast<off_t>(offset));
  say("  mmap %zu+%zu prot %d flags %#x file %d+%zu: %s", range.first, range.count, protection,
      static_cast<unsigned>(flags),
      fd < 0                 ? -1
      : fd == arena.files[0] ? 0
                             : 1,
      offset / kPage, got == MAP_FAILED ? outcome(-1) : "ok");
}

void unmap(Random& random) {
  Range range = some_pages(random, 4);
  say("  munmap %zu+%zu: %s", range.first, range.count,
      outcome(munmap(arena.page(range.first), range.count * kPage)));
}

void protect(Random& random) {
  Range range = some_pages(random, 8);
  int protection = some_protection(random);
  int answer = mprotect(arena.page(range.first), range.count * kPage, protection);
  say("  mprotect %zu+%zu %d: %s", range.first, range.count, protection, outcome(answer));
}

void remap(Random& random) {
  // One page, since Linux moves several mappings at a time from 6.17 on, and not before.
  size_t from = random.below(kPages), new_count = 1 + random.below(6);
  int flags = random.of({0, MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED,
                         MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP});
  if (flags == 0 || !beyond || (flags & MREMAP_DONTUNMAP) != 0) new_count = 1;
  size_t to = random.below(kPages - new_count + 1);
  void* got = mremap(arena.page(from), kPage, new_count * kPage, flags, arena.page(to));
  say("  mremap %zu to %zu+%zu flags %d: %s", from, to, new_count, flags,
      got == MAP_FAILED ? outcome(-1) : "ok");
}

void advise(Random& random) {
  Range range = some_pages(random, 6);
  int advice = random.of({MADV_DONTNEED, MADV_DONTNEED, MADV_NORMAL, MADV_WILLNEED, MADV_DONTFORK,
                          MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK});
  if (beyond && random.one_in(3)) advice = random.of({MADV_REMOVE, MADV_POPULATE_WRITE, MADV_POPULATE_READ});
  int answer = madvise(arena.page(range.first), range.count * kPage, advice);
  say("  madvise %zu+%zu %d: %s", range.first, range.count, advice, outcome(answer));
}

void fill(Random& random) {
  Range range = some_pages(random, 3);
  size_t from = range.first * kPage + random.below(kPage), size = 1 + random.below(range.count * kPage);
  size = std::min(size, kPages * kPage - from);
  uint64_t word = random.next();
  volatile size_t done = 0;
  Fault fault = guarded([&] {
    while (done < size) {
      char byte = static_cast<char>(word >> done % 57);
      arena.base[from + done] = byte;
      done = done + 1;
    }
  });
  say("  write %zu+%zu: %zu", from, size, static_cast<size_t>(done));
  if (fault.signal != 0) say_fault("  write", fault, arena.base);
}

void sum(Random& random) {
  Range range = some_pages(random, 4);
  volatile uint64_t sum = 0;
  Fault fault = guarded([&] { sum = checksum(arena.page(range.first), range.count * kPage); });
  say("  sum %zu+%zu: %#" PRIx64, range.first, range.count, static_cast<uint64_t>(sum));
  if (fault.signal != 0) say_fault("  sum", fault, arena.base);
}

void execute(Random& random) {
  size_t at = random.below(kPages) * kPage + random.below(64);
  auto number = static_cast<uint32_t>(random.below(100000));
  char code[] = {'\xb8', 0, 0, 0, 0, '\xc3'};  // mov $number, %eax; ret
  memcpy(code + 1, &number, sizeof number);
  if (random.one_in(2)) {
    Fault fault = guarded([&] { memcpy(arena.base + at, code, sizeof code); });
    say_fault("  code", fault, arena.base);
    if (fault.signal != 0) return;
  } else {
    volatile bool same = false;
    guarded([&] { same = arena.base[at] == '\xb8' && arena.base[at + 5] == '\xc3'; });
    // Nothing but such code can be run, but not running it may be tried on what is no code, too.
    volatile char first = 0;
    Fault fault = guarded([&] { first = arena.base[at]; });
    if (fault.signal == 0 && !same) return;
  }
  volatile uint32_t got = 0;
  Fault fault = guarded([&] { got = reinterpret_cast<uint32_t (*)()>(arena.base + at)(); });
  say("  execute: %u", static_cast<uint32_t>(got));
  if (fault.signal != 0) say_fault("  execute", fault, arena.base);
}

// How much of it can be read or written from its start on. A call that is given more may say how far it came
// in bytes or in pages; what can be relied upon is the whole, and an error where the first byte is bad.
size_t usable(size_t from, size_t size, bool writes) {
  volatile size_t good = 0;
  guarded([&] {
    while (good < size) {
      volatile char* at = arena.base + from + good;
      char byte = *at;
      if (writes) *at = byte;
      size_t next = (from + good + kPage) / kPage * kPage - from;
      good = next;
    }
  });
  return good == 0 ? size : std::min(static_cast<size_t>(good), size);
}

size_t file_size(int file) {
  struct stat status;
  must(fstat(file, &status), "fstat");
  return static_cast<size_t>(status.st_size);
}

void transfer(Random& random) {
  int file = arena.files[random.below(2)];
  auto offset = static_cast<off_t>(random.below(kFilePages * kPage));
  size_t from = random.below(kPages * kPage), size = 1 + random.below(random.one_in(3) ? 5 * kPage : 300);
  size = std::min(size, kPages * kPage - from);
  const uint64_t kind = random.below(6);
  // In what pieces a file is copied onto itself is the kernel's own business.
  if (kind < 2 && of_file(from, size, file)) return;
  switch (kind) {
    case 0: {
      // Past the end of the file nothing is written: a write that fails there moves the end of Linux's tmpfs
      // nevertheless, on some kernels, and one that reads what it brings to be stops sooner or later.
      const size_t end = file_size(file);
      offset = std::min(offset, static_cast<off_t>(end));
      size = std::min(usable(from, size, false), end - static_cast<size_t>(offset));
      say("  pwrite %zu+%zu: %s", from, size, outcome(pwrite(file, arena.base + from, size, offset)));
      break;
    }
    case 1:
      size = usable(from, size, true);
      say("  pread %zu+%zu: %s", from, size, outcome(pread(file, arena.base + from, size, offset)));
      break;
    case 2: {
      int ends[2];
      must(pipe(ends), "pipe");
      size = usable(from, size, false);
      ssize_t wrote = write(ends[1], arena.base + from, size);
      say("  to a pipe %zu+%zu: %s", from, size, outcome(wrote));
      must(close(ends[1]), "close");
      size_t back = random.below(kPages * kPage - size), most = usable(back, size, true);
      say("  from it to %zu: %s", back, outcome(read(ends[0], arena.base + back, most)));
      must(close(ends[0]), "close");
      break;
    }
    case 3: {
      iovec pieces[3];
      size_t total = 0, end = file_size(file);
      bool writes = random.one_in(2);
      for (iovec& piece : pieces) {
        piece.iov_len = random.below(2000);
        piece.iov_base = arena.base + random.below(kPages * kPage - piece.iov_len);
        size_t start = static_cast<size_t>(static_cast<char*>(piece.iov_base) - arena.base);
        piece.iov_len = of_file(start, piece.iov_len, file) ? 0 : usable(start, piece.iov_len, !writes);
        if (writes) piece.iov_len = std::min(piece.iov_len, end - total);
        total += piece.iov_len;
      }
      if (writes) {
        offset = std::min(offset, static_cast<off_t>(end - total));
        say("  pwritev %zu: %s", total, outcome(pwritev(file, pieces, 3, offset)));
      } else {
        say("  preadv %zu: %s", total, outcome(preadv(file, pieces, 3, offset)));
      }
      break;
    }
    case 4: {
      timespec* when = reinterpret_cast<timespec*>(arena.base + from);
      if (from + sizeof *when > kPages * kPage) break;
      // What the time is, nobody knows; the resolution is the same everywhere.
      say("  clock_getres %zu: %s", from, outcome(syscall(SYS_clock_getres, CLOCK_MONOTONIC, when)));
      break;
    }
    default: {
      char* path = arena.base + std::min(from, kPages * kPage - 16);
      guarded([&] { strcpy(path, "/none/here"); });
      say("  open %zu: %s", from, outcome(open(path, O_RDONLY | O_CLOEXEC)));
    }
  }
}

void resize(Random& random) {
  int which = static_cast<int>(random.below(2));
  auto size = static_cast<off_t>(random.below(kFilePages * kPage));
  if (random.one_in(3)) size &= ~static_cast<off_t>(kPage - 1);
  must(ftruncate(arena.files[which], size), "ftruncate");
  say("  ftruncate %d %lld", which, static_cast<long long>(size));
  auto longer = static_cast<off_t>(kFilePages * kPage);
  switch (random.below(4)) {
    case 0:
      must(ftruncate(arena.files[which], longer), "ftruncate");
      break;
    case 1:
      longer = static_cast<off_t>(random.below(kFilePages * kPage - 1) + 1);
      must(static_cast<int>(pwrite(arena.files[which], "e", 1, longer - 1)), "pwrite");
      break;
    case 2:
      longer = size + static_cast<off_t>(random.below(kFilePages * kPage - static_cast<size_t>(size)) + 1);
      must(fallocate(arena.files[which], 0, size, longer - size), "fallocate");
      break;
    default:
      return;
  }
  say("  and to %lld", static_cast<long long>(longer));
}

void one_change(Random& random);

// A child that sees what is shared and what is a copy.
void fork_it(Random& random) {
  if (depth() > 1) return;
  Random child_random = random.split();
  say_child([&] {
    for (uint64_t left = 1 + child_random.below(6); left > 0; left--) one_change(child_random);
    say_map();
    return 0;
  });
}

void one_change(Random& random) {
  switch (random.below(18)) {
    case 0:
    case 1:
    case 2:
      return map(random);
    case 3:
      return unmap(random);
    case 4:
    case 5:
      return protect(random);
    case 6:
      return remap(random);
    case 7:
    case 8:
      return advise(random);
    case 9:
    case 10:
    case 11:
      return fill(random);
    case 12:
    case 13:
      return sum(random);
    case 14:
      return execute(random);
    case 15:
    case 16:
      return transfer(random);
    default:
      if (beyond) resize(random);
  }
}

}  // namespace

void memory_operation(Random& random) {
  begin();
  for (uint64_t left = 2 + random.below(12); left > 0; left--) one_change(random);
  if (random.one_in(3)) fork_it(random);
  say_map();
}

void truncation_operation(Random& random) {
  beyond = true;
  memory_operation(random);
  beyond = false;
}

}  // namespace random_program
