// futex(2), get_robust_list(2).
#include <linux/futex.h>
#include <pthread.h>
#include <sys/time.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

using Word = std::atomic<uint32_t>;

long futex(Word* word, int op, uint32_t value, const void* timeout = nullptr, Word* word2 = nullptr,
           uint32_t value3 = 0) {
  return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}

// FUTEX_REQUEUE and FUTEX_WAKE_OP take a second count where others take a timeout.
const void* count2(unsigned long n) { return reinterpret_cast<const void*>(n); }

Word* shared_words() {
  return static_cast<Word*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
}

TEST(wait_sees_another_value) {
  Word word = 5;
  FAILS(EAGAIN, futex(&word, FUTEX_WAIT, 4));
  FAILS(EAGAIN, futex(&word, FUTEX_WAIT_PRIVATE, 4));
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE, 10)), 0);
}

TEST(wait_times_out) {
  Word word = 5;
  timespec limit = {0, 20'000'000};
  uint64_t start = check::now_ns();
  FAILS(ETIMEDOUT, futex(&word, FUTEX_WAIT_PRIVATE, 5, &limit));
  CHECK(check::now_ns() - start >= 20'000'000);
  limit = {0, 0};
  FAILS(ETIMEDOUT, futex(&word, FUTEX_WAIT, 5, &limit));
  // FUTEX_WAIT_BITSET takes an absolute time, of CLOCK_MONOTONIC unless asked otherwise.
  timespec until;
  OK(clock_gettime(CLOCK_MONOTONIC, &until));
  until.tv_nsec += 20'000'000;
  if (until.tv_nsec >= 1'000'000'000) until.tv_nsec -= 1'000'000'000, ++until.tv_sec;
  FAILS(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET, 5, &until, nullptr, ~0u));
  timespec now;
  OK(clock_gettime(CLOCK_MONOTONIC, &now));
  CHECK(now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
  OK(clock_gettime(CLOCK_REALTIME, &until));
  FAILS(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &until, nullptr, ~0u));
}

TEST(errors) {
  Word word = 5;
  timespec bad = {0, 1'000'000'000};
  FAILS(EINVAL, futex(&word, FUTEX_WAIT, 5, &bad));
  FAILS(EINVAL, futex(reinterpret_cast<Word*>(reinterpret_cast<char*>(&word) + 1), FUTEX_WAIT, 5));
  FAILS(EINVAL, futex(&word, FUTEX_WAIT_BITSET, 5, nullptr, nullptr, 0));
  FAILS(EINVAL, futex(&word, FUTEX_WAKE_BITSET, 5, nullptr, nullptr, 0));
  FAILS(ENOSYS, futex(&word, 77, 5));
  FAILS(EFAULT, futex(reinterpret_cast<Word*>(8), FUTEX_WAIT, 5));
  FAILS(EFAULT, futex(&word, FUTEX_WAIT, 5, reinterpret_cast<void*>(8)));
}

TEST(wake_counts) {
  Word word = 0;
  std::vector<std::thread> threads;
  std::atomic<int> awake = 0;
  std::vector<std::atomic<pid_t>> tids(5);
  for (size_t i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      tids[i] = check::gettid();
      OK(futex(&word, FUTEX_WAIT_PRIVATE, 0));
      ++awake;
    });
  }
  for (auto& tid : tids) {
    WAIT_UNTIL(tid != 0);
    WAIT_THREAD_BLOCKED(tid);
  }
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 2)), 2);
  WAIT_UNTIL(awake == 2);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 100)), 3);
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 100)), 0);
}

TEST(private_and_shared_do_not_meet) {
  Word word = 0;
  std::atomic<pid_t> tid = 0;
  std::thread waiter([&] {
    tid = check::gettid();
    OK(futex(&word, FUTEX_WAIT_PRIVATE, 0));
  });
  WAIT_UNTIL(tid != 0);
  WAIT_THREAD_BLOCKED(tid);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE, 1)), 0);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 1)), 1);
  waiter.join();
}

