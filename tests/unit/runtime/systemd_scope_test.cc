#include "runtime/systemd_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SystemdScope, NamesItsUnit) {
  EXPECT_EQ(SystemdScope::parse("machine.slice:libpod:abc", "id")->unit(), "libpod-abc.scope");
  EXPECT_EQ(SystemdScope::parse("::abc", "id")->unit(), "abc.scope");
  EXPECT_EQ(SystemdScope::parse("", "id")->unit(), "bulkhead-id.scope");
}

TEST(SystemdScope, RefusesOtherPaths) {
  for (const char* bad :
       {"/a/b", "a.slice:b", "a.slice:b:", "a.slice:b:c:d", "a:b:c", "/a.slice:b:c", ":b:c.slice"}) {
    const Outcome<SystemdScope> scope = SystemdScope::parse(bad, "id");
    ASSERT_FALSE(scope.ok()) << bad;
    EXPECT_THAT(scope.error().message, HasSubstr("config.json: linux.cgroupsPath: \"" + std::string(bad)));
  }
}

TEST(SystemdScope, SetsWhatSystemdKnows) {
  oci::Resources resources;
  resources.memory_limit_bytes = 1000;
  resources.memory_swap_bytes = 1500;
  resources.cpu_shares = 2;
  resources.cpu_quota_us = 25'000;
  resources.cpu_period_us = 50'000;
  resources.pids_limit = 10;
  resources.cpus = "0-1,3";
  resources.unified = {{"memory.high", "900"}, {"memory.oom.group", "1"}};
  EXPECT_THAT(*systemd_properties(resources),
              ElementsAre("MemoryMax=1000", "MemorySwapMax=500", "CPUWeight=1", "CPUQuotaPeriodUSec=50000",
                          "CPUQuotaPerSecUSec=500000", "AllowedCPUs=0-1,3", "TasksMax=84", "MemoryHigh=900"));
}

TEST(SystemdScope, LiftsLimits) {
  oci::Resources resources;
  resources.memory_limit_bytes = -1;
  resources.cpu_quota_us = -1;
  resources.pids_limit = -1;
  EXPECT_THAT(*systemd_properties(resources),
              ElementsAre("MemoryMax=max", "CPUQuotaPerSecUSec=max", "TasksMax=max"));
}

TEST(SystemdScope, RefusesWhatVersion2DoesNotHave) {
  oci::Resources resources;
  resources.memory_swappiness = 10;
  EXPECT_THAT(systemd_properties(resources).error().message, HasSubstr("linux.resources.memory.swappiness"));
  resources = {};
  resources.memory_limit_bytes = 1000;
  resources.memory_swap_bytes = 500;
  EXPECT_THAT(systemd_properties(resources).error().message, HasSubstr("linux.resources.memory.swap"));
}

}  // namespace
}  // namespace runtime
