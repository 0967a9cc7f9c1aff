// The ends of mapped files: what lies beyond them, and files that become shorter or longer while they are
// mapped.
#include <linux/futex.h>
#include <setjmp.h>
#include <sys/shm.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

constexpr size_t kPage = 4096;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kPopulateRead = 22, kPopulateWrite = 23;  // Linux 5.14

char* map(int fd, size_t pages, int protection = kReadWrite, int flags = MAP_SHARED, off_t offset = 0) {
  return static_cast<char*>(OK(mmap(nullptr, pages * kPage, protection, flags, fd, offset)));
}

// What an access raises.
struct Raised {
  int signal, code;
  bool operator==(const Raised&) const = default;
};
constexpr Raised nothing{0, 0}, no_file{SIGBUS, BUS_ADRERR}, forbidden{SIGSEGV, SEGV_ACCERR},
    unmapped{SIGSEGV, SEGV_MAPERR};

thread_local sigjmp_buf escape;
thread_local siginfo_t seen;

void take_faults() {
  struct sigaction action = {};
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    seen = *info;
    siglongjmp(escape, 1);
  };
  action.sa_flags = SA_SIGINFO;
  OK(sigaction(SIGSEGV, &action, nullptr));
  OK(sigaction(SIGBUS, &action, nullptr));
}

template <typename F>
Raised outcome_of(const char* at, F access) {
  seen = {};
  if (sigsetjmp(escape, 1) == 0) access();
  if (seen.si_signo != 0) CHECK_EQ(const_cast<const void*>(seen.si_addr), static_cast<const void*>(at));
  return {seen.si_signo, seen.si_code};
}
Raised reading(const char* at) {
  return outcome_of(at, [&] { (void)*static_cast<const volatile char*>(at); });
}
Raised writing(char* at, char value) {
  return outcome_of(at, [&] { *static_cast<volatile char*>(at) = value; });
}

// A file of its own, and one in memory: the body gets a descriptor of each, empty.
template <typename F>
void each_file(F body) {
  take_faults();
  Fd fd(OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600)));
  body(int{fd});
  Fd memory(OK(memfd_create("file", MFD_CLOEXEC)));
  body(int{memory});
}

void put(int fd, char byte, off_t offset) { CHECK_EQ(OK(pwrite(fd, &byte, 1, offset)), 1); }

char get(int fd, off_t offset) {
  char byte = 0;
  CHECK_EQ(OK(pread(fd, &byte, 1, offset)), 1);
  return byte;
}

// ---- beyond the end

TEST(protection_is_looked_at_before_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      char* p = map(fd, 3, PROT_READ, flags);
      CHECK(reading(p + kPage + 5) == no_file);
      CHECK(writing(p + kPage + 6, 'w') == forbidden);
      OK(mprotect(p, 3 * kPage, PROT_NONE));
      CHECK(reading(p + 2 * kPage) == forbidden);
      CHECK(writing(p + 2 * kPage, 'w') == forbidden);
      OK(mprotect(p, 3 * kPage, kReadWrite));
      CHECK(reading(p + 2 * kPage) == no_file);
      CHECK(writing(p + 2 * kPage, 'w') == no_file);
      CHECK(writing(p + 99, 'w') == nothing);
      CHECK(writing(p + 101, 'w') == nothing);
      OK(munmap(p, 3 * kPage));
    }
  });
}

TEST(executing_beyond_the_end) {
  each_file([](int fd) {
    char* p = map(fd, 1, PROT_READ, MAP_PRIVATE);
    const auto run = [&] { reinterpret_cast<void (*)()>(p)(); };
    // That a page must not be executed the CPU finds where there is one.
    CHECK(outcome_of(p, run) == no_file);
    put(fd, 0, 0);
    CHECK(outcome_of(p, run) == forbidden);
    OK(mprotect(p, kPage, PROT_READ | PROT_EXEC));
    OK(ftruncate(fd, 0));
    CHECK(outcome_of(p, run) == no_file);
    // ret
    put(fd, '\xc3', 0);
    CHECK(outcome_of(p, run) == nothing);
  });
}

