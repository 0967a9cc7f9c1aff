// Threads that do the same kind of thing in each round, each with a trace of its own; some leave before the
// others.
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "child.h"
#include "guard.h"
#include "operations.h"

namespace random_program {
namespace {

constexpr size_t kMost = 5;

struct Thread;

// What the threads of an operation share.
struct Team {
  size_t count = 0, rounds = 0;
  std::vector<int> kinds;  // of the rounds
  std::vector<uint64_t> seeds;
  std::vector<std::unique_ptr<Thread>> threads;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  // The barrier between rounds.
  size_t arrived = 0, generation = 0;
  // Of all rounds.
  uint64_t counter = 0, turn = 0;
  std::atomic<uint32_t> words[kMost] = {}, others[kMost] = {};
  // Interruptions of a pair: how often the one has been, and how many signals the other has sent for that.
  std::atomic<uint64_t> interrupted[kMost] = {}, sent[kMost] = {};
};

struct Thread {
  Team* team = nullptr;
  size_t index = 0, leaves = 0;  // before which round
  int way_out = 0;
  pid_t tid = 0;
  pthread_t handle{};
  Trace trace;
};

thread_local volatile int handled = 0;
thread_local volatile uint64_t interruptions = 0;

void on_thread_signal(int, siginfo_t*, void*) { handled = handled + 1; }

void on_interruption(int) { interruptions = interruptions + 1; }

long futex(void* word, int operation, uint32_t value, const timespec* time = nullptr, void* second = nullptr,
           uint32_t third = 0) {
  return syscall(SYS_futex, word, operation, value, time, second, third);
}

// Of those that take part in the round.
size_t members(const Team& team, size_t round) {
  size_t count = 0;
  for (const auto& thread : team.threads) count += thread->leaves > round ? 1 : 0;
  return count;
}

// Which of the members a thread is, and who it is next to.
size_t rank(const Thread& self, size_t round) {
  size_t before = 0;
  for (const auto& thread : self.team->threads)
    before += thread->index < self.index && thread->leaves > round ? 1 : 0;
  return before;
}

Thread& member(Team& team, size_t round, size_t rank) {
  for (auto& thread : team.threads) {
    if (thread->leaves > round && rank-- == 0) return *thread;
  }
  broken("no such member");
}

void meet(Team& team, size_t round) {
  pthread_mutex_lock(&team.mutex);
  size_t mine = team.generation;
  if (++team.arrived == members(team, round)) {
    team.arrived = 0;
    team.generation++;
    pthread_cond_broadcast(&team.condition);
  }
  while (mine == team.generation) pthread_cond_wait(&team.condition, &team.mutex);
  pthread_mutex_unlock(&team.mutex);
}

void count_under_mutex(Thread& self, Random& random, size_t round) {
  Team& team = *self.team;
  uint64_t times = 1 + random.below(300);
  for (uint64_t i = 0; i < times; i++) {
    pthread_mutex_lock(&team.mutex);
    uint64_t value = team.counter;
    if (i % 64 == 0) sched_yield();
    team.counter = value + 1;
    pthread_mutex_unlock(&team.mutex);
  }
  say("  adds %llu", static_cast<unsigned long long>(times));
  meet(team, round);
  say("  sum %llu", static_cast<unsigned long long>(team.counter));
}

void pass_turn(Thread& self, Random&, size_t round) {
  Team& team = *self.team;
  size_t count = members(team, round), mine = rank(self, round);
  for (uint64_t i = 0; i < 5; i++) {
    pthread_mutex_lock(&team.mutex);
    while (team.turn % count != mine) pthread_cond_wait(&team.condition, &team.mutex);
    say("  turn %llu", static_cast<unsigned long long>(team.turn));
    team.turn++;
    pthread_cond_broadcast(&team.condition);
    pthread_mutex_unlock(&team.mutex);
  }
}

// Two by two: one waits, the other wakes it once it sleeps. The round's choices are the pair's.
void wait_and_wake(Thread& self, Random&, size_t round) {
  Team& team = *self.team;
  size_t mine = rank(self, round), pair = mine / 2;
  if (pair * 2 + 1 >= members(team, round)) return say("  alone");
  Random random(team.seeds[round] + pair);
  int mode = random.one_in(2) ? FUTEX_PRIVATE_FLAG : 0;
  uint64_t deadline = random.below(3);
  bool requeues = random.one_in(3), two = random.one_in(2);
  auto *word = &team.words[pair], *other = &team.others[pair];
  for (uint64_t left = 1 + random.below(4); left > 0; left--) {
    if (mine % 2 == 0) {
      timespec time{100, 0};
      long answer = 0;
      if (deadline == 2) {
        must(clock_gettime(CLOCK_MONOTONIC, &time), "clock_gettime");
        time.tv_sec += 100;
        answer = futex(word, FUTEX_WAIT_BITSET | mode, 0, &time, nullptr, two ? 2 : FUTEX_BITSET_MATCH_ANY);
      } else {
        answer = futex(word, FUTEX_WAIT | mode, 0, deadline == 1 ? &time : nullptr);
      }
      say("  waited: %s", outcome(answer));
    } else if (requeues) {
      say("  requeue of another value: %s",
          outcome(futex(word, FUTEX_CMP_REQUEUE | mode, 0, reinterpret_cast<const timespec*>(1), other, 17)));
      long moved = 0;
      while ((moved = futex(word, FUTEX_CMP_REQUEUE | mode, 0, reinterpret_cast<const timespec*>(1), other,
                            0)) == 0) {
        sched_yield();
      }
      say("  moved: %s", outcome(moved));
      // A wakeup that Linux owes to an earlier round may come late: who has been moved then goes back to the
      // first word, and that can be between these two calls.
      long woken = 0;
      while (woken == 0) {
        woken = must(futex(word, FUTEX_WAKE | mode, 5), "futex") +
                must(futex(other, FUTEX_WAKE | mode, 5), "futex");
      }
      say("  woken: %ld", woken);
    } else {
      long woken = 0;
      while ((woken = futex(word, FUTEX_WAKE | mode, 5)) == 0) sched_yield();
      say("  woken: %s", outcome(woken));
    }
  }
}

void wait_in_vain(Thread& self, Random& random, size_t) {
  Team& team = *self.team;
  auto* word = &team.words[self.index];
  int mode = random.one_in(2) ? FUTEX_PRIVATE_FLAG : 0;
  timespec time{0, static_cast<long>(random.below(300000))};
  for (uint64_t left = 1 + random.below(4); left > 0; left--) {
    switch (random.below(7)) {
      case 0:
        say("  in vain: %s", outcome(futex(word, FUTEX_WAIT | mode, 0, &time)));
        break;
      case 1:
        say("  another value: %s", outcome(futex(word, FUTEX_WAIT | mode, 1)));
        break;
      case 2:
        say("  between words: %s", outcome(futex(reinterpret_cast<char*>(word) + 1, FUTEX_WAIT | mode, 0)));
        break;
      case 3:
        say("  nowhere: %s", outcome(futex(reinterpret_cast<void*>(16), FUTEX_WAIT | mode, 0)));
        break;
      case 4:
        say("  wakes none: %s", outcome(futex(word, FUTEX_WAKE | mode, INT_MAX)));
        break;
      case 5: {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
        timespec when{};
        must(clock_gettime(CLOCK_REALTIME, &when), "clock_gettime");
        pthread_mutex_lock(&mutex);
        say("  condition: %s", strerrorname_np(pthread_cond_timedwait(&condition, &mutex, &when)));
        pthread_mutex_unlock(&mutex);
        break;
      }
      default: {
        timespec bad{0, 1000000000};
        say("  a bad time: %s", outcome(futex(word, FUTEX_WAIT | mode, 0, &bad)));
      }
    }
  }
}

// Each sends one to the next, and takes one.
void signal_next(Thread& self, Random& random, size_t round) {
  Team& team = *self.team;
  size_t count = members(team, round), mine = rank(self, round);
  Thread& next = member(team, round, (mine + 1) % count);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 4);
  must(pthread_sigmask(SIG_BLOCK, &set, &before), "pthread_sigmask");
  bool handler = random.one_in(2);
  handled = 0;
  meet(team, round);
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = static_cast<int>(mine);
  must(syscall(SYS_rt_tgsigqueueinfo, getpid(), next.tid, SIGRTMIN + 4, &info), "rt_tgsigqueueinfo");
  if (handler) {
    sigset_t none = before;
    while (handled == 0) sigsuspend(&none);
    say("  handled %d", static_cast<int>(handled));
  } else {
    int got = 0;
    while ((got = sigwaitinfo(&set, &info)) < 0 && errno == EINTR) {
    }
    say("  got %d value %d code %d", got, info.si_value.sival_int, info.si_code);
  }
  must(pthread_sigmask(SIG_SETMASK, &before, nullptr), "pthread_sigmask");
}

// Two by two: one waits, the other interrupts it until it says that it was.
void interrupt(Thread& self, Random&, size_t round) {
  Team& team = *self.team;
  size_t mine = rank(self, round), pair = mine / 2;
  if (pair * 2 + 1 >= members(team, round)) {
    meet(team, round);
    return say("  alone");
  }
  Random random(team.seeds[round] + pair);
  int mode = random.one_in(2) ? FUTEX_PRIVATE_FLAG : 0;
  uint64_t how = random.below(5);
  if (mine % 2 == 0) {
    interruptions = 0;
    meet(team, round);
    timespec time{100, 0};
    long answer = 0;
    switch (how) {
      case 0:
        answer = futex(&team.words[pair], FUTEX_WAIT | mode, 0);
        break;
      case 1:
        answer = futex(&team.words[pair], FUTEX_WAIT | mode, 0, &time);
        break;
      case 2:
        answer = nanosleep(&time, nullptr);
        break;
      case 3:
        answer = pause();
        break;
      default: {
        int ends[2];
        must(pipe2(ends, O_CLOEXEC), "pipe2");
        char byte = 0;
        answer = read(ends[0], &byte, 1);
        int error = errno;
        must(close(ends[0]), "close");
        must(close(ends[1]), "close");
        errno = error;
      }
    }
    say("  interrupted in %llu: %s", static_cast<unsigned long long>(how), outcome(answer));
    team.interrupted[pair] = round + 1;
    // All that have been sent arrive here, and not in a later round.
    uint64_t sent = 0;
    while ((sent = team.sent[pair]) == 0 || interruptions != sent) sched_yield();
    team.sent[pair] = 0;
  } else {
    meet(team, round);
    Thread& other = member(team, round, mine - 1);
    uint64_t sent = 0;
    while (team.interrupted[pair] != round + 1) {
      sent++;
      must(syscall(SYS_tgkill, getpid(), other.tid, SIGRTMIN + 5), "tgkill");
      timespec time{0, 200000};
      nanosleep(&time, nullptr);
    }
    team.sent[pair] = sent;
  }
}

void own_memory(Thread&, Random& random, size_t) {
  for (uint64_t left = 1 + random.below(8); left > 0; left--) {
    size_t pages = 1 + random.below(16);
    void* memory = mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) broken("mmap");
    auto* bytes = static_cast<char*>(memory);
    size_t at = random.below(pages) * 4096, touched = random.below(pages) * 4096 + 5;
    bytes[touched] = 1;
    int protection = random.of({PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE});
    must(mprotect(bytes + at, 4096, protection), "mprotect");
    Fault fault = guarded([&] { *static_cast<volatile char*>(bytes + at) = 1; });
    say_fault("  own", fault, bytes);
    must(munmap(memory, pages * 4096), "munmap");
  }
}

