// bulkhead ps: the host processes that stand for a container's.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <sstream>

#include "runtime/container_verb.h"
#include "runtime/control_socket.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-ps",
    .summary = "list a container's processes",
    .synopsis = "bulkhead ps [--format table|json] ID [PS-OPTION]...",
    .description =
        "Lists the processes of the host that stand for those which were started from outside: the "
        "supervisor, and one for each bulkhead-exec(1). Processes that the guest makes are its own "
        "kernel's alone; `bulkhead exec ID ps` shows them.",
    .exit_status = "0, or 125 if that fails.",
    .see_also = "bulkhead(1), bulkhead-exec(1), ps(1)",
};

// ps(1)'s lines about these processes: by the column that its heading calls PID.
Outcome<std::string> table(const std::vector<std::string>& pids, const std::vector<std::string>& options) {
  std::string command = "ps";
  for (const std::string& option : options) {
    if (option.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_,=%+") !=
        option.npos)
      return failure("{}: not an option of ps(1) that can be passed on", option);
    command += " " + option;
  }
  if (options.empty()) command += " -ef";
  const std::unique_ptr<FILE, int (*)(FILE*)> output(::popen(command.c_str(), "re"), ::pclose);
  if (!output) return system_failure(errno, "cannot run ps(1)");
  std::string text, line;
  char piece[4096];
  size_t column = 0;
  bool heading = true;
  while (std::fgets(piece, sizeof piece, output.get()) != nullptr) {
    line += piece;
    if (!line.ends_with('\n')) continue;
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    if (heading) {
      const auto found = std::find(fields.begin(), fields.end(), "PID");
      if (found == fields.end()) return failure("ps(1) shows no PID");
      column = static_cast<size_t>(found - fields.begin());
      text += line;
      heading = false;
    } else if (column < fields.size() && std::find(pids.begin(), pids.end(), fields[column]) != pids.end()) {
      text += line;
    }
    line.clear();
  }
  if (heading) return failure("ps(1) printed nothing: is it installed? (--format json needs none)");
  return text;
}

}  // namespace

int ps_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  std::string format = "table";
  verb.parser.add_option("-f,--format", format, "table or json; default: table.")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"table", "json"}));
  verb.parser.prefix_command();
  return verb.run(arguments, [&](const CommandLog&) -> Outcome<int> {
    std::vector<std::string> rest = verb.parser.remaining();
    if (rest.empty()) return failure("which container? (`bulkhead ps --help`)");
    const KnownContainer container = TRY(KnownContainer::find(verb.globals.root, rest[0]));
    rest.erase(rest.begin());
    if (!rest.empty() && rest[0] == "--") rest.erase(rest.begin());
    std::vector<std::string> pids;
    if (!container.stopped()) {
      Request request;
      request.kind = Request::Kind::kPids;
      std::istringstream words(TRY(ControlConnection::ask_once(container.path(), request)));
      for (std::string word; words >> word;) pids.push_back(word);
    }
    std::string text;
    if (format == "json") {
      for (const std::string& pid : pids) text += (text.empty() ? "[" : ",") + pid;
      text = text.empty() ? "[]" : text + "]";
      text += "\n";
    } else {
      text = TRY(table(pids, rest));
    }
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
      return system_failure(errno, "cannot write to standard output");
    return 0;
  });
}

}  // namespace runtime
