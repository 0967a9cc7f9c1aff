#include "sentry/platform/trap/filter.h"

#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstddef>

#include "sentry/base/log.h"
#include "sentry/platform/trap/area.h"

namespace sentry::platform::trap {
namespace {

constexpr uint64_t kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
constexpr uint64_t kProtections = PROT_READ | PROT_WRITE | PROT_EXEC;
static_assert(kWindows % kWindowsSize == 0);

constexpr auto kNumber = static_cast<uint32_t>(offsetof(seccomp_data, nr));
constexpr auto kArch = static_cast<uint32_t>(offsetof(seccomp_data, arch));
constexpr auto kPointer = static_cast<uint32_t>(offsetof(seccomp_data, instruction_pointer));
constexpr uint32_t argument(unsigned index, bool high) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * 8 + (high ? 4 : 0));
}

class Assembler {
 public:
  void load(uint32_t offset) { add(BPF_LD | BPF_W | BPF_ABS, offset); }
  void and_with(uint32_t mask) { add(BPF_ALU | BPF_AND | BPF_K, mask); }
  void answer(uint32_t value) { add(BPF_RET | BPF_K, value); }
  void jump(uint16_t operation, uint32_t value) { add(BPF_JMP | operation | BPF_K, value); }
  // Skips `count` instructions unless the accumulator equals the value (is at least it).
  void unless_equal_skip(uint32_t value, uint8_t count) {
    program_.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, count, value});
  }
  void if_equal_skip(uint32_t value, uint8_t count) {
    program_.push_back({BPF_JMP | BPF_JEQ | BPF_K, count, 0, value});
  }
  void unless_at_least_skip(uint32_t value, uint8_t count) {
    program_.push_back({BPF_JMP | BPF_JGE | BPF_K, 0, count, value});
  }
  std::vector<sock_filter> take() { return std::move(program_); }
  size_t size() const { return program_.size(); }
  void append(const std::vector<sock_filter>& more) {
    program_.insert(program_.end(), more.begin(), more.end());
  }

 private:
  void add(int code, uint32_t k) { program_.push_back({static_cast<uint16_t>(code), 0, 0, k}); }
  std::vector<sock_filter> program_;
};

// What compares one half of an argument; its last instruction is the jump, whose way out is set later.
using Test = std::vector<sock_filter>;

std::vector<Test> tests_of(const HostCall& call, const ArgRule& rule) {
  const auto half = [](uint64_t value, bool high) {
    return static_cast<uint32_t>(high ? value >> 32 : value);
  };
  const auto compare = [&](bool high, uint32_t mask, uint16_t jump, uint32_t value) {
    Assembler test;
    test.load(argument(rule.index, high));
    if (mask != ~uint32_t{0}) test.and_with(mask);
    test.jump(jump, value);
    return test.take();
  };
  constexpr uint32_t kAll = ~uint32_t{0};
  std::vector<Test> tests;
  switch (rule.op) {
    case ArgRule::Op::kEqual:
    case ArgRule::Op::kMasked: {
      const uint64_t mask = rule.op == ArgRule::Op::kMasked ? rule.mask : ~uint64_t{0};
      for (const bool high : {false, true}) {
        if (half(mask, high) != 0)
          tests.push_back(compare(high, half(mask, high), BPF_JEQ, half(rule.value, high)));
      }
      return tests;
    }
    case ArgRule::Op::kLess: {
      const uint32_t high = half(rule.value, true), low = half(rule.value, false);
      if (low == 0) return {compare(true, kAll, BPF_JGE, high)};
      if (high == 0) return {compare(true, kAll, BPF_JEQ, 0), compare(false, kAll, BPF_JGE, low)};
      break;
    }
    case ArgRule::Op::kNotEqual:
    case ArgRule::Op::kLessEqual:
      break;
  }
  BULKHEAD_CHECK(false, "the stub's filter cannot say the rule of {}", call.name);
  return tests;
}

// `answer` if the rules of this call hold; falls through otherwise.
std::vector<sock_filter> match(const HostCall& call, uint32_t answer) {
  // Backwards, so that each test knows how much it skips.
  std::vector<Test> tests;
  for (const ArgRule& rule : call.rules) {
    for (Test& test : tests_of(call, rule)) tests.push_back(std::move(test));
  }
  std::vector<sock_filter> body{{BPF_RET | BPF_K, 0, 0, answer}};
  for (auto test = tests.rbegin(); test != tests.rend(); ++test) {
    sock_filter& jump = test->back();
    (BPF_OP(jump.code) == BPF_JGE ? jump.jt : jump.jf) = static_cast<uint8_t>(body.size());
    body.insert(body.begin(), test->begin(), test->end());
  }
  Assembler whole;
  whole.load(kNumber);
  whole.unless_equal_skip(static_cast<uint32_t>(call.nr), static_cast<uint8_t>(body.size()));
  whole.append(body);
  return whole.take();
}

}  // namespace

