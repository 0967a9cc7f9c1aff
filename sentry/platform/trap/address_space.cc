#include "sentry/platform/trap/address_space.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sentry/base/cycles.h"
#include "sentry/base/log.h"
#include "sentry/platform/stub_process.h"
#include "sentry/platform/trap/filter.h"
#include "sentry/platform/trap/frame.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {
namespace {

// Does the stub's filter ask us before it lets this one through?
bool notifies(const Operation& operation) {
  return operation.number < Operation::kNotHost && !is_direct(operation);
}

// A new thread's area: as if it had reported once.
void begin(Thread& child) {
  Area& area = *child.area;
  area.reported = child.reported = 1;
  area.answered = child.answered = 0;
  area.waits = area.sleeping = area.interrupted = area.stepping = area.asleep = area.save_state = 0;
  area.working = area.waiting = 0;
  area.turned = cycles();
  area.payoff = Payoff();
}

// Of a host call, by the guest's word.
Result<uint64_t> host_result(int64_t result) {
  if (result < 0) return Errno(result > -4096 ? static_cast<int>(-result) : EIO);
  return static_cast<uint64_t>(result);
}

Operation clone_call(uint64_t flags, uint64_t stack) { return {SYS_clone, {flags, stack, 0, 0, 0, 0}, 0}; }

}  // namespace

CpuTicks ticks(const Thread& thread) {
  const Area& area = *thread.area;
  CpuTicks spent{area.working, area.waiting};
  if (thread.state == Thread::State::kRunning) {
    // It may be on its way in or out: then this is a little more than it has done.
    const uint64_t now = cycles(), turned = area.turned;
    if (turned != 0 && turned < now) spent.working += now - turned;
  }
  return spent;
}

TrapAddressSpace::~TrapAddressSpace() {
  for (const Change& change : queue_)
    if (notifies(change.operation)) platform_.unname(change.operation);
  if (!ended_) platform_.spaces_.erase(process_);
  for (const auto& thread : threads_) thread->space = nullptr;
  if (ended_) {
    platform_.free_areas(slots_);
    return;
  }
  auto& dying = platform_.dying_[process_];
  dying.slots = slots_;
  dying.lineage = lineage_;
  dying.threads = threads_;
  platform_.kill_process(process_);
}

Result<> TrapAddressSpace::order(long number, std::initializer_list<uint64_t> arguments) {
  Change change{{static_cast<uint64_t>(number), {}, 0}, {}};
  std::copy(arguments.begin(), arguments.end(), change.operation.a);
  if (notifies(change.operation)) platform_.name(change.operation);
  queue_.push_back(std::move(change));
  return {};
}

Result<> TrapAddressSpace::map(const MapOrder& order_in) {
  const auto fd = static_cast<uint64_t>(static_cast<int64_t>(order_in.host_fd));
  forget_husks(order_in.address, order_in.length);
  return order(SYS_mmap, {order_in.address, order_in.length, static_cast<uint64_t>(order_in.prot),
                          static_cast<uint64_t>(order_in.flags | MAP_FIXED), fd, order_in.offset});
}

// Unmapping takes a consent; mapping memory that nobody can touch in its place does not. Mappings, too, are
// limited by the host: what is left in so many places is unmapped.
Result<> TrapAddressSpace::unmap(uint64_t address, uint64_t length) {
  constexpr size_t kMostHusks = 256;
  constexpr uint64_t kHusk = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  const Operation husk{SYS_mmap, {address, length, PROT_NONE, kHusk, ~uint64_t{0}, 0}, 0};
  if (is_direct(husk)) {
    husks_.add(address / kPageSize, (address + length) / kPageSize);
    if (husks_.ranges() <= kMostHusks) {
      queue_.push_back({husk, {}});
      return {};
    }
  }
  forget_husks(address, length);
  return order(SYS_munmap, {address, length});
}

