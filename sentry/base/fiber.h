// Fibers: one stack each, one host thread for all. A fiber runs until it parks; nothing preempts it, so there
// are no locks in the sentry. Blocking a guest task is parking its fiber.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace sentry {

class FiberScheduler;

class Fiber {
 public:
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The fiber that is running, or nullptr on the event loop's own stack.
  static Fiber* current();

  // Suspends the current fiber until wake(). May return without a wake; callers loop over their condition.
  static void park();
  // Lets others run first.
  static void yield();

  // Makes a parked fiber runnable. Harmless on one that is runnable already or that is running.
  void wake();

  // Asked by interruptible waits: does something (a signal) want this fiber back? Set once by its owner, who
  // also calls wake() when the answer becomes yes.
  void set_interrupt_check(std::function<bool()> check) { interrupt_check_ = std::move(check); }
  bool interrupted() const { return interrupt_check_ && interrupt_check_(); }

  // In a wait that a signal ends: asleep, as proc_pid_stat(5) would say.
  bool sleeping() const { return sleeping_; }
  void set_sleeping(bool sleeping) { sleeping_ = sleeping; }

  // How long it has been parked so far, and how often in a wait that a signal ends.
  uint64_t parked_cycles() const { return parked_cycles_; }
  long sleeps() const { return sleeps_; }

  FiberScheduler& scheduler() const { return scheduler_; }

  // Whatever its creator wants to find again from current(): the guest task.
  void set_owner(void* owner) { owner_ = owner; }
  void* owner() const { return owner_; }

 private:
  friend class FiberScheduler;
  struct Stack {
    void* base = nullptr;  // lowest address, guard page included
    size_t size = 0;
  };

  Fiber(FiberScheduler& scheduler, std::function<void()> body);

  FiberScheduler& scheduler_;
  std::function<void()> body_;
  std::function<bool()> interrupt_check_;
  Stack stack_;
  void* context_ = nullptr;  // Boost.Context's suspended state
  void* owner_ = nullptr;
  uint64_t parked_cycles_ = 0;
  long sleeps_ = 0;
  bool queued_ = false;
  bool done_ = false;
  bool sleeping_ = false;
};

// Owns the fibers and the queue of those that may run.
class FiberScheduler {
 public:
  FiberScheduler() = default;
  ~FiberScheduler();

  // A new runnable fiber; it lives until `body` returns.
  Fiber& spawn(std::function<void()> body);

  // Runs every fiber that is runnable now, once. Whether any ran.
  bool run_ready();
  bool has_ready() const { return !ready_.empty(); }
  size_t count() const { return fibers_; }

 private:
  friend class Fiber;
  void resume(Fiber& fiber);

  std::deque<Fiber*> ready_;
  std::vector<Fiber::Stack> free_stacks_;
  size_t fibers_ = 0;
};

}  // namespace sentry
