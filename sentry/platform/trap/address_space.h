// A guest address space on the trap platform.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sentry/base/extent_set.h"
#include "sentry/platform/trap/trap_platform.h"

namespace sentry::platform::trap {

class TrapContext;

// Ticks of the time stamp counter that a thread has spent in guest code, and awake in the shim.
struct CpuTicks {
  uint64_t working = 0, waiting = 0;
};
// By the thread's own word.
CpuTicks ticks(const Thread& thread);

// Changes to the stub's memory are queued here, in order, and carried out by whichever of its threads goes on
// first, before it runs guest code: mapping calls and copies into guest memory need no handover of their own.
// What must know at once (reading memory, forking, populating) has the queue carried out and waits.
class TrapAddressSpace final : public AddressSpace {
 public:
  TrapAddressSpace(TrapPlatform& platform, pid_t process) : platform_(platform), process_(process) {}
  ~TrapAddressSpace() override;

  Result<> map(const MapOrder& order) override;
  Result<> unmap(uint64_t address, uint64_t length) override;
  Result<> protect(uint64_t address, uint64_t length, int prot) override;
  Result<> move(uint64_t from, uint64_t length, uint64_t to, bool keep_old) override;
  Result<> advise(uint64_t address, uint64_t length, int advice) override;
  Result<size_t> read(uint64_t address, void* buffer, size_t size) override;
  Result<size_t> write(uint64_t address, const void* data, size_t size) override;
  std::optional<std::string_view> text_at_hand(uint64_t address) override;
  Result<size_t> pread(int host_fd, uint64_t address, size_t size, uint64_t offset) override;
  Result<size_t> pwrite(int host_fd, uint64_t address, size_t size, uint64_t offset) override;
  WindowRoom window_room() const override { return {kWindows, kWindowsSize}; }
  Result<size_t> copy_from_window(uint64_t window, uint64_t address, size_t size) override;
  void finish_copies() override;
  bool defers_writes() const override { return true; }
  Result<> catch_up() override;
  Result<> take_effect() override;
  Result<uint64_t> wake_futex(uint64_t address, uint32_t count) override;
  Result<uint64_t> requeue_futex(uint64_t from, uint64_t to, uint32_t wake, uint32_t move,
                                 const uint32_t* expected) override;
  void keep_results() override;
  Result<> settle(Context& caller) override;
  Result<Forked> fork(Context& caller) override;
  Result<std::unique_ptr<Context>> add_context(Context& caller) override;
  Result<std::unique_ptr<Context>> lend_context(Context& caller) override;

 private:
  friend class TrapContext;
  friend class TrapPlatform;

  struct Change {
    Operation operation;
    std::string bytes;          // kCopyOut
    const Fiber* by = nullptr;  // the one that wrote
    bool kept = false;          // keep_results()
  };

  // What has come along from this address on with the call of the current fiber's thread. Still the guest's
  // to change.
  std::span<const std::byte> at_hand(uint64_t address) const;

  // Rounds of patience: nothing that a thread is asked to do takes long, but for what may wait for a disk.
  static constexpr unsigned kToServe = 20, kToWaitForTheHost = 1200, kToBeBorn = 20;

  // preadv2(2) or pwritev2(2) by one of the threads, at once.
  Result<size_t> transfer(long number, int host_fd, uint64_t address, size_t size, uint64_t offset);
  // A host call by one of the threads, at once: its result.
  Result<uint64_t> call(long number, std::initializer_list<uint64_t> arguments);
  Result<> order(long number, std::initializer_list<uint64_t> arguments);
  void forget_husks(uint64_t address, uint64_t length);
  // futex(2) by one of the threads, if one of the others may be waiting on the host.
  Result<uint64_t> host_futex(std::initializer_list<uint64_t> arguments);
  // Fills the thread's area from the queue: as much as there is room for. Whether that is all.
  bool load(Thread& thread);
  // Has operations that are in the thread's area already carried out, and waits: false if it died.
  bool serve(Thread& thread, unsigned rounds = kToServe);
  // One operation by this thread, at once; its result, by the guest's word. -ESRCH: the thread has died.
  int64_t serve_one(Thread& thread, const Operation& operation, unsigned rounds = kToServe);
  // The host has refused what the sentry's own map says is there: says which call.
  void refused(const Thread& thread);
  // Carries out the queue by this thread, all of it, and what is this thread's own.
  bool drain(Thread& thread);
  // Before guest memory is read: those that have yet to write vector state there.
  void save_frames();
  // A thread that has stopped, if need be made to; null if all are dead. The current fiber's own for choice.
  std::optional<Reservation> reserve_stopped();
  Result<Forked> fork_by(const std::shared_ptr<Thread>& by, bool pristine);
  // Until a child that the parent has been ordered to make has been heard of, or cannot be.
  void await_birth(Thread& parent, Thread& child, int64_t result, pid_t newest);
  std::optional<AreaSlot> new_place();
  // A thread whose guest thread has ended waits for another one, which then needs no clone and no exit.
  // Whether it does.
  bool park(Thread& thread);
  // Has a parked one run a new guest thread, which inherits the parent's vector state. Both are reserved.
  Result<std::unique_ptr<Context>> unpark(Thread& parent, const std::shared_ptr<Thread>& parked);
  // Takes what the platform knows of attributes out of the process's sight, before its guest code goes on.
  void hide_known();
  // The vector state of a stopped thread; `state` holds zeros.
  void read_vector_state(Thread& thread, std::span<std::byte> state);
  // What the thread has spent stays the process's.
  void keep_ticks(Thread& thread);
  // Of the process's CPU time, what this thread has spent in guest code, but for so many ticks of it. The
  // host tells the time of them all; what part of it is a thread's, and how much it only waited for the
  // sentry, the shim counts.
  Nanoseconds guest_time(const Thread& thread, uint64_t without) const;

