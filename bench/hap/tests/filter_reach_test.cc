#include "bench/hap/filter_reach.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <cstddef>

namespace hap {
namespace {

constexpr sock_filter kLoadNumber = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
constexpr sock_filter kLoadArch = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
constexpr sock_filter kLoadArgument = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args));
constexpr sock_filter answer(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
constexpr sock_filter if_equal(uint32_t value, uint8_t yes, uint8_t no) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no);
}

Reach reach(const std::vector<sock_filter>& program, uint32_t number) {
  bool complete = true;
  const Reach found = filter_reach(program, number, complete);
  EXPECT_TRUE(complete);
  return found;
}

TEST(FilterReach, FollowsTheNumberAndTheArchitecture) {
  const std::vector<sock_filter> program{kLoadArch,
                                         if_equal(AUDIT_ARCH_X86_64, 1, 0),
                                         answer(SECCOMP_RET_KILL_PROCESS),
                                         kLoadNumber,
                                         if_equal(SYS_read, 0, 1),
                                         answer(SECCOMP_RET_ALLOW),
                                         if_equal(SYS_write, 0, 1),
                                         answer(SECCOMP_RET_USER_NOTIF),
                                         answer(SECCOMP_RET_ERRNO | 1)};
  EXPECT_TRUE(reach(program, SYS_read).allowed);
  EXPECT_FALSE(reach(program, SYS_write).allowed);
  EXPECT_TRUE(reach(program, SYS_write).consulted);
  EXPECT_FALSE(reach(program, SYS_open).allowed);
  EXPECT_FALSE(reach(program, SYS_open).consulted);
}

TEST(FilterReach, AnArgumentMayGoEitherWay) {
  const std::vector<sock_filter> program{
      kLoadNumber,       if_equal(SYS_socket, 0, 3), kLoadArgument,
      if_equal(1, 0, 1), answer(SECCOMP_RET_ALLOW),  answer(SECCOMP_RET_TRAP)};
  EXPECT_TRUE(reach(program, SYS_socket).allowed);
  EXPECT_FALSE(reach(program, SYS_bind).allowed);
}

TEST(FilterReach, ComputesWithMasksAndMemory) {
  // (number & 0x40000000) == 0, kept in memory meanwhile: the x32 test.
  const std::vector<sock_filter> program{kLoadNumber,
                                         BPF_STMT(BPF_ST, 3),
                                         BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x40000000),
                                         if_equal(0, 1, 0),
                                         answer(SECCOMP_RET_KILL_THREAD),
                                         BPF_STMT(BPF_LD | BPF_MEM, 3),
                                         BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 10, 0, 1),
                                         answer(SECCOMP_RET_ERRNO),
                                         answer(SECCOMP_RET_LOG)};
  EXPECT_TRUE(reach(program, 9).allowed);
  EXPECT_FALSE(reach(program, 10).allowed);
  EXPECT_FALSE(reach(program, 0x40000001).allowed);
}

TEST(FilterReach, SaysWhenAProgramIsNotUnderstood) {
  bool complete = true;
  const std::vector<sock_filter> runs_off{kLoadNumber};
  EXPECT_TRUE(filter_reach(runs_off, 0, complete).allowed);
  EXPECT_FALSE(complete);
}

TEST(ChainReach, TheStrictestFilterWins) {
  const std::vector<sock_filter> allow{answer(SECCOMP_RET_ALLOW)}, ask{answer(SECCOMP_RET_USER_NOTIF)},
      refuse{answer(SECCOMP_RET_ERRNO | 1)};
  bool complete = true;
  using Chain = std::vector<std::vector<sock_filter>>;
  EXPECT_TRUE(chain_reach(Chain{}, 0, complete).allowed);
  EXPECT_TRUE(chain_reach(Chain{allow, allow}, 0, complete).allowed);
  for (const Chain& chain : {Chain{allow, ask}, Chain{ask, allow}}) {
    EXPECT_FALSE(chain_reach(chain, 0, complete).allowed);
    EXPECT_TRUE(chain_reach(chain, 0, complete).consulted);
  }
  for (const Chain& chain : {Chain{refuse, ask}, Chain{ask, refuse}, Chain{allow, refuse}}) {
    EXPECT_FALSE(chain_reach(chain, 0, complete).allowed);
    EXPECT_FALSE(chain_reach(chain, 0, complete).consulted);
  }
  EXPECT_TRUE(complete);
}

}  // namespace
}  // namespace hap
