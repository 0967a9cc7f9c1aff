#include "sentry/fs/tty/console.h"

#include "sentry/fs/tty/terminal_file.h"

namespace sentry::fs::tty {

Console::Console(const std::shared_ptr<Devpts>& devpts, std::shared_ptr<Terminal> terminal)
    : devpts_(devpts), terminal_(std::move(terminal)) {}

Console::~Console() {
  terminal_->set_master_listener(nullptr);
  terminal_->set_signal_listener(nullptr);
  terminal_->hang_up();
}

Result<std::shared_ptr<Console>> Console::create(EventLoop& loop, const std::shared_ptr<Devpts>& devpts,
                                                 Fd stream, uid_t owner, uint16_t rows, uint16_t columns) {
  std::shared_ptr<Console> console(new Console(devpts, TRY(devpts->allocate(owner))));
  console->stream_ = TRY(host::ConsoleStream::create(loop, std::move(stream), *console));
  console->resize(rows, columns);
  Console* self = console.get();
  console->terminal_->set_master_listener([self] {
    if (self->stream_ == nullptr) return;
    self->stream_->update();
    if (self->terminal_->output().empty()) self->tell_drained();  // a signal may have dropped it
  });
  console->terminal_->set_signal_listener([self](int signo) {
    const auto group = self->terminal_->foreground.lock();
    if (self->typed_ && group != nullptr && group == self->first_group_.lock()) self->typed_(signo);
  });
  return console;
}

Result<vfs::FileRef> Console::open(vfs::MountNamespace& space, vfs::CredentialsRef credentials) {
  const vfs::Path place = devpts_->place(space, terminal_->index());
  const vfs::InodeRef node = devpts_->node(terminal_->index());
  if (node == nullptr) return Errno(EIO);
  vfs::FileRef file = TRY(open_terminal(terminal_, place, node, O_RDWR | O_NOCTTY));
  file->credentials = std::move(credentials);
  return file;
}

void Console::make_controlling(const std::shared_ptr<kernel::ProcessGroup>& group) {
  first_group_ = group;
  terminal_->acquire(group->session, group);
}

void Console::resize(uint16_t rows, uint16_t columns) {
  winsize window{};
  window.ws_row = rows;
  window.ws_col = columns;
  terminal_->resize(window);
}

void Console::hang_up() {
  if (stream_ != nullptr) stream_->close();
  stream_closed();
}

void Console::output_taken(size_t size) {
  terminal_->output_taken(size);
  if (terminal_->output().empty()) tell_drained();
}

void Console::stream_closed() {
  terminal_->hang_up();
  tell_drained();
}

void Console::when_drained(std::function<void()> drained) {
  drained_ = std::move(drained);
  if (stream_ == nullptr || stream_->closed() || terminal_->output().empty()) tell_drained();
}

void Console::tell_drained() {
  if (!drained_) return;
  const std::function<void()> told = std::move(drained_);
  drained_ = nullptr;
  told();
}

}  // namespace sentry::fs::tty
