// bulkhead surface: the host calls of each jailed program, from the programs themselves.
#include <unistd.h>

#include <cstdlib>

#include "runtime/manual.h"
#include "runtime/platform_option.h"
#include "runtime/subprogram.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-surface",
    .summary = "print the host calls that each jailed program may make",
    .synopsis = "bulkhead surface [OPTION]...",
    .description =
        "Prints, for the sentry, the processes that hold guest code and the gofer, every system call that "
        "its "
        "seccomp filter lets through: its name, what is required of its arguments, and why it is there. "
        "Anything else kills the program. The lists come from the programs; their filters are built from "
        "the same lists.",
    .exit_status = "0, or 125 if bulkhead fails.",
    .see_also = "bulkhead(1), bulkhead-syscalls(1), seccomp(2)",
};

}  // namespace

int surface_verb(const std::vector<std::string>& arguments) {
  CLI::App parser;
  std::string platform;
  parser.set_help_flag("--help", "Show this page.");
  add_platform_option(parser, platform, "For this way of intercepting system calls; default: all.");
  if (const std::optional<int> status = parse(parser, kManual, arguments)) return *status;
  std::vector<std::string> sentry{"--surface"};
  if (!platform.empty()) sentry.insert(sentry.end(), {"--platform", platform});
  for (const auto& [program, words] : {std::pair{"bulkhead-sentry", sentry},
                                       std::pair{"bulkhead-gofer", std::vector<std::string>{"--surface"}}})
    if (const Outcome<> printed = run_subprogram(program, words); !printed) return report(printed.error());
  return 0;
}

}  // namespace runtime
