#include "runtime/container_verb.h"

namespace runtime {

int ContainerVerb::run(const std::vector<std::string>& arguments,
                       const std::function<Outcome<int>(const CommandLog& log)>& act) {
  const auto refuse = [&](const Failure& failed) { return report_in_log(failed, globals); };
  if (const std::optional<int> status = parse(parser, manual_, arguments, refuse)) return *status;
  const Outcome<CommandLog> log = CommandLog::open(globals);
  if (!log) return report(log.error());
  const Outcome<int> status = act(*log);
  return status ? *status : log->report(status.error());
}

int ContainerVerb::run_known(
    const std::vector<std::string>& arguments,
    const std::function<Outcome<int>(const KnownContainer&, const CommandLog&)>& act) {
  parser.add_option("ID", id, "The container's name.")->required();
  return run(arguments, [&](const CommandLog& log) -> Outcome<int> {
    const KnownContainer container = TRY(KnownContainer::find(globals.root, id));
    return act(container, log);
  });
}

}  // namespace runtime
