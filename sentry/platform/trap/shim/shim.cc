// The shim: our code in the guest's address space, freestanding and without any writable data of its own. It
// takes a guest thread's state to the sentry and back, and issues the host calls that change the stub, by the
// sentry's order. Nothing that it does protects anybody: guest code can jump anywhere into it. The stub's
// filter and the sentry do.
#include <asm/unistd.h>

#include "sentry/abi/signal_frame.h"
#include "sentry/platform/trap/area.h"
#include "sentry/platform/trap/shim/numbers.h"

using namespace sentry::platform;
using sentry::abi::FrameSoftware;
using sentry::abi::kSaRestorer;
using sentry::abi::kTrapFlag;
using sentry::abi::SignalContext;
using sentry::abi::UserContext;
using namespace sentry::platform::trap;

static_assert(AREA_INTERRUPTED == offsetof(Area, interrupted) && AREA_REGISTERS == offsetof(Area, registers));
static_assert(AREA_R15 == offsetof(Area, registers.r15) && AREA_RAX == offsetof(Area, registers.rax));
static_assert(AREA_RIP == offsetof(Area, registers.rip) && AREA_RSP == offsetof(Area, registers.rsp));
static_assert(AREA_EFLAGS == offsetof(Area, registers.eflags) && AREA_RDI == offsetof(Area, registers.rdi));
static_assert(KAREA_SIZE == kAreaSize && KSTACK_TOP == Area::kStack + Area::kStackSize);

extern "C" {
long shim_call(uint64_t number, const uint64_t* arguments);
uint64_t shim_copy(void* to, const void* from, uint64_t count);
extern const char shim_copy_instruction[], shim_copy_end[];
bool shim_load(uint64_t* to, uint64_t from);
bool shim_load_words(uint64_t* to, uint64_t from, uint64_t count);
bool shim_store(uint64_t to, uint64_t first);
bool shim_store_two(uint64_t to, uint64_t first, uint64_t second);
extern const char shim_touch[], shim_touch_failed[];
long shim_wait(Area* area, uint64_t word, uint32_t value);
extern const char shim_wait_begin[], shim_wait_end[], shim_wait_interrupted[];
extern const char shim_return[], shim_leave_end[], shim_interrupted[], shim_slow_return[];
[[noreturn]] void shim_leave(Area* area);
bool shim_answer(Area* area);
[[noreturn]] void shim_jump(Area* area);
[[noreturn]] void shim_jump_interrupted(Area* area);
long shim_fork(uint64_t flags, uint64_t area, uint64_t descriptor, uint64_t offset);
long shim_thread(uint64_t flags, uint64_t area, uint64_t nonce);
[[noreturn]] void shim_sigreturn(uint64_t ucontext);
void shim_save_state(uint64_t place);
void shim_load_state(uint64_t place);
bool shim_try_state(uint64_t place);
extern const char shim_try_instruction[], shim_try_failed[];
void shim_signal(int signo, const void* info, void* context);
[[noreturn]] void shim_born(Area* area);
[[noreturn]] void shim_born_thread(Area* area, uint64_t nonce);
[[noreturn]] void shim_first(Area* area);
}

