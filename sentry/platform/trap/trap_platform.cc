#include "sentry/platform/trap/trap_platform.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/platform/stub_process.h"
#include "sentry/platform/trap/address_space.h"
#include "sentry/platform/trap/filter.h"
#include "sentry/platform/trap/frame.h"
#include "sentry/platform/trap/stub.h"
#include "sentry/platform/trap/vdso.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {
namespace {

constexpr uint32_t kSlots = 16384 + 64;  // host threads of a sandbox
constexpr size_t kKeptAreas = 4;
constexpr size_t kReapAt = 32;  // stubs that have been killed, when the sentry is too busy to sleep
// SIGCHLD comes to a sleep that nothing else has ended at once: not while there is a flood of events.
constexpr unsigned kWakesBetweenReaping = 1024;
constexpr Nanoseconds kPatienceRound = 250'000'000;
// Notifications that are heard at once: a flood of them does not keep the others waiting for long.
constexpr unsigned kMostHeard = 16;
constexpr unsigned kReportsBetweenHearing = 32;
constexpr unsigned kToLookUp = 20;  // rounds that a kick may go unanswered; each repeats it
constexpr uint64_t kContinue = 1;   // SECCOMP_USER_NOTIF_FLAG_CONTINUE

// How long the sentry looks for a thread's next call before it goes to sleep, and how often a thread looks
// for its answer: what a sleep and a wake across processors cost, about.
constexpr Nanoseconds kLongestLinger = 30'000;
// No PAUSE in between: in a virtual machine it may leave to the hypervisor, which costs more than the answer.
constexpr uint32_t kSpins = 16000;
// How often the sentry looks before its event loop gets a turn.
constexpr unsigned kGlance = 4000;
// With more, the host takes long to go through those that have rung and wait for their answers.
constexpr size_t kMostBesideCaller = 256;
// How much later a thread may call that has been woken first: on another processor, on the sentry's own.
constexpr Nanoseconds kFarWake = 60'000, kNearWake = 8'000;

unsigned processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(CPU_COUNT(&set));
}

void futex_wake(uint32_t* word) { ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

TrapPlatform::TrapPlatform(EventLoop& loop)
    : loop_(loop),
      areas_(::memfd_create("areas", MFD_CLOEXEC)),
      notice_(::memfd_create("notice", MFD_CLOEXEC)),
      fpstate_size_(vector_state_size()),
      patience_(loop, [this] { lose_patience(); }) {
  BULKHEAD_CHECK(fpstate_size_ < Area::kAltStackSize / 4, "vector state of {} bytes", fpstate_size_);
  BULKHEAD_CHECK(areas_ && ::ftruncate(areas_.get(), static_cast<off_t>(kSlots * kAreaSize)) == 0,
                 "memory for the areas: error {}", errno);
  constexpr uint64_t kTold = kPageSize + kKnownSize;
  BULKHEAD_CHECK(notice_ && ::ftruncate(notice_.get(), static_cast<off_t>(kTold)) == 0,
                 "memory for the notice page: error {}", errno);
  void* memory = ::mmap(nullptr, kSlots * kAreaSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                        areas_.get(), 0);
  void* told = ::mmap(nullptr, kTold, PROT_READ | PROT_WRITE, MAP_SHARED, notice_.get(), 0);
  BULKHEAD_CHECK(memory != MAP_FAILED && told != MAP_FAILED, "mapping the areas: error {}", errno);
  area_memory_ = static_cast<std::byte*>(memory);
  told_ = static_cast<Notice*>(told);
  known_ = reinterpret_cast<KnownAttributes*>(static_cast<std::byte*>(told) + kPageSize);
  change_counts_ = reinterpret_cast<uint64_t*>(static_cast<std::byte*>(told) + (kChanges - kNoticePage));
  if (processors() > 1) {
    linger_ = kLongestLinger;
    glance_ = kGlance;
  }
  told_->spins = linger_ != 0 ? kSpins : 0;
  told_->awake = 1;
  told_->state_size = fpstate_size_;
  told_->pkru_at = pkru_place();
  told_->software = frame_software(fpstate_size_);
  for (uint32_t i = 0; i < Notice::kPieces; ++i) free_pieces_.push_back(i);

  zygote_thread_ = std::make_shared<Thread>();
  zygote_thread_->slot = *take_slot(0);
  zygote_thread_->area = area_of(zygote_thread_->slot);
  const uint64_t vdso = find_vdso(), clock = find_vdso_clock(vdso);
  if (clock != 0) told_->clock_gettime = kVdso + kVdsoRoom / 2 + clock;
  const Zygote zygote =
      start_zygote({areas_.get(), notice_.get(), zygote_thread_->area, clock != 0 ? vdso : 0});
  listener_ = Fd(zygote.listener);
  zygote_thread_->tid = zygote_thread_->process = zygote.pid;
  zygote_thread_->state = Thread::State::kStopped;
  zygote_thread_->reported = zygote_thread_->area->reported;
  zygote_ = std::make_unique<TrapAddressSpace>(*this, zygote.pid);
  zygote_thread_->space = zygote_.get();
  zygote_->threads_.push_back(zygote_thread_);
  zygote_->slots_ = {zygote_thread_->slot};
  threads_.emplace(zygote.pid, zygote_thread_);
  spaces_.emplace(zygote.pid, zygote_.get());
  notified_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {}};
  BULKHEAD_CHECK(notified_ && ::epoll_ctl(notified_.get(), EPOLL_CTL_ADD, listener_.get(), &event) == 0,
                 "watching the stubs' notifications: error {}", errno);
  auto watch = HostWatch::create(loop, listener_.get(), EPOLLIN, [this](uint32_t) { hear(); });
  BULKHEAD_CHECK(watch.ok(), "watching the stubs' notifications: error {}", watch.error().value());
  listener_watch_ = std::move(*watch);
  has_sync_wake_up_ = linger_ != 0 && ::ioctl(listener_.get(), kNotifySetFlags, 0) == 0;

  sleep_mask_ = hear_of_stubs();
}

