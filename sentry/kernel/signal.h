// Signals: sets, queues, dispositions. signal(7).
#pragma once

#include <csignal>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <optional>

#include "sentry/base/wait_queue.h"

namespace sentry::kernel {

inline constexpr int kSignals = 64;
inline constexpr int kFirstRealtime = 32;  // the kernel's SIGRTMIN

// A set of signals in the kernel's layout: bit n-1 is signal n.
class SignalSet {
 public:
  constexpr SignalSet() = default;
  constexpr explicit SignalSet(uint64_t bits) : bits_(bits) {}
  constexpr uint64_t bits() const { return bits_; }
  constexpr bool contains(int signo) const { return (bits_ >> (signo - 1) & 1) != 0; }
  constexpr void add(int signo) { bits_ |= uint64_t{1} << (signo - 1); }
  constexpr void remove(int signo) { bits_ &= ~(uint64_t{1} << (signo - 1)); }
  constexpr bool empty() const { return bits_ == 0; }
  friend constexpr SignalSet operator|(SignalSet a, SignalSet b) { return SignalSet(a.bits_ | b.bits_); }
  friend constexpr SignalSet operator&(SignalSet a, SignalSet b) { return SignalSet(a.bits_ & b.bits_); }
  friend constexpr SignalSet operator~(SignalSet a) { return SignalSet(~a.bits_); }
  friend constexpr bool operator==(SignalSet, SignalSet) = default;

 private:
  uint64_t bits_ = 0;
};

constexpr SignalSet signal_set(std::initializer_list<int> signals) {
  SignalSet set;
  for (int signo : signals) set.add(signo);
  return set;
}
inline constexpr SignalSet kUnblockable = signal_set({SIGKILL, SIGSTOP});
inline constexpr SignalSet kStopSignals = signal_set({SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU});

// siginfo_t as the guest sees it: the same 128 bytes on x86-64.
using SignalInfo = siginfo_t;
SignalInfo make_signal(int signo, int code = SI_KERNEL, pid_t sender = 0, uid_t uid = 0);

// struct sigaction as rt_sigaction(2) passes it (arch/x86: handler, flags, restorer, mask).
struct SignalAction {
  uint64_t handler = 0;  // SIG_DFL, SIG_IGN or an address
  uint64_t flags = 0;
  uint64_t restorer = 0;
  SignalSet mask;
  bool operator==(const SignalAction&) const = default;
};

// Pending signals. Standard signals are queued once, realtime ones each time.
class SignalQueue {
 public:
  // False if it was dropped as already pending. EAGAIN's limit is the caller's.
  bool push(const SignalInfo& info);
  // The next signal in `deliverable`, removed; synchronous ones first, then by number.
  std::optional<SignalInfo> pop(SignalSet deliverable);
  void discard(SignalSet set);
  // The queued signal of a timer_create(2) timer, or null.
  SignalInfo* find_timer(int timer_id);
  SignalSet pending() const { return pending_; }
  size_t size() const { return queue_.size(); }
  const std::list<SignalInfo>& signals() const { return queue_; }

 private:
  SignalSet pending_;
  std::list<SignalInfo> queue_;
};

// Dispositions, shared by CLONE_SIGHAND (sighand_struct).
class SignalHandlers {
 public:
  const SignalAction& operator[](int signo) const { return actions_[signo]; }
  void set(int signo, const SignalAction& action);
  // SA_RESETHAND and the like: the rest of the action stays.
  void set_handler(int signo, uint64_t handler);

  // The signals whose action is SIG_DFL and nothing else.
  SignalSet plain() const { return plain_; }
  // Those that have been set to it as C libraries do: with SA_RESTORER, and this restorer.
  SignalSet reset() const { return reset_; }
  uint64_t restorer() const { return restorer_; }

 private:
  SignalAction actions_[kSignals + 1];
  SignalSet plain_ = SignalSet(~uint64_t{0}), reset_;
  uint64_t restorer_ = 0;
};
// An action as reset() has them.
SignalAction reset_action(uint64_t restorer);

// What a signal does where its action is SIG_DFL.
enum class DefaultAction { kTerminate, kCore, kIgnore, kStop, kContinue };
DefaultAction default_action(int signo);

struct AltStack {
  uint64_t base = 0;
  uint64_t size = 0;
  int flags = SS_DISABLE;
};

}  // namespace sentry::kernel
