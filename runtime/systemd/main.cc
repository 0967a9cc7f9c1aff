// bulkhead-systemd: a container's scope, asked of systemd over D-Bus (org.freedesktop.systemd1(5)).
//
//   bulkhead-systemd start UNIT SLICE PID [PROPERTY=VALUE]...
//   bulkhead-systemd set UNIT [PROPERTY=VALUE]...
//   bulkhead-systemd stop UNIT
//
// Ends once systemd has done it: with 0, or with 1 and a line on standard error.
#include <systemd/sd-bus.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace runtime::systemd {
namespace {

constexpr const char* kService = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit";
constexpr std::chrono::seconds kPatience{30};

using Message = std::unique_ptr<sd_bus_message, sd_bus_message* (*)(sd_bus_message*)>;

Message own(sd_bus_message* message) { return {message, sd_bus_message_unref}; }

// The error of a reply.
struct BusError {
  sd_bus_error error = SD_BUS_ERROR_NULL;
  ~BusError() { sd_bus_error_free(&error); }
};

int fail(const char* what, int negative_errno) {
  std::fprintf(stderr, "%s: %s\n", what, strerrordesc_np(-negative_errno));
  return 1;
}

int fail(const char* what, const BusError& reply) {
  std::fprintf(stderr, "%s: %s\n", what, reply.error.message != nullptr ? reply.error.message : "no answer");
  return 1;
}

// "0-3,8" of cpuset(7) as systemd takes it: a bit for each number. Empty if it is no such list.
std::vector<uint8_t> bits_of(std::string_view list) {
  constexpr unsigned kMost = 8192;  // processors that a kernel can have
  std::vector<uint8_t> bits;
  while (!list.empty()) {
    const std::string_view part = list.substr(0, list.find(','));
    list.remove_prefix(std::min(part.size() + 1, list.size()));
    unsigned first = 0, last = 0;
    const char* const end = part.data() + part.size();
    auto read = std::from_chars(part.data(), end, first);
    last = first;
    if (read.ec == std::errc{} && read.ptr != end && *read.ptr == '-')
      read = std::from_chars(read.ptr + 1, end, last);
    if (read.ec != std::errc{} || read.ptr != end || last < first || last >= kMost) return {};
    if (bits.size() <= last / 8) bits.resize(last / 8 + 1);
    for (unsigned number = first; number <= last; ++number)
      bits[number / 8] = static_cast<uint8_t>(bits[number / 8] | 1U << number % 8);
  }
  return bits;
}

// Appends (name, value) of "NAME=VALUE"; false if that is not how such a property looks.
bool append_property(sd_bus_message* message, std::string_view given) {
  const size_t equals = given.find('=');
  if (equals == given.npos) return false;
  const std::string name(given.substr(0, equals));
  const std::string_view text = given.substr(equals + 1);
  if (name == "AllowedCPUs" || name == "AllowedMemoryNodes") {
    const std::vector<uint8_t> bits = bits_of(text);
    return !bits.empty() && sd_bus_message_open_container(message, 'r', "sv") >= 0 &&
           sd_bus_message_append(message, "s", name.c_str()) >= 0 &&
           sd_bus_message_open_container(message, 'v', "ay") >= 0 &&
           sd_bus_message_append_array(message, 'y', bits.data(), bits.size()) >= 0 &&
           sd_bus_message_close_container(message) >= 0 && sd_bus_message_close_container(message) >= 0;
  }
  uint64_t number = std::numeric_limits<uint64_t>::max();  // systemd's "infinity"
  if (text != "max") {
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size()) return false;
  }
  return sd_bus_message_append(message, "(sv)", name.c_str(), "t", number) >= 0;
}

class Manager {
 public:
  ~Manager() { sd_bus_flush_close_unref(bus_); }

  // Connects, and asks for the signals by which the ends of jobs are told.
  int open() {
    int status = sd_bus_open_system(&bus_);
    if (status < 0) return fail("no system bus", status);
    status = sd_bus_match_signal(bus_, nullptr, kService, kManagerPath, kManager, "JobRemoved",
                                 &Manager::job_removed, this);
    if (status >= 0)
      status = sd_bus_match_signal(bus_, nullptr, kService, kManagerPath, kManager, "UnitRemoved", nullptr,
                                   nullptr);
    if (status < 0) return fail("cannot listen on the bus", status);
    BusError error;
    if (sd_bus_call_method(bus_, kService, kManagerPath, kManager, "Subscribe", &error.error, nullptr, "") <
        0)
      return fail("Subscribe", error);
    return 0;
  }

  int start(const char* unit, const char* slice, uint32_t pid, const std::vector<const char*>& properties) {
    Message message = method("StartTransientUnit");
    sd_bus_message* const to = message.get();
    int status = to == nullptr ? -ENOMEM : sd_bus_message_append(to, "ss", unit, "fail");
    if (status >= 0) status = sd_bus_message_open_container(to, 'a', "(sv)");
    const std::string description = std::string("bulkhead container ") + unit;
    if (status >= 0)
      status = sd_bus_message_append(to, "(sv)(sv)(sv)(sv)(sv)", "Description", "s", description.c_str(),
                                     "PIDs", "au", 1, pid, "Delegate", "b", 1, "DefaultDependencies", "b", 0,
                                     "CollectMode", "s", "inactive-or-failed");
    if (status >= 0 && *slice != '\0') status = sd_bus_message_append(to, "(sv)", "Slice", "s", slice);
    for (const char* accounting : {"CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting"})
      if (status >= 0) status = sd_bus_message_append(to, "(sv)", accounting, "b", 1);
    if (status >= 0) status = append_all(to, properties);
    if (status >= 0) status = sd_bus_message_close_container(to);
    if (status >= 0) status = sd_bus_message_append(to, "a(sa(sv))", 0);
    if (status < 0) return fail("StartTransientUnit", status);
    return run_job("StartTransientUnit", to, nullptr);
  }

