// Anonymous memory and the address space: mmap(2), munmap(2), mprotect(2), mremap(2), brk(2), madvise(2),
// mlock(2).
#include <setjmp.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

constexpr size_t kPage = 4096;

char* map(size_t bytes, int protection = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE | MAP_ANONYMOUS,
          void* at = nullptr) {
  return static_cast<char*>(OK(mmap(at, bytes, protection, flags, -1, 0)));
}

sigjmp_buf escape;
void* fault_address;

void catch_faults() {
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    fault_address = info->si_addr;
    siglongjmp(escape, 1);
  };
  OK(sigaction(SIGSEGV, &action, nullptr));
  OK(sigaction(SIGBUS, &action, nullptr));
}

bool can_read(const char* at) {
  catch_faults();
  if (sigsetjmp(escape, 1) != 0) return false;
  (void)*static_cast<const volatile char*>(at);
  return true;
}

bool can_write(char* at) {
  catch_faults();
  if (sigsetjmp(escape, 1) != 0) return false;
  volatile char* p = at;
  *p = *p;
  return true;
}

struct Region {
  unsigned long start, end;
  std::string protection, name;
  unsigned long offset;
};

std::vector<Region> regions() {
  std::vector<Region> all;
  std::string maps = READ_FILE("/proc/self/maps");
  for (size_t at = 0; at < maps.size();) {
    size_t end = maps.find('\n', at);
    std::string line = maps.substr(at, end - at);
    Region region = {};
    char protection[8] = {};
    int name_at = 0;
    CHECK(sscanf(line.c_str(), "%lx-%lx %7s %lx %*s %*s %n", &region.start, &region.end, protection,
                 &region.offset, &name_at) >= 4);
    region.protection = protection;
    region.name = line.substr(size_t(name_at));
    all.push_back(region);
    at = end + 1;
  }
  return all;
}

// The protection of the page at `at` as /proc/self/maps says, or "" where nothing is mapped.
std::string protection_of(const void* at) {
  auto address = reinterpret_cast<unsigned long>(at);
  for (const Region& region : regions()) {
    if (region.start <= address && address < region.end) return region.protection;
  }
  return "";
}

bool is_mapped(const void* at) { return !protection_of(at).empty(); }

TEST(persistent_memory_is_not_promised) {
  check::Fd fd(OK(open(".", O_TMPFILE | O_RDWR, 0600)));
  OK(ftruncate(fd, 4096));
  constexpr int kSharedValidate = 3, kSync = 0x80000;
  FAILS(EOPNOTSUPP, (long)mmap(nullptr, 4096, PROT_READ, kSharedValidate | kSync, fd, 0));
}

TEST(anonymous_memory_is_zero_and_writable) {
  char* p = map(1 << 20);
  CHECK_EQ(reinterpret_cast<uintptr_t>(p) % kPage, 0u);
  for (size_t i = 0; i < 1 << 20; i += 511) CHECK_EQ(p[i], 0);
  memset(p, 'x', 1 << 20);
  CHECK_EQ(p[(1 << 20) - 1], 'x');
  OK(munmap(p, 1 << 20));
  CHECK(!can_read(p));
}

