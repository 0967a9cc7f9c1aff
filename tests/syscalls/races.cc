// Threads and processes that get into each other's way in the middle of a call: what one call looks at,
// closes, unmaps, removes or ends while another has begun with it. Nothing here depends on who comes first;
// each way round must be one that Linux knows.
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <atomic>
#include <map>
#include <system_error>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

constexpr size_t kPage = 4096;

// Whether the errno of a failed call is one of these.
template <typename... Expected>
bool failed_with(Expected... expected) {
  const int seen = errno;
  return ((seen == expected) || ...);
}

// Fresh pages: reading them makes the reader's kernel fetch each.
char* pages(size_t size, int flags = 0) {
  return static_cast<char*>(
      OK(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0)));
}

// ---- exec, exit and new threads

[[noreturn]] void execute_true() {
  execl(check::self(), check::self(), "--child", "nothing", nullptr);
  _exit(9);
}
CHILD(nothing) { return 0; }

TEST(threads_that_execute_at_once) {
  for (int round = 0; round < 15; ++round) {
    JOIN(check::fork_child([] {
      std::atomic<bool> go = false;
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
          while (!go) sched_yield();
          execute_true();
        });
      go = true;
      execute_true();
    }));
  }
}

TEST(exec_while_threads_are_made) {
  for (int round = 0; round < 15; ++round) {
    JOIN(check::fork_child([] {
      std::atomic<int> makers = 0;
      for (int i = 0; i < 3; ++i)
        std::thread([&] {
          ++makers;
          for (;;) {
            try {
              std::thread([] { usleep(100); }).detach();
            } catch (const std::system_error&) {
              sched_yield();  // EAGAIN: as many as the host bears
            }
          }
        }).detach();
      while (makers != 3) sched_yield();
      execute_true();
    }));
  }
}

TEST(exec_while_processes_are_made) {
  for (int round = 0; round < 10; ++round) {
    JOIN(check::fork_child([] {
      std::atomic<int> makers = 0;
      for (int i = 0; i < 2; ++i)
        std::thread([&] {
          ++makers;
          for (;;) {
            const pid_t pid = fork();
            if (pid == 0) _exit(0);
            if (pid > 0) waitpid(pid, nullptr, 0);
          }
        }).detach();
      while (makers != 2) sched_yield();
      execute_true();
    }));
  }
}

