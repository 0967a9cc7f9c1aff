// Calls at every pace, and changes from one to another: what a supervisor waits for by looking, by sleeping
// beside the caller, or neither.
#include <poll.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/syscalls/check.h"

namespace {

int64_t now() {
  timespec time;
  OK(clock_gettime(CLOCK_MONOTONIC, &time));
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Without a call.
void compute(int64_t nanoseconds) {
  const int64_t end = now() + nanoseconds;
  while (now() < end) {
  }
}

// From one call at once after the other to one every 200 microseconds, and back.
constexpr int64_t kPauses[] = {0, 60'000, 5'000, 200'000, 0, 33'000, 40'000, 0};

// A number goes through a pipe, and comes out.
class Echo {
 public:
  Echo() { OK(pipe(ends_)); }
  ~Echo() {
    OK(close(ends_[0]));
    OK(close(ends_[1]));
  }
  void send(uint32_t number) { CHECK_EQ(write(ends_[1], &number, sizeof number), ssize_t{sizeof number}); }
  uint32_t receive() {
    uint32_t number = 0;
    ssize_t got = 0;
    while ((got = read(ends_[0], &number, sizeof number)) < 0 && errno == EINTR) {
    }
    CHECK_EQ(got, ssize_t{sizeof number});
    return number;
  }

 private:
  int ends_[2];
};

void calls_at(int64_t pause, int count) {
  Echo echo;
  for (int i = 0; i < count; ++i) {
    echo.send(static_cast<uint32_t>(i));
    compute(pause);
    CHECK_EQ(echo.receive(), static_cast<uint32_t>(i));
    compute(pause);
  }
}

TEST(one_thread) {
  for (const int64_t pause : kPauses) calls_at(pause, 60);
}

volatile sig_atomic_t ticks = 0;

TEST(with_signals) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    ticks = ticks + 1;
    getppid();
  };
  OK(sigaction(SIGALRM, &action, nullptr));
  const itimerval often{{0, 300}, {0, 300}}, never{};
  OK(setitimer(ITIMER_REAL, &often, nullptr));
  for (const int64_t pause : kPauses) calls_at(pause, 40);
  const int64_t late = now() + 10'000'000'000;
  while (ticks < 5 && now() < late) compute(100'000);
  OK(setitimer(ITIMER_REAL, &never, nullptr));
  CHECK(ticks >= 5);
}

// Somebody else sleeps until a time, or is written to.
TEST(while_others_wait) {
  Echo there, back;
  const pid_t child = check::fork_child([&] {
    for (size_t i = 0; i < std::size(kPauses) * 20; ++i) {
      const int64_t before = now();
      CHECK_EQ(poll(nullptr, 0, 1), 0);
      CHECK(now() - before >= 1'000'000);
      back.send(there.receive() + 1);
    }
  });
  uint32_t number = 0;
  for (const int64_t pause : kPauses) {
    for (int i = 0; i < 20; ++i) {
      there.send(number);
      calls_at(pause, 3);
      CHECK_EQ(back.receive(), ++number);
    }
  }
  JOIN(child);
}

// One thread, then several, then one.
TEST(threads_come_and_go) {
  for (const int64_t pause : kPauses) {
    calls_at(pause, 20);
    std::atomic<bool> over = false;
    std::vector<std::thread> others;
    for (int i = 0; i < 3; ++i)
      others.emplace_back([&over, i] {
        while (!over) calls_at(i * 25'000, 5);
      });
    calls_at(pause, 40);
    over = true;
    for (std::thread& other : others) other.join();
  }
}

// Processes that make a call or two and are gone.
TEST(short_processes) {
  for (const int64_t pause : kPauses) {
    for (int i = 0; i < 8; ++i) {
      const pid_t child = check::fork_child([&] { calls_at(pause, 3); });
      compute(pause);
      JOIN(child);
    }
  }
}

}  // namespace
