// ptrace(2): requests of a guest debugger. How tracees stop and go on is kernel/trace.h's.
#include <elf.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "sentry/base/log.h"
#include "sentry/fs/epoll/epoll.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/trace.h"
#include "sentry/syscalls/debug.h"

namespace sentry::syscalls {
namespace {

using kernel::SignalInfo;
using kernel::Traced;
using platform::Registers;

constexpr uint64_t kUserFlags = 0xdd5 | 0x40000;  // of EFLAGS, what a program may set
constexpr uint64_t kUserAreaSize = 912;           // struct user, sys/user.h
constexpr uint64_t kDebugRegisters = 848;         // its u_debugreg
constexpr uint64_t kLegacyStateSize = 512;        // user_fpregs_struct: FXSAVE's layout
constexpr int kGetRegisters = 12, kSetRegisters = 13, kGetFloat = 14, kSetFloat = 15, kArchPrctl = 30;
constexpr int kSysemu = 31, kSysemuSinglestep = 32;  // asm/ptrace-abi.h

// A tracee of this thread, stopped. ESRCH, as Linux has it, for every other task. Whatever lets others run
// (reading guest memory, vector state) may be its end, by SIGKILL: whoever wants it afterwards asks again.
Result<Task*> tracee(Task& task, pid_t tid, bool must_be_stopped = true) {
  Task* target = task.kernel.find_task(tid);
  if (target == nullptr || target->traced == nullptr || target->traced->tracer != &task) return Errno(ESRCH);
  if (must_be_stopped && (!target->traced->stopped || target->traced->listening)) return Errno(ESRCH);
  return target;
}

Result<> set_registers(Task& target, const Registers& wanted) {
  const Registers now = target.traced_registers();
  Registers next = wanted;
  // Selectors of the kernel's privilege, none where there must be one, and bases outside the guest's range.
  for (const uint64_t selector : {next.cs, next.ss, next.ds, next.es, next.fs, next.gs})
    if ((selector & 0xffff) != 0 && (selector & 3) != 3) return Errno(EIO);
  if ((next.cs & 0xffff) == 0 || (next.ss & 0xffff) == 0) return Errno(EIO);
  if (next.fs_base >= mm::kGuestEnd || next.gs_base >= mm::kGuestEnd) return Errno(EIO);
  next.eflags = (now.eflags & ~kUserFlags) | (wanted.eflags & kUserFlags);
  next.cs = now.cs, next.ss = now.ss, next.ds = now.ds, next.es = now.es, next.fs = now.fs, next.gs = now.gs;
  target.set_traced_registers(next);
  return {};
}

// ---- memory, a word at a time

Result<uint64_t> peek(Task& target, uint64_t address) {
  const std::shared_ptr<mm::AddressSpaceMap> memory = target.memory_map;
  uint64_t word = 0;
  if (memory->read_forced(address, &word, sizeof word).value_or(0) != sizeof word) return Errno(EIO);
  return word;
}

Result<> poke(Task& target, uint64_t address, uint64_t word) {
  if (target.memory().write_forced(address, &word, sizeof word).value_or(0) != sizeof word) return Errno(EIO);
  return {};
}

// ---- struct user

Result<uint64_t> peek_user(Task& target, uint64_t offset) {
  if (offset % 8 != 0 || offset >= kUserAreaSize) return Errno(EIO);
  if (offset >= kDebugRegisters) return target.traced->debug.get((offset - kDebugRegisters) / 8);
  if (offset >= sizeof(Registers)) return 0;
  const Registers seen = target.traced_registers();
  uint64_t word = 0;
  std::memcpy(&word, reinterpret_cast<const char*>(&seen) + offset, sizeof word);
  return word;
}

Result<> poke_user(Task& target, uint64_t offset, uint64_t word) {
  if (offset % 8 != 0 || offset >= kUserAreaSize) return Errno(EIO);
  if (offset >= kDebugRegisters) return target.traced->debug.set((offset - kDebugRegisters) / 8, word);
  if (offset >= sizeof(Registers)) return {};
  Registers next = target.traced_registers();
  std::memcpy(reinterpret_cast<char*>(&next) + offset, &word, sizeof word);
  return set_registers(target, next);
}

// ---- vector state

std::vector<std::byte> vector_state(Task& target) {
  std::vector<std::byte> state(target.kernel.platform.fpstate_size());
  target.context->read_fpstate(state);
  return state;
}

// The part that FXSAVE knows, in an area of XSAVE's.
Result<> set_legacy_state(Task& task, pid_t pid, std::span<const std::byte> legacy) {
  std::vector<std::byte> state = vector_state(*TRY(tracee(task, pid)));
  std::copy(legacy.begin(), legacy.end(), state.begin());
  uint64_t in_use = 0;
  std::memcpy(&in_use, &state[kLegacyStateSize], sizeof in_use);
  in_use |= 3;  // x87 and SSE
  std::memcpy(&state[kLegacyStateSize], &in_use, sizeof in_use);
  return TRY(tracee(task, pid))->context->write_fpstate(state);
}

// PTRACE_GETREGSET and SETREGSET: the note's type says which registers, an iovec how much of them.
Result<> register_set(Task& task, pid_t pid, uint64_t type, GuestPtr<iovec> place, bool write) {
  iovec area = TRY(task.memory().read(place));
  Task& target = *TRY(tracee(task, pid));
  const auto address = reinterpret_cast<uint64_t>(area.iov_base);
  std::vector<std::byte> bytes;
  switch (type) {
    case NT_PRSTATUS: {
      const Registers seen = target.traced_registers();
      bytes.resize(sizeof seen);
      std::memcpy(bytes.data(), &seen, sizeof seen);
      break;
    }
    case NT_PRFPREG:
      bytes = vector_state(target);
      bytes.resize(kLegacyStateSize);
      break;
    case NT_X86_XSTATE:
      bytes = vector_state(target);
      break;
    default:
      return Errno(EINVAL);
  }
  if (area.iov_len % 8 != 0) return Errno(EINVAL);
  const size_t size = std::min(area.iov_len, bytes.size());
  if (write) {
    TRY(task.memory().read(address, bytes.data(), size));
    if (type == NT_PRSTATUS) {
      Registers next;
      std::memcpy(&next, bytes.data(), sizeof next);
      TRY(set_registers(*TRY(tracee(task, pid)), next));
    } else if (type == NT_PRFPREG) {
      TRY(set_legacy_state(task, pid, bytes));
    } else {
      if (size != bytes.size()) return Errno(EFAULT);
      TRY(TRY(tracee(task, pid))->context->write_fpstate(bytes));
    }
  } else {
    TRY(task.memory().write(address, bytes.data(), size));
  }
  area.iov_len = size;
  return task.memory().write(place, area);
}

// ---- what it knows of a stop

Result<uint64_t> syscall_info(Task& task, Task& target, uint64_t size, uint64_t address) {
  const Traced& traced = *target.traced;
  const Registers seen = target.traced_registers();
  __ptrace_syscall_info info{};
  info.op = traced.place;
  info.arch = AUDIT_ARCH_X86_64;
  info.instruction_pointer = seen.rip;
  info.stack_pointer = seen.rsp;
  size_t full = offsetof(__ptrace_syscall_info, entry);
  const uint64_t args[6] = {seen.rdi, seen.rsi, seen.rdx, seen.r10, seen.r8, seen.r9};
  switch (traced.place) {
    case PTRACE_SYSCALL_INFO_ENTRY:
      info.entry.nr = seen.orig_rax;
      std::copy(std::begin(args), std::end(args), std::begin(info.entry.args));
      full += sizeof info.entry;
      break;
    case PTRACE_SYSCALL_INFO_SECCOMP:
      info.seccomp.nr = seen.orig_rax;
      std::copy(std::begin(args), std::end(args), std::begin(info.seccomp.args));
      info.seccomp.ret_data = static_cast<uint32_t>(traced.message);
      full = offsetof(__ptrace_syscall_info, seccomp.ret_data) + sizeof info.seccomp.ret_data;
      break;
    case PTRACE_SYSCALL_INFO_EXIT:
      info.exit.rval = static_cast<int64_t>(seen.rax);
      info.exit.is_error = info.exit.rval < 0 && info.exit.rval >= -4095;
      full = offsetof(__ptrace_syscall_info, exit.is_error) + sizeof info.exit.is_error;
      break;
    default:
      break;
  }
  TRY(task.memory().write(address, &info, std::min<size_t>(size, full)));
  return full;
}

// PTRACE_PEEKSIGINFO: how many of the pending signals were copied.
Result<uint64_t> peek_signals(Task& task, pid_t pid, uint64_t address, uint64_t data) {
  struct Arguments {
    uint64_t offset;
    uint32_t flags;
    int32_t count;
  };
  const Arguments wanted = TRY(task.memory().read(GuestPtr<const Arguments>(address)));
  if ((wanted.flags & ~1u) != 0 || wanted.count < 0) return Errno(EINVAL);
  Task& target = *TRY(tracee(task, pid));
  const kernel::SignalQueue& queue = (wanted.flags & 1) != 0 ? target.group->pending : target.pending;
  uint64_t copied = 0, index = 0;
  const std::vector<SignalInfo> signals(queue.signals().begin(), queue.signals().end());
  for (const SignalInfo& info : signals) {
    if (index++ < wanted.offset) continue;
    if (copied >= static_cast<uint64_t>(wanted.count)) break;
    const Result<> put = task.memory().write(data + copied * sizeof info, &info, sizeof info);
    if (!put.ok()) return copied > 0 ? Result<uint64_t>(copied) : Result<uint64_t>(put.error());
    ++copied;
  }
  return copied;
}

// ---- orders

bool valid_signal(uint64_t signo) { return signo <= kernel::kSignals; }

Result<> go_on(Task& target, Traced::Until until, bool step, uint64_t signo) {
  if (!valid_signal(signo)) return Errno(EIO);
  Traced& traced = *target.traced;
  traced.until = until;
  traced.step = step;
  traced.deliver = static_cast<int>(signo);
  kernel::resume_traced(target);
  return {};
}

Result<> interrupt(Task& target) {
  Traced& traced = *target.traced;
  if (!traced.seized) return Errno(EIO);
  traced.interrupt = true;
  if (traced.listening)
    kernel::resume_traced(target);
  else if (!traced.stopped)
    target.kick();
  return {};
}

Result<> listen(Task& target) {
  Traced& traced = *target.traced;
  if (!traced.seized || traced.status >> 8 != PTRACE_EVENT_STOP) return Errno(EIO);
  traced.listening = true;
  if (traced.interrupt) kernel::resume_traced(target);  // the group goes on already
  return {};
}

// PTRACE_SECCOMP_GET_FILTER: filter number `index`, the oldest first, as many instructions as it has.
Result<uint64_t> seccomp_filter_of(Task& task, const Task& target, uint64_t index, uint64_t place) {
  if (!task.credentials->capable(CAP_SYS_ADMIN) || task.seccomp_mode != SECCOMP_MODE_DISABLED)
    return Errno(EACCES);
  if (target.seccomp_mode != SECCOMP_MODE_FILTER) return Errno(EINVAL);
  // Copying may park, and the target may add filters.
  std::shared_ptr<const kernel::SeccompFilter> filter = target.seccomp;
  if (index >= filter->depth) return Errno(ENOENT);
  while (filter->depth != index + 1) filter = filter->previous;
  if (place != 0)
    TRY(task.memory().write(place, filter->program.data(), filter->program.size() * sizeof(sock_filter)));
  return filter->program.size();
}

Result<uint64_t> arch_prctl_of(Task& task, Task& target, uint64_t address, uint64_t code) {
  constexpr uint64_t kSetGs = 0x1001, kSetFs = 0x1002, kGetFs = 0x1003, kGetGs = 0x1004;
  Registers next = target.traced_registers();
  switch (code) {
    case kSetGs:
    case kSetFs:
      if (address >= mm::kGuestEnd) return Errno(EPERM);
      (code == kSetFs ? next.fs_base : next.gs_base) = address;
      target.set_traced_registers(next);
      return 0;
    case kGetFs:
    case kGetGs:
      TRY(task.memory().write(GuestPtr<uint64_t>(address), code == kGetFs ? next.fs_base : next.gs_base));
      return 0;
    default:
      return Errno(EINVAL);
  }
}

Result<uint64_t> done(Result<> result) {
  if (!result.ok()) return result.error();
  return 0;
}

}  // namespace

Result<uint64_t> sys_ptrace(Task& task, Choice<kPtraceNames> request, pid_t pid, uint64_t address,
                            uint64_t data) {
  switch (static_cast<int>(request)) {
    case PTRACE_TRACEME:
      return done(kernel::trace_me(task));
    case PTRACE_ATTACH:
    case PTRACE_SEIZE: {
      const bool seize = static_cast<int>(request) == PTRACE_SEIZE;
      if (seize && (address != 0 || (data & ~kernel::kTraceOptions) != 0)) return Errno(EIO);
      Task* target = pid > 0 ? task.kernel.find_task(pid) : nullptr;
      if (target == nullptr) return Errno(ESRCH);
      return done(kernel::trace(task, *target, seize, seize ? data : 0));
    }
    case PTRACE_KILL: {
      Task* target = TRY(tracee(task, pid, false));
      if (target->traced->stopped) TRY(go_on(*target, Traced::Until::kEvent, false, SIGKILL));
      return 0;
    }
    case PTRACE_INTERRUPT:
      return done(interrupt(*TRY(tracee(task, pid, false))));
    default:
      break;
  }
  Task& target = *TRY(tracee(task, pid));
  switch (static_cast<int>(request)) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
      TRY(task.memory().write(GuestPtr<uint64_t>(data), TRY(peek(target, address))));
      return 0;
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA:
      return done(poke(target, address, data));
    case PTRACE_PEEKUSER:
      TRY(task.memory().write(GuestPtr<uint64_t>(data), TRY(peek_user(target, address))));
      return 0;
    case PTRACE_POKEUSER:
      return done(poke_user(target, address, data));
    case kGetRegisters:
      return done(task.memory().write(GuestPtr<Registers>(data), target.traced_registers()));
    case kSetRegisters: {
      const Registers wanted = TRY(task.memory().read(GuestPtr<const Registers>(data)));
      return done(set_registers(*TRY(tracee(task, pid)), wanted));
    }
    case kGetFloat: {
      const std::vector<std::byte> state = vector_state(target);
      return done(task.memory().write(data, state.data(), kLegacyStateSize));
    }
    case kSetFloat: {
      std::byte legacy[kLegacyStateSize];
      TRY(task.memory().read(data, legacy, sizeof legacy));
      return done(set_legacy_state(task, pid, legacy));
    }
    case PTRACE_GETREGSET:
    case PTRACE_SETREGSET:
      return done(register_set(task, pid, address, GuestPtr<iovec>(data),
                               static_cast<int>(request) == PTRACE_SETREGSET));
    case PTRACE_CONT:
      return done(go_on(target, Traced::Until::kEvent, false, data));
    case PTRACE_SYSCALL:
      return done(go_on(target, Traced::Until::kSyscall, false, data));
    case PTRACE_SINGLESTEP:
      return done(go_on(target, Traced::Until::kEvent, true, data));
    case kSysemu:
      return done(go_on(target, Traced::Until::kSysemu, false, data));
    case kSysemuSinglestep:
      return done(go_on(target, Traced::Until::kSysemu, true, data));
    case PTRACE_LISTEN:
      return done(listen(target));
    case PTRACE_DETACH:
      if (!valid_signal(data)) return Errno(EIO);
      kernel::stop_tracing(target, static_cast<int>(data));
      return 0;
    case PTRACE_SETOPTIONS:
      if ((data & ~kernel::kTraceOptions) != 0) return Errno(EINVAL);
      target.traced->options = data;
      return 0;
    case PTRACE_GETEVENTMSG:
      return done(task.memory().write(GuestPtr<uint64_t>(data), target.traced->message));
    case PTRACE_GETSIGINFO:
      if (target.traced->group_stop) return Errno(EINVAL);
      return done(task.memory().write(GuestPtr<SignalInfo>(data), target.traced->info));
    case PTRACE_SETSIGINFO: {
      if (target.traced->group_stop) return Errno(EINVAL);
      const SignalInfo info = TRY(task.memory().read(GuestPtr<const SignalInfo>(data)));
      TRY(tracee(task, pid))->traced->info = info;
      return 0;
    }
    case PTRACE_PEEKSIGINFO:
      return peek_signals(task, pid, address, data);
    case PTRACE_GETSIGMASK:
      if (address != sizeof(uint64_t)) return Errno(EINVAL);
      return done(task.memory().write(GuestPtr<uint64_t>(data),
                                      (target.saved_mask ? *target.saved_mask : target.mask).bits()));
    case PTRACE_SETSIGMASK: {
      if (address != sizeof(uint64_t)) return Errno(EINVAL);
      const kernel::SignalSet wanted(TRY(task.memory().read(GuestPtr<const uint64_t>(data))));
      Task& still = *TRY(tracee(task, pid));
      still.saved_mask.reset();
      still.set_mask(wanted);
      return 0;
    }
    case PTRACE_GET_SYSCALL_INFO:
      return syscall_info(task, target, address, data);
    case PTRACE_SECCOMP_GET_FILTER:
      return seccomp_filter_of(task, target, address, data);
    case kArchPrctl:
      return arch_prctl_of(task, target, address, data);
    default:
      return Errno(EIO);
  }
}

