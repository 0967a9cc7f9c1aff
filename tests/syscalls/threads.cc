// Threads as libraries make them: pthreads(7), clone(2) with CLONE_THREAD, set_tid_address(2), thread-local
// storage.
#include <asm/prctl.h>
#include <fenv.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "tests/syscalls/check.h"

using check::Gate;

namespace {

TEST(thousand_threads_one_after_the_other) {
  int sum = 0;
  for (int i = 0; i < 1000; ++i) std::thread([&] { ++sum; }).join();
  CHECK_EQ(sum, 1000);
}

// What one that has ended had for itself does not show in the next: that has what its parent has.
TEST(threads_begin_with_what_their_parent_has) {
  const int roundings[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
  static char alternate[16384];
  for (int round = 0; round < 40; ++round) {
    const int rounding = roundings[round % 4];
    CHECK_EQ(fesetround(rounding), 0);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, round % 2 == 0 ? SIGUSR1 : SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &mask, nullptr), 0);
    std::thread([&] {
      CHECK_EQ(fegetround(), rounding);
      unsigned control = 0;
      asm volatile("stmxcsr %0" : "=m"(control));
      CHECK_EQ(control >> 13 & 3, static_cast<unsigned>(round % 4));
      sigset_t now;
      CHECK_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &now), 0);
      CHECK(sigismember(&now, SIGUSR1) == (round % 2 == 0) && sigismember(&now, SIGUSR2) == (round % 2 == 1));
      stack_t stack;
      OK(sigaltstack(nullptr, &stack));
      CHECK_EQ(stack.ss_flags, SS_DISABLE);
      timespec spent;
      OK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent));
      CHECK(spent.tv_sec == 0 && spent.tv_nsec < 500'000'000);
      // Leaves all of it otherwise.
      stack = {.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof alternate};
      OK(sigaltstack(&stack, nullptr));
      fesetround(roundings[(round + 1) % 4]);
      sigfillset(&now);
      pthread_sigmask(SIG_SETMASK, &now, nullptr);
      if (round % 3 == 0) syscall(SYS_exit, 0);
      if (round % 3 == 1) asm volatile("syscall" : : "a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
    }).join();
  }
  fesetround(FE_TONEAREST);
}

// Their threads end at once, and some begin while others end.
TEST(waves_of_threads) {
  std::atomic<int> ran = 0;
  for (int wave = 0; wave < 30; ++wave) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 12; ++i)
      threads.emplace_back([&, i] {
        if (i % 3 == 0) std::thread([&] { ++ran; }).join();
        ++ran;
      });
    for (std::thread& thread : threads) thread.join();
    if (wave % 10 == 0) JOIN(check::fork_child([] { std::thread([] {}).join(); }));
  }
  CHECK_EQ(ran, 30 * 16);
}

TEST(two_hundred_threads_at_once) {
  std::vector<std::thread> threads;
  std::atomic<int> started = 0;
  std::mutex mutex;
  std::condition_variable condition;
  bool go = false;
  std::set<pid_t> tids;
  for (int i = 0; i < 200; ++i) {
    threads.emplace_back([&] {
      std::unique_lock lock(mutex);
      tids.insert(check::gettid());
      ++started;
      condition.wait(lock, [&] { return go; });
    });
  }
  WAIT_UNTIL(started == 200);
  std::string status = READ_FILE("/proc/self/status");
  CHECK(status.find("\nThreads:\t201\n") != std::string::npos);
  {
    std::unique_lock lock(mutex);
    go = true;
  }
  condition.notify_all();
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(tids.size(), 200u);
}

TEST(ids) {
  CHECK_EQ(check::gettid(), getpid());
  pid_t pid = getpid(), tid = 0, seen = 0;
  std::thread([&] {
    tid = check::gettid();
    seen = getpid();
  }).join();
  CHECK_EQ(seen, pid);
  CHECK(tid != pid);
}

thread_local int local_value = 7;