TrapPlatform::~TrapPlatform() = default;

Result<AddressSpace::Forked> TrapPlatform::new_address_space() {
  if (dying_.size() >= kReapAt) reap();
  std::optional<AddressSpace::Forked> ready = std::exchange(ready_, std::nullopt);
  const bool more = std::exchange(asked_before_, true);
  if (more) make_ready();
  if (!ready || !ready->context->alive()) return zygote_->fork_by(zygote_thread_, true);
  // Nobody could reach anything from there so far.
  static_cast<TrapAddressSpace&>(*ready->space).lineage_ = ++lineages_;
  return std::move(*ready);
}

// Programs come one after the other: the next one finds its address space made, while the last one runs.
void TrapPlatform::make_ready() {
  if (std::exchange(making_ready_, true)) return;
  loop_.fibers().spawn([this] {
    Result<AddressSpace::Forked> made = zygote_->fork_by(zygote_thread_, true);
    making_ready_ = false;
    if (made.ok()) ready_ = std::move(*made);
  });
}

// ---- areas

std::optional<AreaSlot> TrapPlatform::take_slot(uint32_t place) {
  uint32_t index = 0;
  if (!free_slots_.empty()) {
    index = free_slots_.back();
    free_slots_.pop_back();
  } else {
    // A hostile process may keep more of them than it has threads.
    if (next_slot_ == kSlots) return std::nullopt;
    index = next_slot_++;
  }
  return AreaSlot{index, place};
}

void TrapPlatform::free_areas(const std::vector<AreaSlot>& slots) {
  for (const AreaSlot& slot : slots) {
    // The next owner finds zeros. Some areas keep their memory: a shell's children come one after the other.
    if (free_slots_.size() < kKeptAreas) {
      std::memset(static_cast<void*>(area_of(slot)), 0, kAreaSize);
    } else {
      ::madvise(area_of(slot), kAreaSize, MADV_REMOVE);
    }
    free_slots_.push_back(slot.index);
  }
}

Operation TrapPlatform::area_mapping(const AreaSlot& slot) const {
  return {SYS_mmap,
          {slot.address(), kAreaSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
           static_cast<uint64_t>(areas_.get()), slot.file_offset()},
          0};
}

Area* TrapPlatform::area_of(const AreaSlot& slot) const {
  return reinterpret_cast<Area*>(area_memory_ + slot.file_offset());
}

// ---- reports and answers