namespace {

constexpr int64_t kInterrupted = -4;  // EINTR
constexpr uint64_t kFutexWait = 0, kFutexWake = 1, kFutexPrivate = 128;
constexpr int kSigbus = 7, kSigsegv = 11, kSigsys = 31;
constexpr int kSigtrap = 5;
constexpr uint64_t kUnblockable = 1 << (9 - 1) | 1 << (19 - 1);  // SIGKILL, SIGSTOP
constexpr uint32_t kArchX86_64 = 0xc000003e;

// siginfo_t of SIGSYS and of faults.
struct SigInfo {
  int32_t signo, error, code, padding;
  uint64_t address;
  int32_t number;
  uint32_t arch;
};

Notice& notice() { return *reinterpret_cast<Notice*>(kNoticePage); }
Process& process() { return *reinterpret_cast<Process*>(kProcessPage); }

uint32_t load(const uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
void store(uint32_t& word, uint32_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }
void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

long call(long number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) {
  const uint64_t arguments[6] = {a, b, c, d, 0, 0};
  return shim_call(static_cast<uint64_t>(number), arguments);
}
void futex_wait(uint32_t& word, uint32_t value, uint64_t scope) {
  call(__NR_futex, reinterpret_cast<uint64_t>(&word), kFutexWait | scope, value);
}
void futex_wake(uint32_t& word, uint64_t scope) {
  call(__NR_futex, reinterpret_cast<uint64_t>(&word), kFutexWake | scope, 0x7fffffff);
}

// What has passed since the last turn goes to `account`.
void turn(Area& area, uint64_t& account) {
  const uint64_t now = __builtin_ia32_rdtsc();
  account += now - area.turned;
  area.turned = now;
}

// As the vDSO's getcpu(2) knows it where the CPU has no instruction for that: the host keeps it in a
// segment's limit.
uint32_t processor() {
  constexpr uint32_t kNodeAndProcessor = 0x7b, kProcessor = 0xfff;
  uint32_t limit;
  asm volatile("lsl %1, %0" : "=r"(limit) : "r"(kNodeAndProcessor) : "cc");
  return limit & kProcessor;
}

// Reports to the sentry and waits for its answer.
void hand_over(Area& area, Report report, uint32_t flags = 0) {
  if (area.mask_changed != 0) flags |= kReportSignals;
  if (area.own_changed != 0) flags |= kReportOwn;
  area.mask_changed = area.own_changed = 0;
  area.report = static_cast<uint32_t>(report) | flags;
  area.interrupted = 0;
  const uint32_t mine = area.reported + 1;
  store(area.reported, mine);
  fence();
  if (load(notice().awake) != 0 && notice().spins != 0 && area.payoff.worth_looking()) {
    uint32_t left = notice().spins;
    for (; left != 0; --left) {
      if (load(area.answered) == mine) {
        area.payoff.found();
        return;
      }
      if (load(area.waits) == mine) break;
    }
    if (left == 0) area.payoff.in_vain();
  }
  for (;;) {
    const uint32_t seen = load(area.answered);
    if (seen == mine) return;
    turn(area, area.waiting);
    area.turned = 0;  // asleep
    area.processor = processor();
    if (load(notice().awake) == 0 && load(area.waits) != mine) {
      call(kDoorbell, reinterpret_cast<uint64_t>(&area));
    } else {
      store(area.sleeping, 1);
      fence();
      // Had the sentry gone to sleep without having seen the report, somebody must ring: it looks again when
      // it does.
      if (load(area.answered) == seen) futex_wait(area.answered, seen, 0);
      store(area.sleeping, 0);
    }
    area.turned = __builtin_ia32_rdtsc();
  }
}

void wait_for_sequence(uint32_t before) {
  Process& shared = process();
  for (int i = 0; i < 2000; ++i) {
    if (static_cast<int32_t>(load(shared.completed) - before) >= 0) return;
  }
  for (;;) {
    const uint32_t seen = load(shared.completed);
    if (static_cast<int32_t>(seen - before) >= 0) return;
    __atomic_add_fetch(&shared.waiters, 1, __ATOMIC_SEQ_CST);
    futex_wait(shared.completed, seen, kFutexPrivate);
    __atomic_sub_fetch(&shared.waiters, 1, __ATOMIC_SEQ_CST);
  }
}

bool within(uint64_t address, const char* begin, const char* end) {
  return address >= reinterpret_cast<uint64_t>(begin) && address < reinterpret_cast<uint64_t>(end);
}

void* data(Area& area, uint64_t offset) { return reinterpret_cast<char*>(&area) + Area::kData + offset; }

// Between guest memory and the shim's: what is not there answers with false, or with the bytes that were not
// copied. Where nothing of the guest's can be no fault is risked, as each is one of the host's.
uint64_t copy_from_guest(void* to, uint64_t from, uint64_t count) {
  return in_guest_range(from) ? shim_copy(to, reinterpret_cast<const void*>(from), count) : count;
}
uint64_t copy_to_guest(uint64_t to, const void* from, uint64_t count) {
  return in_guest_range(to) ? shim_copy(reinterpret_cast<void*>(to), from, count) : count;
}
bool load_guest(uint64_t& to, uint64_t from) { return in_guest_range(from) && shim_load(&to, from); }
bool store_guest(uint64_t to, uint64_t value) { return in_guest_range(to) && shim_store(to, value); }

// Vector state is brought into the area before it is loaded, and saved there first: what is loaded is what
// has been looked at, and a fault in the copy is harmless.
struct StateHeader {
  uint64_t in_use, others[7];
};
StateHeader& state_header(void* state) {
  return *reinterpret_cast<StateHeader*>(static_cast<char*>(state) + sentry::abi::kXsaveHeaderAt);
}
FrameSoftware& state_software(void* state) {
  return *reinterpret_cast<FrameSoftware*>(static_cast<char*>(state) + sentry::abi::kSoftwareAt);
}

long save_frame(Area& area, uint64_t to, uint64_t offset) {
  const uint64_t size = notice().state_size;
  if (offset % 64 != 0 || offset > Area::kDataSize - size - sizeof sentry::abi::kFrameMagic2) return 0;
  void* const state = data(area, offset);
  StateHeader& header = state_header(state);
  header = {};
  shim_save_state(reinterpret_cast<uint64_t>(state));
  // A handler may write into these, and is honoured.
  header.in_use |= sentry::abi::kLegacyFeatures;
  state_software(state) = notice().software;
  *reinterpret_cast<uint32_t*>(static_cast<char*>(state) + size) = sentry::abi::kFrameMagic2;
  const uint64_t whole = size + sizeof sentry::abi::kFrameMagic2;
  const uint64_t left = copy_to_guest(to, state, whole);
  // The handler begins with that of a new program.
  header.in_use = 0;
  *reinterpret_cast<uint32_t*>(static_cast<char*>(state) + sentry::abi::kMxcsrAt) =
      sentry::abi::kInitialMxcsr;
  if (notice().pkru_at != 0) {
    header.in_use = sentry::abi::kProtectionKeys;
    *reinterpret_cast<uint32_t*>(static_cast<char*>(state) + notice().pkru_at) = sentry::abi::kInitialPkru;
  }
  shim_load_state(reinterpret_cast<uint64_t>(state));
  return static_cast<long>(whole - left);
}

// False: the sentry shall judge.
bool load_frame(Area& area, uint64_t from) {
  const uint64_t size = notice().state_size;
  void* const state = data(area, 0);
  uint32_t magic2 = 0;
  if (from == 0 || from % 64 != 0) return false;
  if (copy_from_guest(state, from, size) != 0 || copy_from_guest(&magic2, from + size, sizeof magic2) != 0)
    return false;
  const FrameSoftware &software = state_software(state), &all = notice().software;
  if (software.magic1 != all.magic1 || software.extended_size != all.extended_size ||
      software.features != all.features || software.state_size != size || magic2 != sentry::abi::kFrameMagic2)
    return false;
  uint64_t others = 0;
  for (const uint64_t other : state_header(state).others) others |= other;
  return others == 0 && shim_try_state(reinterpret_cast<uint64_t>(state));
}

// How much is left where it cannot be written; what cannot be read counts as zeros.
uint64_t copy_across(uint64_t to, uint64_t from, uint64_t count) {
  for (;;) {
    const uint64_t left = shim_copy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), count);
    char there;
    to += count - left, from += count - left, count = left;
    if (count == 0 || shim_copy(&there, reinterpret_cast<const void*>(from), 1) == 0) return count;
    // The file has become shorter meanwhile.
    static constexpr char kZeros[64] = {};
    const uint64_t rest = kPageSize - from % kPageSize, gap = rest < count ? rest : count;
    for (uint64_t done = 0; done < gap;) {
      const uint64_t piece = gap - done < sizeof kZeros ? gap - done : sizeof kZeros;
      if (shim_copy(reinterpret_cast<void*>(to), kZeros, piece) != 0) return count;
      to += piece, from += piece, count -= piece, done += piece;
    }
  }
}

