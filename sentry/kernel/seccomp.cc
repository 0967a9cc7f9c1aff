#include "sentry/kernel/seccomp.h"

#include <cerrno>
#include <cstring>

namespace sentry::kernel {
namespace {

constexpr size_t kMostInstructions = (1 << 18) / sizeof(sock_filter);  // MAX_INSNS_PER_PATH

// Whether an instruction is one that seccomp filters may have (seccomp_check_filter) and is well-formed
// (bpf_check_classic).
bool allowed(const std::vector<sock_filter>& program, size_t at) {
  const sock_filter& step = program[at];
  const size_t left = program.size() - at - 1;
  switch (step.code) {
    case BPF_LD | BPF_W | BPF_ABS:
      return step.k < sizeof(seccomp_data) && step.k % 4 == 0;
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_ALU | BPF_NEG:
    case BPF_ALU | BPF_ADD | BPF_K:
    case BPF_ALU | BPF_ADD | BPF_X:
    case BPF_ALU | BPF_SUB | BPF_K:
    case BPF_ALU | BPF_SUB | BPF_X:
    case BPF_ALU | BPF_MUL | BPF_K:
    case BPF_ALU | BPF_MUL | BPF_X:
    case BPF_ALU | BPF_DIV | BPF_X:
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_ALU | BPF_AND | BPF_X:
    case BPF_ALU | BPF_OR | BPF_K:
    case BPF_ALU | BPF_OR | BPF_X:
    case BPF_ALU | BPF_XOR | BPF_K:
    case BPF_ALU | BPF_XOR | BPF_X:
    case BPF_ALU | BPF_LSH | BPF_X:
    case BPF_ALU | BPF_RSH | BPF_X:
      return true;
    case BPF_ALU | BPF_DIV | BPF_K:
      return step.k != 0;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
      return step.k < 32;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
      return step.k < BPF_MEMWORDS;
    case BPF_JMP | BPF_JA:
      return step.k < left;
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JEQ | BPF_X:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_X:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_X:
    case BPF_JMP | BPF_JSET | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_X:
      return step.jt < left && step.jf < left;
    default:
      return false;
  }
}

uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case BPF_ADD:
      return a + b;
    case BPF_SUB:
      return a - b;
    case BPF_MUL:
      return a * b;
    case BPF_AND:
      return a & b;
    case BPF_OR:
      return a | b;
    case BPF_XOR:
      return a ^ b;
    case BPF_LSH:
      return a << (b & 31);
    case BPF_RSH:
      return a >> (b & 31);
    default:
      return -a;  // BPF_NEG; division is its caller's
  }
}

bool compare(uint16_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case BPF_JEQ:
      return a == b;
    case BPF_JGE:
      return a >= b;
    case BPF_JGT:
      return a > b;
    default:
      return (a & b) != 0;  // BPF_JSET
  }
}

// Jumps go forward only, so this ends.
uint32_t run(const std::vector<sock_filter>& program, const seccomp_data& data) {
  uint32_t a = 0, x = 0;
  uint32_t memory[BPF_MEMWORDS]{};
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    const uint32_t operand = BPF_SRC(step.code) == BPF_X ? x : step.k;
    switch (BPF_CLASS(step.code)) {
      case BPF_LD:
      case BPF_LDX: {
        uint32_t value = step.k;  // BPF_IMM
        if (BPF_MODE(step.code) == BPF_ABS)
          std::memcpy(&value, reinterpret_cast<const char*>(&data) + step.k, sizeof value);
        else if (BPF_MODE(step.code) == BPF_MEM)
          value = memory[step.k];
        else if (BPF_MODE(step.code) == BPF_LEN)
          value = sizeof(seccomp_data);
        (BPF_CLASS(step.code) == BPF_LD ? a : x) = value;
        break;
      }
      case BPF_ST:
        memory[step.k] = a;
        break;
      case BPF_STX:
        memory[step.k] = x;
        break;
      case BPF_ALU:
        if (BPF_OP(step.code) == BPF_DIV) {
          if (operand == 0) return 0;
          a /= operand;
        } else {
          a = calculate(BPF_OP(step.code), a, operand);
        }
        break;
      case BPF_JMP:
        if (BPF_OP(step.code) == BPF_JA)
          at += step.k;
        else
          at += compare(BPF_OP(step.code), a, operand) ? step.jt : step.jf;
        break;
      case BPF_RET:
        return BPF_RVAL(step.code) == BPF_A ? a : step.k;
      default:  // BPF_MISC
        if (BPF_MISCOP(step.code) == BPF_TAX)
          x = a;
        else
          a = x;
        break;
    }
  }
  return 0;
}

}  // namespace

Result<std::shared_ptr<const SeccompFilter>> make_filter(std::vector<sock_filter> program,
                                                         std::shared_ptr<const SeccompFilter> previous) {
  if (program.empty() || program.size() > BPF_MAXINSNS) return Errno(EINVAL);
  for (size_t at = 0; at < program.size(); ++at)
    if (!allowed(program, at)) return Errno(EINVAL);
  if (BPF_CLASS(program.back().code) != BPF_RET) return Errno(EINVAL);
  auto filter = std::make_shared<SeccompFilter>();
  filter->instructions = program.size() + (previous != nullptr ? previous->instructions + 4 : 0);
  if (filter->instructions > kMostInstructions) return Errno(ENOMEM);
  filter->depth = previous != nullptr ? previous->depth + 1 : 1;
  filter->program = std::move(program);
  filter->previous = std::move(previous);
  return std::shared_ptr<const SeccompFilter>(std::move(filter));
}

uint32_t evaluate(const SeccompFilter& filter, const seccomp_data& data) {
  uint32_t strictest = SECCOMP_RET_ALLOW;
  for (const SeccompFilter* each = &filter; each != nullptr; each = each->previous.get()) {
    const uint32_t answer = run(each->program, data);
    // Actions compare as signed numbers: killing the process is the least of all.
    if (static_cast<int32_t>(answer & SECCOMP_RET_ACTION_FULL) <
        static_cast<int32_t>(strictest & SECCOMP_RET_ACTION_FULL))
      strictest = answer;
  }
  return strictest;
}

}  // namespace sentry::kernel
