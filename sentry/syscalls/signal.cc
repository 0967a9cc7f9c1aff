// Signals: rt_sigaction(2) and its family, kill(2), sigaltstack(2).
#include <sys/syscall.h>

#include "sentry/abi/signal_frame.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using kernel::kSignals;
using kernel::SignalAction;
using kernel::SignalInfo;
using kernel::SignalSet;

constexpr uint64_t kSetSize = 8;
constexpr uint64_t kKnownFlags = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART |
                                 SA_NODEFER | SA_RESETHAND | abi::kSaRestorer | 0x800 /* SA_EXPOSE_TAGBITS */;

Result<> sys_rt_sigaction(Task& task, SignalNumber signo, GuestPtr<const SignalAction> in,
                          GuestPtr<SignalAction> out, uint64_t size) {
  if (size != kSetSize) return Errno(EINVAL);
  if (signo < 1 || signo > kSignals) return Errno(EINVAL);
  SignalAction wanted;
  if (in) {
    wanted = TRY(task.memory().read(in));
    if (signo == SIGKILL || signo == SIGSTOP) return Errno(EINVAL);
    wanted.flags &= kKnownFlags;
    wanted.mask = wanted.mask & ~kernel::kUnblockable;
  }
  const SignalAction old = (*task.group->handlers)[signo];
  if (in) {
    task.group->handlers->set(signo, wanted);
    const bool ignores =
        wanted.handler == reinterpret_cast<uint64_t>(SIG_IGN) ||
        (wanted.handler == reinterpret_cast<uint64_t>(SIG_DFL) &&
         (kernel::default_action(signo) == kernel::DefaultAction::kIgnore || signo == SIGCONT));
    if (ignores && !(wanted.handler == reinterpret_cast<uint64_t>(SIG_DFL) && signo == SIGCONT)) {
      // POSIX: a pending signal that comes to be ignored is discarded.
      const SignalSet one = kernel::signal_set({signo});
      task.group->pending.discard(one);
      for (Task* member : task.group->tasks) member->pending.discard(one);
    }
  }
  if (out) TRY(task.memory().write(out, old));
  return {};
}

Result<> sys_rt_sigprocmask(Task& task, Choice<kMaskHowNames> how, InSignalSet in, OutSignalSet out,
                            uint64_t size) {
  if (size != kSetSize) return Errno(EINVAL);
  const SignalSet old = task.mask;
  if (in) {
    const SignalSet set(TRY(task.memory().read(in)));
    switch (how) {
      case SIG_BLOCK:
        task.set_mask(old | set);
        break;
      case SIG_UNBLOCK:
        task.set_mask(old & ~set);
        break;
      case SIG_SETMASK:
        task.set_mask(set);
        break;
      default:
        return Errno(EINVAL);
    }
  }
  if (out) TRY(task.memory().write(out, old.bits()));
  return {};
}

Result<> sys_rt_sigpending(Task& task, OutSignalSet out, uint64_t size) {
  if (size > kSetSize) return Errno(EINVAL);
  const uint64_t bits = ((task.pending.pending() | task.group->pending.pending()) & task.mask).bits();
  return task.memory().write(out.address(), &bits, static_cast<size_t>(size));
}

Result<> sys_rt_sigsuspend(Task& task, InSignalSet mask, uint64_t size) {
  if (size != kSetSize) return Errno(EINVAL);
  const SignalSet wanted(TRY(task.memory().read(mask)));
  task.saved_mask = task.mask;
  task.set_mask(wanted);
  for (;;) {
    const Result<> parked = park_interruptible();
    if (!parked.ok()) return Errno(kErestartNoHand);
  }
}

Result<> sys_pause(Task&) {
  for (;;) {
    const Result<> parked = park_interruptible();
    if (!parked.ok()) return Errno(kErestartNoHand);
  }
}

Result<int> sys_rt_sigtimedwait(Task& task, InSignalSet set, GuestPtr<SignalInfo> info,
                                GuestPtr<const timespec> timeout, uint64_t size) {
  if (size != kSetSize) return Errno(EINVAL);
  const SignalSet wanted = SignalSet(TRY(task.memory().read(set))) & ~kernel::kUnblockable;
  Deadline deadline;
  if (timeout) {
    const timespec time = TRY(task.memory().read(timeout));
    if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
    const Nanoseconds now = monotonic_now();
    deadline = time.tv_sec > (INT64_MAX - now) / kSecond - 1 ? INT64_MAX
                                                             : now + time.tv_sec * kSecond + time.tv_nsec;
  }
  const auto take = [&] {
    auto found = task.pending.pop(wanted);
    return found ? found : task.group->pending.pop(wanted);
  };
  std::optional<SignalInfo> found = take();
  if (!found) {
    // While waiting, the awaited signals wake this task although they are blocked.
    const SignalSet old = task.mask;
    task.saved_mask = old;
    task.set_mask(old & ~wanted);
    Result<> parked;
    while (!task.signal_pending() && (parked = park_interruptible(deadline)).ok()) {
    }
    task.mask = old;
    task.saved_mask.reset();
    found = take();
    if (!found) {
      if (parked.is(ETIMEDOUT)) return Errno(EAGAIN);
      return Errno(EINTR);
    }
  }
  if (info) TRY(task.memory().write(info, *found));
  return found->si_signo;
}

Result<> sys_kill(Task& task, pid_t pid, SignalNumber signo) { return kernel::kill(task, pid, signo); }