  int set(const char* unit, const std::vector<const char*>& properties) {
    Message message = method("SetUnitProperties");
    sd_bus_message* const to = message.get();
    int status = to == nullptr ? -ENOMEM : sd_bus_message_append(to, "sb", unit, 1);  // 1: not to disk
    if (status >= 0) status = sd_bus_message_open_container(to, 'a', "(sv)");
    if (status >= 0) status = append_all(to, properties);
    if (status >= 0) status = sd_bus_message_close_container(to);
    if (status < 0) return fail("SetUnitProperties", status);
    BusError error;
    if (sd_bus_call(bus_, to, 0, &error.error, nullptr) < 0) return fail("SetUnitProperties", error);
    return 0;
  }

  // Returns once systemd has forgotten the unit, so that its name is free.
  int stop(const char* unit) {
    Message message = method("StopUnit");
    if (!message || sd_bus_message_append(message.get(), "ss", unit, "replace") < 0)
      return fail("StopUnit", -ENOMEM);
    if (const int status = run_job("StopUnit", message.get(), kNoSuchUnit); status != 0) return status;
    const auto deadline = Clock::now() + kPatience;
    for (;;) {
      BusError error;
      sd_bus_message* found = nullptr;
      const int status = sd_bus_call_method(bus_, kService, kManagerPath, kManager, "GetUnit", &error.error,
                                            &found, "s", unit);
      own(found);
      if (status < 0 && sd_bus_error_has_name(&error.error, kNoSuchUnit) != 0) return 0;
      if (status < 0) return fail("GetUnit", error);
      if (!wait(deadline)) return fail("StopUnit", -ETIMEDOUT);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  Message method(const char* name) {
    sd_bus_message* message = nullptr;
    sd_bus_message_new_method_call(bus_, &message, kService, kManagerPath, kManager, name);
    return own(message);
  }

  static int append_all(sd_bus_message* message, const std::vector<const char*>& properties) {
    for (const char* property : properties)
      if (!append_property(message, property)) return -EINVAL;
    return 0;
  }

  static int job_removed(sd_bus_message* message, void* self, sd_bus_error*) {
    uint32_t id = 0;
    const char *job = nullptr, *unit = nullptr, *result = nullptr;
    if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) >= 0)
      static_cast<Manager*>(self)->ended_[job] = result;
    return 0;
  }

  // Takes what has arrived, or waits for something; false when it is too late.
  bool wait(Clock::time_point deadline) {
    if (sd_bus_process(bus_, nullptr) > 0) return true;
    const auto left = std::chrono::ceil<std::chrono::microseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    return sd_bus_wait(bus_, static_cast<uint64_t>(left)) >= 0;
  }

  // Calls a method that returns a job, and waits for the job's end. The error `fine` is none.
  int run_job(const char* name, sd_bus_message* call, const char* fine) {
    BusError error;
    sd_bus_message* answer = nullptr;
    const int status = sd_bus_call(bus_, call, 0, &error.error, &answer);
    const Message reply = own(answer);
    if (status < 0 && fine != nullptr && sd_bus_error_has_name(&error.error, fine) != 0) return 0;
    if (status < 0) return fail(name, error);
    const char* path = nullptr;
    if (const int read = sd_bus_message_read(reply.get(), "o", &path); read < 0) return fail(name, read);
    const std::string job = path;
    const auto deadline = Clock::now() + kPatience;
    while (!ended_.contains(job))
      if (!wait(deadline)) return fail(name, -ETIMEDOUT);
    if (ended_[job] == "done") return 0;
    std::fprintf(stderr, "%s: the job's result is \"%s\"\n", name, ended_[job].c_str());
    return 1;
  }

  sd_bus* bus_ = nullptr;
  std::map<std::string, std::string> ended_;  // jobs and their results
};

int main(const std::vector<const char*>& words) {
  const std::string_view action = words.size() > 2 ? words[1] : "";
  Manager manager;
  const auto rest = [&](std::ptrdiff_t from) {
    return std::vector<const char*>(words.begin() + from, words.end());
  };
  uint32_t pid = 0;
  if (action == "start" && words.size() > 4 &&
      std::from_chars(words[4], words[4] + std::strlen(words[4]), pid).ec == std::errc{})
    return manager.open() != 0 ? 1 : manager.start(words[2], words[3], pid, rest(5));
  if (action == "set") return manager.open() != 0 ? 1 : manager.set(words[2], rest(3));
  if (action == "stop") return manager.open() != 0 ? 1 : manager.stop(words[2]);
  std::fputs("usage: bulkhead-systemd start|set|stop UNIT...; it is for bulkhead to start\n", stderr);
  return 2;
}

}  // namespace
}  // namespace runtime::systemd

int main(int argc, char** argv) {
  return runtime::systemd::main(std::vector<const char*>(argv, argv + argc));
}