long carry_out(Area& area, const Operation& operation) {
  const uint64_t* a = operation.a;
  switch (operation.number) {
    case Operation::kCopyOut:
    case Operation::kCopyAcross: {
      const uint64_t left = operation.number == Operation::kCopyOut
                                ? copy_to_guest(a[0], data(area, a[2]), a[1])
                                : copy_across(a[0], a[2], a[1]);
      if (left != 0 && a[3] != 0) area.result = static_cast<uint64_t>(-14);  // EFAULT
      return static_cast<long>(a[1] - left);
    }
    case Operation::kCopyIn:
      return static_cast<long>(a[1] - copy_from_guest(data(area, a[2]), a[0], a[1]));
    case Operation::kFork:
      return shim_fork(a[0], a[1], a[2], a[3]);
    case Operation::kThread:
      return shim_thread(a[0], a[1], a[2]);
    case Operation::kSaveState:
      shim_save_state(reinterpret_cast<uint64_t>(data(area, a[0])));
      return 0;
    case Operation::kLoadState:
      shim_load_state(reinterpret_cast<uint64_t>(data(area, a[0])));
      return 0;
    case Operation::kSaveFrame:
      return save_frame(area, a[0], a[1]);
    default:
      return shim_call(operation.number, a);
  }
}

// The operations that came with the answer, up to the first host call that fails. Whether none did.
bool operate(Area& area) {
  const uint32_t count = area.operation_count, sequence = area.sequence;
  area.operation_count = 0;
  if (area.wait_for != 0) wait_for_sequence(area.wait_for);
  bool fine = true, copies = false;
  for (uint32_t i = 0; i < count && i < Area::kOperations; ++i) {
    Operation& operation = area.operations[i];
    copies |= operation.number == Operation::kCopyAcross;
    const bool host = operation.number < Operation::kNotHost;
    // A kick may come before the sentry has heard of the call.
    do operation.result = carry_out(area, operation);
    while (operation.result == kInterrupted);
    if (host && operation.result < 0 && operation.result > -4096) {
      area.failed = i;
      fine = false;
      break;
    }
  }
  if (copies) store(area.copied, sequence);
  if (sequence != 0) {
    store(process().completed, sequence);
    fence();
    if (load(process().waiters) != 0) futex_wake(process().completed, kFutexPrivate);
  }
  return fine;
}

// Does as the sentry has answered, until it is time to run guest code.
void serve(Area& area) {
  for (;;) {
    const auto command = static_cast<Command>(area.command);
    if (command == Command::kExit) {
      for (;;) call(__NR_exit, 0);
    }
    const bool done = operate(area);
    if (command == Command::kResume && done) {
      turn(area, area.waiting);
      area.registers.rax = area.result;
      return;
    }
    hand_over(area, done ? Report::kDone : Report::kFailed);
  }
}

struct Timespec {
  int64_t seconds, nanoseconds;
};

// clock_gettime(2) by the host's vDSO, for the clocks that it knows. False: the sentry shall answer.
bool read_clock(uint64_t clock, uint64_t place) {
  constexpr uint32_t kKnown =
      1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7;  // CLOCK_REALTIME to CLOCK_BOOTTIME
  const uint64_t function = notice().clock_gettime;
  if (function == 0 || static_cast<uint32_t>(clock) > 7 || (kKnown >> clock & 1) == 0) return false;
  Timespec time;
  if (reinterpret_cast<int (*)(int, Timespec*)>(function)(static_cast<int>(clock), &time) != 0) return false;
  // A bad address is the sentry's to judge.
  return in_guest_range(place) &&
         shim_store_two(place, static_cast<uint64_t>(time.seconds), static_cast<uint64_t>(time.nanoseconds));
}

