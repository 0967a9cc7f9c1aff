// How guest code runs. A platform has guest address spaces, each a host process ("stub"), and contexts, each
// a host thread in one of them. What stands above knows nothing of how calls are intercepted.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sentry/base/event_loop.h"
#include "sentry/base/fd.h"
#include "sentry/base/result.h"
#include "sentry/base/surface.h"
#include "sentry/platform/guest_range.h"
#include "sentry/platform/registers.h"

namespace sentry::platform {

// Why guest code stopped.
struct Trap {
  enum class Kind {
    kSyscall,      // registers.orig_rax is the number, rip behind the instruction
    kFault,        // a synchronous signal: `info`
    kInterrupted,  // interrupt() was called
    kExited,       // the host thread is gone (killed from outside): the context can only be destroyed
  };
  Kind kind;
  siginfo_t info{};  // kFault: si_signo, si_code, si_addr as the host reports them
  // The CPU's, of a kFault: what sigcontext has as trapno and err. Not all platforms know.
  struct Cpu {
    uint64_t trap, error;
  };
  std::optional<Cpu> cpu;
  bool foreign = false;  // kSyscall: by an entry that is not x86-64's (int 0x80)
  bool costly =
      false;  // kSyscall: by an entry that rewriting the call site would make cheaper, see SitePatcher
  // After a kSyscall, and as long as no guest code has run since: of the registers only rax, orig_rax and
  // those of the arguments have been set; Context::complete() brings the others.
  bool partial = false;
};

// Makes call sites in program text cheaper. The text is a file's, shared by whoever maps it, so what is
// written must not depend on where it is mapped.
class SitePatcher {
 public:
  virtual ~SitePatcher() = default;
  // Replaces as many bytes of the text.
  struct Edit {
    size_t offset;
    std::vector<std::byte> code;
  };
  struct Patch {
    size_t displaced;                   // the first instruction that is carried out elsewhere, in the text
    std::vector<Edit> edits;            // to be made at once
    std::optional<size_t> springboard;  // where in the text the way to the trampolines touches it once more
    std::vector<std::byte> outside;     // what goes to the trampolines
  };
  // What lies before `first` is there to be read, and stays as it is: up to kContext bytes are of use.
  struct Text {
    std::span<const std::byte> original;  // the file's, which tells where instructions begin
    std::span<const std::byte> current;   // the same as rewritten up to now
    size_t first;
  };
  static constexpr size_t kContext = 64;
  // `site` is the offset in `text` of a `syscall` instruction that has been executed; `distance` how far
  // behind the text's start the place for trampoline code is, `base_distance` the start of that whole region.
  // nullopt: the site stays as it is.
  virtual std::optional<Patch> patch(const Text& text, size_t site, int64_t distance,
                                     int64_t base_distance) = 0;
  // What the region begins with, once.
  virtual std::vector<std::byte> region_header() = 0;
};

// Where there is room for mappings that are not the guest's, above its range. Size 0: there is none.
struct WindowRoom {
  uint64_t start = 0, size = 0;
};

// One mapping to make: always at a fixed place, replacing what is there.
struct MapOrder {
  uint64_t address;  // page-aligned, in the guest's range or the room for windows
  uint64_t length;   // page-aligned, > 0
  int prot;          // PROT_*
  int flags;         // MAP_PRIVATE or MAP_SHARED, MAP_ANONYMOUS, MAP_NORESERVE
  int host_fd = -1;  // without MAP_ANONYMOUS: stays the caller's, who closes it by close_unnamed()
  uint64_t offset = 0;
};

class Context;

// A guest address space. What changes it takes effect before guest code runs in it again, in the order of the
// calls; ENOMEM where the host has no more, EFAULT for addresses that are not mapped so. read(), fork(),
// add_context(), settle() and populating may park the current fiber. The caller's context, where one is asked
// for, is stopped in this address space.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;

  virtual Result<> map(const MapOrder& order) = 0;
  virtual Result<> unmap(uint64_t address, uint64_t length) = 0;
  virtual Result<> protect(uint64_t address, uint64_t length, int prot) = 0;
  // mremap(2) with MREMAP_MAYMOVE | MREMAP_FIXED, plus MREMAP_DONTUNMAP where asked.
  virtual Result<> move(uint64_t from, uint64_t length, uint64_t to, bool keep_old) = 0;
  // madvise(2); the caller has checked the advice.
  virtual Result<> advise(uint64_t address, uint64_t length, int advice) = 0;

