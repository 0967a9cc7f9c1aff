// The sandbox's terminal: a pts whose master is the stream to the runtime, and so the caller's own terminal.
#pragma once

#include <functional>
#include <memory>

#include "sentry/base/fd.h"
#include "sentry/fs/host/console_stream.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/fs/tty/terminal.h"

namespace sentry::fs::tty {

class Console final : private host::ConsolePeer {
 public:
  // `stream` is boot's process.console_fd. The terminal takes the lowest number in `devpts` and belongs to
  // `owner`. Errors of Devpts::allocate and epoll_ctl(2).
  static Result<std::shared_ptr<Console>> create(EventLoop& loop, const std::shared_ptr<Devpts>& devpts,
                                                 Fd stream, uid_t owner, uint16_t rows, uint16_t columns);
  ~Console() override;

  const std::shared_ptr<Terminal>& terminal() const { return terminal_; }

  // The terminal opened for reading and writing, by its name /dev/pts/N in `space` if devpts is mounted
  // there. Does not make it anybody's controlling terminal.
  Result<vfs::FileRef> open(vfs::MountNamespace& space, vfs::CredentialsRef credentials);
  // The first process leads its session: the terminal becomes that session's, with its group in the
  // foreground.
  void make_controlling(const std::shared_ptr<kernel::ProcessGroup>& group);
  // Calls back when a typed character sends that group a signal: the caller's job is part of it, to a user.
  void on_typed_signal(std::function<void(int signo)> typed) { typed_ = std::move(typed); }

  void resize(uint16_t rows, uint16_t columns);
  // The caller's terminal went away.
  void hang_up();

  // Calls back once, as soon as all output so far has gone to the host (or never can): at once if nothing
  // waits. For the end of the sandbox, so that last words are not lost.
  void when_drained(std::function<void()> drained);

 private:
  Console(const std::shared_ptr<Devpts>& devpts, std::shared_ptr<Terminal> terminal);

  size_t input_room() const override { return terminal_->input_room(); }
  void input(std::string_view bytes) override { terminal_->input(bytes); }
  std::string_view output() override { return terminal_->output(); }
  void output_taken(size_t size) override;
  void stream_closed() override;
  void tell_drained();

  const std::shared_ptr<Devpts> devpts_;
  const std::shared_ptr<Terminal> terminal_;
  std::unique_ptr<host::ConsoleStream> stream_;
  std::function<void()> drained_;
  std::function<void(int)> typed_;
  std::weak_ptr<kernel::ProcessGroup> first_group_;
};

}  // namespace sentry::fs::tty
