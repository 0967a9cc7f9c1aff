// What a stub and the sentry share: where things lie in a stub, above the guest's range, and the area through
// which one host thread and the sentry hand over to each other. Compiled into the shim and into the sentry.
//
// All of an area is the guest's to write: the sentry copies once, checks the copy and uses the copy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sentry/abi/signal_frame.h"
#include "sentry/platform/guest_range.h"
#include "sentry/platform/registers.h"
#include "sentry/platform/trap/payoff.h"

namespace sentry::platform::trap {

// In every stub, and in no guest mapping:
inline constexpr uint64_t kShimText = 0x7fff'1000'0000;  // the shim, never writable
inline constexpr uint64_t kShimTextSize = 0x4000;
inline constexpr uint64_t kShimCalls = 0x3000;  // only from its first part may host calls come
inline constexpr uint64_t kProcessPage =
    0x7fff'1100'0000;  // private memory of the process, for its shim alone
inline constexpr uint64_t kNoticePage =
    0x7fff'1200'0000;  // what the sentry tells every shim; not writable here
inline constexpr uint64_t kVdsoRoom = 0x20000;
inline constexpr uint64_t kVdso = 0x7fff'1300'0000;   // the host's vvar and vDSO pages
inline constexpr uint64_t kAreas = 0x7fff'4000'0000;  // one area a host thread
inline constexpr uint64_t kAreaSize = 0x20000;
inline constexpr uint64_t kAreaSlots = 0x2000;          // of one process
inline constexpr uint64_t kWindows = 0x7fff'8000'0000;  // AddressSpace::window_room()
inline constexpr uint64_t kWindowsSize = 0x4000'0000;
static_assert(kAreas + kAreaSlots * kAreaSize <= kWindows);

// The signal that makes a thread look up from guest code. Nobody else sends stubs signals.
inline constexpr int kKick = 10;  // SIGUSR1
// The call that a thread rings with: it does nothing but wait for the sentry's answer to its notification.
inline constexpr long kDoorbell = 39;  // getpid(2)

// What a host call of the shim is made of; also the few things that are no host calls.
struct Operation {
  enum : uint64_t {
    // number >= kNotHost: not a host call.
    kNotHost = 0x1'0000'0000,
    kCopyOut,     // to a[0], a[1] bytes from offset a[2] of the area's data; a[3]: its failure is the call's
                  // EFAULT
    kCopyAcross,  // to a[0], a[1] bytes from a[2], zeros where nothing is; a[3] as above
    kCopyIn,      // from a[0], a[1] bytes to offset a[2] of the data; result: how many
    kFork,    // clone(2) with flags a[0]; the child maps its area: a[1] address, a[2] descriptor, a[3] offset
    kThread,  // clone(2) with flags a[0]; a[1] the new thread's area, a[2] what it rings with first
    kSaveState,  // XSAVE to offset a[0] of the data
    kLoadState,  // XRSTOR from there
    kSaveFrame,  // XSAVE and the state of a new program instead; to guest address a[0], as a signal frame has
                 // it, by way of offset a[1] of the data
  };
  uint64_t number;
  uint64_t a[6];
  int64_t result;  // of the shim
};

// What the shim reports.
enum class Report : uint32_t {
  kCall,         // registers.rax is the number, rip behind the instruction
  kForeignCall,  // by an entry that is not x86-64's
  kFault,        // a synchronous signal: `fault`
  kInterrupted,  // kKick came
  kDone,         // the operations of a kServe have been carried out
  kFailed,       // a host call among the operations failed: `failed` is which one
  kBroken,       // a fault in the shim itself
};

inline constexpr uint32_t kReportMask = 0xff;
inline constexpr uint32_t kReportJump = 0x100;  // Mode::kJump
// A piece of guest memory that the call will ask for has come along. Its length is in the upper half; it is
// from where the first argument points, or the second, or `along_address` says.
inline constexpr uint32_t kReportAlong = 0x200, kReportAlongSecond = 0x2000, kReportAlongPlace = 0x4000;
inline constexpr unsigned kReportAlongShift = 16;
inline constexpr uint32_t kReportWhole =
    0x400;  // all registers matter, not the number and the arguments alone
inline constexpr uint32_t kReportSignals = 0x800;  // `signals.mask` has been changed since the last report
inline constexpr uint32_t kReportOwn = 0x1000;     // `own` has been
// rt_sigreturn(2), and the thread has its vector state from the frame already.
inline constexpr uint32_t kReportState = 0x8000;

// What the sentry answers a report with.
enum class Command : uint32_t {
  kServe,   // do the operations, report kDone
  kResume,  // do the operations, then run guest code
  kExit,    // end this thread
};

// How the thread came out of guest code, and goes back.
enum class Mode : uint32_t {
  kFrame,  // by a signal: registers and vector state are in the signal's frame on the alternate stack
  kJump,   // from a patched call site: vector state is live
};

// What the shim answers by itself, for the process alone would suffer from a lie.
struct LocalAnswers {
  uint32_t enabled;  // the shim answers what it can
  int32_t pid, tid, parent;
  uint32_t uid, euid, gid, egid;
  uint64_t place;  // Context::Identity's; 0: KnownAttributes are not for this thread
};

// Both sides write, then look at the other's: either the shim sees that a signal waits, or the sentry that it
// is unblocked.
struct LocalSignals {
  uint64_t mask;  // by the sentry with an answer, by the shim while guest code runs
  uint64_t held;  // by the sentry: the signals that wait
};

// What else the shim sets for the guest, in the same way: Context::Own.
struct LocalOwn {
  uint64_t robust_list;
  uint64_t stack_base, stack_size;
  int32_t stack_flags;
  uint64_t plain, reset, restorer;
};

struct FaultInfo {
  int32_t signo, code;
  uint64_t address;
  uint64_t trap, error;
};

// The turn is the guest's when `answered` equals `reported`, and the sentry's otherwise. Each side writes to
// cache lines of its own while the other looks at them: a line that both wrote would travel several times for
// each call.
struct Area {
  static constexpr size_t kOperations = 48;
  static constexpr uint64_t kStack = 0x1000, kStackSize = 0x2000;        // offset of the shim's stack
  static constexpr uint64_t kAltStack = 0x3000, kAltStackSize = 0xd000;  // and of that for signals
  static constexpr uint64_t kData = 0x10000, kDataSize = 0xe000;
  static constexpr uint64_t kAlong = 0x1e000, kAlongSize = 0x2000;  // what came along with the call