TEST(populating_beyond_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      char* p = map(fd, 4, kReadWrite, flags);
      for (const int advice : {kPopulateRead, kPopulateWrite}) {
        OK(madvise(p, kPage, advice));
        FAILS(EFAULT, madvise(p, 3 * kPage, advice));
        FAILS(EFAULT, madvise(p + kPage, kPage, advice));
        // What comes first counts.
        OK(mprotect(p + 2 * kPage, kPage, PROT_NONE));
        FAILS(EFAULT, madvise(p + kPage, 2 * kPage, advice));
        FAILS(EINVAL, madvise(p + 2 * kPage, 2 * kPage, advice));
        OK(mprotect(p + 2 * kPage, kPage, kReadWrite));
        OK(ftruncate(fd, 3 * kPage));
        OK(madvise(p, 3 * kPage, advice));
        FAILS(EFAULT, madvise(p, 4 * kPage, advice));
        OK(ftruncate(fd, 100));
      }
      OK(munmap(p + 3 * kPage, kPage));
      FAILS(EFAULT, madvise(p, 4 * kPage, kPopulateRead));
      OK(ftruncate(fd, 3 * kPage));
      FAILS(ENOMEM, madvise(p, 4 * kPage, kPopulateRead));
      OK(ftruncate(fd, 100));
      OK(munmap(p, 3 * kPage));
    }
  });
}

TEST(locking_beyond_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    char* p = map(fd, 2);
    OK(mlock(p, kPage));
    FAILS(ENOMEM, mlock(p, 2 * kPage));
    OK(ftruncate(fd, 2 * kPage));
    OK(mlock(p, 2 * kPage));
    OK(munlock(p, 2 * kPage));
    // mmap(2) does not tell.
    OK(munmap(map(fd, 4, PROT_READ, MAP_SHARED | MAP_POPULATE), 4 * kPage));
    OK(munmap(p, 2 * kPage));
  });
}

TEST(the_kernel_does_not_copy_beyond_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, kPage));
    int ends[2];
    OK(pipe(ends));
    Fd zero(OK(open("/dev/zero", O_RDONLY)));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      char* p = map(fd, 4, kReadWrite, flags);
      FAILS(EFAULT, read(zero, p + kPage, 10));
      FAILS(EFAULT, write(ends[1], p + kPage, 10));
      FAILS(EFAULT, open(p + kPage, O_RDONLY));
      struct timespec* when = reinterpret_cast<struct timespec*>(p + 2 * kPage - 8);
      FAILS(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, when));
      OK(ftruncate(fd, 3 * kPage));
      OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, when));
      OK(ftruncate(fd, kPage));
      OK(munmap(p, 4 * kPage));
    }
    OK(close(ends[0]));
    OK(close(ends[1]));
  });
}

TEST(the_kernel_copies_up_to_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    WRITE_FILE("source", std::string(9000, 's'));
    Fd source(OK(open("source", O_RDONLY)));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      char* p = map(fd, 4, kReadWrite, flags);
      iovec pieces[] = {{p + 50, 200}, {p + kPage + 10, 100}, {p + 300, 100}};
      CHECK_EQ(OK(preadv(source, pieces, 3, 0)), 200);
      CHECK_EQ(p[249], 's');
      CHECK_EQ(p[300], 0);
      OK(ftruncate(fd, 2 * kPage));
      CHECK_EQ(OK(preadv(source, pieces, 3, 0)), 400);
      CHECK_EQ(p[kPage + 109], 's');
      OK(ftruncate(fd, 100));
      OK(munmap(p, 4 * kPage));
    }
  });
}

TEST(anonymous_shared_memory_that_grew) {
  take_faults();
  char* p = static_cast<char*>(OK(mmap(nullptr, kPage, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  p = static_cast<char*>(OK(mremap(p, kPage, 2 * kPage, MREMAP_MAYMOVE)));
  CHECK(writing(p, 'w') == nothing);
  CHECK(writing(p + kPage, 'w') == no_file);
  const int id = OK(shmget(IPC_PRIVATE, kPage, 0600));
  char* q = static_cast<char*>(OK(shmat(id, nullptr, 0)));
  OK(shmctl(id, IPC_RMID, nullptr));
  q = static_cast<char*>(OK(mremap(q, kPage, 3 * kPage, MREMAP_MAYMOVE)));
  CHECK(writing(q, 'w') == nothing);
  CHECK(reading(q + 2 * kPage) == no_file);
}

// ---- files that grow

TEST(a_private_mapping_shows_what_a_file_grows_by) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    char* p = map(fd, 8, kReadWrite, MAP_PRIVATE);
    p[0] = 'o';
    CHECK(reading(p + 3 * kPage) == no_file);
    OK(ftruncate(fd, 5 * kPage));
    put(fd, 'f', 3 * kPage);
    CHECK(reading(p + 3 * kPage) == nothing);
    CHECK_EQ(p[3 * kPage], 'f');
    CHECK(writing(p + 4 * kPage, 'o') == nothing);
    CHECK(writing(p + 5 * kPage, 'o') == no_file);
    OK(ftruncate(fd, 8 * kPage));
    CHECK(writing(p + 5 * kPage, 'p') == nothing);
    CHECK_EQ(p[0], 'o');
    CHECK_EQ(p[4 * kPage], 'o');
    CHECK_EQ(get(fd, 4 * kPage), 0);
    CHECK_EQ(get(fd, 5 * kPage), 0);
    OK(munmap(p, 8 * kPage));
  });
}

