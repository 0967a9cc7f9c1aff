// bulkhead features: what of the OCI runtime specification there is; features.md.
#include <linux/capability.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "oci/mount_options.h"
#include "oci/names.h"
#include "runtime/container_verb.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

using nlohmann::ordered_json;

constexpr Manual kManual{
    .name = "bulkhead-features",
    .summary = "print what of the OCI specification there is",
    .synopsis = "bulkhead features",
    .description = "Prints the \"features\" document of the OCI runtime specification.",
    .exit_status = "0, or 125 if that fails.",
    .see_also = "bulkhead(1)",
};

ordered_json features() {
  ordered_json document;
  document["ociVersionMin"] = "1.0.0";
  document["ociVersionMax"] = "1.2.1";
  document["hooks"] = {"prestart",       "createRuntime", "createContainer",
                       "startContainer", "poststart",     "poststop"};
  document["mountOptions"] = oci::mount_option_names();
  ordered_json& part = document["linux"];
  part["namespaces"] = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
  part["capabilities"] = oci::capability_names();
  part["cgroup"] = {{"v1", true}, {"v2", true}, {"systemd", true}, {"systemdUser", false}, {"rdma", false}};
  part["seccomp"]["enabled"] = true;
  part["seccomp"]["actions"] = {"SCMP_ACT_ALLOW",        "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
                                "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                                "SCMP_ACT_TRACE",        "SCMP_ACT_TRAP"};
  part["seccomp"]["operators"] = {"SCMP_CMP_EQ", "SCMP_CMP_GE",        "SCMP_CMP_GT", "SCMP_CMP_LE",
                                  "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"};
  part["seccomp"]["archs"] = {"SCMP_ARCH_X86_64"};
  part["seccomp"]["knownFlags"] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                   "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  part["seccomp"]["supportedFlags"] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                       "SECCOMP_FILTER_FLAG_LOG"};
  part["apparmor"]["enabled"] = false;
  part["selinux"]["enabled"] = false;
  part["intelRdt"]["enabled"] = false;
  part["mountExtensions"]["idmap"]["enabled"] = false;
  document["annotations"]["org.bulkhead.version"] = BULKHEAD_VERSION;
  // Whatever network namespace is made or joined.
  document["annotations"]["org.bulkhead.guest-network"] = "loopback";
  // Accepted, since engines set them for every container, and without a meaning for what runs on a kernel of
  // its own.
  document["annotations"]["org.bulkhead.redundant"] =
      "process.apparmorProfile,process.selinuxLabel,linux.mountLabel";
  return document;
}

}  // namespace

int features_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  return verb.run(arguments, [](const CommandLog&) -> Outcome<int> {
    const std::string text = features().dump(2) + "\n";
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
      return system_failure(errno, "cannot write to standard output");
    return 0;
  });
}

}  // namespace runtime
