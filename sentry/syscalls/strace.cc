#include "sentry/syscalls/strace.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include "sentry/base/log.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kResultColumn = 40;  // strace's

void print_line(pid_t tid, const std::string& text) { log_raw(fmt::format("[pid {:5}] {}\n", tid, text)); }

void print_call(pid_t tid, const std::string& call, const std::string& result) {
  const std::string line = fmt::format("[pid {:5}] {}", tid, call);
  log_raw(fmt::format("{:<{}} = {}\n", line, kResultColumn - 1, result));
}

std::string error_text(int error) {
  switch (error) {
    case kErestartSys:
      return "? ERESTARTSYS (To be restarted if SA_RESTART is set)";
    case kErestartNoIntr:
      return "? ERESTARTNOINTR (To be restarted)";
    case kErestartNoHand:
      return "? ERESTARTNOHAND (To be restarted if no handler)";
    case kErestartRestartblock:
      return "? ERESTART_RESTARTBLOCK (Interrupted by signal)";
    default: {
      const char* name = ::strerrorname_np(error);
      return fmt::format("-1 {} ({})", name == nullptr ? "E?" : name, ::strerrordesc_np(error));
    }
  }
}

class Strace final : public kernel::TaskObserver {
 public:
  void started(Task& task, const std::string& program, const std::vector<std::string>& args,
               size_t variables) override {
    // Where the variables lie now: the count of arguments, they, and a null come first.
    const uint64_t environment = task.registers().rsp + 8 * (args.size() + 2);
    std::string list;
    for (const std::string& arg : args) list += (list.empty() ? "" : ", ") + text::quoted(arg);
    print_call(task.tid,
               fmt::format("execve({}, [{}], {} /* {} var{} */)", text::quoted(program), list,
                           text::address(environment), variables, variables == 1 ? "" : "s"),
               "0");
  }
  void signalled(const Task& task, const siginfo_t& info) override {
    print_line(task.tid,
               fmt::format("--- {} {} ---", text::signal_name(info.si_signo), text::signal_info(info)));
  }
  void ended(const Task& task, int wait_status) override {
    if (WIFEXITED(wait_status))
      print_line(task.tid, fmt::format("+++ exited with {} +++", WEXITSTATUS(wait_status)));
    else
      print_line(task.tid, fmt::format("+++ killed by {} +++", text::signal_name(WTERMSIG(wait_status))));
  }
};

// Calls without a handler: the registers.
std::string raw_arguments(const uint64_t (&args)[6]) {
  std::string text;
  for (const uint64_t arg : args) text += fmt::format("{}{:#x}", text.empty() ? "" : ", ", arg);
  return text;
}

std::string joined(const Handler::Arguments& arguments) {
  std::string text;
  for (const std::string& argument : arguments) {
    if (argument.empty()) continue;
    if (!text.empty()) text += ", ";
    text += argument;
  }
  return text;
}

}  // namespace

std::unique_ptr<kernel::TaskObserver> make_strace() { return std::make_unique<Strace>(); }

Result<uint64_t> dispatch_traced(Task& task, uint64_t number, const uint64_t (&args)[6]) {
  const Entry* entry = find(number);
  const pid_t tid = task.tid;  // exec may change it
  const std::string name = entry != nullptr ? entry->name : fmt::format("syscall_{:#x}", number);
  if (entry == nullptr || entry->handler.print == nullptr) {
    const Result<uint64_t> result = dispatch(task, number, args);
    print_call(
        tid, fmt::format("{}({})", name, raw_arguments(args)),
        result.ok() ? text::integer(static_cast<int64_t>(*result)) : error_text(result.error().value()));
    return result;
  }
  Handler::Arguments arguments;
  int64_t lengths[6] = {};
  entry->handler.print({task, args, nullptr, lengths}, arguments);
  const Result<uint64_t> result = dispatch(task, number, args);
  // Of a task that was ended in the call nothing more is looked at.
  const bool ended = task.exited || task.group->exiting;
  const Result<uint64_t> interrupted = Errno(EINTR);
  const CallView after{task, args, ended ? &interrupted : &result, lengths};
  entry->handler.print(after, arguments);
  std::string answer;
  if (ended)
    answer = "?";
  else
    answer = result.ok() ? entry->handler.print_result(after) : error_text(result.error().value());
  print_call(tid, fmt::format("{}({})", name, joined(arguments)), answer);
  return result;
}

}  // namespace sentry::syscalls
