#include "bench/hap/user_coverage.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <thread>

// What the watched process runs: one before, one after, one in a thread of its own, one never.
extern "C" {
__attribute__((noinline)) void hap_test_before() { asm volatile(""); }
__attribute__((noinline)) void hap_test_after() { asm volatile(""); }
__attribute__((noinline)) void hap_test_in_thread() { asm volatile(""); }
__attribute__((noinline)) void hap_test_never() { asm volatile("nop"); }
}

namespace hap {
namespace {

TEST(UserCoverage, TellsWhatRunsWhileItWatches) {
  int go[2], done[2];
  ASSERT_EQ(pipe(go), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    hap_test_before();
    char byte;
    if (write(done[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1) _exit(1);
    if (byte == 'n') hap_test_never();
    hap_test_after();
    hap_test_after();
    std::thread([] { hap_test_in_thread(); }).join();
    if (write(done[1], "d", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  UserCoverage coverage({pid}, {"hap_test"});
  ASSERT_EQ(write(go[1], "g", 1), 1);
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  std::ostringstream out;
  coverage.finish(out);
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  const std::string text = out.str();
  EXPECT_EQ(text.find("program hap_test .symtab all "), 0u) << text.substr(0, 200);
  EXPECT_NE(text.find(" hap_test_after\n"), std::string::npos);
  EXPECT_NE(text.find(" hap_test_in_thread\n"), std::string::npos);
  EXPECT_EQ(text.find(" hap_test_before\n"), std::string::npos);
  EXPECT_EQ(text.find(" hap_test_never\n"), std::string::npos);
}

TEST(UserCoverage, NothingToWatchIsAnError) {
  EXPECT_THROW(UserCoverage({getpid()}, {"no-such-program"}), std::runtime_error);
}

}  // namespace
}  // namespace hap
