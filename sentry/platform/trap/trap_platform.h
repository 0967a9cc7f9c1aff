// The platform over seccomp: guest calls trap into a shim in the guest's own address space, which hands over
// through shared memory. docs/trap.md tells the whole story.
#pragma once

#include <csignal>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "sentry/base/fd.h"
#include "sentry/base/log.h"
#include "sentry/platform/platform.h"
#include "sentry/platform/trap/pace.h"
#include "sentry/platform/trap/patch.h"
#include "sentry/platform/trap/thread.h"

namespace sentry::platform::trap {

class TrapPlatform final : public Platform {
 public:
  explicit TrapPlatform(EventLoop& loop);
  ~TrapPlatform() override;

  Result<AddressSpace::Forked> new_address_space() override;
  size_t fpstate_size() const override { return fpstate_size_; }
  SitePatcher* site_patcher() override { return &patcher_; }
  void allow_local_answers(bool allowed) override { local_answers_ = allowed; }
  bool local_answers() const { return local_answers_; }
  void know_attributes(const KnownPath& path, int error, const struct stat& answer) override;
  std::span<uint64_t> change_counts() override { return {change_counts_, kChangeCounts}; }
  void count_futex_waiters(uint64_t address, int change) override;
  void when_let_go(std::function<void()> action) override;
  void close_unnamed(Fd fd) override;

  bool collect() override;
  bool linger(Deadline until) override;
  bool may_sleep() override;
  void woke() override;
  const sigset_t* sleep_mask() const override { return &sleep_mask_; }
  int doorbell() const override { return beside_caller_ ? listener_.get() : -1; }
  void rang() override { notified(); }

 private:
  friend class TrapAddressSpace;
  friend class TrapContext;

  // Areas.
  std::optional<AreaSlot> take_slot(uint32_t place);
  void free_areas(const std::vector<AreaSlot>& slots);
  Area* area_of(const AreaSlot& slot) const;
  // The call by which a stub maps one.
  Operation area_mapping(const AreaSlot& slot) const;

  // The answer to the thread's last report, and what finds its next one.
  void answer(Thread& thread, Command command, Thread::State state);
  bool look(Thread& thread);
  void took(Thread& thread);
  // Parks the current fiber until the thread is in another state than this.
  // `ahead` of others who do.
  void wait_while(Thread& thread, Thread::State state, bool ahead = false);
  // The same for guest code. Looks for a while before the event loop gets its turn, where nothing else is to
  // be done.
  void wait_for_report(Thread& thread);
  // Looks for the thread's report for a while, where that pays; whether it came.
  bool look_for_a_while(Thread& thread);

  // How to wait for the next report: looking out for it from another processor than the caller's, or asleep,
  // to be woken on the caller's (docs/trap.md). Where several threads run guest code a processor is theirs:
  // neither.
  bool crowded() const { return crowd_ > kCrowd; }
  bool worth_lingering();
  void lingered(bool found);
  void choose_side();
  void set_sync_wake_up(bool on);
  // Waits until the thread has the sentry's attention, however it gets there; false if it dies instead.
  bool stop(Thread& thread);
  void kick(Thread& thread);
  static void send_kick(const Thread& thread);
  // Ends the thread's process unless it answers within this many rounds of kPatienceRound.
  void expect(Thread& thread, unsigned rounds);
  // Has the thread exit, and ends its process if it does not.
  void dismiss(const std::shared_ptr<Thread>& thread);
  // Looks for children that are newer than this one and unheard of, as soon as no birth is expected.
  void expect_strays(pid_t newest);
  void lose_patience();
  void count_rounds();  // from now on, if that is not under way

  // Notifications.
  bool hear();  // those that are waiting; whether there were any
  void notified();
  void rung(Thread& thread, uint64_t id);
  void respond(uint64_t id, bool run);
  void born(Thread& thread, pid_t tid, uint64_t notification, bool runs);

  // Descriptors that orders name: from when they are queued until the host call is surely over, which is when
  // its thread asks for another, or ends.
  //
  // The orders among them that transfer data have their iovec in the notice page, in a place that is taken
  // for as long: no guest code can put anything there. nullopt: all are taken. unname() gives it back.
  std::optional<uint64_t> take_piece(uint64_t address, uint64_t length);
  void name(const Operation& order);
  void unname(const Operation& order);
  void drop_consents(Thread& thread);
  // The thread's last host call by consent is over.
  void settle_consent(Thread& thread);

  // Says why a process is being ended for what it has done: a guest that goes on like that does not fill the
  // log.
  template <typename... Args>
  void complain(fmt::format_string<Args...> text, Args&&... args) {
    if (complaints_ == kMostComplaints) return;
    log("{}; its process is ended", fmt::format(text, std::forward<Args>(args)...));
    if (++complaints_ == kMostComplaints) log("more of the kind are not logged");
  }