void TrapAddressSpace::forget_husks(uint64_t address, uint64_t length) {
  husks_.remove(address / kPageSize, (address + length) / kPageSize);
}
Result<> TrapAddressSpace::protect(uint64_t address, uint64_t length, int prot) {
  return order(SYS_mprotect, {address, length, static_cast<uint64_t>(prot)});
}
Result<> TrapAddressSpace::move(uint64_t from, uint64_t length, uint64_t to, bool keep_old) {
  forget_husks(to, length);
  const uint64_t flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep_old ? MREMAP_DONTUNMAP : 0);
  return order(SYS_mremap, {from, length, length, flags, to});
}

Result<> TrapAddressSpace::advise(uint64_t address, uint64_t length, int advice) {
  constexpr int kPopulateRead = 22, kPopulateWrite = 23;  // Linux 5.14
  if (advice != kPopulateRead && advice != kPopulateWrite) {
    // Hints, and dropping what is the guest's own: nobody waits for their answer.
    return order(SYS_madvise, {address, length, static_cast<uint64_t>(advice)});
  }
  TRY(call(SYS_madvise, {address, length, static_cast<uint64_t>(advice)}));
  return {};
}

Result<size_t> TrapAddressSpace::pread(int host_fd, uint64_t address, size_t size, uint64_t offset) {
  return transfer(SYS_preadv2, host_fd, address, size, offset);
}

Result<size_t> TrapAddressSpace::pwrite(int host_fd, uint64_t address, size_t size, uint64_t offset) {
  return transfer(SYS_pwritev2, host_fd, address, size, offset);
}

// Its length is what keeps a write to the memory file within its slice, so it must not be the guest's to
// change between consent and call.
Result<size_t> TrapAddressSpace::transfer(long number, int host_fd, uint64_t address, size_t size,
                                          uint64_t offset) {
  const std::optional<Reservation> reserved = reserve_stopped();
  if (!reserved || !drain(**reserved)) return Errno(ESRCH);
  const std::optional<uint64_t> piece = platform_.take_piece(address, size);
  if (!piece) return Errno(EAGAIN);
  const Operation operation{
      static_cast<uint64_t>(number), {static_cast<uint64_t>(host_fd), *piece, 1, offset, 0, 0}, 0};
  return std::min<size_t>(size, TRY(host_result(serve_one(**reserved, operation, kToWaitForTheHost))));
}

Result<uint64_t> TrapAddressSpace::call(long number, std::initializer_list<uint64_t> arguments) {
  const std::optional<Reservation> reserved = reserve_stopped();
  if (!reserved || !drain(**reserved)) return Errno(ESRCH);
  Operation operation{static_cast<uint64_t>(number), {}, 0};
  std::copy(arguments.begin(), arguments.end(), operation.a);
  return host_result(serve_one(**reserved, operation, kToWaitForTheHost));
}

// Who waits there has said so before it looked at the word, and who wakes has changed that before.
Result<uint64_t> TrapAddressSpace::host_futex(std::initializer_list<uint64_t> arguments) {
  const bool waiters = std::any_of(threads_.begin(), threads_.end(), [](const auto& thread) {
    return thread->state == Thread::State::kRunning &&
           __atomic_load_n(&thread->area->asleep, __ATOMIC_SEQ_CST) != 0;
  });
  if (!waiters) return uint64_t{0};
  return call(SYS_futex, arguments);
}

Result<uint64_t> TrapAddressSpace::wake_futex(uint64_t address, uint32_t count) {
  return host_futex({address, FUTEX_WAKE_PRIVATE, count});
}

Result<uint64_t> TrapAddressSpace::requeue_futex(uint64_t from, uint64_t to, uint32_t wake, uint32_t move,
                                                 const uint32_t* expected) {
  if (expected == nullptr) return host_futex({from, FUTEX_REQUEUE_PRIVATE, wake, move, to});
  return host_futex({from, FUTEX_CMP_REQUEUE_PRIVATE, wake, move, to, *expected});
}