void fork_in_thread(Thread& self, Random& random, size_t) {
  Random child_random = random.split();
  say_child([&] {
    say("  %s", getpid() == gettid() ? "the only thread" : "an odd thread");
    calls_in_thread(child_random);
    return static_cast<int>(self.index);
  });
}

void calls(Thread&, Random& random, size_t) { calls_in_thread(random); }

using Kind = void (*)(Thread&, Random&, size_t);
constexpr Kind kKinds[] = {count_under_mutex, pass_turn,  wait_and_wake, wait_in_vain,   signal_next,
                           interrupt,         own_memory, calls,         fork_in_thread, wait_and_wake};

void* run(void* argument) {
  Thread& self = *static_cast<Thread*>(argument);
  Team& team = *self.team;
  set_trace(&self.trace);
  self.tid = gettid();
  meet(team, 0);
  for (size_t round = 0; round < std::min(team.rounds, self.leaves); round++) {
    Random random(team.seeds[round] * 31 + self.index + 1);
    say("  round %d", team.kinds[round]);
    kKinds[team.kinds[round]](self, random, round);
    meet(team, round);
  }
  say("  leaves by %d", self.way_out);
  if (self.way_out == 1) pthread_exit(reinterpret_cast<void*>(self.index + 1));
  if (self.way_out == 2) syscall(SYS_exit, 0);
  return reinterpret_cast<void*>(self.index + 1);
}

}  // namespace