  // By the shim: the report. Of most calls this line is all that travels.
  alignas(64) uint32_t reported;  // counts reports
  uint32_t report;                // Report, and kReport* flags
  uint32_t number;                // of the call, and its arguments
  uint32_t sleeping;              // it sleeps on `answered`, or is about to
  uint64_t arguments[6];
  // The rest of it, where there is more to say.
  alignas(64) uint32_t failed;  // index of the operation that failed, kFailed
  uint64_t frame;               // kFrame: address of the signal frame's ucontext
  uint64_t along_address;       // kReportAlongPlace

  // By the sentry: the answer.
  alignas(64) uint32_t answered;  // the report that has been answered; the word that the thread sleeps on
  uint32_t waits;                 // the report whose answer will take a while: something has to happen first
  uint32_t command;               // Command
  uint32_t way_back;              // Mode, of kResume
  uint32_t operation_count;
  uint32_t sequence;    // of this batch of operations among those of the process, 0 for none
  uint32_t wait_for;    // the sequence that must have been completed before, 0 for none
  uint32_t save_state;  // a new thread: XSAVE the inherited state into the frame first
  uint64_t frame_back;  // kFrame: of the way back
  uint64_t result;      // rax of the way back; the other registers are in `registers`

  // By the sentry, rarely.
  alignas(64) LocalAnswers local;
  alignas(64) LocalSignals signals;
  LocalOwn own;

  // Of the shim alone.
  alignas(64) uint32_t interrupted;  // by the signal handler: kKick came while the shim ran
  uint32_t stepping;                 // by the signal handler: the guest's trap flag was set when it came in
  uint32_t mask_changed;             // since the last report
  uint32_t own_changed;
  uint32_t asleep;     // on a futex of the guest's, or about to
  uint32_t processor;  // where it last went to sleep in a handover
  // Of a path, by the call under way: one more than what has been copied to what goes along.
  uint32_t brought;
  uint32_t copied;  // the sequence of the last batch with a kCopyAcross that has been carried out
  // By the time stamp counter, for CPU times: when it came from guest code, or went there, 0 while
  // it sleeps; how long it has been there, and how long in the shim without sleeping.
  uint64_t turned, working, waiting;
  Payoff payoff;  // of looking for answers

  // By the shim with a report, and by the sentry with the answer if it changes any but rax.
  alignas(64) Registers registers;
  FaultInfo fault;
  Operation operations[kOperations];

