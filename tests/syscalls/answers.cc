// What a call answers in memory is there when it returns, and what others are to see of it before they are
// woken or begin; with more threads than processors, whose answers overtake each other.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/syscalls/check.h"

namespace {

constexpr size_t kPage = 4096;
constexpr int kThreads = 6;

// Threads that ask for one thing after the other until it is over.
class Busy {
 public:
  explicit Busy(int threads) {
    for (int i = 0; i < threads; ++i)
      threads_.emplace_back([this] {
        while (!over_) {
          struct stat facts;
          memset(&facts, 0xff, sizeof facts);
          OK(fstat(0, &facts));
          CHECK(facts.st_nlink < 0xffff);
        }
      });
  }
  ~Busy() {
    over_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::vector<std::thread> threads_;
};

int patterned_file() {
  const int fd = OK(memfd_create("pattern", 0));
  std::vector<unsigned char> bytes(64 * 1024);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 7 + i / 256);
  CHECK_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return fd;
}
bool is_pattern(const unsigned char* bytes, size_t size, size_t offset) {
  for (size_t i = 0; i < size; ++i)
    if (bytes[i] != static_cast<unsigned char>((offset + i) * 7 + (offset + i) / 256)) return false;
  return true;
}

void with_threads(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

// Memory that has just been mapped gets the answer, memory that has just gone does not.
TEST(memory_that_comes_and_goes) {
  const int fd = patterned_file();
  with_threads([&](int self) {
    for (int i = 0; i < 150; ++i) {
      auto* const memory = static_cast<unsigned char*>(
          OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
      const auto offset = static_cast<size_t>(self * 1000 + i);
      constexpr size_t kSize = 5000;
      CHECK_EQ(pread(fd, memory + 100, kSize, static_cast<off_t>(offset)), static_cast<ssize_t>(kSize));
      CHECK(is_pattern(memory + 100, kSize, offset));
      struct stat facts;
      OK(fstat(fd, &facts));
      CHECK_EQ(facts.st_size, 64 * 1024);
      OK(mprotect(memory + kPage, kPage, PROT_NONE));
      FAILS(EFAULT, pread(fd, memory + kPage, 100, 0));
      OK(munmap(memory + 2 * kPage, kPage));
      FAILS(EFAULT, syscall(SYS_fstat, fd, memory + 2 * kPage));
      CHECK_EQ(pread(fd, memory + 3 * kPage, kPage, 0), static_cast<ssize_t>(kPage));
      CHECK(is_pattern(memory + 3 * kPage, kPage, 0));
      OK(munmap(memory, 4 * kPage));
    }
  });
  OK(close(fd));
}

// Somebody else unmaps what a call answers into: it may or may not find it.
TEST(memory_that_others_take_away) {
  const int fd = patterned_file();
  auto* const memory = static_cast<unsigned char*>(
      OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  std::atomic<bool> over = false;
  std::thread taker([&] {
    while (!over) {
      OK(munmap(memory, kPage));
      CHECK(mmap(memory, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                 0) == memory);
    }
  });
  with_threads([&](int self) {
    for (int i = 0; i < 200; ++i) {
      if (self % 2 == 0) {
        const long result = syscall(SYS_fstat, fd, memory + 128 * self);
        CHECK(result == 0 || (result == -1 && errno == EFAULT));
      } else {
        const ssize_t result = pread(fd, memory + 512, 1024, 0);
        CHECK(result == 1024 || (result == -1 && errno == EFAULT));
      }
    }
  });
  over = true;
  taker.join();
  OK(close(fd));
}

// CLONE_PARENT_SETTID and CLONE_CHILD_SETTID: before the child runs.
TEST(a_thread_finds_its_number) {
  const Busy busy(3);
  static char stack[65536];
  static std::atomic<pid_t> parents, childs;
  static std::atomic<int> wrong;
  wrong = 0;
  for (int i = 0; i < 300; ++i) {
    parents = 1;
    childs = 1;
    OK(clone(
        [](void*) {
          const auto self = static_cast<pid_t>(syscall(SYS_gettid));
          if (parents != self || childs != self) ++wrong;
          return 0;
        },
        stack + sizeof stack,
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
            CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
        nullptr, &parents, nullptr, &childs));
    WAIT_UNTIL(childs == 0);
  }
  CHECK_EQ(wrong.load(), 0);
}

// FUTEX_WAKE_OP changes the word before it wakes: who looks too early would go to sleep again, for good.
TEST(who_is_woken_finds_the_word_changed) {
  const Busy busy(2);
  for (const int flag : {0, FUTEX_PRIVATE_FLAG}) {
    std::atomic<uint32_t> word = 0;
    std::atomic<uint32_t> seen[2] = {};
    constexpr uint32_t kRounds = 300;
    std::vector<std::thread> waiters;
    for (auto& mine : seen)
      waiters.emplace_back([&] {
        for (uint32_t round = 0; round < kRounds; ++round) {
          while (word == round) (void)syscall(SYS_futex, &word, FUTEX_WAIT | flag, round, nullptr);
          mine = round + 1;
        }
      });
    for (uint32_t round = 0; round < kRounds; ++round) {
      OK(syscall(SYS_futex, &word, FUTEX_WAKE_OP | flag, 10, 0, &word,
                 FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)));
      WAIT_UNTIL(seen[0] == round + 1 && seen[1] == round + 1);
    }
    for (std::thread& waiter : waiters) waiter.join();
  }
}

// Two pieces of one call's answer for the same place: the later one wins. It comes in several batches.
TEST(pieces_in_one_place) {
  const Busy busy(4);
  int ends[2];
  OK(pipe(ends));
  constexpr size_t kSize = 40960;
  CHECK(OK(fcntl(ends[1], F_SETPIPE_SZ, 1 << 18)) >= static_cast<int>(2 * kSize));
  std::vector<char> out(2 * kSize), in(kSize);
  for (int round = 0; round < 300; ++round) {
    std::fill_n(out.begin(), kSize, static_cast<char>(1 + round % 100));
    std::fill_n(out.begin() + kSize, kSize, static_cast<char>(101 + round % 100));
    CHECK_EQ(write(ends[1], out.data(), out.size()), static_cast<ssize_t>(out.size()));
    const iovec twice[2] = {{in.data(), kSize}, {in.data(), kSize}};
    CHECK_EQ(readv(ends[0], twice, 2), static_cast<ssize_t>(2 * kSize));
    CHECK(memcmp(in.data(), out.data() + kSize, kSize) == 0);
  }
  OK(close(ends[0]));
  OK(close(ends[1]));
}

// Who writes to a full pipe goes on because somebody has read: what that one has read is there by then.
TEST(who_makes_room_has_read) {
  const Busy busy(4);
  int ends[2];
  OK(pipe(ends));
  CHECK_EQ(OK(fcntl(ends[1], F_SETPIPE_SZ, 4096)), 4096);
  constexpr int kRounds = 1000, kPlaces = 16;
  auto* const places = static_cast<char*>(
      OK(mmap(nullptr, kPlaces * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  std::thread reader([&] {
    for (int i = 0; i < kRounds; ++i)
      CHECK_EQ(read(ends[0], places + static_cast<size_t>(i % kPlaces) * kPage, kPage),
               static_cast<ssize_t>(kPage));
  });
  char page[kPage];
  for (int i = 0; i < kRounds; ++i) {
    memset(page, 1 + i % 100, sizeof page);
    CHECK_EQ(write(ends[1], page, sizeof page), static_cast<ssize_t>(sizeof page));
    if (i == 0) continue;
    const volatile char* const before = places + static_cast<size_t>((i - 1) % kPlaces) * kPage;
    CHECK_EQ(int{before[0]}, 1 + (i - 1) % 100);
    CHECK_EQ(int{before[kPage - 1]}, 1 + (i - 1) % 100);
  }
  reader.join();
  OK(close(ends[0]));
  OK(close(ends[1]));
}

// process_vm_writev(2) and /proc/PID/mem reach a process that asks for nothing.
TEST(memory_of_a_process_that_computes) {
  static volatile int word;
  word = 0;
  auto* const seen = static_cast<std::atomic<int>*>(
      OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  const pid_t child = check::fork_child([&] {
    *seen = 1;
    while (word == 0) {
    }
    *seen = 2;
    while (word == 1) {
    }
  });
  WAIT_UNTIL(*seen == 1);
  int value = 1;
  const iovec from{&value, sizeof value}, to{const_cast<int*>(&word), sizeof word};
  CHECK_EQ(OK(process_vm_writev(child, &from, 1, &to, 1, 0)), static_cast<ssize_t>(sizeof value));
  WAIT_UNTIL(*seen == 2);
  const int memory = OK(open(("/proc/" + std::to_string(child) + "/mem").c_str(), O_RDWR));
  value = 2;
  CHECK_EQ(OK(pwrite(memory, &value, sizeof value, static_cast<off_t>(reinterpret_cast<uintptr_t>(&word)))),
           static_cast<ssize_t>(sizeof value));
  JOIN(child);
  OK(close(memory));
}

}  // namespace