TEST(killed_while_threads_are_made) {
  for (int round = 0; round < 15; ++round) {
    const pid_t pid = check::fork_child([] {
      for (int i = 0; i < 3; ++i)
        std::thread([] {
          for (;;) std::thread([] {}).join();
        }).detach();
      for (;;) pause();
    });
    usleep(static_cast<useconds_t>(500 * round));
    OK(kill(pid, SIGKILL));
    const int status = WAIT_STATUS(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
}

// ---- fork and mappings

TEST(a_fork_copies_memory_as_it_is_at_one_moment) {
  static sigjmp_buf back;
  constexpr size_t kSize = 16 * kPage;
  char* const place = pages(kSize);
  std::atomic<bool> stop = false;
  std::thread changer([&] {
    for (int i = 0; !stop; ++i) {
      switch (i % 4) {
        case 0:
          OK(munmap(place, kSize));
          break;
        case 1:
        case 3:
          OK(mmap(place, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
          break;
        default:
          OK(mprotect(place, kSize, PROT_NONE));
          break;
      }
    }
  });
  for (int round = 0; round < 120; ++round) {
    const pid_t child = check::fork_child([&] {
      // What the list of mappings says and what the pages do is the same.
      char wanted[32];
      snprintf(wanted, sizeof wanted, "%lx-", reinterpret_cast<unsigned long>(place));
      char text[65536];
      size_t length = 0;
      const int maps = OK(open("/proc/self/maps", O_RDONLY));
      for (ssize_t count;
           length < sizeof text - 1 && (count = OK(read(maps, text + length, sizeof text - 1 - length))) > 0;)
        length += static_cast<size_t>(count);
      text[length] = 0;
      bool open_there = false;
      for (char* line = text; line != nullptr && *line != 0;) {
        unsigned long from = 0, to = 0;
        char prot[5]{};
        CHECK_EQ(sscanf(line, "%lx-%lx %4s", &from, &to, prot), 3);
        const auto address = reinterpret_cast<unsigned long>(place);
        if (from <= address && address < to) open_there = strcmp(prot, "rw-p") == 0;
        line = strchr(line, '\n');
        if (line != nullptr) ++line;
      }
      signal(SIGSEGV, [](int) { siglongjmp(back, 1); });
      bool touched = false;
      if (sigsetjmp(back, 1) == 0) {
        for (size_t at = 0; at < kSize; at += kPage) place[at] = 1;
        touched = true;
      }
      _exit(touched == open_there ? 0 : open_there ? 21 : 22);
    });
    JOIN(child);
  }
  stop = true;
  changer.join();
}

// ---- debuggers and their tracees' end

TEST(a_tracee_killed_while_it_is_looked_at) {
  for (int round = 0; round < 40; ++round) {
    const pid_t tracee = check::fork_child([] {
      OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
      raise(SIGSTOP);
      _exit(3);
    });
    int status = 0;
    OK(waitpid(tracee, &status, 0));
    CHECK(WIFSTOPPED(status));
    const pid_t killer = check::fork_child([&] {
      usleep(static_cast<useconds_t>(round * 20));
      kill(tracee, SIGKILL);
    });
    char* const fresh = pages(64 * kPage);
    for (size_t i = 0;; ++i) {
      errno = 0;
      auto* const place = fresh + i % 64 * kPage;
      iovec area{place, sizeof(user_regs_struct)};
      long result = 0;
      switch (i % 6) {
        case 0:
          result = ptrace(PTRACE_PEEKDATA, tracee, place, nullptr);
          if (errno != 0) result = -1;
          break;
        case 1:
          result = ptrace(PTRACE_GETREGSET, tracee, 1 /* NT_PRSTATUS */, &area);
          break;
        case 2:
          result = ptrace(PTRACE_SETREGSET, tracee, 1, &area);
          if (result != 0 && errno == EIO) result = 0;  // zeros
          break;
        case 3:
          result = ptrace(PTRACE_GETFPREGS, tracee, nullptr, place);
          break;
        case 4:
          result = ptrace(PTRACE_SETFPREGS, tracee, nullptr, place);
          if (result != 0 && errno == EINVAL) result = 0;
          break;
        default:
          result = ptrace(PTRACE_POKEDATA, tracee, place, 1);
          break;
      }
      if (result == 0) continue;
      CHECK(failed_with(ESRCH, EIO));
      if (errno == ESRCH) break;
    }
    OK(munmap(fresh, 64 * kPage));
    JOIN(killer);
    OK(waitpid(tracee, &status, __WALL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
}

TEST(memory_of_a_process_that_ends) {
  constexpr size_t kSize = 64 * kPage;
  char* const there = pages(kSize);
  memset(there, 7, kSize);
  std::vector<char> here(kSize);
  for (int round = 0; round < 40; ++round) {
    const pid_t target = check::fork_child([&] {
      usleep(static_cast<useconds_t>(round * 30));
      _exit(0);
    });
    const iovec local{here.data(), kSize}, remote{there, kSize};
    char text[4096];
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/cmdline", target);
    for (;;) {
      const ssize_t count = process_vm_readv(target, &local, 1, &remote, 1, 0);
      if (count < 0) {
        CHECK(failed_with(ESRCH, EFAULT));
        if (errno == ESRCH) break;
      }
      const long same = syscall(SYS_kcmp, getpid(), target, KCMP_FILE, 1, 1);
      CHECK(same >= 0 || failed_with(ESRCH, EBADF, EPERM));
      Fd file(open(name, O_RDONLY));
      if (file >= 0) CHECK(read(file, text, sizeof text) >= 0 || failed_with(ESRCH));
      if (check::process_state(target) == 'Z') break;
    }
    JOIN(target);
  }
}

// ---- descriptors closed and memory unmapped under a call

TEST(descriptors_closed_under_a_transfer) {
  constexpr size_t kSize = 256 * 1024;
  for (int round = 0; round < 30; ++round) {
    int ends[2];
    if (round % 3 == 0)
      OK(pipe(ends));
    else
      OK(socketpair(AF_UNIX, round % 3 == 1 ? SOCK_STREAM : SOCK_SEQPACKET, 0, ends));
    signal(SIGPIPE, SIG_IGN);
    char* const buffer = pages(kSize);
    std::thread reader([&] {
      std::vector<char> sink(kSize);
      for (;;) {
        const ssize_t count = read(ends[0], sink.data(), sink.size());
        if (count <= 0) {
          CHECK(count == 0 || failed_with(EBADF, ECONNRESET));
          break;
        }
      }
    });
    std::thread closer([&] {
      usleep(static_cast<useconds_t>(round * 25));
      close(ends[1]);
    });
    for (;;) {
      const ssize_t count = write(ends[1], buffer, round % 3 == 2 ? kSize / 8 : kSize);
      if (count < 0) {
        CHECK(failed_with(EBADF, EPIPE));
        break;
      }
    }
    closer.join();
    reader.join();
    close(ends[0]);
    OK(munmap(buffer, kSize));
  }
}

TEST(memory_unmapped_under_a_transfer) {
  constexpr size_t kSize = 512 * 1024;
  Fd file(OK(open("file", O_RDWR | O_CREAT, 0600)));
  for (int round = 0; round < 30; ++round) {
    char* const buffer = pages(kSize);
    memset(buffer, 'x', kSize);
    std::thread unmapper([&] {
      usleep(static_cast<useconds_t>(round * 20));
      OK(munmap(buffer + kSize / 2, kSize / 2));
    });
    const ssize_t written = pwrite(file, buffer, kSize, 0);
    CHECK(written == static_cast<ssize_t>(kSize) || written >= static_cast<ssize_t>(kSize / 2) ||
          failed_with(EFAULT));
    unmapper.join();
    const ssize_t more = pwrite(file, buffer, kSize, 0);
    CHECK_EQ(more, static_cast<ssize_t>(kSize / 2));
    std::vector<char> back(kSize / 2);
    CHECK_EQ(OK(pread(file, back.data(), back.size(), 0)), static_cast<ssize_t>(kSize / 2));
    CHECK(std::string(back.data(), back.size()) == std::string(kSize / 2, 'x'));
    OK(munmap(buffer, kSize / 2));
  }
}

TEST(a_file_cut_and_mapped_while_it_is_written) {
  Fd file(OK(open("file", O_RDWR | O_CREAT, 0600)));
  std::atomic<bool> stop = false;
  std::thread cutter([&] {
    while (!stop) {
      OK(ftruncate(file, 100));
      OK(ftruncate(file, 3 * kPage));
      char* const view = static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file, 0)));
      CHECK(view[0] == 0 || view[0] == 'a');
      OK(munmap(view, kPage));
    }
  });
  for (int round = 0; round < 100; ++round) {
    const size_t size = static_cast<size_t>(1 + round * 300);
    char* const buffer = pages(size);
    memset(buffer, 'a', size);
    CHECK_EQ(OK(pwrite(file, buffer, size, 0)), static_cast<ssize_t>(size));
    OK(munmap(buffer, size));
  }
  stop = true;
  cutter.join();
  std::vector<char> all(64 * kPage);
  const ssize_t count = OK(pread(file, all.data(), all.size(), 0));
  for (ssize_t i = 0; i < count; ++i)
    CHECK(all[static_cast<size_t>(i)] == 0 || all[static_cast<size_t>(i)] == 'a');
}

// ---- objects with a name, removed under a call

TEST(semaphores_and_queues_removed_under_a_call) {
  for (int round = 0; round < 60; ++round) {
    const int set = OK(semget(IPC_PRIVATE, 200, 0600));
    const int queue = OK(msgget(IPC_PRIVATE, 0600));
    std::thread remover([&] {
      usleep(static_cast<useconds_t>(round * 5));
      OK(semctl(set, 0, IPC_RMID));
      OK(msgctl(queue, IPC_RMID, nullptr));
    });
    for (;;) {
      char* const fresh = pages(2 * kPage);
      const bool gone = semctl(set, 0, SETALL, fresh) != 0;
      if (gone) CHECK(failed_with(EINVAL, EIDRM));
      OK(munmap(fresh, 2 * kPage));
      if (gone) break;
    }
    for (;;) {
      char* const fresh = pages(2 * kPage);
      *reinterpret_cast<long*>(fresh) = 1;
      const bool gone = msgsnd(queue, fresh, 8000, IPC_NOWAIT) != 0 && errno != EAGAIN;
      if (gone) CHECK(failed_with(EINVAL, EIDRM));
      OK(munmap(fresh, 2 * kPage));
      if (gone) break;
    }
    remover.join();
  }
}

// ---- bytes that several want

// Every byte that is written arrives once, whoever reads it.
void many_to_many(int in, int out, size_t record) {
  constexpr int kWriters = 3, kReaders = 3, kRecords = 400;
  std::atomic<uint64_t> sent = 0, seen = 0, bytes = 0;
  std::vector<std::thread> threads;
  std::atomic<int> writing = kWriters;
  for (int writer = 0; writer < kWriters; ++writer)
    threads.emplace_back([&, writer] {
      for (int i = 0; i < kRecords; ++i) {
        std::vector<unsigned char> data(record);
        uint64_t sum = 0;
        for (size_t at = 0; at < record; ++at)
          sum += data[at] = static_cast<unsigned char>(static_cast<size_t>(writer * 31 + i * 7) + at);
        for (size_t done = 0; done < record;)
          done += static_cast<size_t>(OK(write(in, data.data() + done, record - done)));
        sent += sum;
      }
      if (--writing == 0) OK(shutdown(in, SHUT_WR) == 0 || errno == ENOTSOCK ? 0 : -1);
      if (writing == 0) close(in);
    });
  for (int reader = 0; reader < kReaders; ++reader)
    threads.emplace_back([&, reader] {
      std::vector<unsigned char> data(record / 3 + 17 + static_cast<size_t>(reader));
      for (;;) {
        const ssize_t count = OK(read(out, data.data(), data.size()));
        if (count == 0) break;
        uint64_t sum = 0;
        for (ssize_t at = 0; at < count; ++at) sum += data[static_cast<size_t>(at)];
        seen += sum;
        bytes += static_cast<uint64_t>(count);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(bytes.load(), uint64_t{kWriters} * kRecords * record);
  CHECK_EQ(seen.load(), sent.load());
}

TEST(many_writers_and_readers_of_a_pipe) {
  for (const size_t record : {size_t{100}, size_t{4096}, size_t{20'000}}) {
    int ends[2];
    OK(pipe(ends));
    many_to_many(ends[1], ends[0], record);
    OK(close(ends[0]));
  }
}

TEST(many_writers_and_readers_of_a_socket) {
  for (const size_t record : {size_t{100}, size_t{20'000}}) {
    int ends[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    many_to_many(ends[1], ends[0], record);
    OK(close(ends[0]));
  }
}

// Short records are never mixed, pipe(7) PIPE_BUF.
TEST(short_writes_to_a_pipe_stay_whole) {
  constexpr size_t kRecord = 512;
  constexpr int kWriters = 4, kRecords = 300;
  int ends[2];
  OK(pipe(ends));
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer)
    writers.emplace_back([&, writer] {
      for (int i = 0; i < kRecords; ++i) {
        char* const fresh = pages(kPage);
        memset(fresh, 'a' + writer, kRecord);
        CHECK_EQ(OK(write(ends[1], fresh, kRecord)), static_cast<ssize_t>(kRecord));
        OK(munmap(fresh, kPage));
      }
    });
  char data[kRecord];
  for (int i = 0; i < kWriters * kRecords; ++i) {
    for (size_t done = 0; done < kRecord;)
      done += static_cast<size_t>(OK(read(ends[0], data + done, kRecord - done)));
    for (size_t at = 1; at < kRecord; ++at) CHECK_EQ(data[at], data[0]);
  }
  for (std::thread& writer : writers) writer.join();
  OK(close(ends[0]));
  OK(close(ends[1]));
}

TEST(descriptors_in_messages_arrive_once) {
  constexpr int kMessages = 300;
  int ends[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  std::atomic<int> files = 0;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader)
    readers.emplace_back([&] {
      for (;;) {
        char byte = 0;
        iovec piece{&byte, 1};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        if (OK(recvmsg(ends[0], &message, 0)) == 0) break;
        const cmsghdr* const header = CMSG_FIRSTHDR(&message);
        CHECK(header != nullptr && header->cmsg_type == SCM_RIGHTS);
        int fd = -1;
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
        OK(close(fd));
        ++files;
      }
    });
  Fd null(OK(open("/dev/null", O_RDONLY)));
  for (int i = 0; i < kMessages; ++i) {
    // The header, the pieces and the bytes on pages of their own, touched by nobody yet.
    char* const fresh = pages(4 * kPage);
    auto* const message = reinterpret_cast<msghdr*>(fresh);
    auto* const piece = reinterpret_cast<iovec*>(fresh + kPage);
    *piece = {fresh + 3 * kPage, 1};
    message->msg_iov = piece;
    message->msg_iovlen = 1;
    message->msg_control = fresh + 2 * kPage;
    message->msg_controllen = CMSG_SPACE(sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = null;
    memcpy(CMSG_DATA(header), &number, sizeof number);
    CHECK_EQ(OK(sendmsg(ends[1], message, 0)), 1);
    OK(munmap(fresh, 4 * kPage));
  }
  OK(shutdown(ends[1], SHUT_WR));
  for (std::thread& reader : readers) reader.join();
  CHECK_EQ(files.load(), kMessages);
  OK(close(ends[0]));
  OK(close(ends[1]));
}

TEST(one_event_wakes_one_of_many) {
  Fd epoll(OK(epoll_create1(0)));
  int ends[2];
  OK(pipe(ends));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  OK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
  constexpr int kRounds = 300;
  std::atomic<int> taken = 0;
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i)
    waiters.emplace_back([&] {
      for (;;) {
        epoll_event got{};
        const int count = epoll_wait(epoll, &got, 1, 20);
        CHECK(count >= 0 || errno == EINTR);
        if (count == 1) {
          char byte = 0;
          CHECK_EQ(OK(read(ends[0], &byte, 1)), 1);
          if (byte == 'q') {
            // The others find it too.
            OK(write(ends[1], "q", 1));
            OK(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
            return;
          }
          ++taken;
          OK(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
        }
      }
    });
  for (int i = 0; i < kRounds; ++i) OK(write(ends[1], "x", 1));
  OK(write(ends[1], "q", 1));
  for (std::thread& waiter : waiters) waiter.join();
  CHECK_EQ(taken.load(), kRounds);
}

// ---- futexes

long futex(void* word, int operation, uint32_t value, void* second = nullptr, unsigned long count = 0,
           uint32_t third = 0) {
  return syscall(SYS_futex, word, operation, value, count, second, third);
}

// No wake is lost, wherever the sleeper is on its way to sleep.
TEST(wakes_are_never_lost) {
  auto* const words = reinterpret_cast<std::atomic<uint32_t>*>(pages(kPage, 0));
  constexpr uint32_t kRounds = 2000;
  std::thread other([&] {
    for (uint32_t i = 0; i < kRounds; ++i) {
      while (words[0].load() != i + 1) futex(&words[0], FUTEX_WAIT, i);
      words[16].store(i + 1);
      futex(&words[16], FUTEX_WAKE, 1);
    }
  });
  for (uint32_t i = 0; i < kRounds; ++i) {
    words[0].store(i + 1);
    futex(&words[0], FUTEX_WAKE, 1);
    while (words[16].load() != i + 1) futex(&words[16], FUTEX_WAIT, i);
  }
  other.join();
}

TEST(requeued_sleepers_all_wake) {
  for (int round = 0; round < 30; ++round) {
    auto* const words = reinterpret_cast<std::atomic<uint32_t>*>(pages(kPage, 0));
    constexpr int kSleepers = 6;
    std::atomic<int> woken = 0;
    std::vector<std::thread> sleepers;
    for (int i = 0; i < kSleepers; ++i)
      sleepers.emplace_back([&] {
        while (words[0].load() == 0) {
          if (futex(&words[0], FUTEX_WAIT, 0) == 0) break;
        }
        ++woken;
      });
    const uint64_t end = check::now_ns() + 10'000'000'000;
    while (woken != kSleepers && check::now_ns() < end) {
      const long moved = futex(&words[0], FUTEX_CMP_REQUEUE, 1, &words[8], 100, words[0].load());
      CHECK(moved >= 0 || errno == EAGAIN);
      futex(&words[8], FUTEX_WAKE, 100);
      words[0].store(1);
      futex(&words[0], FUTEX_WAKE, 100);
    }
    CHECK_EQ(woken.load(), kSleepers);
    for (std::thread& sleeper : sleepers) sleeper.join();
    OK(munmap(words, kPage));
  }
}

// ---- credentials

TEST(filters_for_all_threads_while_they_walk_paths) {
  for (int round = 0; round < 5; ++round) {
    JOIN(check::fork_child([] {
      OK(mkdir("d", 0700) == 0 || errno == EEXIST ? 0 : -1);
      std::atomic<bool> stop = false;
      std::atomic<int> walking = 0;
      std::vector<std::thread> walkers;
      for (int i = 0; i < 3; ++i)
        walkers.emplace_back([&, i] {
          prctl(PR_SET_SECUREBITS, 0);  // credentials of its own, where that is allowed
          for (int n = 0; !stop; ++n) {
            char name[64];
            snprintf(name, sizeof name, "/proc/%d/../../usr/../tmp/../etc/./passwd%d-%d", getpid(), i, n);
            struct stat status;
            CHECK(stat(name, &status) == -1 && errno == ENOENT);
            ++walking;
          }
        });
      while (walking < 10) sched_yield();
      OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
      sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
      const sock_fprog program{1, allow};
      for (int i = 0; i < 20; ++i)
        OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
      const int before = walking;
      while (walking < before + 10) sched_yield();
      stop = true;
      for (std::thread& walker : walkers) walker.join();
    }));
  }
}

// ---- signals and masks

std::atomic<int> arrived;
volatile sig_atomic_t masked, arrived_masked;

void count_arrival(int) {
  if (masked != 0) arrived_masked = 1;
  ++arrived;
}

// From now on, of the signal in the set.
sigset_t count_arrivals() {
  arrived = 0;
  arrived_masked = 0;
  struct sigaction action {};
  action.sa_handler = count_arrival;
  OK(sigaction(SIGRTMIN, &action, nullptr));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  return set;
}

// A signal that comes while its thread changes its mask is neither lost nor early: real-time ones queue, so
// each is counted.
void signals_meet_masks(int (*send)(pthread_t)) {
  constexpr int kSignals = 4000;
  const sigset_t set = count_arrivals();
  std::atomic<bool> ready = false;
  std::thread target([&] {
    ready = true;
    while (arrived < kSignals) {
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
      masked = 1;
      for (int i = 0; i < 50; ++i) asm volatile("");
      masked = 0;
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    }
  });
  while (!ready) sched_yield();
  OK(pthread_sigmask(SIG_BLOCK, &set, nullptr));  // the process's are for the other thread
  for (int sent = 0; sent < kSignals;) {
    const int error = send(target.native_handle());
    CHECK(error == 0 || error == EAGAIN);  // EAGAIN: too many wait (RLIMIT_SIGPENDING)
    if (error == 0) ++sent;
  }
  target.join();
  CHECK_EQ(arrived.load(), kSignals);
  CHECK_EQ(arrived_masked, 0);
}

TEST(signals_to_a_thread_that_changes_its_mask) {
  signals_meet_masks([](pthread_t thread) { return pthread_kill(thread, SIGRTMIN); });
}

TEST(signals_to_a_process_whose_thread_changes_its_mask) {
  signals_meet_masks([](pthread_t) {
    sigval value{};
    return sigqueue(getpid(), SIGRTMIN, value) == 0 ? 0 : errno;
  });
}

// Without a call in between that the kernel must see.
TEST(a_signal_that_waits_comes_when_it_is_unblocked) {
  const sigset_t set = count_arrivals();
  for (int round = 1; round <= 20; ++round) {
    std::atomic<int> phase = 0;
    std::thread target([&] {
      for (int i = 0; i < 5; ++i) {
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      }
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
      phase = 1;
      while (phase != 2) asm volatile("");
      CHECK_EQ(arrived.load(), round - 1);
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      CHECK_EQ(arrived.load(), round);
    });
    while (phase != 1) sched_yield();
    OK(pthread_kill(target.native_handle(), SIGRTMIN));
    phase = 2;
    target.join();
  }
}

TEST(changed_masks_are_inherited_and_shown) {
  sigset_t set, seen;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGKILL);
  for (int i = 0; i < 5; ++i) OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  OK(sigprocmask(SIG_SETMASK, nullptr, &seen));
  CHECK_EQ(sigismember(&seen, SIGUSR2), 1);
  CHECK_EQ(sigismember(&seen, SIGKILL), 0);
  JOIN(check::fork_child([] {
    sigset_t inherited;
    OK(sigprocmask(SIG_BLOCK, nullptr, &inherited));
    CHECK_EQ(sigismember(&inherited, SIGUSR2), 1);
  }));
  std::thread([] {
    sigset_t inherited;
    OK(pthread_sigmask(SIG_BLOCK, nullptr, &inherited));
    CHECK_EQ(sigismember(&inherited, SIGUSR2), 1);
  }).join();
  CHECK(READ_FILE("/proc/self/status").find("SigBlk:\t0000000000000800") != std::string::npos);
  OK(raise(SIGUSR2));
  sigset_t pending;
  OK(sigpending(&pending));
  CHECK_EQ(sigismember(&pending, SIGUSR2), 1);
  // In place, at the end of memory, and with a bad address: only then nothing is changed before the error.
  FAILS(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, nullptr, 8));
  FAILS(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 16));
  FAILS(EINVAL, syscall(SYS_rt_sigprocmask, 99, &set, nullptr, 8));
  OK(syscall(SYS_rt_sigprocmask, 99, nullptr, &seen, 8));
  sigset_t swapped = seen;
  sigdelset(&swapped, SIGUSR2);
  sigaddset(&swapped, SIGUSR1);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  OK(sigaction(SIGUSR2, &ignore, nullptr));
  OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &swapped, &swapped, 8));
  CHECK_EQ(sigismember(&swapped, SIGUSR2), 1);
  CHECK_EQ(sigismember(&swapped, SIGUSR1), 0);
  OK(sigprocmask(SIG_SETMASK, nullptr, &seen));
  CHECK_EQ(sigismember(&seen, SIGUSR2), 0);
  CHECK_EQ(sigismember(&seen, SIGUSR1), 1);
}

}  // namespace
