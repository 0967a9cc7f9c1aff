// bulkhead update: new limits for a container that is there.
#include <unistd.h>

#include <algorithm>

#include "runtime/container_cgroup.h"
#include "runtime/container_verb.h"
#include "runtime/control_socket.h"
#include "runtime/quantity.h"
#include "runtime/systemd_scope.h"
#include "runtime/text_file.h"
#include "runtime/verbs.h"
#include "sentry/boot/boot.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-update",
    .summary = "change a container's limits",
    .synopsis = "bulkhead update [--resources FILE] [OPTION]... ID",
    .description =
        "Changes what is named and leaves the rest. FILE holds a \"resources\" object of config.json; "
        "\"-\" is standard input. Of --resources and options, the options win.",
    .exit_status = "0, or 125 if that fails.",
    .see_also = "bulkhead(1), bulkhead-events(1)",
};

struct Options {
  std::string resources;
  std::string memory, swap, reservation;
  std::optional<int64_t> pids, quota, realtime_runtime;
  std::optional<uint64_t> period, shares, burst, idle, realtime_period;
  std::optional<uint16_t> weight;
  std::string cpus, mems;
};

// Bytes, or with a unit; -1 is no limit, and 0 leaves it, as in config.json.
Outcome<> take_size(const char* option, const std::string& text, std::optional<int64_t>& to) {
  if (text.empty()) return {};
  if (text == "-1" || text == "0")
    to = text == "0" ? 0 : -1;
  else
    to = static_cast<int64_t>(TRY(parse_size(option, text)));
  return {};
}

Outcome<oci::Resources> read_resources(const Options& options) {
  oci::Resources resources;
  if (!options.resources.empty()) {
    const std::string path = options.resources == "-" ? "/proc/self/fd/0" : options.resources;
    const std::optional<std::string> text = read_text_file(path);
    if (!text) return system_failure(errno, "--resources {}", options.resources);
    const oci::Checked<oci::Resources> parsed = oci::parse_resources(*text);
    if (!parsed) return failure("--resources {}: {}", options.resources, parsed.error().text());
    resources = *parsed;
  }
  TRY(take_size("--memory", options.memory, resources.memory_limit_bytes));
  TRY(take_size("--memory-swap", options.swap, resources.memory_swap_bytes));
  TRY(take_size("--memory-reservation", options.reservation, resources.memory_reservation_bytes));
  if (options.pids) resources.pids_limit = options.pids;
  if (options.quota) resources.cpu_quota_us = options.quota;
  if (options.period) resources.cpu_period_us = options.period;
  if (options.shares) resources.cpu_shares = options.shares;
  if (options.burst) resources.cpu_burst_us = options.burst;
  if (options.idle) resources.cpu_idle = options.idle;
  if (options.realtime_period) resources.cpu_realtime_period_us = options.realtime_period;
  if (options.realtime_runtime) resources.cpu_realtime_runtime_us = options.realtime_runtime;
  if (options.weight) resources.blkio_weight = options.weight;
  if (!options.cpus.empty()) resources.cpus = options.cpus;
  if (!options.mems.empty()) resources.mems = options.mems;
  return resources;
}

// What the guest sees of its limits.
Outcome<> tell_sentry(const KnownContainer& container, const oci::Resources& resources) {
  Request request;
  request.kind = Request::Kind::kLimits;
  sentry::boot::Limits limits;
  constexpr int64_t kMostTasks = 4'194'304;  // proc(5), pid_max
  const auto none_or = [](int64_t value) { return std::max<int64_t>(value, 0); };
  if (resources.pids_limit.value_or(0) != 0)
    limits.tasks = std::min(none_or(*resources.pids_limit), kMostTasks);
  if (resources.memory_limit_bytes.value_or(0) != 0)
    limits.memory_bytes = none_or(*resources.memory_limit_bytes);
  if (resources.cpu_quota_us.value_or(0) != 0) limits.cpu_quota_us = none_or(*resources.cpu_quota_us);
  if (resources.cpu_period_us.value_or(0) != 0)
    limits.cpu_period_us = static_cast<int64_t>(*resources.cpu_period_us);
  request.text.assign(reinterpret_cast<const char*>(&limits), sizeof limits);
  TRY(ControlConnection::ask_once(container.path(), request));
  return {};
}

}  // namespace

int update_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  Options options;
  CLI::App& parser = verb.parser;
  parser.add_option("-r,--resources", options.resources, "Read them from FILE.")->type_name("FILE");
  parser.add_option("--memory", options.memory, "Memory: bytes, or 64M; -1: no limit.")->type_name("SIZE");
  parser.add_option("--memory-swap", options.swap, "Memory and swap together.")->type_name("SIZE");
  parser.add_option("--memory-reservation", options.reservation, "Memory that it is not pressed for.")
      ->type_name("SIZE");
  parser.add_option("--pids-limit", options.pids, "Tasks; -1: no limit.")->type_name("N");
  parser.add_option("--cpu-quota", options.quota, "Microseconds of processor time in a period.")
      ->type_name("N");
  parser.add_option("--cpu-period", options.period, "The period, in microseconds.")->type_name("N");
  parser.add_option("--cpu-share", options.shares, "Its weight among others.")->type_name("N");
  parser.add_option("--cpu-burst", options.burst, "What it may save up, in microseconds.")->type_name("N");
  parser.add_option("--cpu-idle", options.idle, "1: only when nobody else wants to run.")->type_name("N");
  parser.add_option("--cpu-rt-period", options.realtime_period, "The realtime period, in microseconds.")
      ->type_name("N");
  parser.add_option("--cpu-rt-runtime", options.realtime_runtime, "Realtime microseconds in such a period.")
      ->type_name("N");
  parser.add_option("--cpuset-cpus", options.cpus, "Which processors.")->type_name("LIST");
  parser.add_option("--cpuset-mems", options.mems, "Which memory nodes.")->type_name("LIST");
  parser.add_option("--blkio-weight", options.weight, "Its weight among others, 10 to 1000.")->type_name("N");
  // The kernel has not limited its own memory by itself since 5.16, and runc does no more with these.
  std::string kernel_memory;
  parser.add_option("--kernel-memory,--kernel-memory-tcp", kernel_memory, "Accepted: without effect.")
      ->type_name("SIZE");
  return verb.run_known(
      arguments, [&](const KnownContainer& container, const CommandLog& log) -> Outcome<int> {
        if (!kernel_memory.empty())
          log.warn("--kernel-memory: without effect, the kernel has no such limit any more");
        const oci::Resources resources = TRY(read_resources(options));
        if (container.stopped())
          return failure("cannot update the container \"{}\": container not running", container.id());
        const ContainerCgroup cgroup(container.record().cgroups);
        if (!cgroup.any()) return failure("the container \"{}\" has no cgroups to update", container.id());
        if (const std::string& scope = container.record().scope; !scope.empty())
          TRY(SystemdScope(scope).set(resources));
        TRY(cgroup.set(resources, false));
        TRY(tell_sentry(container, resources));
        return 0;
      });
}

}  // namespace runtime