// rt_sigprocmask(2). False: the sentry shall answer, since something waits for its signal to be unblocked, or
// the arguments are wrong.
bool change_mask(Area& area) {
  constexpr uint64_t kSize = sizeof(uint64_t);
  constexpr uint32_t kBlock = 0, kUnblock = 1, kSetMask = 2;
  const Registers& registers = area.registers;
  const uint64_t set = registers.rsi, old_set = registers.rdx;
  // What is written must not be what the sentry would read then.
  if (registers.r10 != kSize || (set != 0 && old_set - set + kSize < 2 * kSize)) return false;
  LocalSignals& signals = area.signals;
  const uint64_t old = signals.mask;
  uint64_t next = old;
  if (set != 0) {
    uint64_t wanted = 0;
    if (!load_guest(wanted, set)) return false;
    switch (static_cast<uint32_t>(registers.rdi)) {
      case kBlock:
        next = old | wanted;
        break;
      case kUnblock:
        next = old & ~wanted;
        break;
      case kSetMask:
        next = wanted;
        break;
      default:
        return false;
    }
    next &= ~kUnblockable;
  }
  if (old_set != 0 && !store_guest(old_set, old)) return false;
  if (next == old) return true;
  __atomic_store_n(&signals.mask, next, __ATOMIC_SEQ_CST);
  fence();
  if ((__atomic_load_n(&signals.held, __ATOMIC_SEQ_CST) & ~next) != 0) {
    __atomic_store_n(&signals.mask, old, __ATOMIC_SEQ_CST);
    return false;
  }
  area.mask_changed = 1;
  return true;
}

