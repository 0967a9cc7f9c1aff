// bulkhead run: an OCI bundle, from beginning to end.
#include "runtime/container_verb.h"
#include "runtime/launch.h"
#include "runtime/platform_option.h"
#include "runtime/stdio.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-run",
    .summary = "run an OCI bundle",
    .synopsis = "bulkhead run [--bundle DIR] [OPTION]... ID",
    .description =
        "Runs the container that DIR/config.json describes (OCI runtime specification, 1.0 to 1.2) in a "
        "sandbox, as the foreground job, and removes it when it has ended. Standard input, output and error "
        "are "
        "passed through; with process.terminal they must be a terminal, which the container's own is then "
        "connected to. With --detach it is `create` and `start` in one.\n"
        "\n"
        "A config.json that is malformed, contradicts itself or asks for what sandboxes do not do is refused "
        "with "
        "the JSON path of what is wrong and what was expected.",
    .exit_status =
        "That of the container's process; 128+N if signal N ended it. Else:\n"
        "  125  bulkhead itself failed, or config.json is refused\n"
        "  126  process.args[0] cannot be executed\n"
        "  127  process.args[0] was not found\n"
        "  137  the sandbox was killed, also by its memory limit; a message says which",
    .environment = "XDG_RUNTIME_DIR  where an ordinary user's state directory is",
    .files =
        "DIR/config.json    the container\n"
        "/run/bulkhead/ID   its state while it runs (root)",
    .examples =
        "Run a bundle:\n"
        "  bulkhead run --bundle /srv/box box1",
    .see_also = "bulkhead(1), bulkhead-create(1), bulkhead-exec(1), bulkhead-do(1)",
};

}  // namespace

int run_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  LaunchOptions options;
  options.stdio = inherited_stdio();
  ContainerVerb verb(kManual, std::move(globals));
  CLI::App& parser = verb.parser;
  bool detach = false, keep = false, ignored = false;
  parser.add_option("-b,--bundle", options.bundle, "The bundle's directory; default: the current one.")
      ->type_name("DIR");
  parser.add_flag("-d,--detach", detach, "Leave it in the background, for `delete` to remove.");
  parser.add_option("--pid-file", options.pid_file, "Write the supervisor's pid to FILE.")->type_name("FILE");
  parser
      .add_option("--console-socket", options.console_socket,
                  "With --detach: send the terminal's other side to this socket.")
      ->type_name("PATH");
  parser.add_option("--preserve-fds", options.preserve_fds, "Pass on descriptors 3 to 2+N, too.")
      ->type_name("N");
  parser.add_flag("--keep", keep, "Accepted with --detach, which always keeps it.");
  parser.add_flag("--no-pivot", ignored, "Accepted: a guest's root is the sentry's to make.");
  parser.add_flag("--no-new-keyring", ignored, "Accepted: guests have no keys of the host's.");
  parser.add_flag("--no-subreaper", ignored, "Accepted: there is nothing to reap.");
  parser.add_flag("--strace", options.strace, "Print the container's system calls as strace(1) does.");
  add_platform_option(parser, options.platform, "How system calls are intercepted; default: trap.");
  parser.add_option("ID", options.id, "The container's name.")->required();
  return verb.run(arguments, [&](const CommandLog& log) -> Outcome<int> {
    if (keep && !detach) return failure("--keep: only a container in the background can be kept");
    if (!detach) return run_container(verb.globals, log, options);
    TRY(create_container(verb.globals, log, options));
    const KnownContainer container = TRY(KnownContainer::find(verb.globals.root, options.id));
    const Outcome<> started = start_container(container, log);
    if (started) return 0;
    if (const Outcome<> removed = delete_container(container, true, log); !removed)
      log.warn(removed.error().message);
    return started.error();
  });
}

}  // namespace runtime
