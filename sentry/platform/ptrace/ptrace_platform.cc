#include "sentry/platform/ptrace/ptrace_platform.h"

#include <elf.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/platform/ptrace/stub.h"
#include "sentry/platform/ptrace/tracee.h"
#include "sentry/platform/stub_process.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::ptrace {

class PtraceContext final : public Context {
 public:
  PtraceContext(PtracePlatform& platform, PtraceAddressSpace& space, pid_t tid);
  ~PtraceContext() override;

  Trap run(Registers& registers) override;
  void interrupt() override;
  bool alive() override;
  Nanoseconds cpu_time() const override;
  void read_fpstate(std::span<std::byte> state) override;
  Result<> write_fpstate(std::span<const std::byte> state) override;
  void reset_fpstate() override;

  pid_t tid() const { return tid_; }

 private:
  friend class PtracePlatform;
  friend class PtraceAddressSpace;
  PtracePlatform& platform_;
  PtraceAddressSpace* space_;
  pid_t tid_;
  bool running_ = false;  // resumed, its stop not yet collected
  bool dead_ = false;
  bool interrupt_ = false;  // asked for while it did not run
  int status_ = 0;          // of the stop that ended the last run
  siginfo_t info_{};  // of that stop, if it was by a signal: others may have the thread make calls since
  Fiber* waiter_ = nullptr;
};

class PtraceAddressSpace final : public AddressSpace {
 public:
  explicit PtraceAddressSpace(PtracePlatform& platform, pid_t process)
      : platform_(platform), process_(process) {}
  ~PtraceAddressSpace() override;

  Result<> map(const MapOrder& order) override {
    const auto fd = static_cast<uint64_t>(static_cast<int64_t>(order.host_fd));
    return call(SYS_mmap, {order.address, order.length, static_cast<uint64_t>(order.prot),
                           static_cast<uint64_t>(order.flags | MAP_FIXED), fd, order.offset});
  }
  Result<> unmap(uint64_t address, uint64_t length) override { return call(SYS_munmap, {address, length}); }
  Result<> protect(uint64_t address, uint64_t length, int prot) override {
    return call(SYS_mprotect, {address, length, static_cast<uint64_t>(prot)});
  }
  Result<> move(uint64_t from, uint64_t length, uint64_t to, bool keep_old) override {
    const uint64_t flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep_old ? MREMAP_DONTUNMAP : 0);
    return call(SYS_mremap, {from, length, length, flags, to});
  }
  Result<> advise(uint64_t address, uint64_t length, int advice) override {
    return call(SYS_madvise, {address, length, static_cast<uint64_t>(advice)});
  }
  Result<size_t> read(uint64_t address, void* buffer, size_t size) override;
  Result<size_t> write(uint64_t address, const void* data, size_t size) override;
  Result<Forked> fork(Context& caller) override;
  Result<std::unique_ptr<Context>> add_context(Context& caller) override;

 private:
  friend class PtraceContext;
  friend class PtracePlatform;
  Result<> call(long number, const CallArguments& arguments);
  PtraceContext* stopped_context();

  PtracePlatform& platform_;
  pid_t process_;
  std::vector<PtraceContext*> contexts_;
};

// ---- contexts

Nanoseconds PtraceContext::cpu_time() const {
  if (space_ == nullptr || dead_) return 0;
  return share_of_cpu_time(space_->process_, space_->contexts_.size());
}

PtraceContext::PtraceContext(PtracePlatform& platform, PtraceAddressSpace& space, pid_t tid)
    : platform_(platform), space_(&space), tid_(tid) {
  platform_.contexts_.emplace(tid, this);
  space.contexts_.push_back(this);
}

PtraceContext::~PtraceContext() {
  BULKHEAD_CHECK(waiter_ == nullptr, "a context ends while it runs");
  platform_.contexts_.erase(tid_);
  if (space_ == nullptr) return;  // its process has been killed
  std::erase(space_->contexts_, this);
  if (!dead_ && !space_->contexts_.empty()) platform_.let_die(tid_);
}