  // Copies guest memory with the guest's own access rights. How many bytes could be copied before the first
  // that could not; EFAULT if that is none (and size is not 0).
  virtual Result<size_t> read(uint64_t address, void* buffer, size_t size) = 0;
  virtual Result<size_t> write(uint64_t address, const void* data, size_t size) = 0;
  // What the current fiber has written for its thread's call tells of nothing that the call has changed. So
  // nobody else needs to wait for it: until it is there the call has not returned.
  virtual void keep_results() {}
  // Where map() and unmap() reach beyond the guest's range. The guest can read what is there, and unmap it.
  virtual WindowRoom window_room() const { return {}; }
  // Copies from a window, as write() would from the sentry's memory, what is there when the guest goes on;
  // zeros where nothing is there any more.
  virtual Result<size_t> copy_from_window(uint64_t /*window*/, uint64_t /*address*/, size_t /*size*/) {
    return Errno(EOPNOTSUPP);
  }
  // Such copies have been made when it returns, whoever runs: for whoever is about to change what is in a
  // window. May park.
  virtual void finish_copies() {}
  // The text that ends with a NUL at this address, if it is here already: with the call of the current
  // fiber's thread has come what that will ask for.
  virtual std::optional<std::string_view> text_at_hand(uint64_t /*address*/) { return std::nullopt; }
  // pread(2) and pwrite(2) of a host file straight into and from guest memory, for what is too large to go
  // through the sentry. How many bytes, by the guest's word: whoever counts them must survive a lie.
  // EOPNOTSUPP where the platform cannot; may park.
  virtual Result<size_t> pread(int /*host_fd*/, uint64_t /*address*/, size_t /*size*/, uint64_t /*offset*/) {
    return Errno(EOPNOTSUPP);
  }
  virtual Result<size_t> pwrite(int /*host_fd*/, uint64_t /*address*/, size_t /*size*/, uint64_t /*offset*/) {
    return Errno(EOPNOTSUPP);
  }
  // write() only takes note, and a place that cannot be written becomes the guest call's EFAULT when it goes
  // on: whoever wants to know before looks at the mappings.
  virtual bool defers_writes() const { return false; }
  // Does what write() has taken note of once that has become much: for whoever writes without end. May park.
  // ESRCH: nobody is left to do it.
  virtual Result<> catch_up() { return {}; }
  // Changes that have been asked for take effect on guest code that runs, too, at once. May park. ESRCH as
  // above.
  virtual Result<> take_effect() { return {}; }
  // FUTEX_WAKE and FUTEX_REQUEUE (FUTEX_CMP_REQUEUE where `expected` is given: EAGAIN) of private futexes, of
  // those who wait without the sentry: how many were woken, or woken and moved, by the guest's word. May
  // park.
  virtual Result<uint64_t> wake_futex(uint64_t /*address*/, uint32_t /*count*/) { return uint64_t{0}; }
  virtual Result<uint64_t> requeue_futex(uint64_t /*from*/, uint64_t /*to*/, uint32_t /*wake*/,
                                         uint32_t /*move*/, const uint32_t* /*expected*/) {
    return uint64_t{0};
  }
  // Waits until everything that has been asked for is done. ESRCH: the context's thread has died.
  virtual Result<> settle(Context&) { return {}; }

  // A copy of this address space (copy-on-write by the host) with one context in it.
  struct Forked {
    std::unique_ptr<AddressSpace> space;
    std::unique_ptr<Context> context;
  };
  virtual Result<Forked> fork(Context& caller) = 0;
  // One more host thread here. EAGAIN where the host refuses.
  virtual Result<std::unique_ptr<Context>> add_context(Context& caller) = 0;
  // A context on the caller's own host thread: the caller's is not to be run until the new one has been
  // destroyed, and then goes on as if nothing had happened. It may be destroyed before. EOPNOTSUPP where that
  // cannot be: add_context() can. The caller's registers are complete.
  virtual Result<std::unique_ptr<Context>> lend_context(Context& /*caller*/) { return Errno(EOPNOTSUPP); }
};

// A host thread that runs guest code for one task. Destroying it ends the thread; destroying the last one of
// an address space ends its process.
class Context {
 public:
  virtual ~Context() = default;