TEST(growing_by_writes_and_by_fallocate) {
  each_file([](int fd) {
    char* shared = map(fd, 8);
    char* own = map(fd, 8, kReadWrite, MAP_PRIVATE);
    for (off_t page = 0; page < 4; ++page) {
      CHECK(reading(own + page * 4096) == no_file);
      CHECK(writing(shared + page * 4096, 'w') == no_file);
      if (page % 2 == 0) {
        put(fd, 'x', page * 4096 + 7);
      } else {
        OK(fallocate(fd, 0, page * 4096, kPage));
      }
      CHECK(reading(own + page * 4096) == nothing);
      CHECK_EQ(own[page * 4096 + 7], page % 2 == 0 ? 'x' : 0);
      CHECK(writing(shared + page * 4096, 's') == nothing);
      CHECK_EQ(own[page * 4096], 's');
    }
    OK(munmap(shared, 8 * kPage));
    OK(munmap(own, 8 * kPage));
  });
}

TEST(protecting_what_a_file_has_grown_by) {
  // What was mapped when there was nothing behind it must be the file's, whatever happens to it in between.
  each_file([](int fd) {
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      OK(ftruncate(fd, 100));
      char* p = map(fd, 3, PROT_READ, flags);
      OK(ftruncate(fd, 3 * kPage));
      put(fd, 'f', kPage);
      OK(mprotect(p + kPage, kPage, kReadWrite));
      CHECK_EQ(p[kPage], 'f');
      CHECK(writing(p + kPage, 'g') == nothing);
      CHECK_EQ(get(fd, kPage), flags == MAP_SHARED ? 'g' : 'f');
      CHECK(reading(p + 2 * kPage) == nothing);
      CHECK(writing(p + 2 * kPage, 'g') == forbidden);
      OK(munmap(p, 3 * kPage));
    }
  });
}

TEST(the_kernel_copies_into_what_a_file_has_grown_by) {
  each_file([](int fd) {
    WRITE_FILE("source", std::string(40 * kPage, 's'));
    Fd source(OK(open("source", O_RDONLY)));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      OK(ftruncate(fd, 0));
      char* p = map(fd, 64, kReadWrite, flags);
      CHECK(reading(p) == no_file);
      OK(ftruncate(fd, 2 * kPage));
      CHECK_EQ(OK(pread(source, p + 100, kPage, 0)), ssize_t{kPage});
      OK(ftruncate(fd, 64 * kPage));
      CHECK_EQ(OK(pread(source, p + 3 * kPage + 50, 40 * kPage, 0)), ssize_t{40 * kPage});
      CHECK_EQ(p[3 * kPage + 49], 0);
      CHECK_EQ(p[3 * kPage + 50], 's');
      CHECK_EQ(p[43 * kPage + 49], 's');
      CHECK_EQ(p[43 * kPage + 50], 0);
      OK(munmap(p, 64 * kPage));
      // And out of it.
      OK(ftruncate(fd, 0));
      p = map(fd, 64, PROT_READ, flags);
      OK(ftruncate(fd, 40 * kPage));
      put(fd, 'f', 30 * kPage);
      Fd copy(OK(open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600)));
      CHECK_EQ(OK(pwrite(copy, p, 40 * kPage, 0)), ssize_t{40 * kPage});
      CHECK_EQ(get(copy, 30 * kPage), 'f');
      OK(munmap(p, 64 * kPage));
    }
  });
}

TEST(a_debugger_sees_what_a_file_has_grown_by) {
  each_file([](int fd) {
    char* p = map(fd, 2, PROT_READ, MAP_PRIVATE);
    Fd memory(OK(open("/proc/self/mem", O_RDWR)));
    char byte = 0;
    const auto place = reinterpret_cast<off_t>(p + 5);
    FAILS(EIO, pread(memory, &byte, 1, place));
    FAILS(EIO, pwrite(memory, "m", 1, place));
    OK(ftruncate(fd, kPage));
    put(fd, 'f', 5);
    CHECK_EQ(OK(pread(memory, &byte, 1, place)), 1);
    CHECK_EQ(byte, 'f');
    CHECK_EQ(OK(pwrite(memory, "m", 1, place)), 1);
    CHECK_EQ(p[5], 'm');
    CHECK_EQ(get(fd, 5), 'f');
    OK(munmap(p, 2 * kPage));
  });
}