  TrapPlatform& platform_;
  pid_t process_;
  std::vector<std::shared_ptr<Thread>> threads_;
  std::deque<Change> queue_;
  size_t queued_bytes_ = 0;       // that the sentry keeps for it
  size_t queued_copies_ = 0;      // from windows
  std::weak_ptr<Thread> copier_;  // which has been sent the last of them, in this batch
  uint32_t copies_sequence_ = 0;
  uint64_t lineage_ = 0;         // of the pristine one that it descends from
  bool ended_ = false;           // the process has been reaped
  bool sees_known_ = true;       // KnownAttributes are mapped
  uint32_t sequence_ = 0;        // of the last batch sent
  std::vector<AreaSlot> slots_;  // mapped in this process, whether in use or not
  std::vector<AreaSlot> idle_;   // mapped, and their threads have exited
  uint32_t next_place_ = 1;
  ExtentSet husks_;        // pages that are unmapped, and untouchable memory on the host
  double left_ticks_ = 0;  // of the threads that have gone
};

class TrapContext final : public Context {
 public:
  TrapContext(TrapPlatform& platform, std::shared_ptr<Thread> thread)
      : platform_(platform), thread_(std::move(thread)) {
    thread_->context = this;
    thread_->area->local = told_;
  }
  ~TrapContext() override;

  Trap run(Registers& registers) override;
  void complete(Registers& registers) override;
  void set_identity(const Identity& identity) override;
  void set_signals(const Signals& signals) override;
  void hold_signals(uint64_t pending) override;
  void set_own(const Own& own) override;
  Own own(const Own& given) const override;
  bool asleep() const override;
  uint64_t signal_mask(uint64_t given) const override;
  Nanoseconds cpu_time() const override;
  void interrupt() override;
  bool alive() override;
  void died() { tell_death(); }
  void read_fpstate(std::span<std::byte> state) override;
  Result<> write_fpstate(std::span<const std::byte> state) override;
  void reset_fpstate() override;
  bool save_frame(uint64_t address) override;
  bool frame_restored() const override { return thread_->state_restored; }

  const std::shared_ptr<Thread>& thread() { return thread_; }

 private:
  friend class TrapAddressSpace;

  // A child of vfork(2) runs on its parent's host thread (lending.cc). What the parent needs to go on: where
  // its vector state is kept.
  struct Loan {
    TrapContext* lender = nullptr;
    TrapContext* borrower = nullptr;
    Mode mode = Mode::kFrame;  // as the lender left the thread
    uint64_t frame = 0;
    uint64_t kept = 0;       // the frame with the lender's vector state
    uint64_t working = 0;    // the thread's ticks at the beginning
    bool touched = false;    // the thread's vector state is no longer the lender's
    bool interrupt = false;  // the lender shall be, as soon as it runs
  };
  bool lent() const { return loan_ != nullptr && loan_->lender == this && loan_->borrower != nullptr; }
  bool borrowed() const { return loan_ != nullptr && loan_->borrower == this && loan_->lender != nullptr; }
  // By the borrower's end. False: there is nobody left to give it to.
  bool give_back();
  // Of a borrower that has not run: keeps the lender's vector state without the shim's help on the way back.
  void keep_state();
  // What the area holds may be another's.
  void forget_told();

  void put_registers(Registers registers);

  TrapPlatform& platform_;
  std::shared_ptr<Thread> thread_;
  LocalAnswers told_{};
  uint64_t held_ = ~uint64_t{0};  // as told; an area may have had another owner
  bool mask_told_ = false;
  bool own_told_ = false;
  std::shared_ptr<Loan> loan_;             // of both sides
  uint64_t others_ = 0;                    // ticks of the thread that were not this one's
  mutable Nanoseconds cpu_time_told_ = 0;  // an estimate, but it never runs backwards
};

}  // namespace sentry::platform::trap