namespace {

// 0 for the same object, else 1 or 2: an order, and no more. That of the addresses, scrambled, since a guest
// is not to learn them (kptr_obfuscate).
int order(const void* one, const void* other) {
  static const std::array<uint64_t, 2> kSecret = [] {
    std::array<uint64_t, 2> secret{};
    BULKHEAD_CHECK(::getrandom(secret.data(), sizeof secret, 0) == sizeof secret, "getrandom: {}", errno);
    return secret;
  }();
  const auto scramble = [](const void* object) {
    return (reinterpret_cast<uint64_t>(object) ^ kSecret[0]) * (kSecret[1] | 1);
  };
  const uint64_t a = scramble(one), b = scramble(other);
  return a == b ? 0 : a < b ? 1 : 2;
}

}  // namespace

Result<int> sys_kcmp(Task& task, pid_t first, pid_t second, int type, uint64_t index1, uint64_t index2) {
  const Task* one = task.kernel.find_task(first);
  const Task* two = task.kernel.find_task(second);
  // One that is about to go has let go of its parts, one after the other.
  const auto whole = [](const Task* some) {
    return some != nullptr && some->fd_table != nullptr && some->fs_context != nullptr &&
           some->memory_map != nullptr;
  };
  if (!whole(one) || !whole(two)) return Errno(ESRCH);
  if (!kernel::may_attach(task, *one) || !kernel::may_attach(task, *two)) return Errno(EPERM);
  const auto compare = [](const auto& a, const auto& b) { return order(a.get(), b.get()); };
  switch (type) {
    case KCMP_FILE:
      return compare(TRY(one->fd_table->get(static_cast<int>(index1))),
                     TRY(two->fd_table->get(static_cast<int>(index2))));
    case KCMP_VM:
      return compare(one->memory_map, two->memory_map);
    case KCMP_FILES:
      return compare(one->fd_table, two->fd_table);
    case KCMP_FS:
      return compare(one->fs_context, two->fs_context);
    case KCMP_SIGHAND:
      return compare(one->group->handlers, two->group->handlers);
    case KCMP_IO:
      return order(one, two);
    case KCMP_SYSVSEM:
      return compare(one->semaphore_undo, two->semaphore_undo);
    case KCMP_EPOLL_TFD: {
      // A file against one that an epoll instance watches.
      const auto file_table = two->fd_table;
      const vfs::FileRef file = TRY(one->fd_table->get(static_cast<int>(index1)));
      const auto slot = TRY(task.memory().read(GuestPtr<const kcmp_epoll_slot>(index2)));
      const auto epoll =
          std::dynamic_pointer_cast<fs::epoll::EpollFile>(TRY(file_table->get(static_cast<int>(slot.efd))));
      if (epoll == nullptr) return Errno(EINVAL);
      return compare(file, TRY(epoll->watched(static_cast<int>(slot.tfd), slot.toff)));
    }
    default:
      return Errno(EINVAL);
  }
}

}  // namespace sentry::syscalls
