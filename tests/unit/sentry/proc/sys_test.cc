#include <gtest/gtest.h>

#include "sentry/fs/pseudo/node.h"
#include "sentry/fs/sys/cgroup.h"
#include "sentry/fs/sys/sysfs.h"
#include "test_kernel.h"

namespace sentry::fs::sys {
namespace {

using test::find;
using test::read_text;
using test::TestKernel;

TEST(Sysfs, CpusAreTheSandboxs) {
  TestKernel test;
  test.kernel.cpus = 3;
  const auto sys = make_sysfs(test.kernel);
  EXPECT_EQ(read_text(sys->root(), "devices/system/cpu/online").value(), "0-2\n");
  EXPECT_TRUE(find(sys->root(), "devices/system/cpu/cpu2/topology/core_id").ok());
  EXPECT_TRUE(find(sys->root(), "devices/system/cpu/cpu3").is(ENOENT));
  EXPECT_EQ(read_text(sys->root(), "devices/system/cpu/cpu1/topology/core_cpus").value(), "2\n");
  EXPECT_EQ(read_text(sys->root(), "devices/system/node/node0/cpulist").value(), "0-2\n");
}

TEST(Sysfs, LinksLeadSomewhere) {
  TestKernel test;
  const auto sys = make_sysfs(test.kernel);
  // "../../" of /sys/class/net is /sys itself.
  const std::string target = (*find(sys->root(), "class/net/lo"))->readlink().value();
  ASSERT_EQ(target.find("../../"), 0u);
  EXPECT_EQ(read_text(sys->root(), target.substr(6) + "/mtu").value(), "65536\n");
  EXPECT_TRUE((*find(sys->root(), "fs/cgroup"))->is_directory());
}

TEST(Cgroup, LimitsAreTrue) {
  TestKernel test;
  test.kernel.max_tasks = 77;
  const auto cgroup = make_cgroup(test.kernel);
  EXPECT_EQ(read_text(cgroup->root(), "memory.max").value(), "max\n");
  test.kernel.memory_limit_bytes = 1 << 28;
  EXPECT_EQ(read_text(cgroup->root(), "memory.max").value(), "268435456\n");
  EXPECT_EQ(read_text(cgroup->root(), "pids.max").value(), "77\n");
  EXPECT_EQ(read_text(cgroup->root(), "pids.current").value(), "0\n");
  test.add_process("one");
  EXPECT_EQ(read_text(cgroup->root(), "pids.current").value(), "1\n");
  EXPECT_EQ(read_text(cgroup->root(), "cgroup.procs").value(), "1\n");
  EXPECT_EQ(read_text(cgroup->root(), "cpuset.cpus.effective").value(), "0-1\n");
}

}  // namespace
}  // namespace sentry::fs::sys