bool TrapAddressSpace::load(Thread& thread) {
  Area& area = *thread.area;
  uint32_t count = 0;
  uint64_t data = 0;
  bool copies = false, others = false;
  thread.consents.clear();
  thread.consented = 0;
  while (!queue_.empty() && count < Area::kOperations) {
    Change& change = queue_.front();
    others = others || !change.kept || change.by != thread.runner;
    Operation operation = change.operation;
    if (operation.number == Operation::kCopyOut) {
      const uint64_t room = Area::kDataSize - data;
      if (room < change.bytes.size() && (data != 0 || room == 0)) break;
      const size_t piece = std::min<size_t>(change.bytes.size(), room);
      operation.a[1] = piece;
      queued_bytes_ -= piece;
      operation.a[2] = data;
      std::memcpy(reinterpret_cast<std::byte*>(&area) + Area::kData + data, change.bytes.data(), piece);
      data = (data + piece + 7) & ~uint64_t{7};
      if (piece < change.bytes.size()) {
        change.bytes.erase(0, piece);
        change.operation.a[0] += piece;
        area.operations[count++] = operation;
        break;
      }
    } else if (operation.number == Operation::kCopyAcross) {
      --queued_copies_;
      copies = true;
    } else if (notifies(operation)) {
      thread.consents.push_back(operation);
    }
    area.operations[count++] = operation;
    queue_.pop_front();
  }
  bool all = queue_.empty();
  if (all && thread.frame_state != 0) {
    const uint64_t place = (Area::kDataSize - platform_.fpstate_size_ - kFrameEnd) & ~uint64_t{63};
    all = count < Area::kOperations && data <= place;
    if (all)
      area.operations[count++] = {Operation::kSaveFrame, {std::exchange(thread.frame_state, 0), place}, 0};
  }
  area.operation_count = count;
  // A batch waits for the one before it, and one without operations for all that have been sent: they may be
  // its own call's, carried out by another thread. Nobody waits for results that are kept to the thread, if
  // they come at once.
  area.wait_for = sequence_;
  area.sequence = 0;
  if (count != 0 && (others || !all)) {
    if (++sequence_ == 0) ++sequence_;
    area.sequence = sequence_;
  }
  if (copies) {
    copier_ = thread.weak_from_this();
    copies_sequence_ = sequence_;
  }
  return all;
}

bool TrapAddressSpace::serve(Thread& thread, unsigned rounds) {
  platform_.answer(thread, Command::kServe, Thread::State::kServing);
  platform_.expect(thread, rounds);
  platform_.wait_while(thread, Thread::State::kServing);
  return thread.state == Thread::State::kStopped;
}

int64_t TrapAddressSpace::serve_one(Thread& thread, const Operation& operation, unsigned rounds) {
  Area& area = *thread.area;
  area.operations[0] = operation;
  area.operation_count = 1;
  thread.consents.clear();
  thread.consented = 0;
  if (notifies(operation)) {
    platform_.name(operation);
    thread.consents.push_back(operation);
  }
  return serve(thread, rounds) ? area.operations[0].result : -ESRCH;
}

Nanoseconds TrapAddressSpace::guest_time(const Thread& thread, uint64_t without) const {
  double all = left_ticks_;
  for (const auto& one : threads_) {
    const CpuTicks spent = ticks(*one);
    all += static_cast<double>(spent.working) + static_cast<double>(spent.waiting);
  }
  if (all == 0) return 0;
  const uint64_t working = ticks(thread).working;
  const double share = static_cast<double>(working - std::min(working, without)) / all;
  return static_cast<Nanoseconds>(static_cast<double>(process_cpu_time(process_)) * std::min(share, 1.0));
}

void TrapAddressSpace::refused(const Thread& thread) {
  const Area& area = *thread.area;
  const int64_t result = area.operations[std::min<size_t>(area.failed, Area::kOperations - 1)].result;
  platform_.complain("the host refuses a mapping call of stub {}: error {}", process_, -(result % 4096));
}

bool TrapAddressSpace::drain(Thread& thread) {
  while (!queue_.empty() || thread.frame_state != 0) {
    (void)load(thread);
    if (!serve(thread)) return false;
    if (!thread.failed) continue;
    refused(thread);
    platform_.kill_process(process_);
    return false;
  }
  thread.area->operation_count = 0;
  thread.area->sequence = 0;
  thread.area->wait_for = sequence_;
  return true;
}

