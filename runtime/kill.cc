// bulkhead kill: signals for a container.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <cstring>

#include "runtime/container_verb.h"
#include "runtime/control_socket.h"
#include "runtime/host_calls.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-kill",
    .summary = "send a signal to a container",
    .synopsis = "bulkhead kill [--all] ID [SIGNAL]",
    .description =
        "Sends SIGNAL, a number or a name with or without SIG, to the container's first process; "
        "default: SIGTERM. 0 only asks whether it runs. SIGKILL ends the whole container, whatever state it "
        "is in.",
    .exit_status = "0, or 125 if there is nobody to send it to.",
    .see_also = "bulkhead(1), bulkhead-delete(1)",
};

Outcome<int> parse_signal(const std::string& given) {
  std::string text = given;
  constexpr int kMost = 64;
  int number = 0;
  const char* const end = text.data() + text.size();
  if (!text.empty() && std::from_chars(text.data(), end, number).ptr == end) {
    if (number >= 0 && number <= kMost) return number;
    return failure("there is no signal {}", given);
  }
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (text.starts_with("SIG")) text.erase(0, 3);
  for (int signal = 1; signal < SIGSYS + 1; ++signal) {
    const char* name = ::sigabbrev_np(signal);
    if (name != nullptr && text == name) return signal;
  }
  // signal(7): RTMIN+3, RTMAX-1.
  for (const auto& [name, base] : {std::pair{"RTMIN", SIGRTMIN}, std::pair{"RTMAX", SIGRTMAX}}) {
    if (!text.starts_with(name)) continue;
    const std::string rest = text.substr(std::strlen(name));
    int offset = 0;
    const char* from = rest.data() + (rest.starts_with('+') ? 1 : 0);
    if (!rest.empty() &&
        std::from_chars(from, rest.data() + rest.size(), offset).ptr != rest.data() + rest.size())
      break;
    if (base + offset >= SIGRTMIN && base + offset <= SIGRTMAX) return base + offset;
  }
  return failure("there is no signal {}", given);
}

Outcome<> send(const KnownContainer& container, int signal, bool all) {
  if (container.stopped()) {
    if (all) return {};  // nobody is left, as wanted
    return failure("cannot kill the container \"{}\": container not running", container.id());
  }
  if (signal == 0) return {};  // kill(2): whether it is there
  if (signal == SIGKILL) {
    // Not by way of the sandbox, which may be paused, or mad.
    const sentry::Fd pidfd(pidfd_open(container.record().state.pid));
    if (pidfd && pidfd_send_signal(pidfd.get(), SIGKILL) == 0) return {};
    return failure("cannot kill the container \"{}\": process already finished", container.id());
  }
  Request request;
  request.kind = all ? Request::Kind::kSignalAll : Request::Kind::kSignal;
  request.value = signal;
  TRY(ControlConnection::ask_once(container.path(), request));
  return {};
}

}  // namespace

int kill_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  bool all = false;
  std::string signal = "SIGTERM";
  verb.parser.add_flag("-a,--all", all, "To all processes of the container.");
  verb.parser.add_option("ID", verb.id, "The container's name.")->required();
  verb.parser.add_option("SIGNAL", signal, "The signal.");
  return verb.run(arguments, [&](const CommandLog&) -> Outcome<int> {
    const int number = TRY(parse_signal(signal));
    const KnownContainer container = TRY(KnownContainer::find(verb.globals.root, verb.id));
    TRY(send(container, number, all));
    return 0;
  });
}

}  // namespace runtime
