// bulkhead delete: removes a container.
#include "runtime/container_verb.h"
#include "runtime/launch.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-delete",
    .summary = "remove a container",
    .synopsis = "bulkhead delete [--force] ID",
    .description =
        "Removes what is left of a container that has ended: its state and its cgroups; and runs its "
        "poststop hooks.",
    .exit_status = "0, or 125 if there is no such container, or it runs.",
    .see_also = "bulkhead(1), bulkhead-kill(1)",
};

}  // namespace

int delete_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  bool force = false;
  verb.parser.add_flag("-f,--force", force, "Kill it if it runs; fine if there is none.");
  verb.parser.add_option("ID", verb.id, "The container's name.")->required();
  return verb.run(arguments, [&](const CommandLog& log) -> Outcome<int> {
    TRY(check_container_id(verb.id));
    const Outcome<KnownContainer> container = KnownContainer::find(verb.globals.root, verb.id);
    if (!container && force && container.error().message.ends_with("does not exist")) return 0;
    if (!container) return container.error();
    TRY(delete_container(*container, force, log));
    return 0;
  });
}

}  // namespace runtime
