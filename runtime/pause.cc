// bulkhead pause, bulkhead resume.
#include "runtime/container_verb.h"
#include "runtime/control_socket.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

constexpr Manual kPauseManual{
    .name = "bulkhead-pause",
    .summary = "stop a container's processes",
    .synopsis = "bulkhead pause ID",
    .description =
        "Has the sentry run none of the container's code until bulkhead-resume(1). The processes do "
        "not notice; their clocks go on.",
    .exit_status = "0, or 125 if the container does not run.",
    .see_also = "bulkhead(1), bulkhead-resume(1)",
};

constexpr Manual kResumeManual{
    .name = "bulkhead-resume",
    .summary = "let a paused container go on",
    .synopsis = "bulkhead resume ID",
    .description = "Undoes bulkhead-pause(1).",
    .exit_status = "0, or 125 if the container is not paused.",
    .see_also = "bulkhead(1), bulkhead-pause(1)",
};

Outcome<> change(const KnownContainer& container, const char* from, Request::Kind kind) {
  const std::string status = container.state().status;
  const char* verb = kind == Request::Kind::kPause ? "pause" : "resume";
  if (container.stopped())
    return failure("cannot {} the container \"{}\": container not running", verb, container.id());
  if (status != from)
    return failure("cannot {} the container \"{}\": it is {}, not {}", verb, container.id(), status, from);
  Request request;
  request.kind = kind;
  TRY(ControlConnection::ask_once(container.path(), request));
  return {};
}

}  // namespace

int pause_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kPauseManual, std::move(globals));
  return verb.run_known(arguments, [](const KnownContainer& container, const CommandLog&) -> Outcome<int> {
    TRY(change(container, "running", Request::Kind::kPause));
    return 0;
  });
}

int resume_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kResumeManual, std::move(globals));
  return verb.run_known(arguments, [](const KnownContainer& container, const CommandLog&) -> Outcome<int> {
    TRY(change(container, "paused", Request::Kind::kResume));
    return 0;
  });
}

}  // namespace runtime