void TrapPlatform::answer(Thread& thread, Command command, Thread::State state) {
  Area& area = *thread.area;
  area.command = static_cast<uint32_t>(command);
  thread.state = state;
  if (state != Thread::State::kDead) running_.push_back(&thread);
  expected_notifications_ += thread.consents.size();
  thread.cloned_again = false;
  thread.answered = thread.reported;
  __atomic_store_n(&area.answered, thread.answered, __ATOMIC_SEQ_CST);
  woke_far_ = false;
  answered_at_ = beside_caller_ ? monotonic_now() : 0;
  if (thread.notification != 0) {
    respond(std::exchange(thread.notification, 0), thread.notification_runs);
  } else if (__atomic_load_n(&area.sleeping, __ATOMIC_SEQ_CST) != 0) {
    futex_wake(&area.answered);
  } else {
    return;
  }
  woke_far_ = !beside_caller_ && static_cast<int>(area.processor) != ::sched_getcpu();
}

// Whether the thread has reported since it was answered.
bool TrapPlatform::look(Thread& thread) {
  const uint32_t reported = __atomic_load_n(&thread.area->reported, __ATOMIC_ACQUIRE);
  if (reported == thread.answered) return false;
  thread.reported = reported;
  took(thread);
  ++unheard_;
  return true;
}

void TrapPlatform::took(Thread& thread) {
  Area& area = *thread.area;
  if (!std::exchange(thread.fresh, true)) fresh_.push_back(&thread);
  std::erase(running_, &thread);
  thread.obeyed = thread.consented == thread.consents.size();
  drop_consents(thread);
  thread.patience = 0;
  const uint32_t said = area.report;
  const auto report = static_cast<Report>(said & kReportMask);
  thread.failed = report == Report::kFailed;
  if (thread.state == Thread::State::kRunning) {
    thread.report = report;
    if ((said & kReportSignals) != 0) thread.mask = area.signals.mask;
    if ((said & kReportOwn) != 0) thread.own = copy_own(area);
    thread.mode = (said & kReportJump) != 0 ? Mode::kJump : Mode::kFrame;
    const bool jumped_call = report == Report::kCall && thread.mode == Mode::kJump;
    thread.partial = jumped_call && (said & kReportWhole) == 0;
    Registers& registers = thread.registers;
    if (thread.partial) {
      registers.rax = registers.orig_rax = area.number;
      registers.rdi = area.arguments[0], registers.rsi = area.arguments[1], registers.rdx = area.arguments[2];
      registers.r10 = area.arguments[3], registers.r8 = area.arguments[4], registers.r9 = area.arguments[5];
    } else {
      registers = area.registers;
      registers.cs = abi::kUserCode;
      registers.ss = abi::kUserData;
    }
    thread.along_length = 0;
    thread.state_restored = jumped_call && (said & kReportState) != 0;
    if (jumped_call && (said & kReportAlong) != 0) {
      thread.along_address = (said & kReportAlongPlace) != 0    ? area.along_address
                             : (said & kReportAlongSecond) != 0 ? registers.rsi
                                                                : registers.rdi;
      thread.along_length = said >> kReportAlongShift;
    }
    if (thread.along_length > Area::kAlongSize) thread.along_length = 0;
    if (thread.mode == Mode::kFrame) thread.frame = area.frame;
    if (report == Report::kFault) thread.fault = area.fault;
    const bool frame = thread.mode == Mode::kFrame && plausible_frame(thread.slot.address(), thread.frame);
    if (thread.report > Report::kBroken || !(frame || thread.mode == Mode::kJump))
      thread.report = Report::kBroken;
  }
  thread.state = Thread::State::kStopped;
  thread.wake_waiters();
}

uint64_t TrapPlatform::sum_of_changes(std::span<const uint16_t> grounds) const {
  uint64_t sum = change_counts_[0];
  for (const uint16_t ground : grounds)
    if (ground != 0) sum += change_counts_[ground];
  return sum;
}

bool TrapPlatform::asked_before(uint64_t set, Asked what) {
  Asked* const first = &asked_[set * kKnownWays];
  for (Asked* one = first; one != first + kKnownWays; ++one) {
    if (one->path != what.path) continue;
    if (one->changes == what.changes) return true;
    *one = what;
    return false;
  }
  std::copy_backward(first, first + kKnownWays - 1, first + kKnownWays);
  *first = what;
  return false;
}