TEST(waiting_on_a_futex_in_what_a_file_has_grown_by) {
  each_file([](int fd) {
    char* p = map(fd, 2, kReadWrite, MAP_PRIVATE);
    FAILS(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, 7, nullptr, nullptr, 0));
    FAILS(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT, 7, nullptr, nullptr, 0));
    OK(ftruncate(fd, kPage));
    FAILS(EAGAIN, syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, 7, nullptr, nullptr, 0));
    FAILS(EAGAIN, syscall(SYS_futex, p, FUTEX_WAIT, 7, nullptr, nullptr, 0));
    OK(munmap(p, 2 * kPage));
  });
}

TEST(threads_meet_on_a_page_that_has_come_to_be) {
  // Each writes a byte of its own; a page that is mapped twice loses one.
  each_file([](int fd) {
    constexpr size_t kPages = 150;
    constexpr int kThreads = 3;
    char* p = map(fd, kPages, kReadWrite, MAP_PRIVATE);
    std::atomic<size_t> reached = 0;
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (size_t page = 0; page < kPages; ++page) {
          while (reached.load() <= page) sched_yield();
          CHECK(writing(p + page * kPage + static_cast<size_t>(i), 'w') == nothing);
          ++done;
        }
      });
    }
    for (size_t page = 0; page < kPages; ++page) {
      OK(ftruncate(fd, static_cast<off_t>((page + 1) * kPage)));
      reached = page + 1;
      while (done.load() < kThreads * static_cast<int>(page + 1)) sched_yield();
      for (size_t i = 0; i < kThreads; ++i) CHECK_EQ(p[page * kPage + i], 'w');
    }
    for (std::thread& thread : threads) thread.join();
    OK(munmap(p, kPages * kPage));
  });
}

// ---- files that shrink

TEST(a_shorter_file_takes_private_copies_along) {
  each_file([](int fd) {
    OK(ftruncate(fd, 4 * kPage));
    char* p = map(fd, 4, kReadWrite, MAP_PRIVATE);
    char* q = map(fd, 4);
    for (size_t page = 0; page < 4; ++page) p[page * kPage] = p[page * kPage + 200] = 'o';
    q[kPage + 200] = q[kPage + 50] = 's';
    OK(ftruncate(fd, static_cast<off_t>(kPage + 100)));
    CHECK_EQ(p[0], 'o');
    // A copy of the last page stays as it is, the file's own page ends in zeros.
    CHECK_EQ(p[kPage + 200], 'o');
    CHECK_EQ(q[kPage + 200], 0);
    CHECK_EQ(q[kPage + 50], 's');
    for (char* mapping : {p, q}) {
      CHECK(reading(mapping + 2 * kPage) == no_file);
      CHECK(writing(mapping + 3 * kPage, 'w') == no_file);
    }
    OK(ftruncate(fd, 4 * kPage));
    for (char* mapping : {p, q}) {
      CHECK(reading(mapping + 2 * kPage) == nothing);
      CHECK_EQ(mapping[2 * kPage], 0);
      CHECK_EQ(mapping[3 * kPage + 200], 0);
    }
    OK(munmap(p, 4 * kPage));
    OK(munmap(q, 4 * kPage));
  });
}

TEST(shorter_and_longer_at_once) {
  each_file([](int fd) {
    OK(ftruncate(fd, 4 * kPage));
    char* p = map(fd, 4, kReadWrite, MAP_PRIVATE);
    char* q = map(fd, 4);
    memset(p, 'o', 4 * kPage);
    memset(q, 's', 4 * kPage);
    OK(ftruncate(fd, kPage));
    OK(ftruncate(fd, 4 * kPage));
    CHECK_EQ(p[0], 'o');
    CHECK_EQ(q[0], 's');
    CHECK_EQ(p[kPage], 0);
    CHECK_EQ(q[3 * kPage], 0);
    // Opening it anew takes everything.
    p[kPage] = 'o';
    if (access("file", F_OK) == 0) {
      OK(close(OK(open("file", O_RDWR | O_TRUNC))));
      struct stat now;
      OK(fstat(fd, &now));
      if (now.st_size == 0) CHECK(reading(p) == no_file && reading(q + kPage) == no_file);
      OK(unlink("file"));
    }
  });
}

