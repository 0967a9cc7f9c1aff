// A child of vfork(2) on its parent's host thread: nothing is made, nobody is woken, and the parent, which
// waits anyway, finds its thread as it left it. General registers are the sentry's to set; vector state stays
// in the thread, so that the child inherits it, and is kept for the parent in a frame of its own, at that end
// of the alternate stack that signals do not come to.
#include <utility>
#include <vector>

#include "sentry/platform/trap/address_space.h"
#include "sentry/platform/trap/frame.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {

Result<std::unique_ptr<Context>> TrapAddressSpace::lend_context(Context& caller) {
  auto& lender = static_cast<TrapContext&>(caller);
  const Reservation reserved(lender.thread());
  Thread& thread = *reserved;
  if (thread.state != Thread::State::kStopped || thread.partial) return Errno(EAGAIN);
  // Not twice, and not where the way back goes by a frame of its own.
  if (lender.loan_ != nullptr && lender.loan_->borrower != nullptr) return Errno(EOPNOTSUPP);
  if (needs_frame(thread.registers)) return Errno(EOPNOTSUPP);
  (void)lender.cpu_time();
  auto loan = std::make_shared<TrapContext::Loan>();
  loan->mode = thread.mode;
  loan->frame = thread.frame;
  loan->working = ticks(thread).working;
  loan->interrupt = std::exchange(thread.interrupt, false);
  Area& area = *thread.area;
  const uint64_t address = thread.slot.address();
  loan->kept = make_kept_frame(area, address, platform_.fpstate_size_);
  if (thread.mode == Mode::kJump) {
    // The shim fills it in when it goes on.
    thread.frame = loan->kept;
    area.save_state = 1;
  } else {
    copy_state(area, address, thread.frame, area, address, loan->kept, platform_.fpstate_size_);
  }
  thread.along_length = 0;
  auto context = std::make_unique<TrapContext>(platform_, lender.thread());
  context->others_ = loan->working;
  loan->lender = &lender;
  loan->borrower = context.get();
  context->loan_ = lender.loan_ = std::move(loan);
  return std::unique_ptr<Context>(std::move(context));
}

bool TrapContext::give_back() {
  const Reservation reserved(thread_);
  if (!borrowed()) return false;  // the lender has ended while we waited for the thread
  Thread& thread = *reserved;
  TrapContext& lender = *loan_->lender;
  thread.context = &lender;
  thread.runner = nullptr;
  thread.along_length = 0;
  thread.frame_state = 0;
  thread.state_restored = false;
  thread.partial = false;
  thread.interrupt = loan_->interrupt;
  lender.others_ += ticks(thread).working - loan_->working;
  lender.forget_told();
  Area& area = *thread.area;
  area.stepping = 0;
  const uint64_t address = thread.slot.address();
  if (thread.state != Thread::State::kStopped) {
    // The host has ended it, or is about to.
  } else if (!loan_->touched) {
    thread.mode = loan_->mode;
    thread.frame = loan_->frame;
    area.save_state = 0;
  } else if (thread.mode == Mode::kJump) {
    thread.mode = Mode::kFrame;
    thread.frame = loan_->kept;
  } else {
    copy_state(area, address, loan_->kept, area, address, thread.frame, platform_.fpstate_size_);
  }
  lender.loan_ = nullptr;
  return true;
}

void TrapContext::keep_state() {
  Thread& thread = *thread_;
  if (!borrowed() || loan_->touched || thread.mode != Mode::kJump) return;
  if (thread.state != Thread::State::kStopped || thread.space == nullptr) return;
  loan_->touched = true;
  std::vector<std::byte> state(platform_.fpstate_size());
  thread.space->read_vector_state(thread, state);
  Area& area = *thread.area;
  area.save_state = 0;
  std::byte* const kept = frame_state(area, thread.slot.address(), loan_->kept, state.size());
  if (kept != nullptr && valid_state(state)) copy_vector_state(state, kept);
}

void TrapContext::forget_told() {
  told_ = {};
  thread_->area->local = told_;
  held_ = ~uint64_t{0};
  mask_told_ = own_told_ = false;
}

}  // namespace sentry::platform::trap