// Writing costs as much as the handover that it may save: not for what is asked for but once before it
// changes.
void TrapPlatform::know_attributes(const KnownPath& path, int error, const struct stat& answer) {
  if (path.text.empty() || path.text.size() > KnownAttributes::kRoom) return;
  if (sum_of_changes(path.grounds) != path.changes) return;
  static_assert(sizeof answer >= sizeof KnownAttributes::answer && kRootPlace == Platform::kRootPlace &&
                kGrounds == KnownAttributes::kGrounds);
  KnownAttributes fresh{};
  fresh.error = static_cast<uint32_t>(error);
  fresh.changes = path.changes;
  std::copy(path.grounds.begin(), path.grounds.end(), fresh.grounds);
  fresh.place = path.place;
  fresh.length = static_cast<uint32_t>(path.text.size()) | (path.follow ? KnownAttributes::kFollow : 0);
  std::memcpy(fresh.path, path.text.data(), path.text.size());
  std::memcpy(fresh.answer, &answer, sizeof fresh.answer);
  uint64_t words[KnownAttributes::kRoom / sizeof(uint64_t)];
  std::memcpy(words, fresh.path, sizeof words);
  const uint64_t hash = known_hash(fresh.place, fresh.length, words);
  const uint64_t set = known_set(hash);
  if (!asked_before(set, {static_cast<uint32_t>(hash), static_cast<uint32_t>(path.changes)})) return;
  KnownAttributes* const entries = known_ + set * kKnownWays;
  // The same path's, else one that no longer holds, else any.
  KnownAttributes* entry = entries + hash % kKnownWays;
  const auto same_key = [&](const KnownAttributes& other) {
    return other.place == fresh.place && other.length == fresh.length &&
           std::memcmp(other.path, fresh.path, sizeof fresh.path) == 0;
  };
  for (KnownAttributes* one = entries; one != entries + kKnownWays; ++one) {
    if (one->changes != sum_of_changes(one->grounds) || same_key(*one)) entry = one;
    if (same_key(*one)) break;
  }
  fresh.version = entry->version + 1;
  __atomic_store_n(&entry->version, fresh.version, __ATOMIC_SEQ_CST);
  std::memcpy(reinterpret_cast<std::byte*>(entry) + sizeof entry->version,
              reinterpret_cast<const std::byte*>(&fresh) + sizeof fresh.version,
              sizeof fresh - sizeof fresh.version);
  __atomic_store_n(&entry->version, fresh.version + 1, __ATOMIC_SEQ_CST);
  const uint64_t page = set * kKnownSetSize / kPageSize;
  auto* const pages = reinterpret_cast<uint64_t*>(reinterpret_cast<std::byte*>(known_) + kKnownSets);
  pages[page / 64] |= uint64_t{1} << page % 64;
}

void TrapPlatform::count_futex_waiters(uint64_t address, int change) {
  __atomic_add_fetch(&told_->futexes[futex_index(address)], static_cast<uint32_t>(change), __ATOMIC_SEQ_CST);
}

bool TrapPlatform::look_for_a_while(Thread& thread) {
  if (beside_caller_ || !glance_payoff_.worth_looking()) return false;
  for (unsigned i = 0; i < glance_; ++i) {
    if (!look(thread)) continue;
    straight_ += i;
    glance_payoff_.found();
    pace_.came(true);
    return true;
  }
  glance_payoff_.in_vain();
  return false;
}

void TrapPlatform::wait_while(Thread& thread, Thread::State state, bool ahead) {
  // Short answers come before another fiber could run.
  if (state == Thread::State::kServing && thread.consents.empty() && look_for_a_while(thread)) return;
  Fiber* const self = Fiber::current();
  thread.waiters.insert(ahead ? thread.waiters.begin() : thread.waiters.end(), self);
  while (thread.state == state) Fiber::park();
  std::erase(thread.waiters, self);
}