TEST(bitsets) {
  Word word = 0;
  std::atomic<pid_t> a = 0, b = 0;
  std::atomic<bool> a_awake = false, b_awake = false;
  std::thread one([&] {
    a = check::gettid();
    OK(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr, 1));
    a_awake = true;
  });
  std::thread two([&] {
    b = check::gettid();
    OK(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr, 2));
    b_awake = true;
  });
  WAIT_UNTIL(a != 0 && b != 0);
  WAIT_THREAD_BLOCKED(a);
  WAIT_THREAD_BLOCKED(b);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, nullptr, nullptr, 4)), 0);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, nullptr, nullptr, 2)), 1);
  two.join();
  CHECK(!a_awake);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 10)), 1);
  one.join();
}

// Starts `n` threads that wait on `word` and returns when all wait.
std::vector<std::thread> start_waiters(Word* word, size_t n, std::atomic<int>* awake) {
  std::vector<std::thread> threads;
  auto tids = std::make_shared<std::vector<std::atomic<pid_t>>>(n);
  for (size_t i = 0; i < n; ++i) {
    threads.emplace_back([=] {
      (*tids)[i] = check::gettid();
      OK(futex(word, FUTEX_WAIT_PRIVATE, 0));
      ++*awake;
    });
  }
  for (auto& tid : *tids) {
    WAIT_UNTIL(tid != 0);
    WAIT_THREAD_BLOCKED(tid);
  }
  return threads;
}

TEST(requeue) {
  Word from = 0, to = 0;
  std::atomic<int> awake = 0;
  auto threads = start_waiters(&from, 4, &awake);
  CHECK_EQ(OK(futex(&from, FUTEX_REQUEUE_PRIVATE, 1, count2(2), &to)), 3);
  WAIT_UNTIL(awake == 1);
  CHECK_EQ(OK(futex(&to, FUTEX_WAKE_PRIVATE, 10)), 2);
  CHECK_EQ(OK(futex(&from, FUTEX_WAKE_PRIVATE, 10)), 1);
  for (std::thread& thread : threads) thread.join();
}

TEST(compare_and_requeue) {
  Word from = 0, to = 0;
  std::atomic<int> awake = 0;
  auto threads = start_waiters(&from, 3, &awake);
  FAILS(EAGAIN, futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, count2(10), &to, 99));
  CHECK_EQ(OK(futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, count2(10), &to, 0)), 3);
  CHECK_EQ(OK(futex(&from, FUTEX_WAKE_PRIVATE, 10)), 0);
  CHECK_EQ(OK(futex(&to, FUTEX_WAKE_PRIVATE, 10)), 2);
  for (std::thread& thread : threads) thread.join();
}

TEST(wake_op) {
  Word a = 0, b = 0;
  std::atomic<int> awake = 0;
  auto on_a = start_waiters(&a, 1, &awake);
  auto on_b = start_waiters(&b, 1, &awake);
  // b += 3, and wake its waiters if it was 0.
  uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0);
  CHECK_EQ(OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, count2(1), &b, op)), 2);
  CHECK_EQ(b.load(), 3u);
  for (auto& thread : on_a) thread.join();
  for (auto& thread : on_b) thread.join();
  CHECK_EQ(OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, count2(1), &b, op)), 0);
  CHECK_EQ(b.load(), 6u);
  op = FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_GT, 0);
  OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, count2(1), &b, op));
  CHECK_EQ(b.load(), 9u);
  op = FUTEX_OP(FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_LT, 0);
  OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, count2(1), &b, op));
  CHECK_EQ(b.load(), 8u);
  op = FUTEX_OP(FUTEX_OP_XOR, 12, FUTEX_OP_CMP_NE, 8);
  OK(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, count2(1), &b, op));
  CHECK_EQ(b.load(), 4u);
}

TEST(between_processes) {
  Word* words = shared_words();
  pid_t child = check::fork_child([&] { OK(futex(&words[0], FUTEX_WAIT, 0)); });
  WAIT_BLOCKED(child);
  // A private wake is of another kind.
  CHECK_EQ(OK(futex(&words[0], FUTEX_WAKE_PRIVATE, 1)), 0);
  CHECK_EQ(OK(futex(&words[0], FUTEX_WAKE, 1)), 1);
  JOIN(child);
}