bool is_direct(const Operation& operation) {
  const uint64_t* const a = operation.a;
  switch (operation.number) {
    case SYS_futex:
      return true;
    case SYS_mmap:
      return (a[3] & ~uint64_t{MAP_NORESERVE}) == kAnonymous && a[1] < kLargestDirect &&
             (a[0] < kGuestEnd || (a[0] & ~(kWindowsSize - 1)) == kWindows);
    case SYS_mprotect:
      return a[0] < kGuestEnd && a[1] < kLargestDirect && (a[2] & ~kProtections) == 0;
    default:
      return false;
  }
}

std::vector<HostCall> direct_calls() {
  // Operations as shim.cc uses them and guest futexes do. A mask of 32 bits: the kernel looks at no more of
  // them.
  const auto futex = [](int operation, const char* text, const char* reason) {
    return HOST_CALL(futex, {arg_masked(1, 0xffffffff, static_cast<uint64_t>(operation))}, text, reason);
  };
  const ArgRule small{1, ArgRule::Op::kLess, kLargestDirect};
  const ArgRule in_guest_range{0, ArgRule::Op::kLess, kGuestEnd};
  const ArgRule anonymous = arg_masked(3, 0xffffffff & ~uint64_t{MAP_NORESERVE}, kAnonymous);
  return {
      HOST_CALL(rt_sigreturn, "back into guest code"),
      futex(FUTEX_WAIT, "FUTEX_WAIT", "sleeps until the sentry answers"),
      futex(FUTEX_WAIT_PRIVATE, "FUTEX_WAIT_PRIVATE",
            "the guest's own futexes, which no other process can reach; waits for another thread's mapping "
            "calls"),
      futex(FUTEX_WAKE_PRIVATE, "FUTEX_WAKE_PRIVATE", "ends such a wait"),
      futex(FUTEX_REQUEUE_PRIVATE, "FUTEX_REQUEUE_PRIVATE", "the guest's own futexes: condition variables"),
      futex(FUTEX_CMP_REQUEUE_PRIVATE, "FUTEX_CMP_REQUEUE_PRIVATE", "the same"),
      HOST_CALL(mmap, {anonymous, in_guest_range, small},
                "PRIVATE|ANONYMOUS|FIXED (|NORESERVE), the guest's range", "private memory: a tenant's own"),
      HOST_CALL(mmap, {anonymous, arg_masked(0, ~(kWindowsSize - 1), kWindows), small},
                "the same, the room for windows", "instead of a window"),
      HOST_CALL(mprotect, {in_guest_range, small, arg_masked(2, ~kProtections, 0)},
                "READ|WRITE|EXEC, the guest's range",
                "protects guest memory: private, or shared with who may write it"),
  };
}

std::vector<HostCall> consented_calls() {
  return {
      HOST_CALL(getpid, "by consent: rings for the sentry, whose answer ends it"),
      HOST_CALL(mmap, "by consent: maps files and shared memory, and a thread's area"),
      HOST_CALL(preadv2, "by consent: reads a large piece of a file straight into guest memory"),
      HOST_CALL(pwritev2, "by consent: writes one into the sandbox's memory file"),
      HOST_CALL(mprotect, "by consent: protects more guest memory at once"),
      HOST_CALL(munmap, "by consent: unmaps guest memory, and what is the platform's own in it"),
      HOST_CALL(mremap, "by consent: moves guest memory"),
      HOST_CALL(madvise, "by consent: drops or hints guest memory"),
      HOST_CALL(clone, "by consent: guest fork, guest threads, pristine address spaces"),
      HOST_CALL(exit, "by consent: ends a guest thread"),
  };
}

std::vector<sock_filter> filter_program() {
  Assembler program;
  // Only x86-64's own calls (an x32 number is none that is listed), and only from the shim.
  program.load(kArch);
  program.if_equal_skip(AUDIT_ARCH_X86_64, 1);
  program.answer(SECCOMP_RET_TRAP);
  program.load(kPointer + 4);
  program.if_equal_skip(static_cast<uint32_t>(kShimText >> 32), 1);
  program.answer(SECCOMP_RET_TRAP);
  program.load(kPointer);
  program.unless_at_least_skip(static_cast<uint32_t>(kShimText), 1);
  program.unless_at_least_skip(static_cast<uint32_t>(kShimText + kShimCalls), 1);
  program.answer(SECCOMP_RET_TRAP);
  for (const HostCall& call : direct_calls()) program.append(match(call, SECCOMP_RET_ALLOW));
  for (const HostCall& call : consented_calls()) program.append(match(call, SECCOMP_RET_USER_NOTIF));
  program.answer(SECCOMP_RET_TRAP);
  return program.take();
}

}  // namespace sentry::platform::trap