void TrapPlatform::wait_for_report(Thread& thread) {
  constexpr unsigned kStraight = 16 * 1024, kCall = 256;
  if (running_.size() == 1 && straight_ < kStraight && !loop_.fibers().has_ready() &&
      thread.consents.empty() && look_for_a_while(thread)) {
    straight_ += kCall;
    return;
  }
  straight_ = 0;
  wait_while(thread, Thread::State::kRunning);
}

bool TrapPlatform::stop(Thread& thread) {
  kick(thread);
  // Ahead of the thread's own fiber, which would have it run on before it has been asked for anything.
  wait_while(thread, Thread::State::kRunning, true);
  return thread.state == Thread::State::kStopped;
}

void TrapPlatform::kick(Thread& thread) {
  send_kick(thread);
  if (thread.patience == 0) expect(thread, kToLookUp);
}

// One thread is all that kill(2) can mean, and that is called anyway.
void TrapPlatform::send_kick(const Thread& thread) {
  if (thread.space != nullptr && thread.space->threads_.size() == 1)
    ::kill(thread.process, kKick);
  else
    ::syscall(SYS_tgkill, thread.process, thread.tid, kKick);
}

void TrapPlatform::expect(Thread& thread, unsigned rounds) {
  if (&thread == zygote_thread_.get()) return;  // no guest code has been there
  thread.patience = rounds;
  count_rounds();
}

void TrapPlatform::dismiss(const std::shared_ptr<Thread>& thread) {
  answer(*thread, Command::kExit, Thread::State::kDead);
  thread->patience = kToLookUp;
  leaving_.push_back(thread);
  count_rounds();
}

void TrapPlatform::expect_strays(pid_t newest) {
  strays_from_ = std::min(newest, strays_from_.value_or(newest));
  count_rounds();
}

void TrapPlatform::count_rounds() {
  if (!patience_.armed()) patience_.arm(monotonic_now() + kPatienceRound);
}

// Rounds, not a point in time: a sandbox that has been frozen for a while is none the worse for it.
void TrapPlatform::lose_patience() {
  std::vector<pid_t> overdue;
  bool more = false;
  for (Thread* const thread : running_) {
    if (thread->patience == 0) continue;
    if (--thread->patience == 0) {
      overdue.push_back(thread->process);
      continue;
    }
    more = true;
    if (thread->state == Thread::State::kRunning) send_kick(*thread);
  }
  for (const auto& thread : leaving_) {
    if (--thread->patience == 0)
      overdue.push_back(thread->process);
    else
      more = true;
  }
  for (const auto& birth : births_) {
    if (birth->patience == 0) continue;
    if (--birth->patience != 0) {
      more = true;
      continue;
    }
    birth->state = Thread::State::kDead;
    birth->wake_waiters();
  }
  if (strays_from_ && births_.empty()) end_strays(*std::exchange(strays_from_, std::nullopt));
  if (more || strays_from_) patience_.arm(monotonic_now() + kPatienceRound);
  for (const pid_t process : overdue) {
    std::erase_if(leaving_, [&](const auto& thread) { return thread->process == process; });
    complain("stub {} does not answer", process);
    kill_process(process);
  }
}

bool TrapPlatform::collect() {
  bool any = false;
  for (size_t i = running_.size(); i-- > 0;) {
    if (i < running_.size() && look(*running_[i])) any = true;
  }
  // While there are always reports the loop rarely asks the host, and who has rung waits for an answer, too.
  if (any && (expected_notifications_ != 0 || unheard_ >= kReportsBetweenHearing)) hear();
  return any;
}

bool TrapPlatform::linger(Deadline until) {
  // Every fiber waits for something: so do the calls that came since.
  for (Thread* const thread : fresh_) {
    thread->fresh = false;
    if (thread->state == Thread::State::kStopped)
      __atomic_store_n(&thread->area->waits, thread->reported, __ATOMIC_RELEASE);
  }
  fresh_.clear();
  if (linger_ == 0 || running_.empty() || !worth_lingering()) return false;
  const Nanoseconds start = monotonic_now();
  Nanoseconds end = start + linger_ + (std::exchange(woke_far_, false) ? kFarWake : 0);
  if (until && *until < end) end = *until;
  for (unsigned i = 0;; ++i) {
    if (collect()) {
      // What came when the processor had been taken away from us would have come sooner without us.
      lingered(i < 16 || monotonic_now() < end);
      return true;
    }
    if ((i & 15) == 15) {
      if (monotonic_now() >= end) break;
      if (expected_notifications_ != 0 && hear()) return true;
    }
  }
  lingered(false);
  return false;
}