  // Of the shim alone: call sites from where calls keep coming by a signal, and how often they have.
  static constexpr uint32_t kTrappingSites = 8, kKeepsTrapping = 8;
  struct Site {
    uint64_t place, times;
  };
  Site trapping[kTrappingSites];
};
static_assert(sizeof(Area) <= Area::kStack);

// kProcessPage.
struct Process {
  uint32_t completed;  // the sequence up to which operations have been done
  uint32_t waiters;
};

// struct iovec.
struct Piece {
  uint64_t address, length;
};

// Platform::kRootPlace, for the shim.
inline constexpr uint64_t kRootPlace = 1;

// Behind the notice page, not writable here either: what stat(2) answers, in one of the places of the set
// that known_set() says. Not in processes with a thread that must not see it. The version is odd while the
// sentry writes; an entry holds as long as the counts of changes that it names add up to its own number.
struct KnownAttributes {
  static constexpr uint64_t kRoom = 80, kGrounds = 14, kAnswer = 15;
  static constexpr uint32_t kFollow = 1u << 31;

  uint32_t version;
  uint32_t error;  // 0, or stat(2)'s
  uint64_t changes;
  uint64_t place;              // Context::Identity's, or kRootPlace
  uint32_t length;             // of the path; with kFollow
  uint16_t grounds[kGrounds];  // beside the first count; zeros behind them
  char path[kRoom];            // zeros behind it
  uint64_t answer[kAnswer];    // struct stat, but for the zeros at its end
};
static_assert(sizeof(KnownAttributes) == 256);
inline constexpr unsigned kKnownSetBits = 12;
inline constexpr uint64_t kKnownWays = 4;  // entries of a set, which lies in one page
inline constexpr uint64_t kKnownSetSize = kKnownWays * sizeof(KnownAttributes);
inline constexpr uint64_t kKnown = kNoticePage + kPageSize;
inline constexpr uint64_t kKnownSets = kKnownSetSize << kKnownSetBits;  // bytes
// Behind the sets: which of their pages have any, a bit each. Looking at another would make it.
inline constexpr uint64_t kKnownPages = kKnown + kKnownSets;
// Behind that: counts of changes (vfs/changes.h).
inline constexpr uint64_t kChanges = kKnownPages + kPageSize;
inline constexpr uint64_t kChangeCounts = 4096;
inline constexpr uint64_t kKnownSize = kChanges + kChangeCounts * sizeof(uint64_t) - kKnown;
static_assert(kPageSize % kKnownSetSize == 0 && kKnown + kKnownSize <= kVdso);

// `path`: zeros behind the length, up to a multiple of eight.
constexpr uint64_t known_hash(uint64_t place, uint32_t length, const uint64_t* path) {
  constexpr uint64_t kFactor = 0x9e37'79b9'7f4a'7c15;
  uint64_t hash = (place ^ length) * kFactor;
  for (uint64_t i = 0; i * sizeof(uint64_t) < (length & ~KnownAttributes::kFollow); ++i)
    hash = ((hash ^ hash >> 29) + path[i]) * kFactor;
  return hash;
}
// Bits that all of the text makes.
constexpr uint64_t known_set(uint64_t hash) { return hash >> (64 - kKnownSetBits); }

// kNoticePage. A stub cannot write it, and puts nothing in its place without the sentry's consent.
struct Notice {
  static constexpr uint32_t kFutexes = 512, kPieces = 64;

  uint32_t awake;          // the sentry looks at the areas; else it must be rung for
  uint32_t spins;          // how often to look for the turn before going to sleep; 0 on one processor
  uint64_t clock_gettime;  // address of the vDSO's function here; 0: there is none
  // How many wait in the sentry on private futexes, by futex_index(): whoever wakes them must hand over.
  uint32_t futexes[kFutexes];
  // Of vector state in a signal frame: how large it is, and what stands in the bytes that are software's.
  uint64_t state_size, pkru_at;
  abi::FrameSoftware software;
  // What preadv2 and pwritev2 by order find: guest memory.
  Piece pieces[kPieces];
};
static_assert(sizeof(Notice) <= kPageSize);
inline constexpr uint64_t kPieces = kNoticePage + offsetof(Notice, pieces);

constexpr uint32_t futex_index(uint64_t address) {
  return static_cast<uint32_t>(address >> 2) * 0x9e37'79b1u >> 23;
}
static_assert(Notice::kFutexes == 1u << (32 - 23));

// The start of the shim's image.
struct ShimHeader {
  uint64_t magic;
  uint64_t signal_handler;  // addresses
  uint64_t restorer;
  uint64_t start;  // of the first stub: see shim.cc
  uint64_t jump;   // where trampolines go
};
inline constexpr uint64_t kShimMagic = 0x6d69'6873'6b6c'7562;

}  // namespace sentry::platform::trap