TEST(what_was_written_behind_the_end_goes_with_any_truncation) {
  each_file([](int fd) {
    OK(ftruncate(fd, 100));
    char* p = map(fd, 1);
    p[99] = 'f';
    p[100] = p[4000] = 'x';
    OK(ftruncate(fd, 100));
    CHECK_EQ(p[99], 'f');
    CHECK_EQ(p[100], 0);
    CHECK_EQ(p[4000], 0);
    OK(munmap(p, kPage));
  });
}

TEST(a_hole_leaves_private_copies_alone) {
  each_file([](int fd) {
    OK(ftruncate(fd, 3 * kPage));
    char* p = map(fd, 3, kReadWrite, MAP_PRIVATE);
    char* q = map(fd, 3);
    memset(q, 's', 3 * kPage);
    p[0] = 'o';
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * kPage) != 0) {
      CHECK_EQ(errno, EOPNOTSUPP);
      return;
    }
    CHECK_EQ(p[0], 'o');
    CHECK_EQ(p[1], 's');
    CHECK_EQ(p[kPage], 0);
    CHECK_EQ(q[0], 0);
    CHECK_EQ(q[2 * kPage], 's');
    OK(munmap(p, 3 * kPage));
    OK(munmap(q, 3 * kPage));
  });
}

TEST(removing_pages_by_advice) {
  each_file([](int fd) {
    OK(ftruncate(fd, 4 * kPage));
    char* p = map(fd, 4);
    char* q = map(fd, 4, kReadWrite, MAP_PRIVATE);
    memset(p, 's', 4 * kPage);
    if (madvise(p, kPage, MADV_REMOVE) != 0) {
      CHECK_EQ(errno, EOPNOTSUPP);
      return;
    }
    CHECK_EQ(p[0], 0);
    CHECK_EQ(p[kPage], 's');
    CHECK_EQ(get(fd, kPage - 1), 0);
    CHECK_EQ(get(fd, kPage), 's');
    struct stat status;
    OK(fstat(fd, &status));
    CHECK_EQ(status.st_size, 4 * kPage);
    q[kPage] = 'o';
    OK(madvise(p + kPage, 3 * kPage, MADV_REMOVE));
    CHECK_EQ(q[kPage], 'o');
    CHECK_EQ(q[2 * kPage], 0);
    // Beyond the end there is nothing to remove, and a shared mapping need not be writable now.
    OK(ftruncate(fd, kPage));
    p[0] = 's';
    OK(mprotect(p, 4 * kPage, PROT_READ));
    OK(madvise(p, 4 * kPage, MADV_REMOVE));
    CHECK_EQ(p[0], 0);
    FAILS(EACCES, madvise(q, kPage, MADV_REMOVE));
    FAILS(EINVAL, madvise(p + 1, kPage, MADV_REMOVE));
    // What comes first counts; a hole between is told of at the end.
    OK(ftruncate(fd, 4 * kPage));
    OK(mprotect(p, 4 * kPage, kReadWrite));
    memset(p, 's', 4 * kPage);
    OK(munmap(p + kPage, kPage));
    FAILS(ENOMEM, madvise(p, 4 * kPage, MADV_REMOVE));
    CHECK_EQ(p[0], 0);
    CHECK_EQ(p[3 * kPage], 0);
    OK(mlock(p, kPage));
    FAILS(EINVAL, madvise(p, kPage, MADV_REMOVE));
    OK(munmap(p, 4 * kPage));
    OK(munmap(q, 4 * kPage));
  });
  char* anonymous = map(-1, 1, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS);
  FAILS(EINVAL, madvise(anonymous, kPage, MADV_REMOVE));
  char* shared = map(-1, 2, kReadWrite, MAP_SHARED | MAP_ANONYMOUS);
  memset(shared, 's', 2 * kPage);
  OK(madvise(shared + kPage, kPage, MADV_REMOVE));
  CHECK_EQ(shared[0], 's');
  CHECK_EQ(shared[kPage], 0);
  WRITE_FILE("file", std::string(kPage, 'f'));
  Fd reader(OK(open("file", O_RDONLY)));
  FAILS(EACCES, madvise(map(reader, 1, PROT_READ), kPage, MADV_REMOVE));
  Fd sealed(OK(memfd_create("sealed", MFD_ALLOW_SEALING)));
  OK(ftruncate(sealed, kPage));
  char* before = map(sealed, 1);
  OK(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
  FAILS(EPERM, madvise(before, kPage, MADV_REMOVE));
}

// ---- files from below

// A file of four pages of 'b', which a runner may have put there: on an overlay it then lies below.
std::string from_below(int number) {
  const std::string path = "../below-" + std::to_string(number);
  if (access(path.c_str(), F_OK) == 0) return path;
  WRITE_FILE("below", std::string(4 * kPage, 'b'));
  return "below";
}

TEST(a_file_from_below_ends_for_those_who_map_it) {
  take_faults();
  const std::string path = from_below(1);
  Fd reader(OK(open(path.c_str(), O_RDONLY)));
  char* shared = map(reader, 6, PROT_READ);
  char* own = map(reader, 6, kReadWrite, MAP_PRIVATE);
  char* text = map(reader, 6, PROT_READ | PROT_EXEC, MAP_PRIVATE);
  own[0] = own[2 * kPage] = 'o';
  CHECK(reading(own + 4 * kPage) == no_file);
  CHECK(reading(text + kPage) == nothing);
  OK(truncate(path.c_str(), static_cast<off_t>(kPage + 100)));
  for (char* mapping : {shared, own, text}) {
    CHECK_EQ(mapping[kPage + 99], 'b');
    CHECK(reading(mapping + 2 * kPage) == no_file);
    CHECK(reading(mapping + 4 * kPage) == no_file);
  }
  CHECK_EQ(shared[kPage + 100], 0);
  CHECK_EQ(own[0], 'o');
  // And grows, from elsewhere.
  JOIN(check::fork_child([&] {
    Fd fd(OK(open(path.c_str(), O_RDWR)));
    OK(ftruncate(fd, 5 * kPage));
    put(fd, 'n', 3 * kPage);
    for (char* mapping : {shared, own, text}) CHECK_EQ(mapping[3 * kPage], 'n');
  }));
  for (char* mapping : {shared, own, text}) {
    CHECK_EQ(mapping[2 * kPage], 0);
    CHECK_EQ(mapping[3 * kPage], 'n');
    CHECK(reading(mapping + 4 * kPage) == nothing);
    CHECK(reading(mapping + 5 * kPage) == no_file);
  }
  CHECK_EQ(own[0], 'o');
  OK(truncate(path.c_str(), 0));
  for (char* mapping : {shared, own, text}) CHECK(reading(mapping) == no_file);
  OK(munmap(own + 2 * kPage, kPage));
  OK(truncate(path.c_str(), 2 * kPage));
  CHECK_EQ(own[0], 0);
}

TEST(a_file_from_below_grows_for_those_who_map_it) {
  take_faults();
  const std::string path = from_below(2);
  Fd reader(OK(open(path.c_str(), O_RDONLY)));
  char* shared = map(reader, 6, PROT_READ);
  char* own = map(reader, 6, kReadWrite, MAP_PRIVATE);
  own[3 * kPage] = 'o';
  Fd writer(OK(open(path.c_str(), O_WRONLY | O_APPEND)));
  CHECK_EQ(OK(write(writer, "new", 3)), 3);
  for (char* mapping : {shared, own}) {
    CHECK_EQ(mapping[4 * kPage - 1], 'b');
    CHECK_EQ(mapping[4 * kPage + 1], 'e');
    CHECK(reading(mapping + 5 * kPage) == no_file);
  }
  CHECK_EQ(own[3 * kPage], 'o');
}

TEST(a_shared_mapping_of_a_file_from_below_shows_writes) {
  const std::string path = from_below(3);
  Fd reader(OK(open(path.c_str(), O_RDONLY)));
  char* shared = map(reader, 4, PROT_READ);
  CHECK_EQ(shared[kPage], 'b');
  auto* turn = reinterpret_cast<std::atomic<int>*>(map(-1, 1, kReadWrite, MAP_SHARED | MAP_ANONYMOUS));
  const pid_t child = check::fork_child([&] {
    // Without a call in between.
    *turn = 1;
    while (*turn != 2) {
    }
    CHECK_EQ(shared[kPage], 'w');
  });
  while (*turn != 1) sched_yield();
  Fd writer(OK(open(path.c_str(), O_RDWR)));
  put(writer, 'w', kPage);
  CHECK_EQ(shared[kPage], 'w');
  *turn = 2;
  JOIN(child);
  char* q = map(writer, 4);
  q[2 * kPage] = 'q';
  CHECK_EQ(shared[2 * kPage], 'q');
}

TEST(a_file_from_below_changes_while_processes_come_and_go) {
  take_faults();
  const std::string path = from_below(4);
  Fd reader(OK(open(path.c_str(), O_RDONLY)));
  char* shared = map(reader, 4, PROT_READ);
  char* own = map(reader, 4, kReadWrite, MAP_PRIVATE);
  std::atomic<bool> stop = false;
  std::atomic<int> rounds = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (; !stop || rounds < 20; ++rounds) {
        JOIN(check::fork_child([&] {
          for (size_t page = 0; page < 4; ++page) {
            const auto one = reading(shared + page * kPage), other = writing(own + page * kPage, 'c');
            CHECK(one == nothing || one == no_file);
            CHECK(other == nothing || other == no_file);
          }
        }));
      }
    });
  }
  WAIT_UNTIL(rounds > 2);
  OK(truncate(path.c_str(), 3 * kPage));
  OK(truncate(path.c_str(), 100));
  Fd writer(OK(open(path.c_str(), O_RDWR)));
  put(writer, 'w', 2 * kPage);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(shared[0], 'b');
  CHECK_EQ(shared[2 * kPage], 'w');
  CHECK_EQ(own[2 * kPage], 'w');
  CHECK(reading(own + 3 * kPage) == no_file);
}