  // Ends.
  void kill_process(pid_t process);
  void make_ready();
  void reap();
  void ended(pid_t pid);
  // Children that were made after this one and that we have not been told of: guest code that goes its own
  // way.
  void end_strays(pid_t after);
  void forget(const std::shared_ptr<Thread>& thread);

  struct Dying {
    std::vector<std::shared_ptr<Thread>> threads;
    std::vector<AreaSlot> slots;
    uint64_t lineage = 0;
  };
  // What waits for the end of every process that had been made, or whose ancestors had, when it was asked
  // for: a hostile one never unmaps, and its children inherit what it has kept.
  struct LetGo {
    uint64_t lineage;
    std::function<void()> action;
  };
  // The lineage that is the oldest still there.
  uint64_t oldest_lineage() const;
  void let_go();

  static constexpr unsigned kMostComplaints = 32;
  static constexpr unsigned kMostParked = 16;  // threads that wait for a guest thread

  EventLoop& loop_;
  unsigned complaints_ = 0;
  unsigned parked_ = 0;
  CallSitePatcher patcher_;
  Fd areas_, notice_, listener_;
  Fd notified_;  // an epoll of the listener alone, to ask whether there is a notification
  std::byte* area_memory_ = nullptr;
  Notice* told_ = nullptr;
  KnownAttributes* known_ = nullptr;
  uint64_t* change_counts_ = nullptr;
  uint64_t sum_of_changes(std::span<const uint16_t> grounds) const;
  // What has been asked for once since it changed: parts of a path's hash and of its sum of changes, in sets
  // as KnownAttributes. Most of it is never touched.
  struct Asked {
    uint32_t path, changes;
  };
  static constexpr size_t kAsked = kKnownWays << kKnownSetBits;
  std::unique_ptr<Asked[], decltype(&std::free)> asked_{
      static_cast<Asked*>(std::calloc(kAsked, sizeof(Asked))), &std::free};
  bool asked_before(uint64_t set, Asked what);
  bool local_answers_ = true;
  std::unique_ptr<HostWatch> listener_watch_;
  size_t fpstate_size_;
  sigset_t sleep_mask_;
  unsigned straight_ = 0;  // looks for reports that came without the event loop in between

  std::vector<uint32_t> free_slots_;
  uint32_t next_slot_ = 0;
  std::unordered_map<pid_t, std::shared_ptr<Thread>> threads_;
  std::vector<std::shared_ptr<Thread>> births_;
  std::vector<std::shared_ptr<Thread>> leaving_;  // dismissed, and still there
  std::vector<Thread*> running_;  // kRunning and kServing: those that may have something to say
  std::unordered_map<pid_t, TrapAddressSpace*> spaces_;  // by process
  std::unordered_map<pid_t, Dying> dying_;               // killed, not yet reaped
  std::deque<LetGo> let_go_;
  uint64_t lineages_ = 0;       // of pristine address spaces; counted upwards
  std::vector<Thread*> fresh_;  // that have reported since the loop last had nothing to do
  size_t expected_notifications_ = 0;
  unsigned unheard_ = 0;                     // reports since the host was asked for notifications
  unsigned unreaped_ = 0;                    // wakes since it was asked for stubs that have ended
  std::unordered_map<int, unsigned> named_;  // descriptors, and how many orders name each
  std::unordered_map<int, Fd> to_close_;
  std::vector<uint32_t> free_pieces_;  // of Notice::pieces
  Timer patience_;
  pid_t newest_ = 0;                  // the tid that was heard of last
  std::optional<pid_t> strays_from_;  // there may be some, to be looked for once no birth is expected
  Nanoseconds linger_ = 0;            // 0 on one processor
  unsigned glance_ = 0;               // likewise
  Payoff payoff_;  // of looking for reports from more than one thread, or where beside_caller_ cannot be
  Payoff glance_payoff_;  // of look_for_a_while()
  Pace pace_;
  bool has_sync_wake_up_ = false;
  static constexpr unsigned kCrowd = 8;
  unsigned crowd_ = 0;           // sleeps in a row during which more than one thread has run guest code
  bool sync_wake_up_ = false;    // kNotifySyncWakeUp is set
  bool beside_caller_ = false;   // how the sentry sleeps
  Nanoseconds answered_at_ = 0;  // with beside_caller_; 0 once somebody has rung since
  bool woke_far_ = false;        // the last answer woke a thread on another processor
  std::unique_ptr<TrapAddressSpace> zygote_;
  std::shared_ptr<Thread> zygote_thread_;
  std::optional<AddressSpace::Forked> ready_;  // pristine, and nobody's yet
  bool asked_before_ = false, making_ready_ = false;
};

}  // namespace sentry::platform::trap