TEST(thread_local_storage) {
  local_value = 1;
  std::vector<std::thread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([i] {
      CHECK_EQ(local_value, 7);
      for (int j = 0; j < 100; ++j) {
        local_value = i;
        sched_yield();
        CHECK_EQ(local_value, i);
        CHECK_EQ(errno, errno);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(local_value, 1);
}

TEST(errno_is_per_thread) {
  errno = 77;
  std::thread([] {
    errno = 0;
    CHECK_EQ(close(-1), -1);
    CHECK_EQ(errno, EBADF);
  }).join();
  CHECK_EQ(errno, 77);
}

TEST(segment_bases) {
  unsigned long fs = 0, gs = 1;
  OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
  CHECK(fs != 0);
  unsigned long self;
  asm("mov %%fs:0, %0" : "=r"(self));
  CHECK_EQ(self, fs);
  OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
  static unsigned long block[2] = {0x1234, 0x5678};
  OK(syscall(SYS_arch_prctl, ARCH_SET_GS, block));
  unsigned long value;
  asm volatile("mov %%gs:8, %0" : "=r"(value));
  CHECK_EQ(value, 0x5678u);
  OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
  CHECK_EQ(gs, reinterpret_cast<unsigned long>(block));
  // Each thread has its own, over calls and switches; fork copies it.
  std::thread([] {
    static unsigned long other[2] = {0, 0x9abc};
    OK(syscall(SYS_arch_prctl, ARCH_SET_GS, other));
    for (int i = 0; i < 50; ++i) {
      sched_yield();
      unsigned long seen;
      asm volatile("mov %%gs:8, %0" : "=r"(seen));
      CHECK_EQ(seen, 0x9abcu);
    }
  }).join();
  asm volatile("mov %%gs:8, %0" : "=r"(value));
  CHECK_EQ(value, 0x5678u);
  JOIN(check::fork_child([] {
    unsigned long seen;
    asm volatile("mov %%gs:8, %0" : "=r"(seen));
    CHECK_EQ(seen, 0x5678u);
  }));
  FAILS(EINVAL, syscall(SYS_arch_prctl, 0x7777, 0));
  FAILS(EPERM, syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff'8000'0000'0000));
}

TEST(condition_variables) {
  std::mutex mutex;
  std::condition_variable condition;
  int turn = 0;
  std::vector<std::thread> threads;
  for (int me = 0; me < 4; ++me) {
    threads.emplace_back([&, me] {
      for (int i = 0; i < 50; ++i) {
        std::unique_lock lock(mutex);
        condition.wait(lock, [&] { return turn % 4 == me; });
        ++turn;
        condition.notify_all();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(turn, 200);
}

TEST(timed_waits) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  timespec until;
  OK(clock_gettime(CLOCK_REALTIME, &until));
  until.tv_nsec += 20'000'000;
  if (until.tv_nsec >= 1'000'000'000) until.tv_nsec -= 1'000'000'000, ++until.tv_sec;
  pthread_mutex_lock(&mutex);
  CHECK_EQ(pthread_cond_timedwait(&condition, &mutex, &until), ETIMEDOUT);
  std::thread([&] { CHECK_EQ(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT); }).join();
  pthread_mutex_unlock(&mutex);
}

TEST(barriers_and_semaphores) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 5);
  std::atomic<int> serial = 0, before = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&] {
      for (int round = 1; round <= 20; ++round) {
        ++before;
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++serial;
        CHECK(before >= round * 5);
        pthread_barrier_wait(&barrier);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(serial.load(), 20);
  sem_t semaphore;
  OK(sem_init(&semaphore, 0, 0));
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) OK(sem_post(&semaphore));
  });
  for (int i = 0; i < 100; ++i) OK(sem_wait(&semaphore));
  poster.join();
  FAILS(EAGAIN, sem_trywait(&semaphore));
}

TEST(readers_and_writers) {
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  int a = 0, b = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        if (t == 0) {
          pthread_rwlock_wrlock(&lock);
          ++a, ++b;
        } else {
          pthread_rwlock_rdlock(&lock);
          CHECK_EQ(a, b);
        }
        pthread_rwlock_unlock(&lock);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(cleared_tid_wakes) {
  // CLONE_CHILD_CLEARTID: what pthread_join waits for.
  static std::atomic<int> word;
  word = 55;
  std::thread([] {
    OK(syscall(SYS_set_tid_address, &word));
    syscall(SYS_exit, 0);
  }).detach();
  while (word != 0) {
    timespec limit = {5, 0};
    long result = syscall(SYS_futex, &word, FUTEX_WAIT, 55, &limit, nullptr, 0);
    CHECK(result == 0 || errno == EAGAIN);
  }
}

TEST(cleared_tid_of_a_process_sharing_memory) {
  static std::atomic<int> word;
  word = 1;
  static char stack[65536];
  pid_t pid = OK(clone([](void*) { return 0; }, stack + sizeof stack,
                       CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, nullptr, nullptr, nullptr, &word));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
  CHECK_EQ(word.load(), 0);
}

TEST(threads_share_files_and_cwd) {
  int fd = -1;
  OK(mkdir("d", 0755));
  std::thread([&] {
    fd = OK(open("/dev/null", O_RDONLY));
    OK(chdir("d"));
  }).join();
  OK(fcntl(fd, F_GETFD));
  OK(access("../d", F_OK));
}

TEST(thread_exits_while_others_wait_in_calls) {
  int fds[2];
  OK(pipe(fds));
  std::atomic<pid_t> reader_tid = 0;
  std::thread reader([&] {
    reader_tid = check::gettid();
    char byte;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  });
  WAIT_UNTIL(reader_tid != 0);
  WAIT_THREAD_BLOCKED(reader_tid);
  for (int i = 0; i < 50; ++i) std::thread([] {}).join();
  OK(write(fds[1], "x", 1));
  reader.join();
}

TEST(process_exits_while_threads_wait_in_calls) {
  pid_t child = check::fork_child([] {
    int fds[2];
    OK(pipe(fds));
    for (int i = 0; i < 5; ++i) {
      std::thread([=] {
        char byte;
        (void)!read(fds[0], &byte, 1);
      }).detach();
      std::thread([] {
        timespec long_time = {1000, 0};
        nanosleep(&long_time, nullptr);
      }).detach();
    }
    _exit(3);
  });
  CHECK_EXITED(WAIT_STATUS(child), 3);
}

TEST(cancellation) {
  pthread_t thread;
  static std::atomic<bool> cleaned;
  cleaned = false;
  static std::atomic<pid_t> tid;
  tid = 0;
  CHECK_EQ(pthread_create(
               &thread, nullptr,
               [](void*) -> void* {
                 pthread_cleanup_push([](void*) { cleaned = true; }, nullptr);
                 tid = check::gettid();
                 for (;;) pause();
                 pthread_cleanup_pop(0);
                 return nullptr;
               },
               nullptr),
           0);
  WAIT_UNTIL(tid != 0);
  WAIT_THREAD_BLOCKED(tid);
  CHECK_EQ(pthread_cancel(thread), 0);
  void* result;
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK(result == PTHREAD_CANCELED);
  CHECK(cleaned);
}

TEST(kill_a_thread_with_a_handler) {
  static std::atomic<pid_t> handled_by;
  handled_by = 0;
  signal(SIGUSR1, [](int) { handled_by = check::gettid(); });
  std::atomic<pid_t> tid = 0;
  std::thread other([&] {
    tid = check::gettid();
    WAIT_UNTIL(handled_by != 0);
  });
  WAIT_UNTIL(tid != 0);
  CHECK_EQ(pthread_kill(other.native_handle(), SIGUSR1), 0);
  WAIT_UNTIL(handled_by != 0);
  CHECK_EQ(handled_by.load(), tid.load());
  other.join();
}

TEST(large_stacks) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  CHECK_EQ(pthread_attr_setstacksize(&attr, 64 << 20), 0);
  pthread_t thread;
  CHECK_EQ(pthread_create(
               &thread, &attr,
               [](void*) -> void* {
                 check::use_stack(50 << 20);
                 return reinterpret_cast<void*>(50L);
               },
               nullptr),
           0);
  void* result;
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ(reinterpret_cast<long>(result), 50);
}

TEST(guard_page_catches_overflow) {
  pid_t child = check::fork_child([] { std::thread([] { check::use_stack(1 << 30); }).join(); });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

TEST(producers_and_consumers_through_a_pipe) {
  int fds[2];
  OK(pipe(fds));
  std::atomic<long> sent = 0, received = 0;
  std::vector<std::thread> producers, consumers;
  for (int t = 0; t < 3; ++t) {
    producers.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        int value = t * 1000 + i;
        CHECK_EQ(OK(write(fds[1], &value, sizeof value)), 4);
        sent += value;
      }
    });
    consumers.emplace_back([&] {
      int value;
      while (OK(read(fds[0], &value, sizeof value)) == 4) received += value;
    });
  }
  for (std::thread& thread : producers) thread.join();
  OK(close(fds[1]));
  for (std::thread& thread : consumers) thread.join();
  CHECK_EQ(sent.load(), received.load());
}

TEST(affinity_of_one_thread) {
  cpu_set_t all;
  OK(sched_getaffinity(0, sizeof all, &all));
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &all)) {
        CPU_SET(cpu, &one);
        break;
      }
    }
    OK(sched_setaffinity(0, sizeof one, &one));
  }).join();
  cpu_set_t now;
  OK(sched_getaffinity(0, sizeof now, &now));
  CHECK(CPU_EQUAL(&now, &all));
}

