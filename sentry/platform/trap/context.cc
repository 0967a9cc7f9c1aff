#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/platform/stub_process.h"
#include "sentry/platform/trap/address_space.h"
#include "sentry/platform/trap/frame.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {
namespace {

// What the guest may have set of its flags when it goes on: the rest is the CPU's and the host's.
constexpr uint64_t kUserFlags = 0x50dd5 | 0x200000;

}  // namespace

TrapContext::~TrapContext() {
  Thread& thread = *thread_;
  if (lent()) {
    loan_->lender = nullptr;  // its borrower has the thread for itself
    return;
  }
  BULKHEAD_CHECK(thread.state != Thread::State::kRunning, "a context ends while it runs");
  if (borrowed() && give_back()) return;
  thread.runner = nullptr;
  thread.context = nullptr;
  if (thread.space == nullptr) return;  // killed with its process
  // Somebody else may be having it do something.
  const Reservation reserved(thread_);
  TrapAddressSpace* const space = thread.space;
  if (space == nullptr) return;  // killed with its process
  // The last one goes with its address space.
  const auto& all = space->threads_;
  if (std::none_of(all.begin(), all.end(), [](const auto& one) { return one->context != nullptr; })) return;
  if (space->park(thread)) return;
  space->keep_ticks(thread);
  std::erase(space->threads_, thread_);
  if (thread.state == Thread::State::kDead) return;
  // Other threads go on: this one alone leaves, and what it should still have done is left to them.
  thread.consents = {{SYS_exit, {}, 0}};
  thread.consented = 0;
  thread.space = nullptr;
  platform_.dismiss(thread_);
}

Trap TrapContext::run(Registers& registers) {
  BULKHEAD_CHECK(!lent(), "a context runs whose thread is lent");
  Thread& thread = *thread_;
  thread.runner = Fiber::current();
  Reservation reserved(thread_);
  if (needs_frame(registers)) keep_state();
  for (;;) {
    if (thread.state != Thread::State::kStopped || thread.space == nullptr) return {Trap::Kind::kExited};
    if (thread.interrupt) {
      thread.interrupt = false;
      return {.kind = Trap::Kind::kInterrupted, .partial = thread.partial};
    }
    if (thread.space->load(thread)) break;
    if (!thread.space->serve(thread)) return {Trap::Kind::kExited};
  }
  Area& area = *thread.area;
  // Few calls change more than rax, and what is not written need not travel between processors.
  area.result = registers.rax;
  area.way_back = static_cast<uint32_t>(thread.mode);
  if (!thread.partial) put_registers(registers);
  area.frame_back = thread.frame;
  thread.along_length = 0;
  thread.state_restored = false;
  if (loan_ != nullptr) loan_->touched = true;
  platform_.answer(thread, Command::kResume, Thread::State::kRunning);
  reserved.release();
  platform_.wait_for_report(thread);
  // Whoever made it stop may be using it by now; what it reported has been kept.
  if (thread.state == Thread::State::kDead) return {Trap::Kind::kExited};
  if (thread.partial)
    copy_call(thread.registers, registers);
  else
    registers = thread.registers;
  switch (thread.report) {
    case Report::kCall:
    case Report::kForeignCall:
      thread.interrupt = false;
      registers.orig_rax = registers.orig_rax & 0xffffffff;
      return {.kind = Trap::Kind::kSyscall,
              .foreign = thread.report == Report::kForeignCall,
              .costly = thread.mode == Mode::kFrame && thread.report == Report::kCall,
              .partial = thread.partial};
    case Report::kFault: {
      Trap trap{Trap::Kind::kFault};
      trap.info.si_signo = thread.fault.signo;
      trap.info.si_code = thread.fault.code;
      trap.info.si_addr = reinterpret_cast<void*>(thread.fault.address);
      trap.cpu = {thread.fault.trap, thread.fault.error};
      thread.interrupt = false;
      return trap;
    }
    case Report::kInterrupted:
      thread.interrupt = false;
      return {Trap::Kind::kInterrupted};
    case Report::kFailed:
      if (thread.space != nullptr) thread.space->refused(thread);
      return {Trap::Kind::kExited};
    case Report::kDone:
    case Report::kBroken:
      break;
  }
  // Guest code has been at the shim or its memory: it has hurt itself.
  return {Trap::Kind::kExited};
}

// All but rax, for the way back.
void TrapContext::put_registers(Registers registers) {
  Thread& thread = *thread_;
  Area& area = *thread.area;
  registers.eflags = (registers.eflags & kUserFlags) | 0x202;
  registers.rax = thread.registers.rax;
  registers.orig_rax = thread.registers.orig_rax;
  if (thread.mode == Mode::kFrame || std::memcmp(&registers, &thread.registers, sizeof registers) != 0)
    area.registers = registers;
  if (thread.mode == Mode::kJump && needs_frame(registers)) {
    thread.frame = make_frame(area, thread.slot.address(), platform_.fpstate_size());
    area.save_state = 1;
  }
}

