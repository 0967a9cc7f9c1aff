// bulkhead state, bulkhead list: what there is.
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "runtime/accounts.h"
#include "runtime/container_verb.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kStateManual{
    .name = "bulkhead-state",
    .summary = "print a container's state",
    .synopsis = "bulkhead state ID",
    .description =
        "Prints the state as the OCI runtime specification has it: one JSON object. Its status is "
        "creating, created, running, paused or stopped.",
    .exit_status = "0, or 125 if there is no such container.",
    .see_also = "bulkhead(1), bulkhead-list(1)",
};

constexpr Manual kListManual{
    .name = "bulkhead-list",
    .summary = "list the containers",
    .synopsis = "bulkhead list [-q] [--format table|json]",
    .description =
        "Lists the containers below --root, those that have ended and wait for bulkhead-delete(1) too.",
    .exit_status = "0, or 125 if that fails.",
    .see_also = "bulkhead(1), bulkhead-state(1)",
};

Outcome<> print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    return system_failure(errno, "cannot write to standard output");
  return {};
}

std::string table(const std::vector<oci::State>& states) {
  size_t id = 2, bundle = 6;
  for (const oci::State& each : states) {
    id = std::max(id, each.id.size());
    bundle = std::max(bundle, each.bundle.size());
  }
  const auto line = [&](const std::string& a, const std::string& b, const std::string& c,
                        const std::string& d, const std::string& e, const std::string& f) {
    return fmt::format("{:<{}}   {:<9}   {:<9}   {:<{}}   {:<30}   {}\n", a, id, b, c, d, bundle, e, f);
  };
  std::string text = line("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
  for (const oci::State& each : states)
    text += line(each.id, std::to_string(each.pid), each.status, each.bundle, each.created, each.owner);
  return text;
}

}  // namespace

int state_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kStateManual, std::move(globals));
  return verb.run_known(arguments, [](const KnownContainer& container, const CommandLog&) -> Outcome<int> {
    TRY(print(oci::to_json(container.state())));
    return 0;
  });
}

int list_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kListManual, std::move(globals));
  bool quiet = false;
  std::string format = "table";
  verb.parser.add_flag("-q,--quiet", quiet, "Print the ids alone.");
  verb.parser.add_option("-f,--format", format, "table or json; default: table.")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"table", "json"}));
  return verb.run(arguments, [&](const CommandLog& log) -> Outcome<int> {
    std::vector<oci::State> states;
    std::string ids;
    // Nobody else's container is found.
    const std::string name = Accounts::read().caller().name;
    const std::string owner = name.empty() ? fmt::format("#{}", ::geteuid()) : name;
    for (const std::string& id : container_ids(verb.globals.root)) {
      const Outcome<KnownContainer> container = KnownContainer::find(verb.globals.root, id);
      if (!container) {
        const std::string state_file = fmt::format("{}/{}/state.json", verb.globals.root, id);
        const bool half_made = ::access(state_file.c_str(), F_OK) != 0;  // or just gone
        if (!half_made) log.warn(container.error().message);
        continue;
      }
      states.push_back(container->state());
      states.back().owner = owner;
      ids += id + "\n";
    }
    if (quiet)
      TRY(print(ids));
    else
      TRY(print(format == "json" ? oci::to_json(states) : table(states)));
    return 0;
  });
}

}  // namespace runtime
