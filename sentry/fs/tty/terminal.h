// A terminal: a line discipline between a master (a pty's other end, or the sandbox's console) and the
// programs that have it open, with what a terminal owes to sessions and process groups. tty_ioctl(4), pty(7),
// credentials(7).
#pragma once

#include <sys/ioctl.h>

#include <functional>
#include <memory>
#include <string>

#include "sentry/base/wait_queue.h"
#include "sentry/fs/tty/line_discipline.h"
#include "sentry/kernel/process_group.h"
#include "sentry/kernel/task.h"
#include "sentry/mm/transfer.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::tty {

class Terminal final : public kernel::ControllingTerminal,
                       public std::enable_shared_from_this<Terminal>,
                       private Driver {
 public:
  // pts number `index`.
  explicit Terminal(int index) : index_(index), discipline_(*this) {}

  int index() const { return index_; }
  // makedev(136, index); 0 once it is hung up: its session has no terminal then.
  unsigned device() const override;

  // ---- the programs' side ("slave")

  // An open terminal as one file sees it: a hangup makes those of before useless, not those of after.
  using Generation = uint64_t;
  Generation generation() const { return generation_; }
  bool hung_up(Generation generation) const { return generation != generation_; }
  void slave_opened();
  void slave_closed();
  // read(2) and write(2); park unless `nonblocking`. EIO as for a terminal whose master has gone, or in an
  // orphaned background group.
  Result<size_t> read(mm::Sink& sink, bool nonblocking, Generation generation);
  Result<size_t> write(mm::Source& source, bool nonblocking, Generation generation);
  Events slave_poll(Generation generation) const;
  WaitQueue& slave_queue() { return slave_queue_; }

  // The opener becomes its session's terminal owner if it leads a session without one and nobody else has
  // this.
  void acquire_at_open(kernel::Task& task, bool readable);
  // The same without asking, for the sandbox's first process.
  void acquire(const std::shared_ptr<kernel::Session>& session,
               const std::shared_ptr<kernel::ProcessGroup>& foreground);

  // ---- the master's side

  // Whether pty slaves may be opened: TIOCSPTLCK.
  bool locked = false;
  bool exclusive = false;  // TIOCEXCL
  bool master_open() const { return master_open_; }
  // Room for typed bytes; input() takes no more than that.
  size_t input_room() const;
  void input(std::string_view bytes);
  // What waits for the screen.
  std::string_view output() const { return output_; }
  void output_taken(size_t size);
  Result<size_t> master_read(mm::Sink& sink, bool nonblocking);
  Result<size_t> master_write(mm::Source& source, bool nonblocking);
  Events master_poll() const;
  WaitQueue& master_queue() { return master_queue_; }
  // Called beside master_queue(): output() or input_room() may have changed.
  // Called with each signal that a typed character has sent to the foreground.
  void set_signal_listener(std::function<void(int signo)> listener) {
    signal_listener_ = std::move(listener);
  }
  void set_master_listener(std::function<void()> listener) { listener_ = std::move(listener); }
  // The master closes or is lost: SIGHUP and SIGCONT to the session's leader, end of file and EIO to whoever
  // has the terminal open.
  void hang_up();
  // Changes the window and tells the foreground, SIGWINCH.
  void resize(const winsize& window);

  // ioctl(2) of either side. ENOTTY for what is not a terminal's.
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument,
                         const vfs::File& file, bool master);
  // The master's own: TIOCPKT, TIOCSPTLCK, TIOCSIG. Nullopt for what both sides know.
  std::optional<Result<uint64_t>> master_ioctl(mm::AddressSpaceMap& memory, unsigned request,
                                               uint64_t argument);

 private:
  // Driver
  void echo(std::string_view bytes) override;
  void signal(int signo) override;
  void flush_output() override;
  void input_flushed() override;
  void set_stopped(bool stopped) override;
  bool stopped() const override { return stopped_; }

  size_t output_room() const;
  void append_output(std::string_view bytes);
  void pump();
  void tell_master(Events events);
  void set_packet_status(unsigned char set, unsigned char clear = 0);
  bool controls(const kernel::Task& task) const;
  // tty_check_change: what a background process may not do to its terminal. Success, EIO, or ERESTARTSYS with
  // `signo` sent to its group.
  Result<> check_foreground(int signo) const;
  void set_foreground(const std::shared_ptr<kernel::ProcessGroup>& group);
  void signal_foreground(int signo);

  Result<> change_settings(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument);
  void apply_settings(Settings settings);
  Result<uint64_t> set_controlling(kernel::Task& task, uint64_t argument, const vfs::File& file);
  Result<uint64_t> give_up_controlling(kernel::Task& task);
  Result<uint64_t> set_foreground_group(kernel::Task& task, mm::AddressSpaceMap& memory, uint64_t argument);
  Result<uint64_t> flush(uint64_t which);
  Result<uint64_t> flow(uint64_t action);

  const int index_;
  LineDiscipline discipline_;
  Settings locked_{};  // TIOCSLCKTRMIOS: what is not zero here stays as it is
  winsize window_{};
  std::string output_;     // processed, for the master
  std::string held_echo_;  // echo while output is stopped
  std::string backlog_;    // typed, not yet taken by the discipline
  bool stopped_ = false;
  bool stopped_by_call_ = false;  // by tcflow(TCOOFF): START characters do not let it go on
  bool pumping_ = false;
  bool master_open_ = true;
  bool slaves_gone_ = false;  // the last one closed, and none has been opened since
  unsigned slaves_ = 0;
  Generation generation_ = 0;
  pid_t foreground_id_ = 0;  // stays when the group has gone
  bool packet_mode_ = false;
  unsigned char packet_status_ = 0;
  WaitQueue slave_queue_, master_queue_;
  std::function<void(int)> signal_listener_;
  std::function<void()> listener_;
};

}  // namespace sentry::fs::tty