TEST(real_parallelism) {
  // Guest code runs on as many processors as it has threads: two spinning threads see each other move.
  std::atomic<int> a = 0, b = 0;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      while (a <= i) sched_yield();
      ++b;
    }
  });
  for (int i = 0; i < 100; ++i) {
    ++a;
    while (b <= i) sched_yield();
  }
  other.join();
  CHECK_EQ(b.load(), 100);
}

TEST(fork_from_many_threads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 10; ++i) {
        pid_t pid = fork();
        if (pid == 0) _exit(t * 10 + i);
        OK(pid);
        CHECK_EXITED(WAIT_STATUS(pid), t * 10 + i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(raw_thread_start) {
  static std::atomic<int> value;
  value = 0;
  static char stack[65536];
  static std::atomic<pid_t> tid;
  tid = 1;
  pid_t child = OK(clone(
      [](void* argument) {
        value = static_cast<int>(reinterpret_cast<long>(argument));
        return 0;
      },
      stack + sizeof stack,
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID |
          CLONE_CHILD_CLEARTID,
      reinterpret_cast<void*>(88L), &tid, nullptr, &tid));
  WAIT_UNTIL(tid == 0);
  CHECK_EQ(value.load(), 88);
  // A thread is no child.
  FAILS(ECHILD, waitpid(child, nullptr, __WALL));
}

}  // namespace
