// bulkhead syscalls: the sentry's table of system calls.

#include "runtime/manual.h"
#include "runtime/subprogram.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-syscalls",
    .summary = "print the system calls that sandboxed programs have",
    .synopsis = "bulkhead syscalls",
    .description =
        "Prints the sentry's table: each system call of Linux, and whether a sandbox has it in full, in part "
        "(with the gap in words) or not at all; then it answers ENOSYS.",
    .exit_status = "0, or 125 if bulkhead fails.",
    .see_also = "bulkhead(1), bulkhead-surface(1), syscalls(2)",
};

}  // namespace

int syscalls_verb(const std::vector<std::string>& arguments) {
  CLI::App parser;
  parser.set_help_flag("--help", "Show this page.");
  if (const std::optional<int> status = parse(parser, kManual, arguments)) return *status;
  const Outcome<> printed = run_subprogram("bulkhead-sentry", {"--syscalls"});
  return printed ? 0 : report(printed.error());
}

}  // namespace runtime