// ---- mappings that move

TEST(a_mapping_across_the_end_moves) {
  each_file([](int fd) {
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      OK(ftruncate(fd, 2 * kPage));
      char* p = map(fd, 4, kReadWrite, flags);
      memset(p, 'o', 2 * kPage);
      char* place = map(-1, 8, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
      char* q = static_cast<char*>(OK(mremap(p, 4 * kPage, 6 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place)));
      CHECK(reading(p) == unmapped);
      CHECK(reading(p + 3 * kPage) == unmapped);
      CHECK_EQ(q[0], 'o');
      CHECK_EQ(q[2 * kPage - 1], 'o');
      CHECK(reading(q + 2 * kPage) == no_file);
      CHECK(reading(q + 5 * kPage) == no_file);
      CHECK(reading(q + 6 * kPage) == forbidden);
      OK(ftruncate(fd, 5 * kPage));
      put(fd, 'f', 3 * kPage);
      CHECK(reading(q + 3 * kPage) == nothing);
      CHECK_EQ(q[3 * kPage], 'f');
      CHECK_EQ(q[0], 'o');
      // It shrinks from its end, and the rest stays.
      CHECK_EQ(static_cast<char*>(OK(mremap(q, 6 * kPage, 4 * kPage, 0))), q);
      CHECK(reading(q + 5 * kPage) == unmapped);
      CHECK_EQ(q[3 * kPage], 'f');
      OK(munmap(q, 8 * kPage));
    }
  });
}