void threads_operation(Random& random) {
  Team team;
  team.count = 2 + random.below(kMost - 1);
  team.rounds = 1 + random.below(5);
  for (size_t i = 0; i < team.rounds; i++) {
    team.kinds.push_back(static_cast<int>(random.below(std::size(kKinds))));
    team.seeds.push_back(random.next());
  }
  struct sigaction action {
  }, before[2];
  action.sa_sigaction = on_thread_signal;
  action.sa_flags = SA_SIGINFO;
  must(sigaction(SIGRTMIN + 4, &action, &before[0]), "sigaction");
  action.sa_handler = on_interruption;
  action.sa_flags = 0;
  must(sigaction(SIGRTMIN + 5, &action, &before[1]), "sigaction");
  for (size_t i = 0; i < team.count; i++) {
    auto thread = std::make_unique<Thread>();
    thread->team = &team;
    thread->index = i;
    thread->leaves = random.one_in(4) ? 1 + random.below(team.rounds) : team.rounds;
    thread->way_out = static_cast<int>(random.below(3));
    team.threads.push_back(std::move(thread));
  }
  for (auto& thread : team.threads) {
    if (pthread_create(&thread->handle, nullptr, run, thread.get()) != 0) broken("pthread_create");
  }
  for (auto& thread : team.threads) {
    void* result = nullptr;
    if (pthread_join(thread->handle, &result) != 0) broken("pthread_join");
    say(" thread %zu", thread->index);
    trace().append(thread->trace);
    if (thread->way_out != 2) say("  result %zu", reinterpret_cast<size_t>(result));
  }
  must(sigaction(SIGRTMIN + 4, &before[0], nullptr), "sigaction");
  must(sigaction(SIGRTMIN + 5, &before[1], nullptr), "sigaction");
}

}  // namespace random_program