TEST(through_two_mappings_of_a_file) {
  WRITE_FILE("a", std::string(4096, '\0'));
  auto map = [] {
    check::Fd fd(OK(open("a", O_RDWR)));
    return static_cast<Word*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
  };
  Word* mine = map();
  pid_t child = check::fork_child([&] {
    Word* own = map();
    OK(futex(&own[3], FUTEX_WAIT, 0));
  });
  WAIT_BLOCKED(child);
  CHECK_EQ(OK(futex(&mine[2], FUTEX_WAKE, 1)), 0);
  CHECK_EQ(OK(futex(&mine[3], FUTEX_WAKE, 1)), 1);
  JOIN(child);
}

TEST(private_memory_after_fork_is_two_futexes) {
  Word* word =
      static_cast<Word*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  pid_t child = check::fork_child([&] {
    timespec limit = {0, 50'000'000};
    FAILS(ETIMEDOUT, futex(word, FUTEX_WAIT, 0, &limit));
  });
  WAIT_BLOCKED(child);
  CHECK_EQ(OK(futex(word, FUTEX_WAKE, 1)), 0);
  JOIN(child);
}

TEST(shared_mutex_and_condition) {
  struct Shared {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int turn;
  };
  auto* s = static_cast<Shared*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  pthread_mutexattr_t mutex_attr;
  pthread_mutexattr_init(&mutex_attr);
  pthread_mutexattr_setpshared(&mutex_attr, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&s->mutex, &mutex_attr);
  pthread_condattr_t condition_attr;
  pthread_condattr_init(&condition_attr);
  pthread_condattr_setpshared(&condition_attr, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&s->condition, &condition_attr);
  auto play = [&](int parity) {
    for (int i = 0; i < 50; ++i) {
      pthread_mutex_lock(&s->mutex);
      while (s->turn % 2 != parity) pthread_cond_wait(&s->condition, &s->mutex);
      ++s->turn;
      pthread_cond_signal(&s->condition);
      pthread_mutex_unlock(&s->mutex);
    }
  };
  pid_t child = check::fork_child([&] { play(1); });
  play(0);
  JOIN(child);
  CHECK_EQ(s->turn, 100);
}

TEST(robust_mutex_of_a_dead_owner) {
  auto* mutex = static_cast<pthread_mutex_t*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attr);
  JOIN(check::fork_child([&] { CHECK_EQ(pthread_mutex_lock(mutex), 0); }));
  CHECK_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
  pthread_mutex_consistent(mutex);
  pthread_mutex_unlock(mutex);
  // Killed while another waits.
  check::Gate locked;
  pid_t owner = check::fork_child([&] {
    CHECK_EQ(pthread_mutex_lock(mutex), 0);
    locked.notify();
    for (;;) pause();
  });
  locked.wait();
  pid_t waiter = check::fork_child([&] { CHECK_EQ(pthread_mutex_lock(mutex), EOWNERDEAD); });
  WAIT_BLOCKED(waiter);
  OK(kill(owner, SIGKILL));
  JOIN(waiter);
  WAIT_STATUS(owner);
}

TEST(robust_mutex_of_a_dead_thread) {
  static pthread_mutex_t mutex;
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attr);
  std::thread([&] { CHECK_EQ(pthread_mutex_lock(&mutex), 0); }).join();
  CHECK_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
}

TEST(robust_list_calls) {
  void* head = nullptr;
  size_t length = 0;
  OK(syscall(SYS_get_robust_list, 0, &head, &length));
  CHECK_EQ(length, 24u);
  CHECK(head != nullptr);
  FAILS(EINVAL, syscall(SYS_set_robust_list, head, 23));
  FAILS(ESRCH, syscall(SYS_get_robust_list, 999'999'99, &head, &length));
}