Trap PtraceContext::run(Registers& registers) {
  if (dead_) return {Trap::Kind::kExited};
  if (interrupt_) {
    interrupt_ = false;
    return {Trap::Kind::kInterrupted};
  }
  registers.orig_rax = ~uint64_t{0};  // the host must not restart anything by itself
  for (;;) {
    if (!set_registers(tid_, registers) || ::ptrace(PTRACE_SYSEMU, tid_, 0, 0) != 0) {
      // Killed from outside; its end will be collected like every other's.
      return {Trap::Kind::kExited};
    }
    running_ = true;
    waiter_ = Fiber::current();
    while (running_) Fiber::park();
    waiter_ = nullptr;
    if (dead_) return {Trap::Kind::kExited};
    get_registers(tid_, registers);
    const int event = status_ >> 16;
    const int signo = WSTOPSIG(status_);
    if (event != 0) {
      interrupt_ = false;
      return {Trap::Kind::kInterrupted};
    }
    if (signo == (SIGTRAP | 0x80)) {
      // `syscall` leaves the next address in rcx; int 0x80 and sysenter, the 32-bit entries, do not.
      return {.kind = Trap::Kind::kSyscall,
              .foreign = registers.cs != abi::kUserCode || registers.rcx != registers.rip};
    }
    Trap trap{Trap::Kind::kFault};
    trap.info = info_;
    if (trap.info.si_code > 0) {
      // A call through the vsyscall page: the host has emulated its return, and asks the stub's filter
      // instead of us.
      constexpr uint64_t kVsyscallPage = 0xffff'ffff'ff60'0000;
      if (signo == SIGSYS &&
          (reinterpret_cast<uint64_t>(trap.info.si_call_addr) & ~0xfffull) == kVsyscallPage) {
        registers.orig_rax = static_cast<uint64_t>(trap.info.si_syscall);
        return {Trap::Kind::kSyscall};
      }
      return trap;
    }
    registers.orig_rax = ~uint64_t{0};  // somebody outside sent the stub a signal: not the guest's business
  }
}

bool PtraceContext::alive() {
  if (!dead_) platform_.collect();
  return !dead_;
}

void PtraceContext::interrupt() {
  if (running_) {
    ::ptrace(PTRACE_INTERRUPT, tid_, 0, 0);
  } else {
    interrupt_ = true;
  }
}

void PtraceContext::read_fpstate(std::span<std::byte> state) {
  iovec area{state.data(), state.size()};
  ::ptrace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &area);
}

Result<> PtraceContext::write_fpstate(std::span<const std::byte> state) {
  iovec area{const_cast<std::byte*>(state.data()), state.size()};
  if (::ptrace(PTRACE_SETREGSET, tid_, NT_X86_XSTATE, &area) != 0) return Errno(EINVAL);
  return {};
}

void PtraceContext::reset_fpstate() {
  std::vector<std::byte> state(platform_.fpstate_size());
  set_initial_state(state);
  (void)write_fpstate(state);
}

// ---- address spaces

PtraceAddressSpace::~PtraceAddressSpace() {
  for (PtraceContext* context : contexts_) context->space_ = nullptr;
  ::kill(process_, SIGKILL);
}

// A thread of this process that can take an injected call: the current fiber's own is stopped; another
// process's is made to stop first (rare: a truncated file that others have mapped).
PtraceContext* PtraceAddressSpace::stopped_context() {
  for (PtraceContext* context : contexts_)
    if (!context->running_ && !context->dead_) return context;
  for (PtraceContext* context : contexts_) {
    if (context->dead_) continue;
    ::ptrace(PTRACE_INTERRUPT, context->tid_, 0, 0);
    int status = 0;
    if (::wait4(context->tid_, &status, __WALL, nullptr) != context->tid_) continue;
    platform_.stopped(*context, status);
    if (!context->dead_) return context;
  }
  return nullptr;
}

Result<> PtraceAddressSpace::call(long number, const CallArguments& arguments) {
  PtraceContext* context = stopped_context();
  if (context == nullptr) return Errno(ESRCH);
  // A run() that has just been stopped has not yet read its registers.
  Registers saved;
  const bool unread = context->waiter_ != nullptr;
  if (unread) get_registers(context->tid_, saved);
  const Result<uint64_t> result = inject(context->tid_, number, arguments);
  if (unread) set_registers(context->tid_, saved);
  if (!result.ok()) return result.error();
  return {};
}

