// bulkhead start: lets a created container go.
#include "runtime/container_verb.h"
#include "runtime/launch.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-start",
    .summary = "start a container that was created",
    .synopsis = "bulkhead start ID",
    .description = "Runs the program that bulkhead-create(1) has loaded.",
    .exit_status = "0, or 125 if it does not start.",
    .see_also = "bulkhead(1), bulkhead-create(1)",
};

}  // namespace

int start_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  return verb.run_known(arguments,
                        [](const KnownContainer& container, const CommandLog& log) -> Outcome<int> {
                          TRY(start_container(container, log));
                          return 0;
                        });
}

}  // namespace runtime
