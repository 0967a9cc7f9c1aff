// bulkhead events: what a container uses, now or again and again.
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/container_cgroup.h"
#include "runtime/container_verb.h"
#include "runtime/host_calls.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

using nlohmann::ordered_json;

constexpr Manual kManual{
    .name = "bulkhead-events",
    .summary = "print what a container uses",
    .synopsis = "bulkhead events [--stats] [--interval TIME] ID",
    .description =
        "Prints a JSON object a line, {\"type\":\"stats\",\"id\":...,\"data\":...}, from the "
        "container's cgroups: once with --stats, else at each interval until the container ends; "
        "and {\"type\":\"oom\",...} when its memory limit has had a process killed.",
    .exit_status = "0, or 125 if that fails.",
    .see_also = "bulkhead(1), bulkhead-update(1)",
};

ordered_json stats_of(const CgroupUse& use) {
  ordered_json data;
  data["cpu"]["usage"]["total"] = use.cpu_ns;
  data["cpu"]["usage"]["percpu"] = use.cpu_ns_each;
  data["cpu"]["usage"]["kernel"] = use.cpu_kernel_ns;
  data["cpu"]["usage"]["user"] = use.cpu_user_ns;
  data["cpu"]["throttling"] = {{"periods", use.periods},
                               {"throttledPeriods", use.throttled_periods},
                               {"throttledTime", use.throttled_ns}};
  data["memory"]["usage"] = {{"limit", use.memory_limit_bytes},
                             {"usage", use.memory_bytes},
                             {"max", use.memory_most_bytes},
                             {"failcnt", use.memory_failures}};
  data["memory"]["raw"] = ordered_json::object();
  for (const auto& [name, value] : use.memory_parts) data["memory"]["raw"][name] = value;
  data["pids"]["current"] = use.tasks;
  if (use.tasks_limit != 0 && use.tasks_limit != ~uint64_t{0}) data["pids"]["limit"] = use.tasks_limit;
  return data;
}

Outcome<> print(const char* type, const std::string& id, ordered_json data) {
  ordered_json event;
  event["type"] = type;
  event["id"] = id;
  if (!data.is_null()) event["data"] = std::move(data);
  const std::string text = event.dump() + "\n";
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    return system_failure(errno, "cannot write to standard output");
  return {};
}

// "5s", "100ms", "1m".
Outcome<std::chrono::milliseconds> parse_interval(const std::string& text) {
  double number = 0;
  char unit[3] = {};
  if (std::sscanf(text.c_str(), "%lf%2s", &number, unit) < 1 || !(number > 0))
    return failure("--interval {}: expected a time such as 5s", text);
  const std::string_view name(unit);
  double milliseconds = number * 1000;
  if (name == "ms") milliseconds = number;
  if (name == "m") milliseconds = number * 60'000;
  if (name != "ms" && name != "s" && name != "m" && !name.empty())
    return failure("--interval {}: expected a time in ms, s or m", text);
  return std::chrono::milliseconds(static_cast<int64_t>(milliseconds));
}

}  // namespace

int events_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  bool once = false;
  std::string interval = "5s";
  verb.parser.add_flag("--stats", once, "Print once and end.");
  verb.parser.add_option("--interval", interval, "Time between lines; default: 5s.")->type_name("TIME");
  return verb.run_known(arguments, [&](const KnownContainer& container, const CommandLog&) -> Outcome<int> {
    const auto pause = TRY(parse_interval(interval));
    if (container.stopped())
      return failure("cannot watch the container \"{}\": container not running", container.id());
    const ContainerCgroup cgroup(container.record().cgroups);
    const sentry::Fd supervisor(pidfd_open(container.record().state.pid));
    bool told = false;
    for (;;) {
      TRY(print("stats", container.id(), stats_of(cgroup.use())));
      if (once) return 0;
      pollfd wait{supervisor.get(), POLLIN, 0};
      const bool ended = TEMP_FAILURE_RETRY(::poll(&wait, 1, static_cast<int>(pause.count()))) != 0;
      if (!told && cgroup.out_of_memory()) {
        TRY(print("oom", container.id(), nullptr));
        told = true;
      }
      if (ended) return 0;
    }
  });
}

}  // namespace runtime
