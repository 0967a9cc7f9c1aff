#include "runtime/systemd_scope.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>
#include <utility>

#include "runtime/container_cgroup.h"
#include "runtime/jail.h"
#include "runtime/programs.h"
#include "runtime/unified_settings.h"
#include "sentry/base/fd.h"

namespace runtime {
namespace {

using sentry::Fd;

constexpr const char* kProgram = "bulkhead-systemd";

// Files of a cgroup, and the properties by which systemd sets them: systemd.resource-control(5).
constexpr auto kProperties = std::to_array<std::pair<std::string_view, const char*>>({
    {"cpu.weight", "CPUWeight"},
    {"cpuset.cpus", "AllowedCPUs"},
    {"cpuset.mems", "AllowedMemoryNodes"},
    {"io.weight", "IOWeight"},
    {"memory.high", "MemoryHigh"},
    {"memory.low", "MemoryLow"},
    {"memory.max", "MemoryMax"},
    {"memory.min", "MemoryMin"},
    {"memory.swap.max", "MemorySwapMax"},
    {"pids.max", "TasksMax"},
});

// cpu.max is "QUOTA PERIOD", systemd's are the microseconds in a second and the period.
void add_quota(std::string_view text, std::vector<std::string>& properties) {
  uint64_t quota = 0, period = 100'000;
  const size_t space = text.find(' ');
  if (space != text.npos) {
    const std::string_view given = text.substr(space + 1);
    std::from_chars(given.data(), given.data() + given.size(), period);
    properties.push_back(fmt::format("CPUQuotaPeriodUSec={}", period));
  }
  const std::string_view given = text.substr(0, space);
  if (std::from_chars(given.data(), given.data() + given.size(), quota).ec != std::errc{} || period == 0)
    return properties.push_back("CPUQuotaPerSecUSec=max");
  constexpr uint64_t kSecondUs = 1'000'000, kStepUs = 10'000;  // systemd counts hundredths
  const uint64_t in_a_second = (quota * kSecondUs / period + kStepUs - 1) / kStepUs * kStepUs;
  properties.push_back(fmt::format("CPUQuotaPerSecUSec={}", in_a_second));
}

// Runs bulkhead-systemd; what it says on standard error is the failure.
Outcome<> ask_systemd(std::vector<std::string> words) {
  const Program program = TRY(find_program(kProgram));
  words.insert(words.begin(), kProgram);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_failure(errno, "cannot make a pipe");
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure(errno, "cannot start {}", kProgram);
  if (pid == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::dup2(writer.get(), STDERR_FILENO);
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execve(program.path.c_str(), argv.data(), environ);
    const std::string why = fmt::format("{}: {}", program.path, strerrordesc_np(errno));
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, why.data(), why.size());
    ::_exit(kStatusNotExecutable);
  }
  writer.reset();
  std::string said;
  std::array<char, 1024> piece;
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(reader.get(), piece.data(), piece.size()));
    if (size <= 0) break;
    said.append(piece.data(), static_cast<size_t>(size));
  }
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid)
    return system_failure(errno, "cannot wait for {}", kProgram);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::replace(said.begin(), said.end(), '\n', ' ');
  while (said.ends_with(' ')) said.pop_back();
  return failure("--systemd-cgroup: {}: {}", words[2],
                 said.empty() ? fmt::format("{} failed (wait status {:#x})", kProgram, status) : said);
}

}  // namespace

Outcome<> SystemdScope::check_host() {
  if (!may_map_ids())
    return failure("--systemd-cgroup: needs root: scopes of a user's own systemd are not made");
  if (::access("/run/systemd/system", F_OK) != 0)  // sd_booted(3)
    return failure("--systemd-cgroup: this host does not run systemd: use the cgroupfs driver");
  TRY(ContainerCgroup::of_process(::getpid()));
  return {};
}

Outcome<SystemdScope> SystemdScope::parse(const std::string& path, const std::string& id) {
  const std::string given = path.empty() ? ":bulkhead:" + id : path;
  const size_t first = given.find(':');
  const size_t second = first == given.npos ? first : given.find(':', first + 1);
  if (second == given.npos || given.find(':', second + 1) != given.npos || second + 1 == given.size() ||
      given.find('/') != given.npos)
    return failure(
        "config.json: linux.cgroupsPath: \"{}\": with --systemd-cgroup expected \"SLICE:PREFIX:NAME\"", path);
  const std::string prefix = given.substr(first + 1, second - first - 1), name = given.substr(second + 1);
  if (name.ends_with(".slice"))
    return failure("config.json: linux.cgroupsPath: \"{}\": a container is a scope, not a slice", path);
  SystemdScope scope(fmt::format("{}{}{}.scope", prefix, prefix.empty() ? "" : "-", name));
  scope.slice_ = given.substr(0, first);
  if (!scope.slice_.empty() && !scope.slice_.ends_with(".slice"))
    return failure("config.json: linux.cgroupsPath: \"{}\": \"{}\" is not the name of a slice", path,
                   scope.slice_);
  return scope;
}

Outcome<> SystemdScope::start(pid_t pid, const oci::Resources& resources) const {
  std::vector<std::string> words = {"start", unit_, slice_, std::to_string(pid)};
  for (std::string& property : TRY(systemd_properties(resources))) words.push_back(std::move(property));
  return ask_systemd(std::move(words));
}

Outcome<> SystemdScope::set(const oci::Resources& resources) const {
  std::vector<std::string> words = {"set", unit_};
  for (std::string& property : TRY(systemd_properties(resources))) words.push_back(std::move(property));
  return ask_systemd(std::move(words));
}

Outcome<> SystemdScope::stop() const { return ask_systemd({"stop", unit_}); }

Outcome<std::vector<std::string>> systemd_properties(const oci::Resources& resources) {
  std::vector<std::string> properties;
  for (const UnifiedSetting& setting : TRY(unified_settings(resources))) {
    if (setting.file == "cpu.max") add_quota(setting.text, properties);
    const auto* const found = std::find_if(kProperties.begin(), kProperties.end(),
                                           [&](const auto& each) { return each.first == setting.file; });
    if (found == kProperties.end()) continue;
    // "default 50" of io.weight.
    const size_t space = setting.text.rfind(' ');
    properties.push_back(fmt::format(
        "{}={}", found->second, space == setting.text.npos ? setting.text : setting.text.substr(space + 1)));
  }
  return properties;
}

}  // namespace runtime
