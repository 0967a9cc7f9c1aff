#include "oci/mount_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(MountOptions, AreRead) {
  const auto parsed = parse_mount_options({"rbind", "ro", "nosuid", "nodev", "noexec", "strictatime",
                                           "size=64k", "mode=1755", "uid=5", "gid=6", "rprivate"},
                                          "m");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->bind && parsed->recursive && parsed->read_only && parsed->nosuid && parsed->nodev &&
              parsed->noexec && parsed->strictatime);
  EXPECT_EQ(parsed->size_bytes, 65536U);
  EXPECT_EQ(parsed->mode, 01755U);
  EXPECT_EQ(parsed->uid, 5U);
  EXPECT_EQ(parsed->gid, 6U);
  EXPECT_THAT(parsed->unknown, IsEmpty());
}

TEST(MountOptions, LastOneWins) {
  const auto parsed = parse_mount_options({"ro", "rw", "dev", "nodev"}, "m");
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->read_only);
  EXPECT_TRUE(parsed->nodev);
}

TEST(MountOptions, NameTheUnknown) {
  const auto parsed = parse_mount_options({"ro", "idmap", "size"}, "m");
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(parsed->unknown, ElementsAre("idmap", "size"));
}

TEST(MountOptions, RefuseBadValues) {
  for (const char* option :
       {"size=", "size=x", "size=101%", "size=%", "nr_inodes=x", "size=99999999999999999999",
        "size=18446744073709551615k", "mode=9", "mode=", "mode=77777", "uid=-1", "gid=4294967296"}) {
    const auto parsed = parse_mount_options({option}, "mounts[3].options");
    ASSERT_FALSE(parsed.ok()) << option;
    EXPECT_EQ(parsed.error().path, "mounts[3].options");
    EXPECT_THAT(parsed.error().message, HasSubstr(option));
  }
}

}  // namespace
}  // namespace oci