Result<size_t> PtraceAddressSpace::read(uint64_t address, void* buffer, size_t size) {
  if (size == 0) return size_t{0};
  if (contexts_.empty()) return Errno(EFAULT);
  iovec local{buffer, size};
  iovec remote{reinterpret_cast<void*>(address), size};
  const ssize_t count = ::process_vm_readv(contexts_.front()->tid_, &local, 1, &remote, 1, 0);
  if (count <= 0) return Errno(EFAULT);
  return static_cast<size_t>(count);
}

Result<size_t> PtraceAddressSpace::write(uint64_t address, const void* data, size_t size) {
  if (size == 0) return size_t{0};
  if (contexts_.empty()) return Errno(EFAULT);
  iovec local{const_cast<void*>(data), size};
  iovec remote{reinterpret_cast<void*>(address), size};
  const ssize_t count = ::process_vm_writev(contexts_.front()->tid_, &local, 1, &remote, 1, 0);
  if (count <= 0) return Errno(EFAULT);
  return static_cast<size_t>(count);
}

Result<AddressSpace::Forked> PtraceAddressSpace::fork(Context& caller) {
  const Cloned child = TRY(inject_clone(static_cast<PtraceContext&>(caller).tid(), kForkFlags));
  auto space = std::make_unique<PtraceAddressSpace>(platform_, child.tid);
  auto context = std::make_unique<PtraceContext>(platform_, *space, child.tid);
  return Forked{std::move(space), std::move(context)};
}

Result<std::unique_ptr<Context>> PtraceAddressSpace::add_context(Context& caller) {
  const Cloned thread = TRY(inject_clone(static_cast<PtraceContext&>(caller).tid(), kThreadFlags));
  return std::unique_ptr<Context>(new PtraceContext(platform_, *this, thread.tid));
}

// ---- the platform

PtracePlatform::PtracePlatform()
    : zygote_(start_zygote()), fpstate_size_(vector_state_size()), sleep_mask_(hear_of_stubs()) {}

PtracePlatform::~PtracePlatform() { ::kill(zygote_, SIGKILL); }

Result<AddressSpace::Forked> PtracePlatform::new_address_space() {
  const Cloned child = TRY(inject_clone(zygote_, kForkFlags));
  auto space = std::make_unique<PtraceAddressSpace>(*this, child.tid);
  auto context = std::make_unique<PtraceContext>(*this, *space, child.tid);
  return AddressSpace::Forked{std::move(space), std::move(context)};
}

bool PtracePlatform::collect() {
  bool any = false;
  for (;;) {
    int status = 0;
    const pid_t tid = ::wait4(-1, &status, __WALL | WNOHANG, nullptr);
    if (tid <= 0) return any;
    any = true;
    const auto found = contexts_.find(tid);
    if (found != contexts_.end()) {
      stopped(*found->second, status);
      continue;
    }
    if (!WIFSTOPPED(status)) {
      dying_.erase(tid);
      if (tid == zygote_) {
        // Somebody outside did it, and nothing can be started without it.
        log("the first stub was killed (signal 9), and the sandbox with it");
        ::_exit(128 + SIGKILL);
      }
    } else if (dying_.count(tid) != 0) {
      ::ptrace(PTRACE_CONT, tid, 0, 0);  // an interrupt that was under way; let it come to its exit
    }
  }
}

void PtracePlatform::stopped(PtraceContext& context, int status) {
  context.running_ = false;
  context.status_ = status;
  const bool by_signal = WIFSTOPPED(status) && status >> 16 == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80);
  if (by_signal && ::ptrace(PTRACE_GETSIGINFO, context.tid_, 0, &context.info_) != 0) context.info_ = {};
  if (!WIFSTOPPED(status)) context.dead_ = true;
  if (context.dead_) context.tell_death();
  if (context.waiter_ != nullptr) context.waiter_->wake();
}

void PtracePlatform::let_die(pid_t tid) {
  Registers registers{};
  registers.cs = abi::kUserCode;
  registers.ss = abi::kUserData;
  registers.eflags = 0x202;
  registers.rip = kStubCall;
  registers.rax = SYS_exit;
  registers.orig_rax = ~uint64_t{0};
  dying_.insert(tid);
  if (set_registers(tid, registers)) ::ptrace(PTRACE_CONT, tid, 0, 0);
}

}  // namespace sentry::platform::ptrace