void TrapAddressSpace::save_frames() {
  for (;;) {
    const auto unsaved = std::find_if(threads_.begin(), threads_.end(), [](const auto& thread) {
      return thread->state == Thread::State::kStopped && thread->frame_state != 0;
    });
    if (unsaved == threads_.end()) return;
    const Reservation reserved(*unsaved);
    if ((*reserved).state == Thread::State::kStopped) (void)drain(*reserved);
  }
}

std::optional<Reservation> TrapAddressSpace::reserve_stopped() {
  for (;;) {
    std::shared_ptr<Thread> best;
    const auto rank = [](const Thread& thread) {
      if (thread.state != Thread::State::kStopped) return thread.state == Thread::State::kServing ? 1 : 0;
      if (thread.runner == Fiber::current()) return 4;
      return thread.reserved ? 2 : 3;
    };
    for (const auto& thread : threads_) {
      if (thread->state == Thread::State::kDead || thread->state == Thread::State::kUnborn) continue;
      if (best == nullptr || rank(*thread) > rank(*best)) best = thread;
    }
    if (best == nullptr) return std::nullopt;
    if (best->state == Thread::State::kRunning && !platform_.stop(*best)) continue;
    Reservation reservation(best);
    if (best->state == Thread::State::kStopped) return reservation;
  }
}

std::span<const std::byte> TrapAddressSpace::at_hand(uint64_t address) const {
  if (!queue_.empty()) return {};
  for (const auto& thread : threads_) {
    if (thread->runner != Fiber::current() || thread->along_length == 0) continue;
    const uint64_t offset = address - thread->along_address;
    if (address < thread->along_address || offset > thread->along_length) return {};
    return {reinterpret_cast<const std::byte*>(thread->area) + Area::kAlong + offset,
            thread->along_length - offset};
  }
  return {};
}

std::optional<std::string_view> TrapAddressSpace::text_at_hand(uint64_t address) {
  const std::span<const std::byte> here = at_hand(address);
  const void* const end = here.empty() ? nullptr : std::memchr(here.data(), 0, here.size());
  if (end == nullptr) return std::nullopt;
  const auto* const text = reinterpret_cast<const char*>(here.data());
  return std::string_view(text, static_cast<const char*>(end));
}

Result<size_t> TrapAddressSpace::read(uint64_t address, void* buffer, size_t size) {
  if (const std::span<const std::byte> here = at_hand(address); size <= here.size() && !here.empty()) {
    std::memcpy(buffer, here.data(), size);
    return size;
  }
  save_frames();
  size_t done = 0;
  while (done < size) {
    const std::optional<Reservation> reserved = reserve_stopped();
    Thread* const thread = reserved ? &**reserved : nullptr;
    if (thread == nullptr || !drain(*thread)) break;
    const size_t piece = std::min<size_t>(size - done, Area::kDataSize);
    const int64_t result = serve_one(*thread, {Operation::kCopyIn, {address + done, piece, 0}, 0});
    const auto copied = std::min(static_cast<size_t>(std::max<int64_t>(0, result)), piece);
    std::memcpy(static_cast<std::byte*>(buffer) + done,
                reinterpret_cast<std::byte*>(thread->area) + Area::kData, copied);
    done += copied;
    if (copied < piece) break;
  }
  if (done == 0 && size != 0) return Errno(EFAULT);
  return done;
}

Result<size_t> TrapAddressSpace::write(uint64_t address, const void* data, size_t size) {
  // Large ones wait in pieces: the queue is the sentry's memory.
  Change change{{Operation::kCopyOut, {address, size, 0, 1}, 0}, {}, Fiber::current()};
  change.bytes.assign(static_cast<const char*>(data), size);
  queued_bytes_ += size;
  queue_.push_back(std::move(change));
  return size;
}

void TrapAddressSpace::keep_results() {
  for (Change& change : queue_)
    if (change.by == Fiber::current()) change.kept = true;
}

Result<size_t> TrapAddressSpace::copy_from_window(uint64_t window, uint64_t address, size_t size) {
  queue_.push_back({{Operation::kCopyAcross, {address, size, window, 1}, 0}, {}});
  ++queued_copies_;
  return size;
}