Result<> send_to_thread(Task& task, pid_t tgid, pid_t tid, int signo, const SignalInfo& info) {
  if (tid <= 0) return Errno(EINVAL);
  const bool valid = signo >= 0 && signo <= kSignals;  // looked at once there is somebody to send it to
  Task* target = task.kernel.find_task(tid);
  if (target == nullptr || (tgid != 0 && target->group->id != tgid)) {
    // The leader's id stays valid while its process does.
    kernel::ThreadGroup* group = task.kernel.find_group(tid);
    if (target == nullptr && group != nullptr && (tgid == 0 || tgid == tid)) {
      if (!valid) return Errno(EINVAL);
      if (!kernel::may_signal(task, *group, signo)) return Errno(EPERM);
      return {};
    }
    return Errno(ESRCH);
  }
  if (!valid) return Errno(EINVAL);
  if (!kernel::may_signal(task, *target->group, signo)) return Errno(EPERM);
  if (signo != 0) target->send(info);
  return {};
}

Result<> sys_tkill(Task& task, pid_t tid, SignalNumber signo) {
  return send_to_thread(task, 0, tid, signo,
                        kernel::make_signal(signo, SI_TKILL, task.group->id, task.credentials->uid));
}
Result<> sys_tgkill(Task& task, pid_t tgid, pid_t tid, SignalNumber signo) {
  if (tgid <= 0) return Errno(EINVAL);
  return send_to_thread(task, tgid, tid, signo,
                        kernel::make_signal(signo, SI_TKILL, task.group->id, task.credentials->uid));
}

// A process may forge what the kernel or kill(2) would say only towards itself.
bool forged(const Task& task, pid_t target, const SignalInfo& info) {
  return (info.si_code >= 0 || info.si_code == SI_TKILL) && target != task.group->id && target != task.tid;
}

Result<> sys_rt_sigqueueinfo(Task& task, pid_t pid, SignalNumber signo, GuestPtr<const SignalInfo> in) {
  SignalInfo info = TRY(task.memory().read(in));
  info.si_signo = signo;
  if (forged(task, pid, info)) return Errno(EPERM);
  if (pid <= 0) return Errno(pid == 0 ? ESRCH : EINVAL);
  return kernel::kill(task, pid, signo, &info);
}
Result<> sys_rt_tgsigqueueinfo(Task& task, pid_t tgid, pid_t tid, SignalNumber signo,
                               GuestPtr<const SignalInfo> in) {
  SignalInfo info = TRY(task.memory().read(in));
  info.si_signo = signo;
  if (forged(task, tgid, info)) return Errno(EPERM);
  if (tgid <= 0) return Errno(EINVAL);
  return send_to_thread(task, tgid, tid, signo, info);
}

// The result is what the interrupted code will find in rax, for those who look: it has been put there.
Result<uint64_t> sys_rt_sigreturn(Task& task, FrameOnStack) {
  kernel::mark_registers_replaced(task);
  if (!kernel::restore_frame(task)) task.force(kernel::make_signal(SIGSEGV));
  const auto rax = static_cast<int64_t>(task.registers().rax);
  constexpr int64_t kLargestErrno = 4095;
  if (rax < 0 && rax >= -kLargestErrno) return Errno(static_cast<int>(-rax));
  return task.registers().rax;
}

struct GuestStack {
  uint64_t base;
  int32_t flags;
  int32_t padding;
  uint64_t size;
};

Result<> sys_sigaltstack(Task& task, GuestPtr<const GuestStack> in, GuestPtr<GuestStack> out) {
  constexpr int kAutoDisarm = static_cast<int>(0x80000000u);
  constexpr uint64_t kMinimum = 2048;
  const GuestStack old{task.alt_stack.base,
                       kernel::alt_stack_flags(task) | (task.alt_stack.flags & kAutoDisarm), 0,
                       task.alt_stack.size};
  if (in) {
    const GuestStack wanted = TRY(task.memory().read(in));
    if (kernel::alt_stack_flags(task) == SS_ONSTACK) return Errno(EPERM);
    const int mode = wanted.flags & ~kAutoDisarm;
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) return Errno(EINVAL);
    if (mode == SS_DISABLE) {
      task.alt_stack = kernel::AltStack{};
    } else {
      if (wanted.size < kMinimum) return Errno(ENOMEM);
      task.alt_stack = {wanted.base, wanted.size, wanted.flags & kAutoDisarm};
    }
  }
  if (out) TRY(task.memory().write(out, old));
  return {};
}

constexpr Entry kCalls[] = {
    COMPLETE(rt_sigaction, sys_rt_sigaction),
    COMPLETE(rt_sigprocmask, sys_rt_sigprocmask),
    COMPLETE(rt_sigpending, sys_rt_sigpending),
    COMPLETE(rt_sigsuspend, sys_rt_sigsuspend),
    COMPLETE(rt_sigtimedwait, sys_rt_sigtimedwait),
    COMPLETE(rt_sigqueueinfo, sys_rt_sigqueueinfo),
    COMPLETE(rt_tgsigqueueinfo, sys_rt_tgsigqueueinfo),
    COMPLETE(rt_sigreturn, sys_rt_sigreturn),
    COMPLETE(sigaltstack, sys_sigaltstack),
    COMPLETE(pause, sys_pause),
    COMPLETE(kill, sys_kill),
    COMPLETE(tkill, sys_tkill),
    COMPLETE(tgkill, sys_tgkill),
};

}  // namespace

std::span<const Entry> signal_calls() { return kCalls; }

}  // namespace sentry::syscalls