TEST(something_else_in_place_of_the_end) {
  each_file([](int fd) {
    OK(ftruncate(fd, kPage));
    char* p = map(fd, 4, kReadWrite, MAP_PRIVATE);
    OK(mmap(p + 2 * kPage, kPage, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    CHECK(writing(p + 2 * kPage, 'a') == nothing);
    OK(ftruncate(fd, 4 * kPage));
    put(fd, 'f', 2 * kPage);
    CHECK(reading(p + 3 * kPage) == nothing);
    CHECK(reading(p + kPage) == nothing);
    CHECK_EQ(p[2 * kPage], 'a');
    OK(ftruncate(fd, 0));
    CHECK_EQ(p[2 * kPage], 'a');
    CHECK(reading(p + kPage) == no_file);
    OK(munmap(p, 4 * kPage));
    CHECK(reading(p + kPage) == unmapped);
  });
}

// ---- processes

TEST(ends_and_forks) {
  each_file([](int fd) {
    OK(ftruncate(fd, 2 * kPage));
    char* p = map(fd, 4, kReadWrite, MAP_PRIVATE);
    char* q = map(fd, 4);
    p[kPage] = 'o';
    Gate forked, shrunk, grown;
    const pid_t child = check::fork_child([&] {
      p[0] = 'c';
      forked.notify();
      shrunk.wait();
      CHECK(reading(p + kPage) == no_file);
      CHECK(writing(q + kPage, 'w') == no_file);
      OK(ftruncate(fd, 4 * kPage));
      CHECK(writing(q + 3 * kPage, 'c') == nothing);
      CHECK(writing(p + 2 * kPage, 'c') == nothing);
      CHECK_EQ(p[0], 'c');
      // A child of its own has the same.
      JOIN(check::fork_child([&] {
        CHECK_EQ(p[2 * kPage], 'c');
        CHECK_EQ(p[3 * kPage], 'c');
        CHECK(writing(p + kPage, 'd') == nothing);
      }));
      CHECK_EQ(p[kPage], 0);
      grown.notify();
    });
    forked.wait();
    OK(ftruncate(fd, kPage));
    shrunk.notify();
    grown.wait();
    CHECK_EQ(p[0], 0);
    CHECK_EQ(q[3 * kPage], 'c');
    CHECK_EQ(p[3 * kPage], 'c');
    CHECK_EQ(p[2 * kPage], 0);
    CHECK_EQ(p[kPage], 0);
    JOIN(child);
    OK(munmap(p, 4 * kPage));
    OK(munmap(q, 4 * kPage));
  });
}

TEST(a_process_that_runs_sees_a_file_end) {
  // It makes no call between seeing that the file is shorter and touching what is gone.
  each_file([](int fd) {
    auto* turn = reinterpret_cast<std::atomic<int>*>(map(-1, 1, kReadWrite, MAP_SHARED | MAP_ANONYMOUS));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      OK(ftruncate(fd, 2 * kPage));
      *turn = 0;
      const pid_t child = check::fork_child([&] {
        char* p = map(fd, 2, kReadWrite, flags);
        for (int round = 0; round < 15; ++round) {
          CHECK(writing(p + kPage, 'c') == nothing);
          *turn = 2 * round + 1;
          while (*turn != 2 * round + 2) {
          }
          const auto outcome = reading(p + kPage);
          CHECK(outcome == no_file);
          OK(ftruncate(fd, 2 * kPage));
        }
      });
      for (int round = 0; round < 15; ++round) {
        while (*turn != 2 * round + 1) sched_yield();
        OK(ftruncate(fd, kPage));
        *turn = 2 * round + 2;
      }
      JOIN(child);
    }
    OK(munmap(turn, kPage));
  });
}

TEST(what_is_cut_off_while_others_write_it_is_zeros) {
  each_file([](int fd) {
    OK(ftruncate(fd, 2 * kPage));
    auto* stop = reinterpret_cast<std::atomic<bool>*>(map(-1, 1, kReadWrite, MAP_SHARED | MAP_ANONYMOUS));
    const auto scribble = [&] {
      char* p = map(fd, 2);
      while (!*stop) {
        const auto outcome = writing(p + kPage, 'x');
        CHECK(outcome == nothing || outcome == no_file);
      }
    };
    const pid_t child = check::fork_child(scribble);
    std::thread thread(scribble);
    char* p = map(fd, 2);
    for (int round = 0; round < 200; ++round) {
      OK(ftruncate(fd, kPage));
      char bytes[8];
      CHECK_EQ(OK(pread(fd, bytes, sizeof bytes, kPage)), 0);
      CHECK(reading(p + kPage) == no_file);
      OK(ftruncate(fd, kPage + 1));
      OK(ftruncate(fd, 2 * kPage));
    }
    OK(ftruncate(fd, kPage));
    *stop = true;
    thread.join();
    JOIN(child);
    // Nobody has written there since it ended here.
    OK(ftruncate(fd, 2 * kPage));
    for (size_t i = 0; i < kPage; ++i) CHECK_EQ(p[kPage + i], 0);
    OK(munmap(p, 2 * kPage));
    OK(munmap(stop, kPage));
  });
}

TEST(ends_move_while_processes_come_and_go) {
  each_file([](int fd) {
    OK(ftruncate(fd, 8 * kPage));
    char* p = map(fd, 8, kReadWrite, MAP_PRIVATE);
    char* q = map(fd, 8);
    std::atomic<bool> stop = false;
    std::thread mover([&] {
      for (unsigned round = 0; !stop; ++round) OK(ftruncate(fd, static_cast<off_t>(round * 7 % 9 * kPage)));
    });
    for (int round = 0; round < 25; ++round) {
      JOIN(check::fork_child([&] {
        for (size_t page = 0; page < 8; ++page) {
          const auto outcome = writing(p + page * kPage, 'c'), other = writing(q + page * kPage, 'c');
          CHECK(outcome == nothing || outcome == no_file);
          CHECK(other == nothing || other == no_file);
        }
        if (round % 5 == 0) OK(execl("/bin/true", "true", nullptr));
      }));
      const auto outcome = writing(p + 3 * kPage, 'p');
      CHECK(outcome == nothing || outcome == no_file);
    }
    stop = true;
    mover.join();
    OK(ftruncate(fd, 0));
    for (char* mapping : {p, q}) CHECK(reading(mapping) == no_file);
    OK(munmap(p, 8 * kPage));
    OK(munmap(q, 8 * kPage));
  });
}

}  // namespace