// Batches are carried out in order: with the last one that copies all have been. A thread that runs says that
// it is done with it, and is stopped if not; what it says is about its own memory. What is asked for
// meanwhile is not waited for: there may be no end to it.
void TrapAddressSpace::finish_copies() {
  if (queued_copies_ != 0) {
    const std::optional<Reservation> reserved = reserve_stopped();
    if (!reserved || !drain(**reserved)) return;
  }
  const std::shared_ptr<Thread> copier = copier_.lock();
  if (copier == nullptr || copier->state == Thread::State::kStopped) return;
  // Most are over sooner than a thread is stopped.
  unsigned looks = 0;
  do
    if (__atomic_load_n(&copier->area->copied, __ATOMIC_ACQUIRE) == copies_sequence_) return;
  while (++looks < platform_.glance_);
  if (copier->state == Thread::State::kServing) platform_.wait_while(*copier, Thread::State::kServing);
  if (copier->state == Thread::State::kRunning) (void)platform_.stop(*copier);
}

Result<> TrapAddressSpace::catch_up() {
  constexpr size_t kMuch = 1 << 20;
  if (queued_bytes_ < kMuch) return {};
  const std::optional<Reservation> reserved = reserve_stopped();
  if (!reserved || !drain(**reserved)) return Errno(ESRCH);
  return {};
}

Result<> TrapAddressSpace::take_effect() {
  // Who is not in guest code finds the queue on its way there.
  const bool inside = std::any_of(threads_.begin(), threads_.end(), [](const auto& thread) {
    return thread->state == Thread::State::kRunning;
  });
  if (!inside || queue_.empty()) return {};
  const std::optional<Reservation> reserved = reserve_stopped();
  if (!reserved || !drain(**reserved)) return Errno(ESRCH);
  return {};
}

Result<> TrapAddressSpace::settle(Context& caller) {
  const Reservation reserved(static_cast<TrapContext&>(caller).thread());
  Thread& thread = *reserved;
  if (thread.state != Thread::State::kStopped || !drain(thread)) return Errno(ESRCH);
  return {};
}

std::optional<AreaSlot> TrapAddressSpace::new_place() {
  if (next_place_ >= kAreaSlots) return std::nullopt;
  const std::optional<AreaSlot> slot = platform_.take_slot(next_place_);
  if (!slot) return std::nullopt;
  ++next_place_;
  slots_.push_back(*slot);
  return slot;
}

// What the parent says is a lie if it never asked for the clone, or if nothing comes of one that succeeded.
void TrapAddressSpace::await_birth(Thread& parent, Thread& child, int64_t result, pid_t newest) {
  const bool cloned = parent.obeyed || parent.state == Thread::State::kDead;
  if (child.state == Thread::State::kUnborn && result > 0 && parent.obeyed) {
    platform_.expect(child, kToBeBorn);
    platform_.wait_while(child, Thread::State::kUnborn);
  }
  if (parent.cloned_again) platform_.expect_strays(newest);
  if (child.state == Thread::State::kStopped) return;
  std::erase_if(platform_.births_, [&](const auto& birth) { return birth.get() == &child; });
  --platform_.expected_notifications_;
  if (cloned) platform_.expect_strays(newest);  // perhaps it runs, unheard of
  if (parent.state == Thread::State::kDead || (result <= 0 && (parent.obeyed || parent.failed))) return;
  if (&parent == platform_.zygote_thread_.get()) return;
  platform_.complain("stub {} has not made the clone that it reports", parent.process);
  platform_.kill_process(parent.process);
}

