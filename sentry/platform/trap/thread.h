// One host thread of a stub, as the sentry sees it.
#pragma once

#include <sys/types.h>

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "sentry/base/fiber.h"
#include "sentry/platform/platform.h"
#include "sentry/platform/trap/area.h"

namespace sentry::platform::trap {

class TrapAddressSpace;
class TrapContext;

// A place for an area: in the areas' memfd, and in its process.
struct AreaSlot {
  uint32_t index = 0;  // in the memfd: nobody else's until the process that has it mapped is gone
  uint32_t place = 0;  // in the process
  uint64_t file_offset() const { return index * kAreaSize; }
  uint64_t address() const { return kAreas + place * kAreaSize; }
};

struct Thread : std::enable_shared_from_this<Thread> {
  enum class State {
    kUnborn,   // ordered, has not yet been heard of
    kStopped,  // waits for the sentry's answer
    kServing,  // carries out operations for a fiber that waits
    kRunning,  // runs guest code, or is on its way there
    kDead,     // killed, or told to exit
  };

  State state = State::kUnborn;
  pid_t tid = 0;
  pid_t process = 0;
  Area* area = nullptr;
  AreaSlot slot;
  TrapAddressSpace* space = nullptr;  // null once that is gone

  uint32_t answered = 0;  // as in the area, where the guest may write to it

  // The last report, copied when it came.
  uint32_t reported = 0;
  Report report = Report::kDone;
  Mode mode = Mode::kFrame;
  uint64_t frame = 0;
  uint64_t along_address = 0, along_length = 0;  // guest memory that came with the call, in the area
  FaultInfo fault{};
  uint64_t mask = 0;  // of signals: as it was told to the thread, or reported by it since
  Context::Own own;   // in the same way
  Registers registers{};
  bool partial = false;  // they hold no more than the call's number and arguments; the others are in the area

  uint64_t notification = 0;        // of seccomp_unotify(2), to be answered to make the thread go on; 0: none
  bool notification_runs = false;   // it is a call that runs then (CONTINUE), not the doorbell
  std::vector<Operation> consents;  // host calls that it has been ordered and that notify, in order
  size_t consented = 0;
  std::optional<Operation> last_consent;  // may still be under way
  bool failed = false;          // a host call of its last batch has, and what came behind it was not done
  bool obeyed = false;          // it asked for all of them before its last report
  unsigned patience = 0;        // rounds until its process is ended for not having answered; 0: nobody waits
  bool cloned_again = false;    // it has asked for the same clone twice
  bool interrupt = false;       // asked for while it did not run
  bool fresh = false;           // has reported since the loop last had nothing to do
  std::vector<Fiber*> waiters;  // for a change of state
  TrapContext* context = nullptr;  // while there is one
  Fiber* runner = nullptr;         // the fiber that runs guest code by it
  uint64_t frame_state = 0;        // where guest memory gets its vector state before it goes on; 0: nowhere
  bool state_restored = false;     // kReportState, with its last report
  bool parked = false;             // its guest thread has ended, and it waits for another one
  bool reserved = false;
  std::deque<Fiber*> reserving;

  void wake_waiters() {
    for (Fiber* fiber : waiters) fiber->wake();
  }
};

// As the guest's shim has it now.
inline Context::Own copy_own(const Area& area) {
  const LocalOwn& own = area.own;
  return {own.robust_list, own.stack_base, own.stack_size, own.stack_flags,
          own.plain,       own.reset,      own.restorer};
}

// One fiber at a time has a stopped thread carry something out.
class Reservation {
 public:
  explicit Reservation(std::shared_ptr<Thread> thread) : thread_(std::move(thread)) {
    Fiber* const self = Fiber::current();
    if (thread_->reserved) {
      thread_->reserving.push_back(self);
      while (thread_->reserved || thread_->reserving.front() != self) Fiber::park();
      thread_->reserving.pop_front();
    }
    thread_->reserved = true;
  }
  ~Reservation() { release(); }
  Reservation(Reservation&& other) noexcept : thread_(std::move(other.thread_)) {}
  Reservation& operator=(Reservation&&) = delete;
  void release() {
    if (thread_ == nullptr) return;
    thread_->reserved = false;
    if (!thread_->reserving.empty()) thread_->reserving.front()->wake();
    thread_.reset();
  }
  Thread& operator*() const { return *thread_; }

 private:
  std::shared_ptr<Thread> thread_;
};

}  // namespace sentry::platform::trap
