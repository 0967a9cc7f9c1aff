// Reading the same places of files again and again, while they change, end and go.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

constexpr size_t kPage = 4096;
constexpr int kOften = 24;

std::string pattern(size_t size, unsigned seed) {
  std::string bytes(size, 0);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>('a' + (i / 512 + seed) % 26);
  return bytes;
}

int make(const char* name, const std::string& bytes) {
  const int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
  OK(fd);
  CHECK_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return fd;
}

// What is at this place, the same each time.
std::string read_often(int fd, size_t size, uint64_t offset, int times = kOften) {
  std::string first(size, '?'), again(size, '?');
  const ssize_t count = OK(pread(fd, first.data(), size, static_cast<off_t>(offset)));
  first.resize(static_cast<size_t>(count));
  for (int i = 1; i < times; ++i) {
    again.assign(size, '!');
    CHECK_EQ(pread(fd, again.data(), size, static_cast<off_t>(offset)), count);
    CHECK(again.compare(0, first.size(), first) == 0);
    CHECK(again.find_first_not_of('!', first.size()) == std::string::npos);
  }
  return first;
}

TEST(places_and_sizes) {
  const std::string bytes = pattern(300'000, 0);
  const int fd = make("file", bytes);
  for (const size_t size :
       {size_t{1}, size_t{1023}, size_t{1024}, size_t{4096}, size_t{5000}, size_t{70'000}})
    for (const uint64_t offset :
         {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{100'000}, uint64_t{299'000}, uint64_t{299'999},
          uint64_t{300'000}, uint64_t{1'000'000}})
      CHECK(read_often(fd, size, offset) == (offset < bytes.size() ? bytes.substr(offset, size) : ""));
  for (int i = 0; i < kOften; ++i) {
    std::string all(bytes.size() + 10, '?');
    OK(lseek(fd, 0, SEEK_SET));
    CHECK_EQ(read(fd, all.data(), all.size()), static_cast<ssize_t>(bytes.size()));
    CHECK(all.compare(0, bytes.size(), bytes) == 0);
    CHECK_EQ(read(fd, all.data(), all.size()), 0);
  }
}

TEST(pieces) {
  const std::string bytes = pattern(64'000, 3);
  const int fd = make("file", bytes);
  for (int i = 0; i < kOften; ++i) {
    std::string a(10, '?'), b(20'000, '?'), c(3'000, '?');
    const iovec pieces[] = {{a.data(), a.size()}, {nullptr, 0}, {b.data(), b.size()}, {c.data(), c.size()}};
    CHECK_EQ(preadv(fd, pieces, 4, 50'000), 14'000);
    CHECK(a + b.substr(0, 13'990) == bytes.substr(50'000));
    CHECK_EQ(b[13'990], '?');
    CHECK_EQ(preadv(fd, pieces, 4, 1'000), 23'010);
    CHECK(a + b + c == bytes.substr(1'000, 23'010));
  }
}

TEST(what_is_written_is_read) {
  const int fd = make("file", pattern(100'000, 0));
  const int other = OK(open("file", O_RDWR));
  auto* const mapped =
      static_cast<char*>(mmap(nullptr, 100'000, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0));
  CHECK(mapped != MAP_FAILED);
  std::string text = read_often(fd, 8192, 40'000);
  for (int i = 0; i < 200; ++i) {
    const std::string next = pattern(8192, static_cast<unsigned>(i));
    if (i % 3 == 0)
      CHECK_EQ(pwrite(other, next.data(), next.size(), 40'000), 8192);
    else if (i % 3 == 1)
      memcpy(mapped + 40'000, next.data(), next.size());
    else
      CHECK_EQ(pwrite(fd, next.data(), next.size(), 40'000), 8192);
    CHECK(read_often(fd, 8192, 40'000, 2) == next);
  }
  const std::string large = pattern(100'000, 5);
  CHECK_EQ(pwrite(other, large.data(), large.size(), 0), 100'000);
  CHECK(read_often(fd, 100'000, 0) == large);
}

TEST(growth) {
  const int fd = make("file", pattern(5'000, 0));
  const int end = OK(open("file", O_WRONLY | O_APPEND));
  std::string all = pattern(5'000, 0);
  for (unsigned i = 0; i < 60; ++i) {
    const std::string more = pattern(3'000, i);
    CHECK_EQ(write(end, more.data(), more.size()), 3'000);
    all += more;
    CHECK(read_often(fd, 20'000, all.size() - 6'000, 12) == all.substr(all.size() - 6'000));
  }
  // Holes are zeros.
  OK(ftruncate(fd, 1'000'000));
  CHECK(read_often(fd, 9'000, 900'000) == std::string(9'000, 0));
  CHECK(read_often(fd, 6'000, all.size() - 2'000) == all.substr(all.size() - 2'000) + std::string(4'000, 0));
}

TEST(shrinking) {
  for (const size_t left : {size_t{0}, size_t{1}, kPage, 5 * kPage - 1, 5 * kPage, 6 * kPage + 7}) {
    const std::string bytes = pattern(20 * kPage, 1);
    const int fd = make("file", bytes);
    CHECK(read_often(fd, 4 * kPage, 4 * kPage) == bytes.substr(4 * kPage, 4 * kPage));
    OK(ftruncate(fd, static_cast<off_t>(left)));
    CHECK(read_often(fd, 4 * kPage, 4 * kPage) ==
          (left <= 4 * kPage ? std::string() : bytes.substr(4 * kPage, left - 4 * kPage)));
    OK(ftruncate(fd, 20 * kPage));
    std::string now = bytes.substr(0, left);
    now.resize(20 * kPage);
    CHECK(read_often(fd, 20 * kPage, 0) == now);
    OK(close(OK(open("file", O_WRONLY | O_TRUNC))));
    CHECK(read_often(fd, kPage, 0) == "");
    OK(close(fd));
    OK(unlink("file"));
  }
}

TEST(holes) {
  const std::string bytes = pattern(64 * kPage, 2);
  const int fd = make("file", bytes);
  CHECK(read_often(fd, bytes.size(), 0) == bytes);
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * kPage + 10, 9 * kPage) != 0)
    SKIP_OPTIONAL("the file system makes no holes");
  std::string now = bytes;
  std::fill_n(now.begin() + 3 * kPage + 10, 9 * kPage, 0);
  CHECK(read_often(fd, now.size(), 0) == now);
  // Which stay holes.
  const int sparse = make("sparse", pattern(kPage, 0));
  OK(ftruncate(sparse, 64 * kPage));
  CHECK_EQ(pwrite(sparse, bytes.data(), kPage, 40 * kPage), static_cast<ssize_t>(kPage));
  struct stat before, after;
  OK(fstat(sparse, &before));
  CHECK(read_often(sparse, 64 * kPage, 0).size() == 64 * kPage);
  CHECK(read_often(sparse, 2 * kPage, 39 * kPage) == std::string(kPage, 0) + bytes.substr(0, kPage));
  CHECK(read_often(sparse, 2 * kPage, 10 * kPage) == std::string(2 * kPage, 0));
  OK(fstat(sparse, &after));
  CHECK_EQ(after.st_blocks, before.st_blocks);
}

// There a host may have it grow to any place that is written to.
bool near_the_stack(uint64_t address) {
  const auto here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  constexpr uint64_t kFar = 64 << 20;
  return here - address < kFar || address - here < kFar;
}

TEST(bad_places) {
  const std::string bytes = pattern(32 * kPage, 0);
  const int fd = make("file", bytes);
  auto* const memory = static_cast<char*>(
      mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(memory != MAP_FAILED);
  CHECK(read_often(fd, 4 * kPage, kPage) == bytes.substr(kPage, 4 * kPage));
  OK(mprotect(memory + 4 * kPage, 2 * kPage, PROT_READ));
  OK(munmap(memory + 6 * kPage, 2 * kPage));
  for (int i = 0; i < kOften; ++i) {
    FAILS(EFAULT, pread(fd, memory + 4 * kPage, kPage, 0));
    FAILS(EFAULT, pread(fd, memory + 6 * kPage, kPage, 0));
    FAILS(EFAULT, pread(fd, nullptr, 2 * kPage, 0));
    FAILS(EFAULT, pread(fd, reinterpret_cast<void*>(0xffff'8000'0000'0000), 2 * kPage, 0));
    if (!near_the_stack(0x7fff'8000'0000))
      FAILS(EFAULT, pread(fd, reinterpret_cast<void*>(0x7fff'8000'0000), 2 * kPage, 0));
    const ssize_t count = OK(pread(fd, memory + 2 * kPage, 4 * kPage, 0));
    CHECK_EQ(count, static_cast<ssize_t>(2 * kPage));
    CHECK(memcmp(memory + 2 * kPage, bytes.data(), 2 * kPage) == 0);
    // The place is as it was: nothing is lost.
    OK(lseek(fd, 100, SEEK_SET));
    FAILS(EFAULT, read(fd, memory + 4 * kPage, kPage));
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100);
  }
  const int writer = OK(open("file", O_WRONLY));
  for (int i = 0; i < kOften; ++i) FAILS(EBADF, pread(writer, memory, kPage, 0));
}

TEST(into_a_mapping_of_itself) {
  const std::string bytes = pattern(32 * kPage, 0);
  const int fd = make("file", bytes);
  auto* const mapped =
      static_cast<char*>(mmap(nullptr, 32 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  CHECK(mapped != MAP_FAILED);
  for (int i = 0; i < kOften; ++i) {
    memset(mapped, 'z', 4 * kPage);
    CHECK_EQ(pread(fd, mapped, 4 * kPage, 16 * kPage), static_cast<ssize_t>(4 * kPage));
    CHECK(memcmp(mapped, bytes.data() + 16 * kPage, 4 * kPage) == 0);
  }
}

TEST(many_files) {
  constexpr int kFiles = 40;
  std::vector<int> fds;
  for (int i = 0; i < kFiles; ++i)
    fds.push_back(make(("file" + std::to_string(i)).c_str(), pattern(40'000, static_cast<unsigned>(i))));
  for (int round = 0; round < 6; ++round)
    for (int i = 0; i < kFiles; ++i)
      CHECK(read_often(fds[static_cast<size_t>(i)], 12'000, 7'000, 10) ==
            pattern(40'000, static_cast<unsigned>(i)).substr(7'000, 12'000));
}

TEST(far_apart) {
  const int fd = make("file", "");
  constexpr uint64_t kMebi = 1 << 20;
  for (const uint64_t offset :
       {uint64_t{0}, 64 * kMebi - 2048, 200 * kMebi, 1000 * kMebi + 17, 5000 * kMebi}) {
    const std::string bytes = pattern(8192, static_cast<unsigned>(offset / kMebi));
    CHECK_EQ(pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)), 8192);
    CHECK(read_often(fd, 8192, offset) == bytes);
  }
  CHECK(read_often(fd, 8192, 64 * kMebi - 2048) == pattern(8192, 63));
  CHECK(read_often(fd, 8192, 0) == pattern(8192, 0));
}

TEST(descriptors_come_and_go) {
  const std::string one = pattern(50'000, 1), two = pattern(50'000, 2);
  const int first = make("one", one), second = make("two", two);
  const int copy = OK(dup(first));
  CHECK(read_often(first, 10'000, 0) == one.substr(0, 10'000));
  OK(close(first));
  CHECK(read_often(copy, 10'000, 0) == one.substr(0, 10'000));
  OK(dup2(second, copy));
  CHECK(read_often(copy, 10'000, 0) == two.substr(0, 10'000));
  FAILS(EBADF, pread(first, nullptr, 1, 0));
  OK(unlink("two"));
  CHECK(read_often(copy, 10'000, 5'000) == two.substr(5'000, 10'000));
  OK(static_cast<int>(
      syscall(SYS_close_range, static_cast<unsigned>(copy), static_cast<unsigned>(copy), 0u)));
  CHECK(read_often(second, 10'000, 5'000) == two.substr(5'000, 10'000));
}

TEST(descriptors_that_travel) {
  const std::string bytes = pattern(50'000, 4);
  int pair[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  const pid_t child = check::fork_child([&] {
    char byte = 0, control[CMSG_SPACE(sizeof(int))];
    iovec piece = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &piece, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    CHECK_EQ(OK(recvmsg(pair[1], &message, 0)), 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
  });
  const int fd = make("file", bytes);
  CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
  char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {};
  iovec piece = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &piece, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS, header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  CHECK_EQ(OK(sendmsg(pair[0], &message, 0)), 1);
  OK(close(fd));
  JOIN(child);
}

TEST(children) {
  const std::string bytes = pattern(50'000, 4);
  const int fd = make("file", bytes);
  CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
  for (int i = 0; i < 5; ++i) {
    JOIN(check::fork_child([&] {
      CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
      JOIN(check::fork_child([&] {
        OK(close(fd));
        FAILS(EBADF, pread(fd, nullptr, 1, 0));
      }));
      CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
      const int mine = OK(open("file", O_RDWR));
      OK(ftruncate(mine, 5'000));
    }));
    CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 4'900));
    OK(ftruncate(fd, 0));
    CHECK_EQ(pwrite(fd, bytes.data(), bytes.size(), 0), 50'000);
    CHECK(read_often(fd, 20'000, 100) == bytes.substr(100, 20'000));
  }
}

TEST(seals) {
  const int fd = OK(memfd_create("sealed", MFD_ALLOW_SEALING));
  const std::string bytes = pattern(100'000, 7);
  CHECK_EQ(write(fd, bytes.data(), bytes.size()), 100'000);
  auto* const mapped = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(mapped != MAP_FAILED);
  OK(munmap(mapped, kPage));
  CHECK(read_often(fd, 30'000, 30'000) == bytes.substr(30'000, 30'000));
  OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
  CHECK(read_often(fd, 30'000, 30'000) == bytes.substr(30'000, 30'000));
  FAILS(EPERM, pwrite(fd, "x", 1, 0));
}

TEST(text) {
  // A program's own file, and no more of it than there is.
  const int fd = OK(open("/proc/self/exe", O_RDONLY));
  struct stat facts;
  OK(fstat(fd, &facts));
  const auto size = static_cast<uint64_t>(facts.st_size);
  const auto* const mapped = static_cast<const char*>(mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0));
  CHECK(mapped != MAP_FAILED);
  CHECK(read_often(fd, 10'000, size - 6'000) == std::string(mapped + size - 6'000, 6'000));
  CHECK(read_often(fd, 70'000, 4'000) == std::string(mapped + 4'000, 70'000));
  CHECK(read_often(fd, 10'000, size) == "");
}

// A file of four pages of 'b', which a runner may have put there: on an overlay it then lies below.
TEST(a_file_from_below_that_is_written) {
  const char* path = "../below-1";
  if (access(path, W_OK) != 0) {
    path = "below";
    OK(close(make(path, std::string(4 * kPage, 'b'))));
  }
  const int fd = OK(open(path, O_RDONLY));
  CHECK(read_often(fd, 4 * kPage, 100) == std::string(4 * kPage - 100, 'b'));
  const int writer = OK(open(path, O_RDWR));
  CHECK_EQ(pwrite(writer, "new", 3, kPage), 3);
  CHECK(read_often(fd, 2 * kPage, kPage) == "new" + std::string(2 * kPage - 3, 'b'));
  OK(ftruncate(writer, static_cast<off_t>(kPage + 1)));
  CHECK(read_often(fd, 4 * kPage, 100) == std::string(kPage - 100, 'b') + "n");
}

// Who sees that a read is over may change the file: the reader has what was there before.
void overwrite(int fd, size_t size) {
  const std::string bytes(size, 'x');
  CHECK_EQ(pwrite(fd, bytes.data(), size, 0), static_cast<ssize_t>(size));
}
void cut(int fd, size_t) { OK(ftruncate(fd, 0)); }
void cut_and_fill(int fd, size_t size) {
  cut(fd, size);
  overwrite(fd, size);
}
void punch(int fd, size_t size) {
  // Not every file system makes holes.
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) != 0)
    overwrite(fd, size);
}

TEST(what_has_been_read_before_a_debugger_changes_it) {
  constexpr size_t kSize = 16 * kPage;
  for (const auto change : {overwrite, cut, cut_and_fill, punch}) {
    const std::string bytes = pattern(kSize, 1);
    const int fd = make("file", bytes);
    const pid_t child = check::fork_child([&] {
      const int mine = OK(open("file", O_RDONLY));
      CHECK(read_often(mine, kSize, 0) == bytes);
      OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
      OK(raise(SIGSTOP));
      std::string now(kSize, '?');
      CHECK_EQ(pread(mine, now.data(), kSize, 0), static_cast<ssize_t>(kSize));
      CHECK(now == bytes);
    });
    int status = 0;
    OK(waitpid(child, &status, 0));
    OK(ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    for (bool leaves = false, changed = false;; leaves = !leaves) {
      OK(ptrace(changed ? PTRACE_CONT : PTRACE_SYSCALL, child, nullptr, nullptr));
      OK(waitpid(child, &status, 0));
      if (!WIFSTOPPED(status)) break;
      CHECK_EQ(WSTOPSIG(status), SIGTRAP | 0x80);
      user_regs_struct registers;
      OK(ptrace(PTRACE_GETREGS, child, nullptr, &registers));
      if (!leaves || registers.orig_rax != SYS_pread64) continue;
      change(fd, kSize);
      changed = true;
    }
    CHECK_EQ(status, 0);
    OK(close(fd));
  }
}

TEST(what_has_been_read_by_a_place_that_is_shared) {
  constexpr size_t kSize = 1 << 20;
  constexpr int kRounds = 200;
  const int fd = make("file", std::string(kSize, 'a'));
  auto* const round = static_cast<std::atomic<int>*>(
      mmap(nullptr, 2 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  CHECK(round != MAP_FAILED);
  std::atomic<int>&asked = round[0], &changed = round[1];
  const pid_t child = check::fork_child([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (asked != i) sched_yield();
      while (OK(lseek(fd, 0, SEEK_CUR)) != static_cast<off_t>(kSize)) {
      }
      overwrite(fd, kSize);
      changed = i;
    }
  });
  const std::string bytes(kSize, 'a');
  std::string now;
  for (int i = 1; i <= kRounds; ++i) {
    CHECK_EQ(pwrite(fd, bytes.data(), kSize, 0), static_cast<ssize_t>(kSize));
    OK(lseek(fd, 0, SEEK_SET));
    now.assign(kSize, '?');
    asked = i;
    CHECK_EQ(read(fd, now.data(), kSize), static_cast<ssize_t>(kSize));
    while (changed != i) sched_yield();
    CHECK(now == bytes);
  }
  JOIN(child);
}

TEST(while_it_ends_and_grows) {
  constexpr size_t kSize = 16 * kPage;
  const int fd = make("file", std::string(kSize, 'a')), other = make("other", std::string(kSize, 'b'));
  std::atomic<bool> over = false;
  std::thread changer([&] {
    const std::string bytes(kSize, 'a');
    for (int i = 0; i < 400; ++i) {
      OK(ftruncate(fd, i % 2 == 0 ? 0 : static_cast<off_t>(5 * kPage + 9)));
      CHECK_EQ(pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(kSize));
    }
    over = true;
  });
  std::string bytes;
  while (!over) {
    for (const auto& [from, letter] : {std::pair{fd, 'a'}, std::pair{other, 'b'}}) {
      bytes.assign(kSize, '?');
      const ssize_t count = OK(pread(from, bytes.data(), kSize, 0));
      for (ssize_t i = 0; i < count; ++i) {
        const char byte = bytes[static_cast<size_t>(i)];
        CHECK(byte == letter || (byte == 0 && from == fd));
      }
    }
  }
  changer.join();
}

TEST(while_threads_take_turns_with_files) {
  constexpr int kFiles = 24, kThreads = 4;
  std::vector<std::thread> threads;
  for (int i = 0; i < kFiles; ++i)
    OK(close(make(("file" + std::to_string(i)).c_str(), pattern(30'000, static_cast<unsigned>(i)))));
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < kFiles; ++i) {
        const int number = (i * 7 + t) % kFiles;
        const int fd = OK(open(("file" + std::to_string(number)).c_str(), O_RDONLY));
        CHECK(read_often(fd, 9'000, 2'000, 30) ==
              pattern(30'000, static_cast<unsigned>(number)).substr(2'000, 9'000));
        OK(close(fd));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(while_the_process_forks) {
  const int fd = make("file", std::string(20 * kPage, 'a'));
  std::atomic<bool> over = false;
  std::thread changer([&] {
    const std::string bytes(20 * kPage, 'a');
    while (!over) {
      OK(ftruncate(fd, 0));
      CHECK_EQ(pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    }
  });
  for (int i = 0; i < 100; ++i) {
    std::string bytes(8 * kPage, '?');
    for (int j = 0; j < 12; ++j) OK(pread(fd, bytes.data(), bytes.size(), 0));
    JOIN(check::fork_child([&] {
      for (int j = 0; j < 12; ++j) {
        const ssize_t count = OK(pread(fd, bytes.data(), bytes.size(), 0));
        for (ssize_t k = 0; k < count; ++k) {
          const char byte = bytes[static_cast<size_t>(k)];
          CHECK(byte == 'a' || byte == 0);
        }
      }
    }));
  }
  over = true;
  changer.join();
}

}  // namespace
