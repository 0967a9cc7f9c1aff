#include "bench/hap/elf_functions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace hap {
namespace {

// Reads this test's own program, so that the answer is known: functions in order, apart, and main among them.
TEST(ReadProgram, SymbolTable) {
  const Program program = read_program("/proc/self/exe");
  EXPECT_EQ(program.source, ".symtab");
  ASSERT_GT(program.functions.size(), 100u);
  EXPECT_TRUE(std::is_sorted(program.functions.begin(), program.functions.end(),
                             [](const auto& a, const auto& b) { return a.address < b.address; }));
  const auto found = std::find_if(
      program.functions.begin(), program.functions.end(),
      [](const ProgramFunction& one) { return one.name.find("read_program") != std::string::npos; });
  ASSERT_NE(found, program.functions.end());
  EXPECT_GT(found->size, 16u);
}

// Every function with a size that starts a frame is in the exception index too.
TEST(ReadProgram, ExceptionIndexOfAStrippedProgram) {
  const std::string copy = testing::TempDir() + "hap-stripped-" + std::to_string(getpid());
  const std::string command = "strip -o '" + copy + "' /proc/" + std::to_string(getpid()) + "/exe";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const Program stripped = read_program(copy);
  std::filesystem::remove(copy);
  EXPECT_EQ(stripped.source, ".eh_frame_hdr");
  const Program whole = read_program("/proc/self/exe");
  const auto known = std::find_if(
      whole.functions.begin(), whole.functions.end(),
      [](const ProgramFunction& one) { return one.name.find("read_program") != std::string::npos; });
  ASSERT_NE(known, whole.functions.end());
  const auto found = std::find_if(stripped.functions.begin(), stripped.functions.end(),
                                  [&](const ProgramFunction& one) { return one.address == known->address; });
  ASSERT_NE(found, stripped.functions.end());
  EXPECT_GE(found->size, known->size);
  EXPECT_LT(found->size, known->size + 64);
}

TEST(ReadProgram, RefusesWhatIsNoProgram) {
  EXPECT_THROW(read_program("/dev/null"), std::runtime_error);
  EXPECT_THROW(read_program("/etc/passwd"), std::runtime_error);
}

}  // namespace
}  // namespace hap
