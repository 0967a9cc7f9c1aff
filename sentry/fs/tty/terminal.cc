#include "sentry/fs/tty/terminal.h"

#include <sys/epoll.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <csignal>

#include "sentry/kernel/kernel.h"

namespace sentry::fs::tty {
namespace {

using kernel::Task;

constexpr unsigned kPtsMajor = 136;  // UNIX98_PTY_SLAVE_MAJOR
// What either direction holds before a writer waits: Linux's limit of a pty's flip buffer, and for output the
// reader's line discipline behind it.
constexpr size_t kInputLimit = 8192;
constexpr size_t kOutputLimit = 8192 + LineDiscipline::kCapacity;
// Echo may go beyond, up to this; what exceeds it is lost, as in Linux.
constexpr size_t kEchoSlack = 4096;
// A writer goes on when any one character fits, a tab's spaces included.
constexpr size_t kWritable = 8;

constexpr Events kReadable = EPOLLIN | EPOLLRDNORM;
constexpr Events kWritableEvents = EPOLLOUT | EPOLLWRNORM;

}  // namespace

unsigned Terminal::device() const {
  return master_open_ ? static_cast<unsigned>(makedev(kPtsMajor, static_cast<unsigned>(index_))) : 0;
}

void Terminal::slave_opened() {
  ++slaves_;
  slaves_gone_ = false;
}

void Terminal::slave_closed() {
  if (--slaves_ > 0) return;
  exclusive = false;
  slaves_gone_ = true;
  packet_status_ = 0;
  tell_master(kReadable | EPOLLHUP);
}

void Terminal::tell_master(Events events) {
  master_queue_.wake(events);
  if (listener_) listener_();
}

size_t Terminal::input_room() const {
  return backlog_.size() < kInputLimit ? kInputLimit - backlog_.size() : 0;
}

size_t Terminal::output_room() const {
  if (stopped() || output_.size() >= kOutputLimit) return 0;
  return kOutputLimit - output_.size();
}

void Terminal::append_output(std::string_view bytes) {
  if (bytes.empty()) return;
  output_ += bytes;
  tell_master(kReadable);
}

void Terminal::output_taken(size_t size) {
  output_.erase(0, size);
  if (output_room() >= kWritable) slave_queue_.wake(kWritableEvents);
}

void Terminal::input(std::string_view bytes) {
  backlog_ += bytes;
  pump();
}

// Gives the discipline what it will take. It may call back into us, and that may bring us here again.
void Terminal::pump() {
  if (pumping_) return;
  pumping_ = true;
  const bool was_full = input_room() == 0;
  const size_t taken = discipline_.receive(backlog_);
  backlog_.erase(0, taken);
  pumping_ = false;
  if (discipline_.readable()) slave_queue_.wake(kReadable);
  if (was_full && input_room() > 0) tell_master(kWritableEvents);
}

// ---- what the line discipline asks for

void Terminal::echo(std::string_view bytes) {
  if (stopped()) {
    held_echo_ += bytes.substr(0, kEchoSlack - std::min(kEchoSlack, held_echo_.size()));
    return;
  }
  const size_t limit = kOutputLimit + kEchoSlack;
  append_output(bytes.substr(0, limit - std::min(limit, output_.size())));
}

void Terminal::signal(int signo) {
  signal_foreground(signo);
  if (signal_listener_) signal_listener_(signo);
}

void Terminal::flush_output() {
  output_.clear();
  held_echo_.clear();
  set_packet_status(TIOCPKT_FLUSHWRITE);
  slave_queue_.wake(kWritableEvents);
  tell_master(0);
}

void Terminal::input_flushed() { set_packet_status(TIOCPKT_FLUSHREAD); }

void Terminal::set_stopped(bool stop) {
  if (stopped_ == stop || (stopped_by_call_ && !stop)) return;
  stopped_ = stop;
  set_packet_status(stop ? TIOCPKT_STOP : TIOCPKT_START, stop ? TIOCPKT_START : TIOCPKT_STOP);
  if (stop) return;
  std::string held = std::move(held_echo_);
  held_echo_.clear();
  append_output(held);
  slave_queue_.wake(kWritableEvents);
}

void Terminal::set_packet_status(unsigned char set, unsigned char clear) {
  if (!packet_mode_) return;
  packet_status_ = static_cast<unsigned char>((packet_status_ & ~clear) | set);
  tell_master(kReadable | EPOLLPRI);
}

// ---- job control

bool Terminal::controls(const Task& task) const {
  const auto& group = task.group->process_group;
  return master_open_ && group != nullptr && group->session != nullptr &&
         group->session->terminal.get() == this;
}

Result<> Terminal::check_foreground(int signo) const {
  Task* task = Task::current_or_null();
  if (task == nullptr || !controls(*task)) return {};
  const auto group = task->group->process_group;
  if (foreground_id_ == 0 || group->id == foreground_id_) return {};
  const bool unheard = task->mask.contains(signo) ||
                       (*task->group->handlers)[signo].handler == reinterpret_cast<uint64_t>(SIG_IGN);
  if (unheard) {
    // Who does not hear SIGTTOU may write; a read can only fail.
    if (signo == SIGTTIN) return Errno(EIO);
    return {};
  }
  if (group->orphaned()) return Errno(EIO);
  kernel::signal_process_group(*group, kernel::make_signal(signo));
  return Errno(kErestartSys);
}

void Terminal::set_foreground(const std::shared_ptr<kernel::ProcessGroup>& group) {
  foreground = group;
  foreground_id_ = group != nullptr ? group->id : 0;
}

void Terminal::signal_foreground(int signo) {
  const auto group = foreground.lock();
  if (group != nullptr) kernel::signal_process_group(*group, kernel::make_signal(signo));
}

void Terminal::acquire(const std::shared_ptr<kernel::Session>& owner,
                       const std::shared_ptr<kernel::ProcessGroup>& group) {
  owner->terminal = shared_from_this();
  session = owner;
  set_foreground(group);
}

void Terminal::acquire_at_open(Task& task, bool readable) {
  const auto& group = task.group->process_group;
  if (group == nullptr || group->session == nullptr || !readable) return;
  kernel::Session& own = *group->session;
  // One that is hung up (device 0) no longer counts as the session's.
  const bool has_terminal = own.terminal != nullptr && own.terminal->device() != 0;
  if (own.leader != task.group.get() || has_terminal || !session.expired()) return;
  acquire(group->session, group);
}

void Terminal::hang_up() {
  if (!master_open_) return;
  master_open_ = false;
  ++generation_;
  locked = true;
  output_.clear();
  held_echo_.clear();
  backlog_.clear();
  stopped_ = stopped_by_call_ = false;
  discipline_.flush_input();
  if (const auto owner = session.lock()) {
    if (owner->leader != nullptr) {
      // Its exit sends the foreground the same: until then it stays the session's terminal, in name only.
      const auto leader = owner->leader->shared_from_this();
      leader->send(kernel::make_signal(SIGHUP));
      leader->send(kernel::make_signal(SIGCONT));
    } else {
      owner->terminal.reset();
      session.reset();
    }
  }
  slave_queue_.wake();
  master_queue_.wake();
}

void Terminal::resize(const winsize& window) {
  if (window.ws_row == window_.ws_row && window.ws_col == window_.ws_col &&
      window.ws_xpixel == window_.ws_xpixel && window.ws_ypixel == window_.ws_ypixel)
    return;
  window_ = window;
  signal_foreground(SIGWINCH);
}

// ---- reading and writing

Result<size_t> Terminal::read(mm::Sink& sink, bool nonblocking, Generation generation) {
  if (hung_up(generation)) return size_t{0};
  TRY(check_foreground(SIGTTIN));
  const std::shared_ptr<Terminal> alive = shared_from_this();
  // termios(3), "Canonical and noncanonical mode": MIN > 0 waits for MIN bytes, TIME then running between
  // bytes; MIN 0 waits TIME for the first.
  const Settings& settings = discipline_.settings();
  const bool raw = (settings.c_lflag & ICANON) == 0;
  constexpr Nanoseconds kTenth = kSecond / 10;
  const Nanoseconds time = raw ? settings.c_cc[VTIME] * kTenth : 0;
  const size_t minimum = raw ? std::max<size_t>(settings.c_cc[VMIN], 1) : 1;
  Deadline deadline;
  if (raw && settings.c_cc[VMIN] == 0) deadline = monotonic_now() + time;

  size_t total = 0;
  while (sink.remaining() > 0) {
    if (!discipline_.readable()) {
      if (!master_open_) {
        if (total > 0) break;
        return Errno(EIO);
      }
      if (deadline && *deadline <= monotonic_now()) break;
      if (nonblocking) {
        if (total > 0) break;
        return Errno(EAGAIN);
      }
      const Result<> waited = wait_until(
          slave_queue_, kReadable | EPOLLHUP, [&] { return discipline_.readable() || !master_open_; },
          deadline);
      if (waited.is(ETIMEDOUT)) break;
      if (!waited.ok()) {
        if (total > 0) break;
        return waited.error();
      }
      continue;
    }
    const bool line = (discipline_.settings().c_lflag & ICANON) != 0;
    const LineDiscipline::Taken taken = discipline_.take(
        static_cast<size_t>(std::min<uint64_t>(sink.remaining(), LineDiscipline::kCapacity)));
    const Result<size_t> put = sink.put(taken.bytes.data(), taken.bytes.size());
    pump();
    if (!put.ok()) {
      if (total > 0) break;
      return put.error();
    }
    total += *put;
    if (*put < taken.bytes.size() || taken.end_of_file) break;
    // A swallowed end of file leaves nothing: the line is still to come.
    if (line && taken.bytes.empty()) continue;
    if (line || total >= minimum) break;
    if (time > 0) deadline = monotonic_now() + time;
  }
  return total;
}

Result<size_t> Terminal::write(mm::Source& source, bool nonblocking, Generation generation) {
  if (hung_up(generation)) return Errno(EIO);
  if ((discipline_.settings().c_lflag & TOSTOP) != 0) TRY(check_foreground(SIGTTOU));
  const std::shared_ptr<Terminal> alive = shared_from_this();
  char chunk[2048];
  size_t total = 0;
  while (source.remaining() > 0) {
    if (!master_open_) {
      if (total > 0) break;
      return Errno(EIO);
    }
    const Result<size_t> got = source.get(chunk, sizeof chunk);
    if (!got.ok()) {
      if (total > 0) break;
      return got.error();
    }
    std::string processed;
    const size_t done = discipline_.process_output({chunk, *got}, output_room(), processed);
    source.unget(*got - done);
    total += done;
    append_output(processed);
    if (done == *got) continue;
    if (output_room() >= kWritable) continue;  // the master took it at once
    if (nonblocking) {
      if (total > 0) break;
      return Errno(EAGAIN);
    }
    const Result<> waited = wait_until(slave_queue_, kWritableEvents | EPOLLHUP,
                                       [&] { return output_room() >= kWritable || !master_open_; });
    if (!waited.ok()) {
      if (total > 0) break;
      return waited.error();
    }
  }
  return total;
}

Events Terminal::slave_poll(Generation generation) const {
  if (hung_up(generation)) return kReadable | kWritableEvents | EPOLLERR | EPOLLHUP;
  Events events = 0;
  if (discipline_.poll_readable()) events |= kReadable;
  if (!master_open_) events |= EPOLLHUP;
  if (output_room() >= kWritable) events |= kWritableEvents;
  return events;
}

Result<size_t> Terminal::master_read(mm::Sink& sink, bool nonblocking) {
  const std::shared_ptr<Terminal> alive = shared_from_this();
  const auto ready = [&] { return packet_status_ != 0 || !output_.empty() || slaves_gone_; };
  if (sink.remaining() == 0) return size_t{0};
  if (!ready()) {
    if (nonblocking) return Errno(EAGAIN);
    TRY(wait_until(master_queue_, kReadable | EPOLLHUP | EPOLLPRI, ready));
  }
  if (packet_mode_ && packet_status_ != 0) {
    const unsigned char status = packet_status_;
    packet_status_ = 0;
    return sink.put(&status, 1);
  }
  if (output_.empty()) return Errno(EIO);
  size_t header = 0;
  if (packet_mode_) {
    const unsigned char data = TIOCPKT_DATA;
    header = TRY(sink.put(&data, 1));
    if (sink.remaining() == 0) return header;
  }
  // Taken before it is copied: copying may park, and another reader must not get the same.
  const std::string taken =
      output_.substr(0, static_cast<size_t>(std::min<uint64_t>(output_.size(), sink.remaining())));
  output_taken(taken.size());
  return header + TRY(sink.put(taken.data(), taken.size()));
}

Result<size_t> Terminal::master_write(mm::Source& source, bool nonblocking) {
  const std::shared_ptr<Terminal> alive = shared_from_this();
  char chunk[2048];
  size_t total = 0;
  while (source.remaining() > 0) {
    const size_t room = std::min(input_room(), sizeof chunk);
    if (room == 0) {
      if (nonblocking) {
        if (total > 0) break;
        return Errno(EAGAIN);
      }
      const Result<> waited = wait_until(master_queue_, kWritableEvents, [&] { return input_room() > 0; });
      if (!waited.ok()) {
        if (total > 0) break;
        return waited.error();
      }
      continue;
    }
    const Result<size_t> got = source.get(chunk, room);
    if (!got.ok()) {
      if (total > 0) break;
      return got.error();
    }
    total += *got;
    input({chunk, *got});
  }
  return total;
}

Events Terminal::master_poll() const {
  Events events = 0;
  if (!output_.empty()) events |= kReadable;
  if (packet_mode_ && packet_status_ != 0) events |= kReadable | EPOLLPRI;
  if (slaves_gone_) events |= EPOLLHUP;
  if (input_room() > 0) events |= kWritableEvents;
  return events;
}

}  // namespace sentry::fs::tty
