#include "sentry/kernel/signal.h"

#include "sentry/abi/signal_frame.h"

namespace sentry::kernel {
namespace {
// Raised by the task's own instructions: delivered before others (SYNCHRONOUS_MASK in Linux).
constexpr SignalSet kSynchronous = signal_set({SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS});
}  // namespace

SignalInfo make_signal(int signo, int code, pid_t sender, uid_t uid) {
  SignalInfo info;
  std::memset(&info, 0, sizeof info);
  info.si_signo = signo;
  info.si_code = code;
  info.si_pid = sender;
  info.si_uid = uid;
  return info;
}

SignalAction reset_action(uint64_t restorer) {
  return {reinterpret_cast<uint64_t>(SIG_DFL), abi::kSaRestorer, restorer, {}};
}

void SignalHandlers::set(int signo, const SignalAction& action) {
  actions_[signo] = action;
  plain_.remove(signo);
  reset_.remove(signo);
  if (action == SignalAction{}) {
    plain_.add(signo);
  } else if (action == reset_action(action.restorer) && (reset_.empty() || action.restorer == restorer_)) {
    reset_.add(signo);
    restorer_ = action.restorer;
  }
}

void SignalHandlers::set_handler(int signo, uint64_t handler) {
  SignalAction action = actions_[signo];
  action.handler = handler;
  set(signo, action);
}

bool SignalQueue::push(const SignalInfo& info) {
  if (info.si_signo < kFirstRealtime && pending_.contains(info.si_signo)) return false;
  pending_.add(info.si_signo);
  queue_.push_back(info);
  return true;
}

std::optional<SignalInfo> SignalQueue::pop(SignalSet deliverable) {
  const SignalSet ready = pending_ & deliverable;
  if (ready.empty()) return std::nullopt;
  const SignalSet urgent = ready & kSynchronous;
  const int signo = __builtin_ctzll(urgent.empty() ? ready.bits() : urgent.bits()) + 1;
  std::optional<SignalInfo> found;
  bool more = false;
  for (auto entry = queue_.begin(); entry != queue_.end();) {
    if (entry->si_signo != signo) {
      ++entry;
    } else if (!found) {
      found = *entry;
      entry = queue_.erase(entry);
    } else {
      more = true;
      break;
    }
  }
  if (!more) pending_.remove(signo);
  return found;
}

SignalInfo* SignalQueue::find_timer(int timer_id) {
  for (SignalInfo& info : queue_)
    if (info.si_code == SI_TIMER && info.si_timerid == timer_id) return &info;
  return nullptr;
}

void SignalQueue::discard(SignalSet set) {
  if ((pending_ & set).empty()) return;
  queue_.remove_if([&](const SignalInfo& info) { return set.contains(info.si_signo); });
  pending_ = pending_ & ~set;
}

DefaultAction default_action(int signo) {
  switch (signo) {
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
      return DefaultAction::kIgnore;
    case SIGCONT:
      return DefaultAction::kContinue;
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
      return DefaultAction::kStop;
    case SIGQUIT:
    case SIGILL:
    case SIGTRAP:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGSEGV:
    case SIGXCPU:
    case SIGXFSZ:
    case SIGSYS:
      return DefaultAction::kCore;
    default:
      return DefaultAction::kTerminate;
  }
}

}  // namespace sentry::kernel
