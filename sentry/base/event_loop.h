// The sentry's one thread: runs fibers, fires timers, watches host descriptors, and sleeps in one place.
#pragma once

#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "sentry/base/fd.h"
#include "sentry/base/fiber.h"
#include "sentry/base/result.h"
#include "sentry/base/time.h"

namespace sentry {

class EventLoop;

// Calls back once at a deadline, on the loop's own stack (the callback must not park). Disarmed by
// destruction.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> expired) : loop_(loop), expired_(std::move(expired)) {}
  ~Timer() { disarm(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Nanoseconds deadline);
  void disarm();
  bool armed() const { return armed_; }
  Nanoseconds deadline() const { return position_->first; }

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::function<void()> expired_;
  bool armed_ = false;
  std::multimap<Nanoseconds, Timer*>::iterator position_;
};

// Calls back with epoll(7) events of a host descriptor, on the loop's own stack, level-triggered unless
// `events` has EPOLLET. The descriptor stays the caller's and must outlive the watch.
class HostWatch {
 public:
  // EPERM where the descriptor cannot be polled (a regular file): it is always ready.
  static Result<std::unique_ptr<HostWatch>> create(EventLoop& loop, int fd, uint32_t events,
                                                   std::function<void(uint32_t events)> ready);
  ~HostWatch();
  Result<> set_events(uint32_t events);

 private:
  friend class EventLoop;
  HostWatch(EventLoop& loop, int fd, std::function<void(uint32_t)> ready)
      : loop_(loop), fd_(fd), ready_(std::move(ready)) {}
  EventLoop& loop_;
  int fd_;
  std::function<void(uint32_t)> ready_;
};

// Which events of a host descriptor hold, asked without waiting: what poll(2) with timeout 0 answers, by an
// epoll of its own, whose code the loop's runs anyway. Descriptor as with HostWatch.
class HostReadiness {
 public:
  static Result<std::unique_ptr<HostReadiness>> create(EventLoop& loop, int fd, uint32_t events);
  ~HostReadiness();
  HostReadiness(const HostReadiness&) = delete;
  HostReadiness& operator=(const HostReadiness&) = delete;
  uint32_t now() const;

 private:
  HostReadiness(EventLoop& loop, int fd) : loop_(loop), fd_(fd) {}
  EventLoop& loop_;
  int fd_;
};

// What a platform adds to the loop: traps that are collected before the loop sleeps and after it wakes.
class TrapSource {
 public:
  virtual ~TrapSource() = default;
  // Collects what there is, wakes the fibers concerned, never blocks. Whether anything came.
  virtual bool collect() = 0;
  // Nothing is left to do: looks out for traps for as long as that is likely to be cheaper than to sleep, at
  // most until `until` (CLOCK_MONOTONIC). Whether one came.
  virtual bool linger(Deadline) { return false; }
  // The loop is about to sleep: from now on traps have to wake it. False if one has come meanwhile.
  virtual bool may_sleep() { return true; }
  virtual void woke() {}
  // Signals to unblock while the loop sleeps (ptrace: SIGCHLD); their arrival ends the sleep.
  virtual const sigset_t* sleep_mask() const { return nullptr; }
  // A descriptor to sleep on directly, and not through epoll_wait(2): ppoll(2) is woken on the processor that
  // the host was told. -1 for none.
  virtual int doorbell() const { return -1; }
  // It is readable.
  virtual void rang() {}
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  // The loop of this process: there is exactly one.
  static EventLoop& current();

  FiberScheduler& fibers() { return fibers_; }
  void set_trap_source(TrapSource* source) { traps_ = source; }

  // Runs until stop().
  void run();
  void stop() { running_ = false; }
  // Runs `action` on the loop's own stack, after the fibers that are runnable now.
  void post(std::function<void()> action) { posted_.push_back(std::move(action)); }

 private:
  friend class Timer;
  friend class HostWatch;
  friend class HostReadiness;
  bool fire_timers();
  bool poll_host(bool may_sleep);
  bool sleep_at_the_door(int doorbell, const timespec* limit, const sigset_t* mask);

  FiberScheduler fibers_;
  Fd epoll_;
  Fd asked_;         // an epoll that nobody sleeps on
  size_t asks_ = 0;  // descriptors in it
  std::multimap<Nanoseconds, Timer*> timers_;
  std::vector<std::function<void()>> posted_;
  std::vector<HostWatch*> removed_;  // watches that died while their batch of events was being handled
  size_t watches_ = 0;
  TrapSource* traps_ = nullptr;
  bool running_ = false;
};

}  // namespace sentry