bool TrapPlatform::worth_lingering() {
  if (beside_caller_) return false;  // it has our processor
  return (has_sync_wake_up_ && !crowded() && pace_.fast()) || payoff_.worth_looking();
}

void TrapPlatform::lingered(bool found) {
  pace_.came(found);
  if (found)
    payoff_.found();
  else
    payoff_.in_vain();
}

void TrapPlatform::choose_side() {
  crowd_ = running_.size() > 1 ? crowd_ + 1 : 0;
  const bool beside =
      has_sync_wake_up_ && !crowded() && !pace_.fast() && threads_.size() <= kMostBesideCaller;
  set_sync_wake_up(beside);
  if (std::exchange(beside_caller_, beside) == beside) return;
  const Result<> set = listener_watch_->set_events(beside ? 0 : uint32_t{EPOLLIN});
  BULKHEAD_CHECK(set.ok(), "watching the stubs' notifications: error {}", set.error().value());
}

void TrapPlatform::set_sync_wake_up(bool on) {
  if (std::exchange(sync_wake_up_, on) == on) return;
  const uint64_t flags = on ? kNotifySyncWakeUp : 0;
  BULKHEAD_CHECK(::ioctl(listener_.get(), kNotifySetFlags, flags) == 0,
                 "flags of the notifications: error {}", errno);
}

bool TrapPlatform::may_sleep() {
  choose_side();
  __atomic_store_n(&told_->awake, 0, __ATOMIC_SEQ_CST);
  if (!collect()) return true;
  woke();
  return false;
}

void TrapPlatform::woke() {
  // Who shares our processor must not look for the answer, but ring.
  if (!beside_caller_) __atomic_store_n(&told_->awake, 1, __ATOMIC_SEQ_CST);
  if (heard_of_stubs() || ++unreaped_ == kWakesBetweenReaping)
    reap();
  else
    let_go();
}

// ---- notifications

