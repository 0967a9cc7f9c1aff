#include "runtime/hidden_places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runtime/view.h"

namespace runtime {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

TEST(HiddenPlaces, Within) {
  EXPECT_TRUE(is_within("/home/a", "/home"));
  EXPECT_TRUE(is_within("/home", "/home"));
  EXPECT_TRUE(is_within("/x", "/"));
  EXPECT_FALSE(is_within("/homely", "/home"));
  EXPECT_FALSE(is_within("/", "/home"));
}

TEST(HiddenPlaces, HomesOpenOnRequestOnly) {
  const Accounts nobody;
  EXPECT_THAT(covers_for_host_root(nobody, false, true), Contains("/root"));
  EXPECT_THAT(covers_for_host_root(nobody, true, true), Not(Contains("/root")));
  EXPECT_THAT(covers_for_host_root(nobody, true, true), Contains("/proc"));
  EXPECT_THAT(covers_for_host_root(nobody, false, true), Contains("/etc/shadow"));
  EXPECT_THAT(covers_for_host_root(nobody, false, false), Not(Contains("/etc/shadow")));
}

// Homes are hidden wherever the user database puts them, unless that would hide the system.
TEST(HiddenPlaces, HomesElsewhere) {
  std::string folder = "/srv/bulkhead-test-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GTEST_SKIP() << "cannot write to /srv";
  const std::string passwd = folder + "/passwd";
  std::ofstream(passwd) << "root:x:0:0::/root:/bin/sh\n"
                        << "daemon:x:1:1::/usr/sbin:/bin/sh\n"
                        << "alice:x:1000:1000::" << folder << ":/bin/sh\n"
                        << "bob:x:1001:1001::/usr:/bin/sh\n"
                        << "carol:x:1002:1002::/nowhere:/bin/sh\n"
                        << "dave:x:1003:1003::/:/bin/sh\n";
  const Accounts accounts = Accounts::read(passwd);
  EXPECT_THAT(accounts.homes(), ElementsAre(folder, "/usr", "/nowhere"));
  const std::vector<std::string> covers = covers_for_host_root(accounts, false, false);
  EXPECT_THAT(covers, Contains(folder));
  EXPECT_THAT(covers, Not(Contains("/usr")));
  std::filesystem::remove_all(folder);
}

TEST(KernelMounts, AreFoundBelowATree) {
  EXPECT_THAT(kernel_mounts_below("/"), Contains("/proc"));
  EXPECT_THAT(kernel_mounts_below("/proc"), Not(Contains("/proc")));
  EXPECT_THAT(kernel_mounts_below("/etc"), ElementsAre());
}

}  // namespace
}  // namespace runtime