void TrapContext::complete(Registers& registers) {
  Thread& thread = *thread_;
  if (!std::exchange(thread.partial, false) || thread.state == Thread::State::kDead) return;
  // What the call has been judged by stays.
  const Registers known = registers, call = thread.registers;
  registers = thread.area->registers;
  registers.cs = abi::kUserCode;
  registers.ss = abi::kUserData;
  thread.registers = registers;
  copy_call(known, registers);
  copy_call(call, thread.registers);
}

void TrapContext::set_identity(const Identity& identity) {
  if (thread_->state == Thread::State::kDead) return;  // its area may be another's
  if (identity.place == 0) thread_->space->hide_known();
  const LocalAnswers answers{identity.may_answer && platform_.local_answers() ? 1u : 0u,
                             identity.pid,
                             identity.tid,
                             identity.parent,
                             identity.uid,
                             identity.euid,
                             identity.gid,
                             identity.egid,
                             thread_->space->sees_known_ ? identity.place : 0};
  if (std::memcmp(&answers, &told_, sizeof answers) == 0) return;
  thread_->area->local = told_ = answers;
}

void TrapContext::set_signals(const Signals& signals) {
  Thread& thread = *thread_;
  if (!std::exchange(mask_told_, true) || signals.mask != thread.mask)
    __atomic_store_n(&thread.area->signals.mask, signals.mask, __ATOMIC_RELAXED);
  thread.mask = signals.mask;
  if (held_ != signals.pending) hold_signals(signals.pending);
}

void TrapContext::hold_signals(uint64_t pending) {
  held_ = pending;
  if (thread_->state == Thread::State::kDead) return;  // its area may be another's
  __atomic_store_n(&thread_->area->signals.held, pending, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint64_t TrapContext::signal_mask(uint64_t) const {
  const Thread& thread = *thread_;
  if (thread.state != Thread::State::kRunning) return thread.mask;
  return __atomic_load_n(&thread.area->signals.mask, __ATOMIC_SEQ_CST);
}

void TrapContext::set_own(const Own& own) {
  Thread& thread = *thread_;
  if (own_told_ && own == thread.own) return;
  own_told_ = true;
  thread.own = own;
  thread.area->own = {own.robust_list, own.stack_base, own.stack_size, own.stack_flags,
                      own.plain,       own.reset,      own.restorer};
}

Context::Own TrapContext::own(const Own&) const {
  const Thread& thread = *thread_;
  return thread.state == Thread::State::kRunning ? copy_own(*thread.area) : thread.own;
}

bool TrapContext::asleep() const {
  return thread_->state == Thread::State::kRunning && thread_->area->asleep != 0;
}

bool TrapContext::alive() {
  if (thread_->state != Thread::State::kDead) platform_.reap();
  return thread_->state != Thread::State::kDead;
}

void TrapContext::interrupt() {
  if (lent()) {
    loan_->interrupt = true;
    return;
  }
  Thread& thread = *thread_;
  if (thread.state == Thread::State::kRunning)
    platform_.kick(thread);
  else
    thread.interrupt = true;
}

Nanoseconds TrapContext::cpu_time() const {
  const Thread& thread = *thread_;
  if (!lent() && thread.space != nullptr && thread.state != Thread::State::kDead)
    cpu_time_told_ = std::max(cpu_time_told_, thread.space->guest_time(thread, others_));
  return cpu_time_told_;
}

void TrapContext::read_fpstate(std::span<std::byte> state) {
  Thread& thread = *thread_;
  const Reservation reserved(thread_);
  std::memset(state.data(), 0, state.size());
  if (thread.state == Thread::State::kStopped && thread.space != nullptr)
    thread.space->read_vector_state(thread, state);
}

Result<> TrapContext::write_fpstate(std::span<const std::byte> state) {
  Thread& thread = *thread_;
  const Reservation reserved(thread_);
  if (thread.state != Thread::State::kStopped || thread.space == nullptr) return {};
  if (!valid_state(state)) return Errno(EINVAL);
  if (thread.mode == Mode::kFrame) {
    std::byte* const place = frame_state(*thread.area, thread.slot.address(), thread.frame, state.size());
    if (place != nullptr) copy_vector_state(state, place);
    return {};
  }
  keep_state();
  if (!thread.space->drain(thread)) return {};
  std::memcpy(reinterpret_cast<std::byte*>(thread.area) + Area::kData, state.data(), state.size());
  (void)thread.space->serve_one(thread, {Operation::kLoadState, {0}, 0});
  return {};
}

bool TrapContext::save_frame(uint64_t address) {
  Thread& thread = *thread_;
  if (thread.state != Thread::State::kStopped || thread.mode != Mode::kJump || thread.frame_state != 0)
    return false;
  if (borrowed() && !loan_->touched) return false;  // the lender's is to be kept first
  thread.frame_state = address;
  return true;
}

void TrapContext::reset_fpstate() {
  // A context that has not run yet, exec's, has the state of a new program.
  Thread& thread = *thread_;
  if (thread.mode == Mode::kFrame &&
      frame_state(*thread.area, thread.slot.address(), thread.frame, platform_.fpstate_size()) == nullptr)
    return;
  std::vector<std::byte> state(platform_.fpstate_size());
  set_initial_state(state);
  (void)write_fpstate(state);
}

}  // namespace sentry::platform::trap
