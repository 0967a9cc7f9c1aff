// bulkhead create: a container that waits for `start`.
#include "runtime/container_verb.h"
#include "runtime/launch.h"
#include "runtime/platform_option.h"
#include "runtime/stdio.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-create",
    .summary = "make a container from an OCI bundle",
    .synopsis = "bulkhead create [--bundle DIR] [--pid-file FILE] [OPTION]... ID",
    .description =
        "Makes the sandbox of the container that DIR/config.json describes, loads its program, and leaves it "
        "waiting for bulkhead-start(1). The container has this command's standard streams, or a terminal "
        "whose "
        "other side goes to --console-socket.\n"
        "\n"
        "The pid in FILE is that of the supervisor: it ends with the container's status, signals sent to it "
        "reach "
        "the container's first process, and its death is the container's.",
    .exit_status =
        "0, or 125 if there is no container; 126 and 127 if its program cannot be executed, or is not "
        "there. Then nothing is left.",
    .files =
        "DIR/config.json    the container\n"
        "/run/bulkhead/ID   its state until `delete` (root)",
    .see_also = "bulkhead(1), bulkhead-start(1), bulkhead-delete(1)",
};

}  // namespace

int create_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  LaunchOptions options;
  options.stdio = inherited_stdio();
  ContainerVerb verb(kManual, std::move(globals));
  CLI::App& parser = verb.parser;
  bool ignored = false;
  parser.add_option("-b,--bundle", options.bundle, "The bundle's directory; default: the current one.")
      ->type_name("DIR");
  parser.add_option("--pid-file", options.pid_file, "Write the supervisor's pid to FILE.")->type_name("FILE");
  parser
      .add_option("--console-socket", options.console_socket,
                  "Send the terminal's other side to this socket.")
      ->type_name("PATH");
  parser.add_option("--preserve-fds", options.preserve_fds, "Pass on descriptors 3 to 2+N, too.")
      ->type_name("N");
  parser.add_flag("--no-pivot", ignored, "Accepted: a guest's root is the sentry's to make.");
  parser.add_flag("--no-new-keyring", ignored, "Accepted: guests have no keys of the host's.");
  add_platform_option(parser, options.platform, "How system calls are intercepted; default: trap.");
  parser.add_flag("--strace", options.strace, "Print the container's system calls as strace(1) does.");
  parser.add_option("ID", options.id, "The container's name.")->required();
  return verb.run(arguments, [&](const CommandLog& log) -> Outcome<int> {
    TRY(create_container(verb.globals, log, options));
    return 0;
  });
}

}  // namespace runtime