// `pristine`: of the zygote, whose child starts with nothing; else the child goes on as the parent would.
Result<AddressSpace::Forked> TrapAddressSpace::fork_by(const std::shared_ptr<Thread>& by, bool pristine) {
  const Reservation reserved(by);
  Thread& parent = *reserved;
  if (parent.state != Thread::State::kStopped || !drain(parent)) return Errno(EAGAIN);
  const uint32_t sequence = sequence_;  // others go on while the parent is at it
  const bool sees_known = sees_known_;
  const std::optional<AreaSlot> slot = platform_.take_slot(parent.slot.place);
  if (!slot) return Errno(EAGAIN);
  auto child = std::make_shared<Thread>();
  child->slot = *slot;
  child->area = platform_.area_of(child->slot);
  Area& area = *child->area;
  begin(*child);
  child->mode = Mode::kFrame;
  if (pristine) {
    child->frame = make_frame(area, child->slot.address(), 0);
  } else if (parent.mode == Mode::kJump) {
    child->mode = Mode::kJump;  // its vector state is live, and the child's will be
  } else {
    child->frame = parent.frame;
    copy_frame(*parent.area, area, parent.slot.address(), parent.frame);
  }

  parent.area->operations[0] = {Operation::kFork,
                                {kForkFlags, child->slot.address(),
                                 static_cast<uint64_t>(platform_.areas_.get()), child->slot.file_offset()},
                                0};
  parent.area->operation_count = 1;
  // Not one of the batches of this address space: the child's count goes on from the same number.
  parent.consents = {clone_call(kForkFlags, 0)};
  parent.consented = 0;
  platform_.births_.push_back(child);
  ++platform_.expected_notifications_;
  const pid_t newest = platform_.newest_;
  const bool served = serve(parent);
  const int64_t result = served ? parent.area->operations[0].result : -EAGAIN;
  await_birth(parent, *child, result, newest);
  if (child->state != Thread::State::kStopped) {
    platform_.free_slots_.push_back(child->slot.index);
    return Errno(result < 0 && result > -4096 ? static_cast<int>(-result) : EAGAIN);
  }
  auto space = std::make_unique<TrapAddressSpace>(platform_, child->tid);
  child->process = child->tid;
  child->space = space.get();
  space->lineage_ = pristine ? ++platform_.lineages_ : lineage_;
  space->sequence_ = sequence;
  space->sees_known_ = sees_known;
  space->next_place_ = next_place_;
  space->husks_ = husks_;
  space->slots_ = {child->slot};
  space->threads_.push_back(child);
  platform_.spaces_[child->tid] = space.get();
  // The areas of the parent's other threads are none of the child's business.
  if (!pristine && slots_.size() > 1) {
    const uint64_t own = child->slot.address(), end = kAreas + next_place_ * kAreaSize;
    if (own > kAreas) TRY(space->unmap(kAreas, own - kAreas));
    if (end > own + kAreaSize) TRY(space->unmap(own + kAreaSize, end - own - kAreaSize));
  }
  auto context = std::make_unique<TrapContext>(platform_, child);
  return Forked{std::move(space), std::move(context)};
}

Result<AddressSpace::Forked> TrapAddressSpace::fork(Context& caller) {
  return fork_by(static_cast<TrapContext&>(caller).thread(), false);
}

void TrapAddressSpace::keep_ticks(Thread& thread) {
  const CpuTicks spent = ticks(thread);
  left_ticks_ += static_cast<double>(spent.working) + static_cast<double>(spent.waiting);
  thread.area->working = thread.area->waiting = 0;
}

void TrapAddressSpace::read_vector_state(Thread& thread, std::span<std::byte> state) {
  if (thread.mode == Mode::kFrame) {
    const std::byte* const place =
        frame_state(*thread.area, thread.slot.address(), thread.frame, state.size());
    if (place != nullptr)
      std::memcpy(state.data(), place, state.size());
    else
      set_initial_state(state);
    return;
  }
  if (!drain(thread)) return;
  std::byte* const place = reinterpret_cast<std::byte*>(thread.area) + Area::kData;
  std::memset(place, 0, state.size());
  if (serve_one(thread, {Operation::kSaveState, {0}, 0}) == 0) std::memcpy(state.data(), place, state.size());
}

bool TrapAddressSpace::park(Thread& thread) {
  constexpr ptrdiff_t kMostHere = 4;
  if (thread.state != Thread::State::kStopped || platform_.parked_ >= TrapPlatform::kMostParked) return false;
  const auto here =
      std::count_if(threads_.begin(), threads_.end(), [](const auto& one) { return one->parked; });
  if (here >= kMostHere) return false;
  thread.parked = true;
  ++platform_.parked_;
  return true;
}