TEST(robust_list_of_another_thread) {
  alignas(8) static char head[24];
  std::atomic<int> step = 0;
  std::atomic<pid_t> tid = 0;
  std::thread other([&] {
    void* before = nullptr;
    size_t length = 0;
    OK(syscall(SYS_get_robust_list, 0, &before, &length));
    OK(syscall(SYS_set_robust_list, head, sizeof head));
    tid = gettid();
    while (step == 0) sched_yield();
    OK(syscall(SYS_set_robust_list, before, sizeof head));
  });
  while (tid == 0) sched_yield();
  void* seen = nullptr;
  size_t length = 0;
  OK(syscall(SYS_get_robust_list, tid.load(), &seen, &length));
  CHECK(seen == head);
  step = 1;
  other.join();
}

TEST(priority_inheritance_mutex) {
  pthread_mutex_t mutex;
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
  int error = pthread_mutex_init(&mutex, &attr);
  if (error == ENOTSUP) SKIP_OPTIONAL("no priority inheritance futexes");
  CHECK_EQ(error, 0);
  int sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        CHECK_EQ(pthread_mutex_lock(&mutex), 0);
        ++sum;
        CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(sum, 400);
}

TEST(mutex_under_contention) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  long sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        pthread_mutex_lock(&mutex);
        sum = sum + 1;
        pthread_mutex_unlock(&mutex);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(sum, 16'000);
}

// ---- some waiters have a deadline, some have none, and all are woken alike

char state_of(pid_t tid) {
  const std::string text = READ_FILE(("/proc/self/task/" + std::to_string(tid) + "/stat").c_str());
  return text[text.rfind(')') + 2];
}

// Threads that wait on a word until it is no longer 0.
class Waiters {
 public:
  Waiters() = default;
  ~Waiters() {
    for (std::thread& thread : threads_) thread.join();
  }
  // Comes back when the thread sleeps.
  void add(Word& word, bool deadline, uint32_t bitset = FUTEX_BITSET_MATCH_ANY) {
    std::atomic<pid_t> tid = 0;
    threads_.emplace_back([this, &tid, &word, deadline, bitset] {
      tid = gettid();
      const timespec far = {INT32_MAX, 0};
      if (bitset == FUTEX_BITSET_MATCH_ANY)
        (void)futex(&word, FUTEX_WAIT_PRIVATE, 0, deadline ? &far : nullptr);
      else
        (void)futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, deadline ? &far : nullptr, nullptr, bitset);
      ++woken_;
    });
    while (tid == 0) sched_yield();
    const pid_t waiter = tid;
    while (state_of(waiter) != 'S') sched_yield();
  }
  void expect_woken(int count) {
    while (woken_ < count) sched_yield();
    CHECK_EQ(woken_, count);
  }

 private:
  std::vector<std::thread> threads_;
  std::atomic<int> woken_ = 0;
};

TEST(wakes_those_with_a_deadline_and_those_without) {
  Word word = 0;
  Waiters waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.add(word, false);
    waiters.add(word, true);
  }
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 2)), 2);
  waiters.expect_woken(2);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, nullptr, 4)), 1);
  waiters.expect_woken(3);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 3);
  waiters.expect_woken(6);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 0);
}

TEST(bitsets_beside_waiters_for_any_bit) {
  Word word = 0;
  Waiters waiters;
  waiters.add(word, false);
  waiters.add(word, false, 2);
  waiters.add(word, true, 4);
  waiters.add(word, true);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, nullptr, nullptr, 2)), 3);
  waiters.expect_woken(3);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 1);
}

TEST(requeues_those_with_a_deadline_and_those_without) {
  for (const int operation : {FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE}) {
    Word from = 0, to = 0;
    Waiters waiters;
    for (int i = 0; i < 2; ++i) {
      waiters.add(from, false);
      waiters.add(from, true);
    }
    CHECK_EQ(OK(futex(&from, operation, 1, count2(10), &to)), 4);
    waiters.expect_woken(1);
    CHECK_EQ(OK(futex(&from, FUTEX_WAKE_PRIVATE, INT_MAX)), 0);
    CHECK_EQ(OK(futex(&to, FUTEX_WAKE_PRIVATE, 1)), 1);
    waiters.expect_woken(2);
    CHECK_EQ(OK(futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX)), 2);
    waiters.expect_woken(4);
  }
}

