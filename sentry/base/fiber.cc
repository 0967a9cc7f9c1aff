#include "sentry/base/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>

#include "sentry/base/cycles.h"
#include "sentry/base/log.h"

#ifdef BULKHEAD_SANITIZE
#include <sanitizer/common_interface_defs.h>
#endif

namespace sentry {
namespace {

namespace context = boost::context::detail;

constexpr size_t kPage = 4096;
#ifdef BULKHEAD_SANITIZE
constexpr size_t kStackSize = 512 * 1024;
#else
constexpr size_t kStackSize = 128 * 1024;
#endif
constexpr size_t kFreeStacks = 16;

Fiber* current_fiber = nullptr;
context::fcontext_t loop_context = nullptr;  // where the running fiber goes back to

#ifdef BULKHEAD_SANITIZE
const void* loop_stack = nullptr;
size_t loop_stack_size = 0;
#endif

}  // namespace

Fiber::Fiber(FiberScheduler& scheduler, std::function<void()> body)
    : scheduler_(scheduler), body_(std::move(body)) {
  if (!scheduler.free_stacks_.empty()) {
    stack_ = scheduler.free_stacks_.back();
    scheduler.free_stacks_.pop_back();
  } else {
    stack_.size = kStackSize + kPage;
    // The first page stays out of reach: a guard.
    constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    stack_.base = ::mmap(nullptr, stack_.size, PROT_NONE, kPrivate, -1, 0);
    BULKHEAD_CHECK(stack_.base != MAP_FAILED, "no room for a fiber's stack");
    void* const usable = static_cast<char*>(stack_.base) + kPage;
    BULKHEAD_CHECK(::mmap(usable, kStackSize, PROT_READ | PROT_WRITE, kPrivate | MAP_FIXED, -1, 0) == usable,
                   "no memory for a fiber's stack");
  }
  char* top = static_cast<char*>(stack_.base) + stack_.size;
  context_ = context::make_fcontext(top, kStackSize, [](context::transfer_t from) {
#ifdef BULKHEAD_SANITIZE
    __sanitizer_finish_switch_fiber(nullptr, &loop_stack, &loop_stack_size);
#endif
    loop_context = from.fctx;
    Fiber* self = static_cast<Fiber*>(from.data);
    self->body_();
    self->done_ = true;
#ifdef BULKHEAD_SANITIZE
    __sanitizer_start_switch_fiber(nullptr, loop_stack, loop_stack_size);
#endif
    context::jump_fcontext(loop_context, nullptr);
  });
}

Fiber::~Fiber() {
  if (scheduler_.free_stacks_.size() < kFreeStacks) {
    scheduler_.free_stacks_.push_back(stack_);
  } else {
    ::munmap(stack_.base, stack_.size);
  }
}

Fiber* Fiber::current() { return current_fiber; }

void Fiber::park() {
  Fiber* self = current_fiber;
  BULKHEAD_CHECK(self != nullptr, "only a fiber can park");
  if (self->sleeping_) ++self->sleeps_;
  const uint64_t before = cycles();
#ifdef BULKHEAD_SANITIZE
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, loop_stack, loop_stack_size);
#endif
  const context::transfer_t back = context::jump_fcontext(loop_context, nullptr);
#ifdef BULKHEAD_SANITIZE
  __sanitizer_finish_switch_fiber(fake_stack, &loop_stack, &loop_stack_size);
#endif
  loop_context = back.fctx;
  self->parked_cycles_ += cycles() - before;
}

void Fiber::yield() {
  current_fiber->wake();
  park();
}

void Fiber::wake() {
  if (queued_ || done_) return;
  queued_ = true;
  scheduler_.ready_.push_back(this);
}

FiberScheduler::~FiberScheduler() {
  for (const Fiber::Stack& stack : free_stacks_) ::munmap(stack.base, stack.size);
}

Fiber& FiberScheduler::spawn(std::function<void()> body) {
  auto* fiber = new Fiber(*this, std::move(body));
  ++fibers_;
  fiber->wake();
  return *fiber;
}

bool FiberScheduler::run_ready() {
  const size_t count = ready_.size();
  for (size_t i = 0; i < count && !ready_.empty(); ++i) {
    Fiber* fiber = ready_.front();
    ready_.pop_front();
    fiber->queued_ = false;
    resume(*fiber);
  }
  return count != 0;
}

void FiberScheduler::resume(Fiber& fiber) {
  current_fiber = &fiber;
#ifdef BULKHEAD_SANITIZE
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack_.base, fiber.stack_.size);
#endif
  const context::transfer_t back = context::jump_fcontext(fiber.context_, &fiber);
#ifdef BULKHEAD_SANITIZE
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  fiber.context_ = back.fctx;
  current_fiber = nullptr;
  if (fiber.done_) {
    // It may have been woken while it ran its last stretch.
    if (fiber.queued_) std::erase(ready_, &fiber);
    --fibers_;
    delete &fiber;
  }
}

}  // namespace sentry
