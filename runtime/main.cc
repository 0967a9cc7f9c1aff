// bulkhead: the command that sets up sandboxes. Holds its caller's privileges, briefly; the programs that
// meet untrusted code are bulkhead-sentry and bulkhead-gofer.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "runtime/failure.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr auto kVerbs = std::to_array<Verb>({
    {"do", "run a program in a sandbox", do_verb, nullptr},
    {"check", "say what this host offers and what is missing for what", check_verb, nullptr},
    {"surface", "print the host calls that each jailed program may make", surface_verb, nullptr},
    {"syscalls", "print the system calls that sandboxed programs have", syscalls_verb, nullptr},
    {"run", "run an OCI bundle", nullptr, run_verb},
    {"create", "make a container from an OCI bundle", nullptr, create_verb},
    {"start", "start a container that was created", nullptr, start_verb},
    {"exec", "run a further process in a container", nullptr, exec_verb},
    {"state", "print a container's state", nullptr, state_verb},
    {"list", "list the containers", nullptr, list_verb},
    {"ps", "list a container's processes", nullptr, ps_verb},
    {"kill", "send a signal to a container", nullptr, kill_verb},
    {"pause", "stop a container's processes", nullptr, pause_verb},
    {"resume", "let a paused container go on", nullptr, resume_verb},
    {"update", "change a container's limits", nullptr, update_verb},
    {"events", "print what a container uses", nullptr, events_verb},
    {"delete", "remove a container", nullptr, delete_verb},
    {"spec", "write a config.json to start from", nullptr, spec_verb},
    {"features", "print what of the OCI specification there is", nullptr, features_verb},
});

int print_help() {
  std::string text =
      "NAME\n       bulkhead - run untrusted Linux programs in a user-space kernel\n\n"
      "SYNOPSIS\n       bulkhead [GLOBAL OPTION]... VERB [OPTION]... [ARGUMENT]...\n       bulkhead --help | "
      "--version\n\n"
      "DESCRIPTION\n"
      "       bulkhead runs unmodified Linux programs in sandboxes. A sandbox is a kernel\n"
      "       of its own, running as an ordinary process, that reaches the host only\n"
      "       through short lists of system calls.\n\n";
  for (const Verb& verb : kVerbs) {
    if (std::string_view(verb.name) == "run")
      text += "\n       As an OCI runtime, for containerd, podman and other engines:\n\n";
    text += fmt::format("       {:<10} {}\n", verb.name, verb.summary);
  }
  text +=
      "\n       `bulkhead VERB --help` describes a verb.\n\n"
      "EXIT STATUS\n       0 for success, 125 if bulkhead fails. `do` and `run` end with the program's.\n\n"
      "EXAMPLES\n       bulkhead do -- ls -l /\n\n"
      "SEE ALSO\n       bulkhead-do(1), bulkhead-run(1), bulkhead-check(1)\n";
  std::fputs(text.c_str(), stdout);
  return finish_output();
}

// What engines ask of a runtime and sandboxes do not do: any answer but success says so.
int refuse_checkpoint(const GlobalOptions& globals, const std::string& verb) {
  return report_in_log(failure("{} is not supported: a sandbox cannot be saved", verb), globals);
}

int dispatch(std::vector<std::string> arguments) {
  const Outcome<GlobalOptions> globals = take_global_options(arguments);
  if (!globals) return report(globals.error());
  if (arguments.empty())
    return report_in_log(failure("no verb given (`bulkhead --help` lists them)"), *globals);
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h" || first == "help") return print_help();
  if (first == "--version" || first == "-v") {
    std::puts("bulkhead version " BULKHEAD_VERSION "\nspec: 1.2.1");
    return finish_output();
  }
  if (first == "checkpoint" || first == "restore") return refuse_checkpoint(*globals, first);
  const auto verb =
      std::find_if(kVerbs.begin(), kVerbs.end(), [&](const Verb& each) { return first == each.name; });
  if (verb == kVerbs.end())
    return report_in_log(failure("there is no verb \"{}\" (`bulkhead --help` lists them)", first), *globals);
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  return verb->run != nullptr ? verb->run(rest) : verb->run_container(*globals, rest);
}

}  // namespace
}  // namespace runtime

int main(int argc, char** argv) {
  // Inherited as ignored, the ends of our own processes would be lost.
  ::signal(SIGCHLD, SIG_DFL);
  return runtime::dispatch({argv + std::min(argc, 1), argv + argc});
}