  // Runs guest code with these registers until it traps; parks the current fiber meanwhile. The registers are
  // then those of the guest. After a partial trap that nobody has completed, rax alone is taken back.
  virtual Trap run(Registers& registers) = 0;
  virtual void complete(Registers&) {}
  // What getpid(2) and its like would answer for this thread, for platforms that answer them in the guest.
  // Takes effect at the next run().
  struct Identity {
    pid_t pid = 0, tid = 0, parent = 0;
    uid_t uid = 0, euid = 0;
    gid_t gid = 0, egid = 0;
    bool may_answer = false;  // nobody watches or filters the thread's calls
    // Where relative paths begin, for Platform::know_attributes(). 0: the thread must not see what that
    // tells.
    uint64_t place = 0;
  };
  virtual void set_identity(const Identity&) {}
  // The thread's signal mask (bit N-1 for signal N), for platforms that answer rt_sigprocmask(2) in the
  // guest, and the signals that wait: they must not be unblocked without the sentry. Takes effect at the next
  // run().
  struct Signals {
    uint64_t mask = 0, pending = 0;
  };
  virtual void set_signals(const Signals&) {}
  // These wait now: at once, while the thread runs.
  virtual void hold_signals(uint64_t /*pending*/) {}
  // The mask as it is: what was given to set_signals(), unless the guest has changed it since. While the
  // thread runs it may change any time, but not to take in what is held without a trap.
  virtual uint64_t signal_mask(uint64_t given) const { return given; }
  // What else a thread sets for itself alone, for platforms that do so in the guest: set_robust_list(2),
  // sigaltstack(2), and rt_sigaction(2) where that sets signals to SIG_DFL that have it already. As with the
  // mask: takes effect at the next run(), and is read back after it.
  struct Own {
    uint64_t robust_list = 0;
    uint64_t stack_base = 0, stack_size = 0;
    int32_t stack_flags = 0;
    // Signals (bit N-1 for signal N) whose action is SIG_DFL and nothing else, and those where it is that
    // with SA_RESTORER and this restorer. Bits go from the first to the second. None of either where the
    // thread is not the only one that has these actions.
    uint64_t plain = 0, reset = 0, restorer = 0;
    bool operator==(const Own&) const = default;
  };
  virtual void set_own(const Own&) {}
  virtual Own own(const Own& given) const { return given; }
  // Whether the thread sleeps though the sentry has not put it to sleep: on a futex, by the guest's word.
  virtual bool asleep() const { return false; }
  // Whom to tell, on the event loop's own stack, when the host thread has ended though nobody asked it to. It
  // must not park.
  using DeathNotice = void (*)(void* owner);
  void set_death_notice(DeathNotice notice, void* owner) {
    death_notice_ = notice;
    death_owner_ = owner;
  }
  // Whether the host thread lives, as far as the host knows by now.
  virtual bool alive() = 0;
  // CPU time that the host has accounted to this thread.
  virtual Nanoseconds cpu_time() const = 0;

  // Ends a run() that is under way, or the next one at once. From any fiber.
  virtual void interrupt() = 0;

  // The vector and x87 state, in the layout of XSAVE's standard format, Platform::fpstate_size() bytes.
  virtual void read_fpstate(std::span<std::byte> state) = 0;
  virtual Result<> write_fpstate(std::span<const std::byte> state) = 0;  // EINVAL for what the CPU refuses
  virtual void reset_fpstate() = 0;                                      // as after exec
  // Has the state written to guest memory as a signal frame holds it, and set as after exec, before the
  // thread goes on. The caller has looked whether it can be written there. False: the platform cannot, the
  // caller shall.
  virtual bool save_frame(uint64_t /*address*/) { return false; }
  // After rt_sigreturn(2): the thread has taken its state from the frame that this call names.
  virtual bool frame_restored() const { return false; }

 protected:
  void tell_death() {
    if (death_notice_ != nullptr) death_notice_(death_owner_);
  }

 private:
  DeathNotice death_notice_ = nullptr;
  void* death_owner_ = nullptr;
};

class Platform : public TrapSource {
 public:
  // A pristine address space: nothing mapped in the guest's range.
  virtual Result<AddressSpace::Forked> new_address_space() = 0;
  virtual size_t fpstate_size() const = 0;
  // Whether calls may be answered without the sentry (--strace wants to see them all). Before the first
  // run().
  virtual void allow_local_answers(bool) {}
  // What stat(2) answers about a path, for platforms that answer it in the guest: right while the sum of the
  // first of change_counts() and those of `grounds` is `changes`. `place` is Identity's, or kRootPlace for
  // absolute paths. Whoever runs with a place may see it.
  struct KnownPath {
    uint64_t place;
    bool follow;  // the last component, if a symbolic link
    std::string_view text;
    std::span<const uint16_t> grounds;  // at most kGrounds, none of them 0
    uint64_t changes;
  };
  static constexpr size_t kGrounds = 14;
  static constexpr uint64_t kRootPlace = 1;
  virtual void know_attributes(const KnownPath&, int /*error*/, const struct stat&) {}
  // Where changes are to be counted; nowhere where it does not matter.
  virtual std::span<uint64_t> change_counts() { return {}; }
  // That many more (or fewer) wait in the sentry on the private futex at this address, of any address space:
  // whoever wakes them needs the sentry. To be called before the word is looked at.
  virtual void count_futex_waiters(uint64_t /*address*/, int /*change*/) {}
  // Null where call sites are all the same.
  virtual SitePatcher* site_patcher() { return nullptr; }
  // Runs `action` once no host process can reach any more what has been unmapped or killed up to now: memory
  // and descriptors may get another owner then. At once where that is so already.
  virtual void when_let_go(std::function<void()> action) { action(); }
  // Closes a descriptor that map(), pread() or pwrite() has been given once no order names it any more: its
  // number may be another file's then.
  virtual void close_unnamed(Fd) {}
};

// The same of the platform of this process; at once where there is none.
void when_let_go(std::function<void()> action);
void close_unnamed(Fd fd);

// By name ("trap", "ptrace"); nullptr for an unknown one. To be called before the sentry enters its surface:
// makes the process that pristine address spaces are cloned from.
std::unique_ptr<Platform> make_platform(std::string_view name, EventLoop& loop);

// Names that make_platform knows, and what each lets sentry and stub do.
std::span<const std::string_view> platform_names();
std::vector<HostCall> sentry_calls(std::string_view platform);
Surface stub_surface(std::string_view platform);

}  // namespace sentry::platform