TEST(requeues_all_without_a_deadline) {
  Word from = 0, to = 0;
  Waiters waiters;
  for (int i = 0; i < 4; ++i) waiters.add(from, false);
  FAILS(EAGAIN, futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, count2(2), &to, 1));
  CHECK_EQ(OK(futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, count2(2), &to, 0)), 3);
  waiters.expect_woken(1);
  CHECK_EQ(OK(futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX)), 2);
  CHECK_EQ(OK(futex(&from, FUTEX_WAKE_PRIVATE, INT_MAX)), 1);
  waiters.expect_woken(4);
}

TEST(wake_op_wakes_who_has_no_deadline) {
  Word first = 0, second = 0;
  Waiters waiters;
  waiters.add(first, false);
  waiters.add(second, false);
  waiters.add(second, true);
  const uint32_t set_one_if_zero = FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0);
  CHECK_EQ(OK(futex(&first, FUTEX_WAKE_OP_PRIVATE, 1, count2(5), &second, set_one_if_zero)), 3);
  CHECK_EQ(second.load(), 1u);
  waiters.expect_woken(3);
}

TEST(private_and_shared_do_not_meet_without_a_deadline) {
  Word word = 0;
  Waiters waiters;
  waiters.add(word, false);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE, INT_MAX)), 0);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 1);
}

TEST(errors_of_private_words) {
  Word word = 5;
  auto* const odd = reinterpret_cast<Word*>(reinterpret_cast<char*>(&word) + 1);
  auto* const nowhere =
      static_cast<Word*>(OK(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  auto* const beyond = reinterpret_cast<Word*>(0x7fff'ffff'f000);
  auto* const far_beyond = reinterpret_cast<Word*>(0xffff'8000'0000'0000);
  FAILS(EINVAL, futex(odd, FUTEX_WAIT_PRIVATE, 5));
  FAILS(EINVAL, futex(odd, FUTEX_WAKE_PRIVATE, 5));
  FAILS(EFAULT, futex(nowhere, FUTEX_WAIT_PRIVATE, 5));
  CHECK_EQ(OK(futex(nowhere, FUTEX_WAKE_PRIVATE, 5)), 0);
  FAILS(EFAULT, futex(beyond, FUTEX_WAIT_PRIVATE, 5));
  FAILS(EFAULT, futex(far_beyond, FUTEX_WAKE_PRIVATE, 5));
  FAILS(EFAULT, futex(&word, FUTEX_REQUEUE_PRIVATE, 1, count2(1), far_beyond));
  FAILS(EINVAL, futex(&word, FUTEX_REQUEUE_PRIVATE, 1, count2(1), odd));
  FAILS(EINVAL, futex(&word, FUTEX_REQUEUE_PRIVATE, static_cast<uint32_t>(-1), count2(1), &word));
  FAILS(EINVAL, futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 5, nullptr, nullptr, 0));
  FAILS(EINVAL, futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 5, nullptr, nullptr, 0));
  FAILS(ENOSYS, futex(&word, 77 | FUTEX_PRIVATE_FLAG, 5));
}

// ---- signals

std::atomic<int> handled;
void count_signal(int) { ++handled; }

TEST(signal_interrupts_a_wait_or_restarts_it) {
  static Word word;
  for (const int flags : {0, SA_RESTART}) {
    word = 0;
    handled = 0;
    struct sigaction action {};
    action.sa_handler = count_signal;
    action.sa_flags = flags;
    OK(sigaction(SIGUSR1, &action, nullptr));
    std::atomic<pid_t> tid = 0;
    std::atomic<int> result = -1;
    std::thread waiter([&] {
      tid = gettid();
      result = futex(&word, FUTEX_WAIT_PRIVATE, 0) < 0 ? errno : 0;
    });
    while (tid == 0 || state_of(tid) != 'S') sched_yield();
    OK(syscall(SYS_tgkill, getpid(), tid.load(), SIGUSR1));
    while (handled == 0) sched_yield();
    if (flags == SA_RESTART) {
      while (state_of(tid) != 'S') sched_yield();
      CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, 1)), 1);
    }
    waiter.join();
    CHECK_EQ(result, flags == SA_RESTART ? 0 : EINTR);
  }
}