void TrapPlatform::respond(uint64_t id, bool run) {
  // Where others run, too, there is work for more processors than ours.
  set_sync_wake_up(beside_caller_ && running_.size() <= 1);
  seccomp_notif_resp response{};
  response.id = id;
  response.flags = run ? kContinue : 0;
  // ENOENT: it has been killed meanwhile.
  ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void TrapPlatform::born(Thread& thread, pid_t tid, uint64_t notification, bool runs) {
  thread.tid = newest_ = tid;
  thread.notification = notification;
  thread.notification_runs = runs;
  thread.state = Thread::State::kStopped;
  --expected_notifications_;
  const auto found =
      std::find_if(births_.begin(), births_.end(), [&](const auto& one) { return one.get() == &thread; });
  threads_[tid] = *found;
  births_.erase(found);
  thread.wake_waiters();
}

namespace {

bool asks_for(const seccomp_notif& request, const Operation& order) {
  return static_cast<uint64_t>(request.data.nr) == order.number &&
         std::equal(std::begin(request.data.args), std::end(request.data.args), order.a);
}

// The descriptor that an order names, -1 for none.
int named_descriptor(const Operation& order) {
  switch (order.number) {
    case SYS_mmap:
      return static_cast<int>(order.a[4]);
    case SYS_preadv2:
    case SYS_pwritev2:
      return static_cast<int>(order.a[0]);
    default:
      return -1;
  }
}

bool transfers(const Operation& order) { return order.number == SYS_preadv2 || order.number == SYS_pwritev2; }

}  // namespace

std::optional<uint64_t> TrapPlatform::take_piece(uint64_t address, uint64_t length) {
  if (free_pieces_.empty()) return std::nullopt;
  const uint32_t index = free_pieces_.back();
  free_pieces_.pop_back();
  told_->pieces[index] = {address, length};
  return kPieces + index * sizeof(Piece);
}

void TrapPlatform::name(const Operation& order) {
  if (const int fd = named_descriptor(order); fd >= 0) ++named_[fd];
}

void TrapPlatform::unname(const Operation& order) {
  if (transfers(order)) {
    const uint64_t index = (order.a[1] - kPieces) / sizeof(Piece);
    told_->pieces[index] = {};
    free_pieces_.push_back(static_cast<uint32_t>(index));
  }
  const auto found = named_.find(named_descriptor(order));
  if (found == named_.end() || --found->second != 0) return;
  to_close_.erase(found->first);
  named_.erase(found);
}

void TrapPlatform::close_unnamed(Fd fd) {
  if (named_.contains(fd.get())) to_close_[fd.get()] = std::move(fd);
}

void TrapPlatform::drop_consents(Thread& thread) {
  expected_notifications_ -= thread.consents.size() - thread.consented;
  for (size_t i = thread.consented; i < thread.consents.size(); ++i) unname(thread.consents[i]);
  thread.consents.clear();
  thread.consented = 0;
}

void TrapPlatform::settle_consent(Thread& thread) {
  if (thread.last_consent) unname(*std::exchange(thread.last_consent, std::nullopt));
}

bool TrapPlatform::hear() {
  unheard_ = 0;
  for (unsigned heard = 0; heard < kMostHeard; ++heard) {
    epoll_event event;
    const timespec at_once{};
    if (::epoll_pwait2(notified_.get(), &event, 1, &at_once, nullptr) <= 0) return heard != 0;
    notified();
  }
  return true;
}

void TrapPlatform::notified() {
  seccomp_notif request{};
  // Never blocks: there was one, and the host counts those whose senders have died meanwhile (ENOENT).
  if (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) return;
  const auto tid = static_cast<pid_t>(request.pid);
  const auto known = threads_.find(tid);
  if (known == threads_.end()) {
    for (const auto& birth : births_) {
      const bool thread = request.data.nr == kDoorbell && birth->process != 0 &&
                          request.data.args[1] == birth->slot.file_offset();
      const bool process = birth->process == 0 && asks_for(request, area_mapping(birth->slot));
      if (!thread && !process) continue;
      born(*birth, tid, request.id, process);
      return;
    }
    ::kill(tid, SIGKILL);
    return;
  }
  const std::shared_ptr<Thread> thread = known->second;
  if (request.data.nr == kDoorbell) {
    rung(*thread, request.id);
    return;
  }
  // A call that the host starts again for a signal's sake comes again: it has not been carried out yet.
  const bool more = thread->consented < thread->consents.size();
  if (thread->consented > 0 && thread->last_consent && asks_for(request, *thread->last_consent) &&
      !(more && asks_for(request, thread->consents[thread->consented]))) {
    // A guest may say so, and make more children than one.
    if (request.data.nr == SYS_clone) thread->cloned_again = true;
    respond(request.id, true);
    return;
  }
  if (!more || !asks_for(request, thread->consents[thread->consented])) {
    complain("stub {} asks for host call {}({:#x}, {:#x}, {:#x}, {:#x}) without an order", thread->process,
             request.data.nr, request.data.args[0], request.data.args[1], request.data.args[2],
             request.data.args[3]);
    kill_process(thread->process);
    return;
  }
  settle_consent(*thread);
  thread->last_consent = thread->consents[thread->consented++];
  --expected_notifications_;
  respond(request.id, true);
  if (thread->state == Thread::State::kDead) {
    // On its way out, and not to look at its area again.
    const auto alive = spaces_.find(thread->process);
    if (alive != spaces_.end()) alive->second->idle_.push_back(thread->slot);
    std::erase(leaving_, thread);
    forget(thread);
  }
}

void TrapPlatform::rung(Thread& thread, uint64_t id) {
  if (thread.notification != 0) return;
  // Had we looked, we would have found it.
  if (const Nanoseconds since = std::exchange(answered_at_, 0); since != 0)
    pace_.came(monotonic_now() - since < linger_ + kNearWake);
  if (thread.state == Thread::State::kDead) {
    respond(id, false);  // it has not seen yet that it shall exit
    return;
  }
  settle_consent(thread);
  const uint32_t reported = __atomic_load_n(&thread.area->reported, __ATOMIC_ACQUIRE);
  if (reported == thread.answered) {
    respond(id, false);
    return;
  }
  thread.notification = id;
  thread.notification_runs = false;
  if (thread.state == Thread::State::kRunning || thread.state == Thread::State::kServing) {
    thread.reported = reported;
    took(thread);
  }
}

// ---- ends

void TrapPlatform::forget(const std::shared_ptr<Thread>& thread) {
  thread->state = Thread::State::kDead;
  if (std::exchange(thread->parked, false)) --parked_;
  std::erase(running_, thread.get());
  if (std::exchange(thread->fresh, false)) std::erase(fresh_, thread.get());
  drop_consents(*thread);
  thread->patience = 0;
  const auto found = threads_.find(thread->tid);
  if (found != threads_.end() && found->second == thread) threads_.erase(found);
  if (thread->context != nullptr) thread->context->died();
  thread->wake_waiters();
}

void TrapPlatform::kill_process(pid_t process) {
  ::kill(process, SIGKILL);
  const auto alive = spaces_.find(process);
  if (alive == spaces_.end()) {
    for (const auto& thread : dying_[process].threads) forget(thread);
    return;
  }
  const auto threads = alive->second->threads_;
  for (const auto& thread : threads) forget(thread);
}

void TrapPlatform::reap() {
  unreaped_ = 0;
  for (;;) {
    int status = 0;
    const pid_t pid = ::wait4(-1, &status, __WALL | WNOHANG, nullptr);
    if (pid <= 0) break;
    ended(pid);
  }
  let_go();
}

void TrapPlatform::ended(pid_t pid) {
  std::erase_if(leaving_, [&](const auto& thread) {
    if (thread->process != pid) return false;
    forget(thread);
    settle_consent(*thread);
    return true;
  });
  if (pid == zygote_thread_->tid) {
    // Somebody outside did it, and nothing can be started without it.
    log("the first stub was killed (signal 9), and the sandbox with it");
    ::_exit(128 + SIGKILL);
  }
  const auto alive = spaces_.find(pid);
  if (alive != spaces_.end()) {
    // Killed from outside, or by a fault that nothing could take. The address space still stands above.
    const auto threads = alive->second->threads_;
    for (const auto& thread : threads) {
      forget(thread);
      settle_consent(*thread);
    }
    alive->second->ended_ = true;
    spaces_.erase(alive);
    return;
  }
  const auto dying = dying_.find(pid);
  if (dying == dying_.end()) return;
  for (const auto& thread : dying->second.threads) settle_consent(*thread);
  free_areas(dying->second.slots);
  dying_.erase(dying);
}

void TrapPlatform::end_strays(pid_t after) {
  // The host counts upwards, and starts over at its limit.
  constexpr pid_t kBeyond = 1024, kMost = 1 << 16;
  const auto look_for = [this](pid_t from, pid_t to) {
    for (pid_t pid = from; pid < to && pid - from < kMost; ++pid) {
      if (spaces_.contains(pid) || dying_.contains(pid) || pid == zygote_thread_->tid) continue;
      int status = 0;
      const pid_t found = ::wait4(pid, &status, __WALL | WNOHANG, nullptr);
      if (found == pid) ended(pid);
      if (found != 0) continue;
      complain("stub {} has come into being behind our back", pid);
      ::kill(pid, SIGKILL);
      dying_[pid];
    }
  };
  if (newest_ < after) look_for(2, newest_ + kBeyond);
  look_for(after + 1, std::max(after, newest_) + kBeyond);
}

uint64_t TrapPlatform::oldest_lineage() const {
  uint64_t oldest = ~uint64_t{0};
  for (const auto& [pid, space] : spaces_)
    if (space != zygote_.get() && !(ready_ && ready_->space.get() == space))
      oldest = std::min(oldest, space->lineage_);
  for (const auto& [pid, dying] : dying_) oldest = std::min(oldest, dying.lineage);
  return oldest;
}

void TrapPlatform::let_go() {
  if (let_go_.empty() || !births_.empty() || strays_from_) return;
  const uint64_t oldest = oldest_lineage();
  while (!let_go_.empty() && let_go_.front().lineage < oldest) {
    const auto action = std::move(let_go_.front().action);
    let_go_.pop_front();
    action();
  }
}

void TrapPlatform::when_let_go(std::function<void()> action) {
  let_go_.push_back({lineages_, std::move(action)});
  let_go();
}

}  // namespace sentry::platform::trap