// sigaltstack(2), where there is no error to be made.
bool change_stack(Area& area) {
  struct Stack {
    uint64_t base;
    int32_t flags, padding;
    uint64_t size;
  };
  constexpr int32_t kOnStack = 1, kDisable = 2, kAutoDisarm = static_cast<int32_t>(0x8000'0000u);
  constexpr uint64_t kMinimum = 2048, kSize = sizeof(Stack);
  const Registers& registers = area.registers;
  const uint64_t in = registers.rdi, out = registers.rsi;
  // As with masks.
  if (in != 0 && out != 0 && out - in + kSize < 2 * kSize) return false;
  LocalOwn& own = area.own;
  const bool disabled = (own.stack_flags & kDisable) != 0;
  const bool on_stack =
      !disabled && registers.rsp > own.stack_base && registers.rsp - own.stack_base <= own.stack_size;
  Stack next{};
  if (in != 0) {
    if (on_stack || copy_from_guest(&next, in, kSize) != 0) return false;
    const int32_t mode = next.flags & ~kAutoDisarm;
    if (mode != 0 && mode != kOnStack && mode != kDisable) return false;
    if (mode == kDisable)
      next = {0, kDisable, 0, 0};
    else if (next.size < kMinimum)
      return false;
    else
      next.flags &= kAutoDisarm;
  }
  if (out != 0) {
    const int32_t flags = disabled ? kDisable : on_stack ? kOnStack : 0;
    const Stack old{own.stack_base, flags | (own.stack_flags & kAutoDisarm), 0, own.stack_size};
    if (copy_to_guest(out, &old, kSize) != 0) return false;
  }
  if (in == 0) return true;
  own.stack_base = next.base;
  own.stack_size = next.size;
  own.stack_flags = next.flags;
  area.own_changed = 1;
  return true;
}

// rt_sigaction(2), where a signal's action is SIG_DFL and is asked for, or set to that once more: C libraries
// do so with every signal before they execute a program.
bool change_action(Area& area) {
  struct Action {
    uint64_t handler, flags, restorer, mask;
  };
  constexpr uint64_t kSetSize = sizeof(uint64_t), kSize = sizeof(Action);
  const Registers& registers = area.registers;
  const uint64_t in = registers.rsi, out = registers.rdx;
  const auto number = static_cast<uint32_t>(registers.rdi) - 1;
  if (registers.r10 != kSetSize || number >= 64) return false;
  // As with masks.
  if (in != 0 && out != 0 && out - in + kSize < 2 * kSize) return false;
  const uint64_t bit = uint64_t{1} << number;
  LocalOwn& own = area.own;
  const bool reset = (own.reset & bit) != 0;
  if (!reset && (own.plain & bit) == 0) return false;
  Action next{};
  if (in != 0) {
    if ((bit & kUnblockable) != 0 || copy_from_guest(&next, in, kSize) != 0) return false;
    if (next.handler != 0 || next.flags != kSaRestorer || next.mask != 0) return false;
    if (own.reset != 0 && next.restorer != own.restorer) return false;
    // One that waits may have to go.
    if ((__atomic_load_n(&area.signals.held, __ATOMIC_SEQ_CST) & bit) != 0) return false;
  }
  if (out != 0) {
    const Action old{0, reset ? kSaRestorer : 0, reset ? own.restorer : 0, 0};
    if (copy_to_guest(out, &old, kSize) != 0) return false;
  }
  if (in == 0 || reset) return true;
  own.plain &= ~bit;
  own.reset |= bit;
  own.restorer = next.restorer;
  area.own_changed = 1;
  return true;
}

bool change_robust_list(Area& area) {
  constexpr uint64_t kHeadSize = 24;
  if (area.registers.rsi != kHeadSize) return false;
  area.own.robust_list = area.registers.rdi;
  area.own_changed = 1;
  return true;
}

// futex(2) on the words of this process alone, by the host: what has no deadline, or does not wait. False
// where the sentry has the waiters, or a kick came while this one waited: then it shall wait there. Also for
// a word that is not there, which the sentry may know to have come to be (a file that has grown).
bool answer_futex(Area& area, uint64_t& result) {
  constexpr uint32_t kRequeue = 3, kCompareRequeue = 4, kWaitBitset = 9, kWakeBitset = 10, kRealtime = 256,
                     kAnyBit = ~uint32_t{0};
  constexpr long kNotThere = -14;  // EFAULT
  const Registers& registers = area.registers;
  const auto operation = static_cast<uint32_t>(registers.rsi), value = static_cast<uint32_t>(registers.rdx);
  const uint64_t word = registers.rdi, other = registers.r8;
  if ((operation & kFutexPrivate) == 0 || !in_guest_range(word)) return false;
  const auto waits_in_sentry = [](uint64_t address) {
    fence();
    return load(notice().futexes[futex_index(address)]) != 0;
  };
  const uint32_t command = operation & ~static_cast<uint32_t>(kFutexPrivate);
  switch (command) {
    case kWaitBitset:
    case kWaitBitset | kRealtime:
      if (static_cast<uint32_t>(registers.r9) != kAnyBit) return false;
      [[fallthrough]];
    case kFutexWait: {
      if (registers.r10 != 0) return false;
      turn(area, area.working);
      area.turned = 0;  // asleep
      store(area.asleep, 1);
      fence();
      const long waited = shim_wait(&area, word, value);
      store(area.asleep, 0);
      area.turned = __builtin_ia32_rdtsc();
      result = static_cast<uint64_t>(waited);
      return waited != kInterrupted && waited != kNotThere;
    }
    case kWakeBitset:
      if (registers.r9 != kAnyBit) return false;
      [[fallthrough]];
    case kFutexWake:
      if (waits_in_sentry(word)) return false;
      result = static_cast<uint64_t>(call(__NR_futex, word, kFutexWake | kFutexPrivate, value));
      return true;
    case kRequeue:
    case kCompareRequeue: {
      if (!in_guest_range(other) || waits_in_sentry(word) || waits_in_sentry(other)) return false;
      const uint64_t arguments[6] = {word, operation, registers.rdx, registers.r10, other, registers.r9};
      result = static_cast<uint64_t>(shim_call(__NR_futex, arguments));
      return result != static_cast<uint64_t>(kNotThere);
    }
    default:
      return false;
  }
}

// What goes along of a path has been copied there: how much.
uint64_t bring_text(Area& area, uint64_t address);

// Whether nothing that the answer rests on has changed since.
bool still_holds(const KnownAttributes& known) {
  uint64_t sum = 0, count = 0;
  if (!shim_load(&sum, kChanges)) return false;
  for (const uint16_t ground : known.grounds) {
    if (ground == 0) break;
    if (!shim_load(&count, kChanges + ground % kChangeCounts * sizeof count)) return false;
    sum += count;
  }
  return sum == known.changes;
}

// stat(2) and its like, where the sentry has told what they answer, and nothing has changed since. False: it
// shall answer.
bool find_attributes(Area& area, uint64_t& result) {
  constexpr uint32_t kNoFollow = 0x100, kNoAutomount = 0x800;  // AT_*
  constexpr auto kHere = static_cast<uint32_t>(-100);          // AT_FDCWD
  const Registers& registers = area.registers;
  if (area.local.place == 0) return false;
  const auto call = static_cast<uint32_t>(registers.rax);
  const bool at = call == __NR_newfstatat;
  const auto flags = at ? static_cast<uint32_t>(registers.r10) : call == __NR_lstat ? kNoFollow : 0;
  if ((flags & ~(kNoFollow | kNoAutomount)) != 0) return false;
  const uint64_t have = bring_text(area, at ? registers.rsi : registers.rdi);
  area.brought = static_cast<uint32_t>(have) + 1;

  const auto* const path = reinterpret_cast<const char*>(&area) + Area::kAlong;
  uint64_t words[KnownAttributes::kRoom / sizeof(uint64_t)] = {};
  auto* const text = reinterpret_cast<char*>(words);
  uint32_t length = 0;
  while (length < have && length < KnownAttributes::kRoom && path[length] != 0)
    text[length] = path[length], ++length;
  if (length == 0 || length == have || length == KnownAttributes::kRoom) return false;
  const bool absolute = text[0] == '/';
  if (!absolute && at && static_cast<uint32_t>(registers.rdi) != kHere) return false;
  const uint64_t place = absolute ? kRootPlace : area.local.place;
  const uint32_t key = length | ((flags & kNoFollow) != 0 ? 0 : KnownAttributes::kFollow);

  const uint64_t set = known_set(known_hash(place, key, words)), page = set * kKnownSetSize / kPageSize;
  uint64_t pages = 0;
  if (!shim_load(&pages, kKnownPages + page / 64 * sizeof pages) || (pages >> page % 64 & 1) == 0)
    return false;
  constexpr uint64_t kWords = sizeof(KnownAttributes) / sizeof(uint64_t), kStat = 18,  // words of struct stat
      kHead = offsetof(KnownAttributes, answer) / sizeof(uint64_t);
  static_assert(kStat >= KnownAttributes::kAnswer);
  uint64_t copy[kWords + kStat - KnownAttributes::kAnswer] = {}, again = 0;
  const auto& known = *reinterpret_cast<const KnownAttributes*>(copy);
  const auto asked_for = [&] {
    uint64_t differs = 0;
    for (uint64_t i = 0; i < KnownAttributes::kRoom / sizeof(uint64_t); ++i)
      differs |= words[i] ^ copy[offsetof(KnownAttributes, path) / sizeof(uint64_t) + i];
    return differs == 0 && known.place == place && known.length == key;
  };
  uint64_t entry = kKnown + set * kKnownSetSize;
  const uint64_t end = entry + kKnownSetSize;
  for (; entry != end; entry += sizeof(KnownAttributes)) {
    if (!shim_load_words(copy, entry, kHead)) return false;
    if (asked_for()) break;
  }
  if (entry == end || (known.version & 1) != 0 ||
      !shim_load_words(copy + kHead, entry + kHead * sizeof(uint64_t), kWords - kHead) ||
      !shim_load(&again, entry) || again != copy[0] || !still_holds(known))
    return false;
  const uint64_t to = at ? registers.rdx : registers.rsi;
  if (known.error == 0 && copy_to_guest(to, copy + kHead, kStat * sizeof(uint64_t)) != 0) return false;
  result = static_cast<uint64_t>(-static_cast<int64_t>(known.error));
  area.brought = 0;
  return true;
}

uint64_t read_fs() {
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
uint64_t read_gs() {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}

// GS is the shim's as long as the guest has not set it: then it counts as 0 there.
uint64_t guest_gs(const Area& area) {
  const uint64_t base = read_gs();
  return base == reinterpret_cast<uint64_t>(&area) ? 0 : base;
}
void put_bases(const Area& area) {
  const Registers& from = area.registers;
  const uint64_t gs = from.gs_base != 0 ? from.gs_base : reinterpret_cast<uint64_t>(&area);
  if (from.fs_base != read_fs()) asm volatile("wrfsbase %0" : : "r"(from.fs_base));
  if (gs != read_gs()) asm volatile("wrgsbase %0" : : "r"(gs));
}

void take_registers(Area& area, const SignalContext& from) {
  Registers& to = area.registers;
  sentry::abi::copy_registers(from, to);
  to.cs = from.cs, to.ss = from.ss;
  to.fs_base = read_fs();
}

void put_registers(const Registers& from, SignalContext& to) {
  sentry::abi::copy_registers(from, to);
  to.cs = sentry::abi::kUserCode, to.ss = sentry::abi::kUserData;
}

// arch_prctl(2), FS: reports tell what it is.
bool change_fs(const Registers& registers) {
  constexpr uint32_t kSetFs = 0x1002, kGetFs = 0x1003;
  const uint64_t place = registers.rsi;
  switch (static_cast<uint32_t>(registers.rdi)) {
    case kSetFs:
      if (place >= kGuestEnd) return false;
      asm volatile("wrfsbase %0" : : "r"(place));
      return true;
    case kGetFs:
      return store_guest(place, read_fs());
    default:
      return false;
  }
}

// Calls that concern nobody else. Whether this was one.
bool answer(Area& area) {
  Registers& registers = area.registers;
  const LocalAnswers& local = area.local;
  uint64_t result = 0;
  switch (static_cast<uint32_t>(registers.rax)) {
    case __NR_getpid:
      result = static_cast<uint64_t>(local.pid);
      break;
    case __NR_gettid:
      result = static_cast<uint64_t>(local.tid);
      break;
    case __NR_getppid:
      result = static_cast<uint64_t>(local.parent);
      break;
    case __NR_getuid:
      result = local.uid;
      break;
    case __NR_getgid:
      result = local.gid;
      break;
    case __NR_geteuid:
      result = local.euid;
      break;
    case __NR_getegid:
      result = local.egid;
      break;
    case __NR_clock_gettime:
      if (!read_clock(registers.rdi, registers.rsi)) return false;
      break;
    case __NR_rt_sigprocmask:
      if (!change_mask(area)) return false;
      break;
    case __NR_rt_sigaction:
      if (!change_action(area)) return false;
      break;
    case __NR_sigaltstack:
      if (!change_stack(area)) return false;
      break;
    case __NR_set_robust_list:
      if (!change_robust_list(area)) return false;
      break;
    case __NR_arch_prctl:
      if (!change_fs(registers)) return false;
      break;
    case __NR_futex:
      if (!answer_futex(area, result)) return false;
      break;
    case __NR_stat:
    case __NR_lstat:
    case __NR_newfstatat:
      if (!find_attributes(area, result)) return false;
      break;
    default:
      return false;
  }
  registers.rax = result;
  return true;
}

// Not where a tracer wants to see each call or each instruction.
bool may_answer(const Area& area) {
  return area.local.enabled != 0 && (area.registers.eflags & kTrapFlag) == 0;
}

// Whether calls from there have come by a signal that often that the sentry knows, and has not made it
// cheaper.
bool keeps_trapping(Area& area, uint64_t place) {
  Area::Site& site = area.trapping[place / 2 % Area::kTrappingSites];
  if (site.place != place) site = {place, 0};
  return site.times >= Area::kKeepsTrapping || ++site.times >= Area::kKeepsTrapping;
}

// The same in a signal's handler, where nothing may wait: a kick would not be heard.
bool answer_trapped(Area& area) {
  const uint64_t call = area.registers.rax;
  if (!may_answer(area) || area.stepping != 0) return false;
  if (call != area.registers.orig_rax || call == __NR_futex || !keeps_trapping(area, area.registers.rip))
    return false;
  const bool answered = answer(area);
  area.brought = 0;
  return answered;
}

// What the sentry needs to know of most calls, in one cache line.
void tell_call(Area& area) {
  const Registers& registers = area.registers;
  area.number = static_cast<uint32_t>(registers.rax);
  area.arguments[0] = registers.rdi;
  area.arguments[1] = registers.rsi;
  area.arguments[2] = registers.rdx;
  area.arguments[3] = registers.r10;
  area.arguments[4] = registers.r8;
  area.arguments[5] = registers.r9;
}

// Copies so much from there to what goes along, behind what is there already; how much could be.
uint64_t bring(Area& area, uint64_t address, uint64_t length, uint64_t have = 0) {
  void* const place = reinterpret_cast<char*>(&area) + Area::kAlong + have;
  return length - copy_from_guest(place, address, length);
}

// A path, and little more: what is copied here has to travel.
uint64_t bring_text(Area& area, uint64_t address) {
  if (area.brought != 0) {
    const uint64_t have = area.brought - 1;
    area.brought = 0;
    return have;
  }
  constexpr uint64_t kMost = 256, kPiece = 32, kOnes = 0x0101'0101'0101'0101, kTops = kOnes << 7;
  const auto* const text = reinterpret_cast<const uint64_t*>(reinterpret_cast<char*>(&area) + Area::kAlong);
  uint64_t have = 0;
  while (have < kMost) {
    const uint64_t got = bring(area, address + have, kPiece, have);
    have += got;
    if (got < kPiece) break;
    for (uint64_t i = have - kPiece; i < have; i += sizeof(uint64_t)) {
      const uint64_t word = text[i / sizeof(uint64_t)];
      if (((word - kOnes) & ~word & kTops) != 0) return have;
    }
  }
  return have;
}

// What a call reads travels with it: paths and small buffers. Never a futex's word, which must be looked at
// once its waiter is queued. Answers with the report's flag.
uint32_t bring_along(Area& area) {
  const Registers& registers = area.registers;
  uint64_t address = 0, length = 0;
  uint32_t flags = kReportAlong;
  switch (static_cast<uint32_t>(registers.rax)) {
    case __NR_open:
    case __NR_stat:
    case __NR_lstat:
    case __NR_access:
    case __NR_execve:
    case __NR_truncate:
    case __NR_chdir:
    case __NR_mkdir:
    case __NR_rmdir:
    case __NR_creat:
    case __NR_unlink:
    case __NR_readlink:
    case __NR_chmod:
      address = registers.rdi;
      length = bring_text(area, address);
      break;
    case __NR_openat:
    case __NR_mkdirat:
    case __NR_newfstatat:
    case __NR_unlinkat:
    case __NR_readlinkat:
    case __NR_fchmodat:
    case __NR_faccessat:
    case __NR_statx:
    case __NR_openat2:
    case __NR_faccessat2:
      address = registers.rsi;
      length = bring_text(area, address);
      flags |= kReportAlongSecond;
      break;
    case __NR_clone3:
      address = registers.rdi;
      if (registers.rsi > sizeof(uint64_t) * 32) return 0;
      length = bring(area, address, registers.rsi);
      break;
    case __NR_write:
    case __NR_pwrite64:
    case __NR_sendto:
      address = registers.rsi;
      if (registers.rdx > Area::kAlongSize) return 0;
      length = bring(area, address, registers.rdx);
      flags |= kReportAlongSecond;
      break;
    case __NR_rt_sigreturn: {  // the signal's frame, from its return address on
      constexpr uint64_t kFrame = sizeof(uint64_t) + sizeof(UserContext);
      address = area.along_address = registers.rsp - sizeof(uint64_t);
      length = bring(area, address, kFrame);
      flags |= kReportAlongPlace;
      const auto& context = *reinterpret_cast<const UserContext*>(reinterpret_cast<const char*>(&area) +
                                                                  Area::kAlong + sizeof(uint64_t));
      // Where somebody watches, the state changes when the call is carried out.
      if (area.local.enabled != 0 && length == kFrame && load_frame(area, context.context.fpstate))
        flags |= kReportState;
      break;
    }
    default:
      return 0;
  }
  return flags | static_cast<uint32_t>(length) << kReportAlongShift;
}

// Into guest code, once the sentry says so, by a frame unless it can be left by a jump.
[[noreturn]] void go_back(Area& area) {
  serve(area);
  put_bases(area);
  auto& context = *reinterpret_cast<UserContext*>(area.frame_back);
  if (area.save_state != 0) {
    area.save_state = 0;
    shim_save_state(context.context.fpstate);
  }
  if (area.way_back == static_cast<uint32_t>(Mode::kJump) && area.registers.gs_base == 0 &&
      (area.registers.eflags & kTrapFlag) == 0)
    shim_leave(&area);
  put_registers(area.registers, context.context);
  shim_sigreturn(area.frame_back);
}

}  // namespace

void shim_signal(int signo, const void* raw_info, void* raw_context) {
  auto& context = *static_cast<UserContext*>(raw_context);
  const auto& info = *static_cast<const SigInfo*>(raw_info);
  SignalContext& state = context.context;
  // The alternate stack lies in the area.
  Area& area = *reinterpret_cast<Area*>(reinterpret_cast<uint64_t>(raw_context) & ~(kAreaSize - 1));
  const bool slow_call = signo == kSigsys && state.rip == reinterpret_cast<uint64_t>(shim_slow_return);
  // The shim reads clocks by the vDSO's code.
  const bool in_shim = state.rip >= kShimText && state.rip < kShimText + kShimTextSize;
  const bool in_vdso = state.rip >= kVdso && state.rip < kVdso + kVdsoRoom;
  const bool inside = !slow_call && (in_shim || in_vdso);
  if (inside) {
    if (signo == kKick) {
      store(area.interrupted, 1);
      if (within(state.rip, shim_return, shim_leave_end)) {
        state.rip = reinterpret_cast<uint64_t>(shim_interrupted);
        state.rdi = reinterpret_cast<uint64_t>(&area);
        state.eflags &= ~uint64_t{0x500};  // trap and direction flag: they may have been the guest's already
      }
      if (within(state.rip, shim_wait_begin, shim_wait_end))
        state.rip = reinterpret_cast<uint64_t>(shim_wait_interrupted);
      return;
    }
    if (signo == kSigtrap && (state.eflags & kTrapFlag) != 0) {
      // A step into the shim. It is over when guest code goes on.
      area.stepping = 1;
      state.eflags &= ~kTrapFlag;
      return;
    }
    if (signo == kSigsegv || signo == kSigbus) {
      if (state.rip == reinterpret_cast<uint64_t>(shim_copy_instruction)) {
        state.rip = reinterpret_cast<uint64_t>(shim_copy_end);
        return;
      }
      if (within(state.rip, shim_touch, shim_touch_failed)) {
        state.rip = reinterpret_cast<uint64_t>(shim_touch_failed);
        return;
      }
      if (state.rip == reinterpret_cast<uint64_t>(shim_try_instruction)) {
        state.rip = reinterpret_cast<uint64_t>(shim_try_failed);
        return;
      }
    }
  }
  take_registers(area, state);
  area.registers.gs_base = guest_gs(area);
  area.frame = reinterpret_cast<uint64_t>(raw_context);
  Report report = Report::kFault;
  area.fault = {info.signo, info.code, info.address, state.trapno, state.err};
  if (inside) {
    report = Report::kBroken;
  } else if (signo == kKick) {
    report = Report::kInterrupted;
  } else if (signo == kSigsys) {
    // The call number is the signal's: rax holds it too, but for a call through the vsyscall page.
    area.registers.orig_rax = static_cast<uint64_t>(static_cast<int64_t>(info.number));
    report = info.arch == kArchX86_64 ? Report::kCall : Report::kForeignCall;
    if (report == Report::kCall && !slow_call && answer_trapped(area)) {
      put_registers(area.registers, state);
      return;
    }
  }
  if (slow_call) {
    const uint64_t place = *reinterpret_cast<const uint64_t*>(state.rsp - 136);
    area.registers.rip = area.registers.rcx =
        place + static_cast<uint64_t>(*reinterpret_cast<const int32_t*>(place));
  }
  turn(area, area.working);
  hand_over(area, report);
  serve(area);
  put_bases(area);
  put_registers(area.registers, state);
}

bool shim_answer(Area* area) {
  if (area->stepping != 0) {
    area->stepping = 0;
    area->registers.eflags |= kTrapFlag;
  }
  return may_answer(*area) && answer(*area);
}

void shim_jump(Area* area) {
  area->registers.orig_rax = area->registers.rax;
  area->registers.fs_base = read_fs();
  area->registers.gs_base = 0;
  const uint32_t whole = (area->registers.eflags & kTrapFlag) != 0 ? kReportWhole : 0;
  tell_call(*area);
  turn(*area, area->working);
  hand_over(*area, Report::kCall, kReportJump | whole | bring_along(*area));
  go_back(*area);
}

void shim_jump_interrupted(Area* area) {
  area->registers.fs_base = read_fs();
  area->registers.gs_base = 0;
  turn(*area, area->working);
  hand_over(*area, Report::kInterrupted, kReportJump);
  go_back(*area);
}

void shim_born(Area* area) { go_back(*area); }

void shim_born_thread(Area* area, uint64_t nonce) {
  do call(kDoorbell, reinterpret_cast<uint64_t>(area), nonce);
  while (load(area->answered) != load(area->reported));
  go_back(*area);
}

// The first stub has nothing to run. It serves, and that is forking.
void shim_first(Area* area) {
  for (;;) serve(*area);
}