// The signal comes at every moment of the way into the wait: none may be slept through. How long one takes is
// seen in every other round, and in the next the thread goes to sleep about when it comes.
TEST(signals_while_threads_begin_to_wait) {
  static Word word;
  struct sigaction action {};
  action.sa_handler = [](int) { word = 1; };
  OK(sigaction(SIGUSR1, &action, nullptr));
  constexpr int kMostRounds = 10'000, kNone = -1;
  constexpr uint64_t kSpread = 2000, kLongest = 2'000'000'000;  // ns
  std::atomic<int> round = 0, ended = 0;
  std::atomic<bool> enough = false;
  std::thread waiter([&] {
    uint64_t latency = 0;
    for (int i = 1; i <= kMostRounds && !enough; ++i) {
      word = 0;
      round = i;
      const uint64_t begin = check::now_ns();
      if (i % 2 != 0) {
        while (word == 0)
          if (check::now_ns() - begin > 1'000'000) sched_yield();
        latency = check::now_ns() - begin;
      } else {
        const uint64_t pause = latency + static_cast<uint64_t>(i) * 7919 % kSpread;
        while (check::now_ns() - begin + kSpread / 2 < pause && word == 0) continue;
        while (word == 0) (void)futex(&word, FUTEX_WAIT_PRIVATE, 0);
      }
      ended = i;
    }
    round = kNone;
  });
  int slept_through = 0;
  const uint64_t start = check::now_ns();
  for (int i = 1;; ++i) {
    while (round != i && round != kNone) sched_yield();
    if (round == kNone) break;
    const uint64_t sent = check::now_ns();
    if (sent - start > kLongest) enough = true;
    CHECK_EQ(pthread_kill(waiter.native_handle(), SIGUSR1), 0);
    while (ended != i) sched_yield();
    if (check::now_ns() - sent > 50'000'000) ++slept_through;
  }
  waiter.join();
  CHECK(slept_through <= 10);  // a busy machine
}

// ---- processes

TEST(fork_while_another_thread_waits) {
  Word word = 0;
  Waiters waiters;
  waiters.add(word, false);
  JOIN(check::fork_child([&] {
    CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 0);  // nobody waits in this one
    word = 1;
  }));
  CHECK_EQ(word.load(), 0u);
  CHECK_EQ(OK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX)), 1);
}

TEST(exec_and_exit_while_other_threads_wait) {
  for (const bool execute : {true, false}) {
    JOIN(check::fork_child([=] {
      static Word word;
      std::atomic<pid_t> tids[4] = {};
      for (auto& tid : tids)
        std::thread([&] {
          tid = gettid();
          for (;;) (void)futex(&word, FUTEX_WAIT_PRIVATE, 0);
        }).detach();
      for (const auto& tid : tids)
        while (tid == 0 || state_of(tid) != 'S') sched_yield();
      if (execute) execl("/bin/true", "true", nullptr);
      _exit(execute ? 9 : 0);
    }));
  }
}

TEST(killed_while_threads_wait) {
  const pid_t child = check::fork_child([] {
    static Word word;
    std::thread([] { (void)futex(&word, FUTEX_WAIT_PRIVATE, 0); }).detach();
    (void)futex(&word, FUTEX_WAIT_PRIVATE, 0);
  });
  const std::string stat = "/proc/" + std::to_string(child) + "/stat";
  while (READ_FILE(stat.c_str()).find(") S ") == std::string::npos) sched_yield();
  OK(kill(child, SIGTERM));
  int status = 0;
  OK(waitpid(child, &status, 0));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(wake_before_the_memory_goes_away) {
  for (int i = 0; i < 50; ++i) {
    auto* word = static_cast<Word*>(
        OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    std::thread waiter([&] {
      while (*word == 0) futex(word, FUTEX_WAIT_PRIVATE, 0);
    });
    *word = 1;
    futex(word, FUTEX_WAKE_PRIVATE, 1);
    waiter.join();
    OK(munmap(word, 4096));
  }
}

}  // namespace