TEST(mmap_errors) {
  FAILS(EINVAL, mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  FAILS(EINVAL, mmap(nullptr, kPage, PROT_READ, MAP_ANONYMOUS, -1, 0));
  FAILS(EINVAL, mmap(reinterpret_cast<void*>(0x1234'5001), kPage, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  FAILS(EBADF, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, 999, 0));
  FAILS(ENOMEM, mmap(nullptr, size_t(1) << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  FAILS(ENOMEM, mmap(nullptr, ~size_t(0), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  FAILS(ENOMEM, mmap(reinterpret_cast<void*>(0x7fff'ffff'f000), 2 * kPage, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  int fds[2];
  OK(pipe(fds));
  FAILS(ENODEV, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fds[0], 0));
}

TEST(lowest_pages_are_refused_to_users) {
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

TEST(lengths_are_rounded_up) {
  char* p = map(3 * kPage);
  OK(munmap(p + kPage, 1));
  CHECK(is_mapped(p));
  CHECK(!is_mapped(p + kPage));
  CHECK(is_mapped(p + 2 * kPage));
  char* q = map(1);
  q[kPage - 1] = 1;
}

TEST(hints) {
  char* p = map(4 * kPage);
  OK(munmap(p, 4 * kPage));
  CHECK_EQ(static_cast<void*>(map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, p)), static_cast<void*>(p));
  // Taken: somewhere else. Not aligned: rounded down.
  CHECK(map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, p) != p);
  char* r = map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, p + 2 * kPage + 5);
  CHECK_EQ(static_cast<void*>(r), static_cast<void*>(p + 2 * kPage));
}

TEST(fixed_replaces) {
  char* p = map(3 * kPage);
  memset(p, 'a', 3 * kPage);
  char* q = map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, p + kPage);
  CHECK_EQ(static_cast<void*>(q), static_cast<void*>(p + kPage));
  CHECK_EQ(p[0], 'a');
  CHECK_EQ(p[kPage], 0);
  CHECK_EQ(p[2 * kPage], 'a');
  CHECK(!can_write(p + kPage));
}

TEST(fixed_noreplace) {
  char* p = map(3 * kPage);
  FAILS(EEXIST, mmap(p + kPage, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  OK(munmap(p + kPage, kPage));
  CHECK_EQ(
      static_cast<void*>(map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, p + kPage)),
      static_cast<void*>(p + kPage));
}

TEST(low_two_gib) {
  char* p = map(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT);
  CHECK(reinterpret_cast<uintptr_t>(p) < 0x8000'0000);
}

TEST(munmap_makes_holes) {
  char* p = map(10 * kPage);
  memset(p, 'x', 10 * kPage);
  OK(munmap(p + 2 * kPage, 2 * kPage));
  OK(munmap(p + 5 * kPage, kPage));
  for (size_t i = 0; i < 10; ++i) {
    bool hole = i == 2 || i == 3 || i == 5;
    CHECK_EQ(can_read(p + i * kPage), !hole);
    CHECK_EQ(is_mapped(p + i * kPage), !hole);
  }
  // Over holes and nothing at all: fine.
  OK(munmap(p, 10 * kPage));
  OK(munmap(p, 10 * kPage));
  FAILS(EINVAL, munmap(p, 0));
  FAILS(EINVAL, munmap(p + 1, kPage));
  FAILS(EINVAL, munmap(p, ~size_t(0)));
}

// Nothing of it is there for anybody, and the place is free: wherever it is, and in however many.
TEST(unmapped_memory_is_gone) {
  static int code;
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    code = info->si_code;
    siglongjmp(escape, 1);
  };
  const auto gone = [&](char* at) {
    OK(sigaction(SIGSEGV, &action, nullptr));
    code = 0;
    if (sigsetjmp(escape, 1) == 0) *static_cast<volatile char*>(at) = 'w';
    CHECK_EQ(code, SEGV_MAPERR);
    FAILS(EFAULT, write(STDOUT_FILENO, at, 1));
    FAILS(ENOMEM, mprotect(at, kPage, PROT_READ));
    FAILS(ENOMEM, madvise(at, kPage, MADV_DONTNEED));
    CHECK(!is_mapped(at));
  };
  constexpr size_t kPlaces = 700;
  char* const base = map(2 * kPlaces * kPage);
  memset(base, 'x', 2 * kPlaces * kPage);
  for (size_t i = 0; i < kPlaces; ++i) OK(munmap(base + 2 * i * kPage, kPage));
  for (const size_t i : {size_t{0}, size_t{100}, size_t{300}, kPlaces - 1}) {
    gone(base + 2 * i * kPage);
    CHECK_EQ(base[(2 * i + 1) * kPage], 'x');
  }
  JOIN(check::fork_child([&] {
    gone(base);
    gone(base + 600 * kPage);
    CHECK_EQ(map(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, base)[5],
             0);
  }));
  // What is mapped there is new, and grows into what was unmapped behind it.
  char* const p = base + 20 * kPage;
  OK(munmap(p, 10 * kPage));
  CHECK_EQ(map(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, p), p);
  CHECK_EQ(p[7], 0);
  p[7] = 'n';
  CHECK_EQ(OK(mremap(p, kPage, 8 * kPage, 0)), static_cast<void*>(p));
  CHECK_EQ(p[7], 'n');
  CHECK_EQ(p[7 * kPage], 0);
  gone(p + 8 * kPage);
  char* const moved = static_cast<char*>(
      OK(mremap(p, 8 * kPage, 8 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, base + 40 * kPage)));
  CHECK_EQ(moved[7], 'n');
  gone(p);
  for (size_t i = 0; i < 2 * kPlaces; ++i) OK(munmap(base + i * kPage, kPage));
  gone(base + 41 * kPage);
  char* const again = map(2 * kPlaces * kPage);
  for (size_t i = 0; i < 2 * kPlaces; ++i) CHECK_EQ(again[i * kPage + 9], 0);
}

TEST(protections) {
  char* p = map(3 * kPage);
  memset(p, 'x', 3 * kPage);
  OK(mprotect(p + kPage, kPage, PROT_READ));
  CHECK(can_write(p));
  CHECK(can_read(p + kPage));
  CHECK(!can_write(p + kPage));
  CHECK_EQ(fault_address, static_cast<void*>(p + kPage));
  CHECK(can_write(p + 2 * kPage));
  OK(mprotect(p, 3 * kPage, PROT_NONE));
  for (size_t i = 0; i < 3; ++i) CHECK(!can_read(p + i * kPage));
  CHECK_EQ(protection_of(p), "---p");
  OK(mprotect(p, 3 * kPage, PROT_READ | PROT_WRITE));
  CHECK_EQ(p[kPage], 'x');
  OK(munmap(p + kPage, kPage));
  FAILS(ENOMEM, mprotect(p, 3 * kPage, PROT_READ));
  CHECK_EQ(protection_of(p), "r--p");
  CHECK_EQ(protection_of(p + 2 * kPage), "rw-p");
  FAILS(EINVAL, mprotect(p + 1, kPage, PROT_READ));
  FAILS(EINVAL, mprotect(p, kPage, 0x100));
  OK(mprotect(p, 0, PROT_READ));
}

// A part that has the protection already is joined to the one before it, which comes to have it.
TEST(protections_that_join) {
  char* p = map(3 * kPage);
  for (int i = 0; i < 3; ++i) {
    OK(mprotect(p + kPage, kPage, PROT_READ));
    OK(mprotect(p, 3 * kPage, PROT_READ));
    CHECK_EQ(protection_of(p + kPage), "r--p");
    OK(mprotect(p + kPage, kPage, PROT_READ | PROT_WRITE));
    CHECK_EQ(protection_of(p), "r--p");
    CHECK_EQ(protection_of(p + kPage), "rw-p");
    OK(munmap(p + kPage, kPage));
    CHECK(mmap(p + kPage, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          p + kPage);
    OK(mprotect(p, 3 * kPage, PROT_READ | PROT_WRITE));
    CHECK(can_write(p));
    CHECK(can_write(p + kPage));
    CHECK(can_write(p + 2 * kPage));
  }
}

TEST(code_can_be_written_and_run) {
  char* p = map(kPage);
  const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  memcpy(p, code, sizeof code);
  OK(mprotect(p, kPage, PROT_READ | PROT_EXEC));
  auto* function = reinterpret_cast<int (*)()>(p);
  CHECK_EQ(function(), 42);
  OK(mprotect(p, kPage, PROT_READ | PROT_WRITE | PROT_EXEC));
  p[1] = 43;
  CHECK_EQ(function(), 43);
}

TEST(remap_grows_and_shrinks) {
  char* p = map(4 * kPage);
  memset(p, 'x', 4 * kPage);
  CHECK_EQ(OK(static_cast<char*>(mremap(p, 4 * kPage, 2 * kPage, 0))), p);
  CHECK(!is_mapped(p + 2 * kPage));
  p[0] = 'y';
  char* q = static_cast<char*>(OK(mremap(p, 2 * kPage, 100 * kPage, MREMAP_MAYMOVE)));
  CHECK_EQ(q[0], 'y');
  CHECK_EQ(q[2 * kPage - 1], 'x');
  CHECK_EQ(q[2 * kPage], 0);
  q[100 * kPage - 1] = 1;
  if (q != p) CHECK(!is_mapped(p));
}

TEST(remap_in_place_needs_room) {
  char* p = map(3 * kPage);
  // The neighbour is in the way.
  FAILS(ENOMEM, mremap(p, kPage, 2 * kPage, 0));
  OK(munmap(p + kPage, kPage));
  CHECK_EQ(OK(static_cast<char*>(mremap(p, kPage, 2 * kPage, 0))), p);
  p[2 * kPage - 1] = 1;
}

TEST(remap_to_a_fixed_place) {
  char* p = map(2 * kPage);
  memset(p, 'p', 2 * kPage);
  char* target = map(4 * kPage);
  memset(target, 't', 4 * kPage);
  CHECK_EQ(
      OK(static_cast<char*>(mremap(p, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target + kPage))),
      target + kPage);
  CHECK_EQ(target[0], 't');
  CHECK_EQ(target[kPage], 'p');
  CHECK_EQ(target[3 * kPage], 't');
  CHECK(!is_mapped(p));
  FAILS(EINVAL, mremap(target, kPage, kPage, MREMAP_FIXED, p));
  FAILS(EINVAL, mremap(target, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target + kPage));
  FAILS(EINVAL, mremap(target + 1, kPage, kPage, 0));
  FAILS(EINVAL, mremap(target, kPage, 0, 0));
  FAILS(EFAULT, mremap(p, kPage, 2 * kPage, MREMAP_MAYMOVE));
}

TEST(remap_leaving_the_old_place) {
  char* p = map(kPage);
  p[0] = 'x';
  void* moved = mremap(p, kPage, kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  if (moved == MAP_FAILED && errno == EINVAL) SKIP_OPTIONAL("no MREMAP_DONTUNMAP");
  OK(moved);
  CHECK(moved != p);
  CHECK_EQ(static_cast<char*>(moved)[0], 'x');
  CHECK_EQ(p[0], 0);
}

TEST(remap_zero_size_duplicates_a_shared_mapping) {
  char* p = map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  char* q = static_cast<char*>(mremap(p, 0, kPage, MREMAP_MAYMOVE));
  OK(q);
  p[5] = 'x';
  CHECK_EQ(q[5], 'x');
}

TEST(program_break) {
  char* start = static_cast<char*>(sbrk(0));
  CHECK(sbrk(3 * kPage) == start);
  memset(start, 'x', 3 * kPage);
  CHECK(sbrk(-long(2 * kPage)) == start + 3 * kPage);
  CHECK(sbrk(2 * kPage) == start + kPage);
  CHECK_EQ(start[0], 'x');
  CHECK_EQ(start[kPage + 8], 0);
  // The raw call answers the break that is, also when it refuses.
  long now = syscall(SYS_brk, 0);
  CHECK_EQ(syscall(SYS_brk, 1), now);
  CHECK_EQ(syscall(SYS_brk, ~0ul), now);
  CHECK_EQ(syscall(SYS_brk, now + 100), now + 100);
  rlimit limit = {0, 0};
  OK(setrlimit(RLIMIT_DATA, &limit));
  CHECK_EQ(syscall(SYS_brk, now + (64 << 20)), now + 100);
}

TEST(heap_is_named_in_maps) {
  OK(sbrk(kPage));
  bool found = false;
  auto top = reinterpret_cast<unsigned long>(sbrk(0));
  for (const Region& region : regions()) {
    if (region.name == "[heap]" && region.start < top && top <= region.end) found = true;
  }
  CHECK(found);
}

TEST(dontneed_drops_the_content) {
  char* p = map(3 * kPage);
  memset(p, 'x', 3 * kPage);
  OK(madvise(p + kPage, kPage, MADV_DONTNEED));
  CHECK_EQ(p[0], 'x');
  CHECK_EQ(p[kPage], 0);
  CHECK_EQ(p[2 * kPage], 'x');
  p[kPage] = 'y';
  CHECK_EQ(p[kPage], 'y');
  FAILS(EINVAL, madvise(p + 1, kPage, MADV_DONTNEED));
  FAILS(EINVAL, madvise(p, kPage, 12345));
  OK(munmap(p + kPage, kPage));
  FAILS(ENOMEM, madvise(p, 3 * kPage, MADV_DONTNEED));
}

// A child's memory, of which the host joins nothing that has been mapped in pieces: there may be as many as
// one likes, and they are protected and moved together.
TEST(dontneed_of_many_pieces) {
  constexpr size_t kRounds = 18, kPieces = 2000, kLength = 2 * kPieces * kPage;
  char* p = map(kPage + kRounds * kLength);
  p[0] = 'x';
  JOIN(check::fork_child([&] {
    p[0] = 'y';
    for (size_t round = 0; round < kRounds; ++round) {
      char* const here = p + kPage + round * kLength;
      here[kPage] = 'z';
      for (size_t i = 0; i < kPieces; ++i) OK(madvise(here + 2 * i * kPage, kPage, MADV_DONTNEED));
      OK(mprotect(here, kLength, PROT_READ));
      OK(mprotect(here, kLength, PROT_READ | PROT_WRITE));
    }
    char* const place = map(16 * kPage);
    char* const moved = static_cast<char*>(
        OK(mremap(p + kPage, 8 * kPage, 16 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place)));
    CHECK_EQ(moved[0], 0);
    CHECK_EQ(moved[kPage], 'z');
    JOIN(check::fork_child([&] {
      CHECK_EQ(p[0], 'y');
      CHECK_EQ(moved[kPage], 'z');
    }));
  }));
}

TEST(other_advice_is_taken) {
  char* p = map(16 * kPage);
  memset(p, 'x', 16 * kPage);
  for (int advice : {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP}) {
    OK(madvise(p, 16 * kPage, advice));
  }
  OK(madvise(p, 16 * kPage, MADV_FREE));
  p[0] = 'y';
  CHECK_EQ(p[0], 'y');
  CHECK(p[kPage] == 'x' || p[kPage] == 0);
  // Huge pages depend on the kernel's configuration.
  int result = madvise(p, 16 * kPage, MADV_NOHUGEPAGE);
  CHECK(result == 0 || errno == EINVAL);
}

TEST(dontfork_and_wipeonfork) {
  char* hidden = map(kPage);
  char* wiped = map(kPage);
  hidden[0] = wiped[0] = 'x';
  OK(madvise(hidden, kPage, MADV_DONTFORK));
  OK(madvise(wiped, kPage, MADV_WIPEONFORK));
  JOIN(check::fork_child([&] {
    CHECK(!can_read(hidden));
    CHECK_EQ(wiped[0], 0);
  }));
  CHECK_EQ(hidden[0], 'x');
  CHECK_EQ(wiped[0], 'x');
  OK(madvise(hidden, kPage, MADV_DOFORK));
  JOIN(check::fork_child([&] { CHECK_EQ(hidden[0], 'x'); }));
}

TEST(shared_anonymous_memory_spans_fork) {
  volatile int* word = reinterpret_cast<int*>(map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
  pid_t child = check::fork_child([&] {
    word[0] = 5;
    WAIT_UNTIL(word[1] == 6);
    JOIN(check::fork_child([&] { word[2] = 7; }));
  });
  WAIT_UNTIL(word[0] == 5);
  word[1] = 6;
  JOIN(child);
  CHECK_EQ(word[2], 7);
}

TEST(shared_memory_outlives_the_unmapping_of_one_side) {
  char* p = map(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  p[kPage] = 'x';
  check::Gate unmapped;
  pid_t child = check::fork_child([&] {
    unmapped.wait();
    CHECK_EQ(p[kPage], 'x');
  });
  OK(munmap(p, 2 * kPage));
  unmapped.notify();
  JOIN(child);
}

TEST(fork_of_a_large_address_space) {
  char* p = map(64 << 20);
  for (size_t i = 0; i < 64u << 20; i += kPage) p[i] = static_cast<char>(i >> 12);
  JOIN(check::fork_child([&] {
    for (size_t i = 0; i < 64u << 20; i += 16 * kPage) {
      CHECK_EQ(p[i], static_cast<char>(i >> 12));
      p[i] = 'c';
    }
  }));
  for (size_t i = 0; i < 64u << 20; i += 16 * kPage) CHECK_EQ(p[i], static_cast<char>(i >> 12));
}

TEST(stack_grows) {
  rlimit limit;
  OK(getrlimit(RLIMIT_STACK, &limit));
  if (limit.rlim_cur < 8 << 20) SKIP("a stack limit below 8 MiB");
  check::use_stack(6 << 20);
}

TEST(stack_limit_ends_growth) {
  pid_t child = check::fork_child([] {
    rlimit limit = {512 << 10, 512 << 10};
    OK(setrlimit(RLIMIT_STACK, &limit));
    char* here = static_cast<char*>(__builtin_frame_address(0));
    *static_cast<volatile char*>(here - (256 << 10)) = 1;
    *static_cast<volatile char*>(here - (2 << 20)) = 1;
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

TEST(growsdown_mapping_grows) {
  // Room below: a hole made of an unmapped reservation (the kernel keeps a gap of 256 pages to a neighbour).
  char* base = map(1024 * kPage, PROT_NONE);
  OK(munmap(base, 1024 * kPage));
  char* top = map(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED,
                  base + 1000 * kPage);
  top[0] = 1;
  CHECK(can_write(top - kPage));
  CHECK(can_write(top - 5 * kPage));
  CHECK(is_mapped(top - 3 * kPage));
}

TEST(maps_agree_with_what_was_done) {
  char* p = map(6 * kPage);
  OK(mprotect(p + kPage, kPage, PROT_READ));
  OK(mprotect(p + 2 * kPage, kPage, PROT_READ | PROT_EXEC));
  OK(munmap(p + 4 * kPage, kPage));
  CHECK_EQ(protection_of(p), "rw-p");
  CHECK_EQ(protection_of(p + kPage), "r--p");
  CHECK_EQ(protection_of(p + 2 * kPage), "r-xp");
  CHECK_EQ(protection_of(p + 3 * kPage), "rw-p");
  CHECK_EQ(protection_of(p + 4 * kPage), "");
  CHECK_EQ(protection_of(p + 5 * kPage), "rw-p");
  char* shared = map(kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS);
  CHECK_EQ(protection_of(shared), "r--s");
  unsigned long last = 0;
  bool stack = false;
  for (const Region& region : regions()) {
    CHECK(region.start < region.end);
    CHECK(region.start >= last);
    last = region.end;
    auto here = reinterpret_cast<unsigned long>(__builtin_frame_address(0));
    if (region.name == "[stack]") stack = region.start <= here && here < region.end;
  }
  CHECK(stack);
}

TEST(residency) {
  char* p = map(4 * kPage);
  p[0] = p[2 * kPage] = 1;
  unsigned char resident[4] = {};
  OK(mincore(p, 4 * kPage, resident));
  CHECK_EQ(resident[0] & 1, 1);
  CHECK_EQ(resident[2] & 1, 1);
  FAILS(EINVAL, mincore(p + 1, kPage, resident));
  FAILS(EINVAL, mincore(p + 1, ~size_t{0}, resident));
  FAILS(ENOMEM, mincore(p, ~size_t{0}, resident));
  FAILS(ENOMEM, mincore(p, size_t{1} << 47, resident));
  FAILS(EFAULT, mincore(p, kPage, nullptr));
  FAILS(EFAULT, mincore(p, kPage, reinterpret_cast<unsigned char*>(0xffff800000000000ul)));
  // What comes before a hole is told.
  OK(munmap(p + 2 * kPage, kPage));
  memset(resident, 0, sizeof resident);
  FAILS(ENOMEM, mincore(p, 4 * kPage, resident));
  CHECK_EQ(resident[0] & 1, 1);
  CHECK_EQ(resident[3], 0);
  FAILS(EFAULT, mincore(p, 4 * kPage, nullptr));
  OK(munmap(p, 4 * kPage));
  FAILS(ENOMEM, mincore(p, kPage, resident));
}

TEST(locking) {
  char* p = map(2 * kPage);
  OK(mlock(p, kPage));
  OK(munlock(p, kPage));
  OK(syscall(SYS_mlock2, p, kPage, 1));
  FAILS(EINVAL, syscall(SYS_mlock2, p, kPage, 8));
  OK(munmap(p + kPage, kPage));
  FAILS(ENOMEM, mlock(p, 2 * kPage));
  OK(munlockall());
  FAILS(EINVAL, mlockall(0x100));
  FAILS(EINVAL, mlockall(0));
}

TEST(address_space_limit) {
  rlimit limit = {256u << 20, 256u << 20};
  OK(setrlimit(RLIMIT_AS, &limit));
  FAILS(ENOMEM, mmap(nullptr, 512u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* p = map(16 << 20);
  FAILS(ENOMEM, mremap(p, 16 << 20, 512u << 20, MREMAP_MAYMOVE));
}

TEST(more_than_there_is) {
  if (READ_FILE("/proc/sys/vm/overcommit_memory") != "0\n") SKIP("this host overcommits in another way");
  constexpr size_t kHuge = size_t{1} << 45;
  FAILS(ENOMEM, mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* const reserved =
      static_cast<char*>(OK(mmap(nullptr, kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  FAILS(ENOMEM, mprotect(reserved, kHuge, PROT_READ | PROT_WRITE));
  OK(mprotect(reserved + kHuge / 2, 1 << 20, PROT_READ | PROT_WRITE));
  reserved[kHuge / 2] = 1;
  FAILS(ENOMEM, mremap(reserved + kHuge / 2, 1 << 20, kHuge, MREMAP_MAYMOVE));
  OK(munmap(reserved, kHuge));
  CHECK(malloc(kHuge) == nullptr);
}

TEST(large_reservation) {
  // What Go, Java and sanitizers do.
  char* p = map(size_t(64) << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  OK(mprotect(p + (size_t(20) << 30), 1 << 20, PROT_READ | PROT_WRITE));
  p[(size_t(20) << 30) + 5] = 1;
  CHECK(!can_read(p));
  OK(munmap(p, size_t(64) << 30));
}

TEST(a_thousand_mappings) {
  std::vector<char*> all;
  char* base = map(2000 * kPage, PROT_NONE);
  for (size_t i = 0; i < 1000; ++i) {
    char* p =
        map(kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, base + 2 * i * kPage);
    p[0] = static_cast<char>(i);
    all.push_back(p);
  }
  JOIN(check::fork_child([&] {
    for (size_t i = 0; i < all.size(); ++i) CHECK_EQ(all[i][0], static_cast<char>(i));
  }));
  CHECK(regions().size() > 1000);
  OK(munmap(base, 2000 * kPage));
  CHECK(regions().size() < 200);
}

TEST(threads_map_at_once) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) {
        char* p = map(4 * kPage);
        memset(p, t, 4 * kPage);
        OK(mprotect(p, kPage, PROT_READ));
        for (size_t j = 0; j < 4 * kPage; j += 1000) CHECK_EQ(p[j], t);
        OK(munmap(p, 4 * kPage));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(process_vm_access) {
  int value = 77, copy = 0;
  struct iovec {
    void* base;
    size_t length;
  } local = {&copy, sizeof copy}, remote = {&value, sizeof value};
  long n = syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0);
  if (n < 0 && errno == ENOSYS) SKIP_OPTIONAL("no process_vm_readv");
  CHECK_EQ(n, 4);
  CHECK_EQ(copy, 77);
  FAILS(ESRCH, syscall(SYS_process_vm_readv, 999'999'99, &local, 1, &remote, 1, 0));
}

TEST(system_v_shared_memory) {
  long id = syscall(SYS_shmget, 0 /* IPC_PRIVATE */, kPage, 0600);
  if (id < 0 && errno == ENOSYS) SKIP_OPTIONAL("no System V shared memory");
  OK(id);
  char* p = reinterpret_cast<char*>(OK(syscall(SYS_shmat, id, nullptr, 0)));
  OK(syscall(SYS_shmctl, id, 0 /* IPC_RMID */, nullptr));
  JOIN(check::fork_child([&] { p[0] = 'c'; }));
  CHECK_EQ(p[0], 'c');
  OK(syscall(SYS_shmdt, p));
  CHECK(!can_read(p));
}

}  // namespace