Result<std::unique_ptr<Context>> TrapAddressSpace::unpark(Thread& parent,
                                                          const std::shared_ptr<Thread>& parked) {
  Thread& thread = *parked;
  std::vector<std::byte> state(platform_.fpstate_size_);
  read_vector_state(parent, state);
  if (parent.state != Thread::State::kStopped || thread.state != Thread::State::kStopped)
    return Errno(EAGAIN);
  thread.parked = false;
  --platform_.parked_;
  keep_ticks(thread);
  Area& area = *thread.area;
  area.stepping = area.save_state = 0;
  // Who came by signal goes back by the same frame.
  if (thread.mode == Mode::kJump) {
    thread.mode = Mode::kFrame;
    thread.frame = make_frame(area, thread.slot.address(), platform_.fpstate_size_);
  }
  thread.registers = {};
  thread.partial = thread.interrupt = thread.state_restored = false;
  thread.along_length = thread.frame_state = 0;
  std::byte* const place = frame_state(area, thread.slot.address(), thread.frame, state.size());
  if (place != nullptr && valid_state(state)) copy_vector_state(state, place);
  return std::unique_ptr<Context>(std::make_unique<TrapContext>(platform_, parked));
}

void TrapAddressSpace::hide_known() {
  if (std::exchange(sees_known_, false)) (void)order(SYS_munmap, {kKnown, kKnownSize});
}

Result<std::unique_ptr<Context>> TrapAddressSpace::add_context(Context& caller) {
  const Reservation reserved(static_cast<TrapContext&>(caller).thread());
  Thread& parent = *reserved;
  if (parent.state != Thread::State::kStopped || !drain(parent)) return Errno(EAGAIN);
  const auto parked = std::find_if(threads_.begin(), threads_.end(), [](const auto& one) {
    return one->parked && !one->reserved && one->state == Thread::State::kStopped;
  });
  if (parked != threads_.end()) {
    const std::shared_ptr<Thread> thread = *parked;
    const Reservation also(thread);
    return unpark(parent, thread);
  }
  auto child = std::make_shared<Thread>();
  uint32_t count = 0;
  Area& from = *parent.area;
  parent.consents.clear();
  parent.consented = 0;
  if (!idle_.empty()) {
    child->slot = idle_.back();
    idle_.pop_back();
  } else {
    const std::optional<AreaSlot> slot = new_place();
    if (!slot) return Errno(EAGAIN);
    child->slot = *slot;
    const Operation mapping = platform_.area_mapping(child->slot);
    from.operations[count++] = mapping;
    parent.consents.push_back(mapping);
  }
  child->area = platform_.area_of(child->slot);
  child->space = this;
  child->process = process_;
  Area& area = *child->area;
  begin(*child);
  child->mode = Mode::kFrame;
  // The thread inherits vector state: from the parent's frame, or live.
  child->frame = make_frame(area, child->slot.address(), platform_.fpstate_size_);
  area.save_state = parent.mode == Mode::kJump ? 1 : 0;
  if (parent.mode == Mode::kFrame)
    copy_state(from, parent.slot.address(), parent.frame, area, child->slot.address(), child->frame,
               platform_.fpstate_size_);

  from.operations[count++] = {
      Operation::kThread, {kThreadFlags, child->slot.address(), child->slot.file_offset()}, 0};
  from.operation_count = count;
  from.sequence = 0;
  parent.consents.push_back(
      clone_call(kThreadFlags, child->slot.address() + Area::kStack + Area::kStackSize));
  platform_.births_.push_back(child);
  ++platform_.expected_notifications_;
  const pid_t newest = platform_.newest_;
  const bool served = serve(parent);
  const int64_t result = served ? from.operations[count - 1].result : -EAGAIN;
  await_birth(parent, *child, result, newest);
  if (child->state != Thread::State::kStopped) {
    idle_.push_back(child->slot);
    return Errno(result < 0 && result > -4096 ? static_cast<int>(-result) : EAGAIN);
  }
  threads_.push_back(child);
  return std::unique_ptr<Context>(std::make_unique<TrapContext>(platform_, child));
}

}  // namespace sentry::platform::trap
