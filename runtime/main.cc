// bulkhead: the command that sets up sandboxes. Holds its caller's privileges, briefly; the programs that
// meet untrusted code are bulkhead-sentry and bulkhead-gofer.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "runtime/failure.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr auto kVerbs = std::to_array<Verb>({
    {"do", "run a program in a sandbox", do_verb},
    {"run", "run an OCI bundle in the foreground", run_verb},
    {"check", "say what this host offers and what is missing for what", check_verb},
    {"surface", "print the host calls that each jailed program may make", surface_verb},
    {"syscalls", "print the system calls that sandboxed programs have", syscalls_verb},
});

int print_help() {
  std::string text =
      "NAME\n       bulkhead - run untrusted Linux programs in a user-space kernel\n\n"
      "SYNOPSIS\n       bulkhead VERB [OPTION]... [ARGUMENT]...\n       bulkhead --help | --version\n\n"
      "DESCRIPTION\n"
      "       bulkhead runs unmodified Linux programs in sandboxes. A sandbox is a kernel\n"
      "       of its own, running as an ordinary process, that reaches the host only\n"
      "       through short lists of system calls.\n\n";
  for (const Verb& verb : kVerbs) text += fmt::format("       {:<10} {}\n", verb.name, verb.summary);
  text +=
      "\n       `bulkhead VERB --help` describes a verb.\n\n"
      "EXIT STATUS\n       0 for success, 125 if bulkhead fails. `do` and `run` end with the program's.\n\n"
      "EXAMPLES\n       bulkhead do -- ls -l /\n\n"
      "SEE ALSO\n       bulkhead-do(1), bulkhead-run(1), bulkhead-check(1)\n";
  std::fputs(text.c_str(), stdout);
  return finish_output();
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return report(failure("no verb given (`bulkhead --help` lists them)"));
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h" || first == "help") return print_help();
  if (first == "--version" || first == "-v") {
    std::puts("bulkhead " BULKHEAD_VERSION);
    return finish_output();
  }
  const auto verb =
      std::find_if(kVerbs.begin(), kVerbs.end(), [&](const Verb& each) { return first == each.name; });
  if (verb == kVerbs.end())
    return report(failure("there is no verb \"{}\" (`bulkhead --help` lists them)", first));
  return verb->run({arguments.begin() + 1, arguments.end()});
}

}  // namespace
}  // namespace runtime

int main(int argc, char** argv) { return runtime::dispatch({argv + std::min(argc, 1), argv + argc}); }
