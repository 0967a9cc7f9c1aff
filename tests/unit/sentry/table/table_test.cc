// The system call table holds every number of x86-64 exactly once, and says something about each.
#include "sentry/syscalls/table.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sentry::syscalls {
namespace {

struct Family {
  const char* name;
  std::span<const Entry> (*rows)();
};
constexpr Family kFamilies[] = {
    {"file", file_calls},         {"directory", directory_calls}, {"descriptor", descriptor_calls},
    {"socket", socket_calls},     {"memory", memory_calls},       {"process", process_calls},
    {"identity", identity_calls}, {"signal", signal_calls},       {"time", time_calls},
    {"futex", futex_calls},       {"scheduler", scheduler_calls}, {"system", system_calls},
    {"ipc", ipc_calls},
};

// arch/x86/entry/syscalls/syscall_64.tbl: 0 to 334, and what all architectures number alike since Linux 5.1.
bool is_assigned(int number) { return (number >= 0 && number <= 334) || (number >= 424 && number <= 462); }

TEST(SyscallTable, HoldsEachNumberOnce) {
  std::map<int, std::string> owners;
  for (const Family& family : kFamilies) {
    for (const Entry& entry : family.rows()) {
      EXPECT_TRUE(is_assigned(entry.number)) << entry.name << " has number " << entry.number;
      const auto [place, fresh] = owners.emplace(entry.number, family.name);
      EXPECT_TRUE(fresh) << entry.name << " is in " << place->second << " and in " << family.name;
    }
  }
  for (int number = 0; number <= 462; ++number)
    EXPECT_EQ(owners.contains(number), is_assigned(number)) << "number " << number;
}

TEST(SyscallTable, SaysWhatEachRowMeans) {
  std::set<std::string> names;
  for (const Family& family : kFamilies) {
    for (const Entry& entry : family.rows()) {
      EXPECT_TRUE(names.insert(entry.name).second) << entry.name << " names two numbers";
      const std::string remark = entry.remark;
      switch (entry.support) {
        case Support::kComplete:
          EXPECT_EQ(remark, "") << entry.name;
          break;
        case Support::kPartial:
          EXPECT_NE(remark, "") << entry.name;
          break;
        case Support::kAbsent:
          EXPECT_NE(remark, "") << entry.name;
          break;
      }
      if (entry.support == Support::kAbsent) {
        EXPECT_EQ(entry.handler.call, nullptr) << entry.name;
        EXPECT_GT(entry.absent_errno, 0) << entry.name;
      } else {
        EXPECT_NE(entry.handler.call, nullptr) << entry.name;
        EXPECT_NE(entry.handler.print, nullptr) << entry.name;
        EXPECT_EQ(entry.absent_errno, 0) << entry.name;
      }
    }
  }
}

TEST(SyscallTable, FindsByNumber) {
  ASSERT_NE(find(SYS_uname), nullptr);
  EXPECT_STREQ(find(SYS_uname)->name, "uname");
  EXPECT_EQ(find(335), nullptr);
  EXPECT_EQ(find(~uint64_t{0}), nullptr);
}

}  // namespace
}  // namespace sentry::syscalls
