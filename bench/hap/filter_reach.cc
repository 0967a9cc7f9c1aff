#include "bench/hap/filter_reach.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

#include <array>
#include <cstddef>
#include <optional>
#include <set>
#include <tuple>

namespace hap {
namespace {

using Value = std::optional<uint32_t>;  // absent: depends on what the tenant passes

struct State {
  size_t at = 0;
  Value a = 0;
  Value x = 0;
  std::array<Value, BPF_MEMWORDS> memory{};
  auto key() const { return std::tie(at, a, x, memory); }
  friend bool operator<(const State& left, const State& right) { return left.key() < right.key(); }
};

Value load_field(uint32_t offset, uint32_t number) {
  if (offset == offsetof(seccomp_data, nr)) return number;
  if (offset == offsetof(seccomp_data, arch)) return AUDIT_ARCH_X86_64;
  return std::nullopt;
}

Value arithmetic(uint16_t operation, Value left, Value right) {
  if (operation == BPF_NEG) return left ? Value(-*left) : std::nullopt;
  if (!left || !right) return std::nullopt;
  switch (operation) {
    case BPF_ADD:
      return *left + *right;
    case BPF_SUB:
      return *left - *right;
    case BPF_MUL:
      return *left * *right;
    case BPF_DIV:
      return *right == 0 ? std::nullopt : Value(*left / *right);
    case BPF_OR:
      return *left | *right;
    case BPF_AND:
      return *left & *right;
    case BPF_XOR:
      return *left ^ *right;
    case BPF_LSH:
      return *right > 31 ? 0 : *left << *right;
    case BPF_RSH:
      return *right > 31 ? 0 : *left >> *right;
    default:
      return std::nullopt;
  }
}

// Absent: either branch, depending on the arguments.
std::optional<bool> compare(uint16_t operation, Value left, Value right) {
  if (!left || !right) return std::nullopt;
  switch (operation) {
    case BPF_JEQ:
      return *left == *right;
    case BPF_JGT:
      return *left > *right;
    case BPF_JGE:
      return *left >= *right;
    case BPF_JSET:
      return (*left & *right) != 0;
    default:
      return std::nullopt;
  }
}

void answer(uint32_t verdict, Reach& reach) {
  switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
      reach.allowed = true;
      break;
    case SECCOMP_RET_USER_NOTIF:
    case SECCOMP_RET_TRACE:
      reach.consulted = true;
      break;
    default:
      break;  // an errno, a signal or death: the call's own code never runs
  }
}

}  // namespace

Reach filter_reach(std::span<const sock_filter> program, uint32_t number, bool& complete) {
  Reach reach;
  std::set<State> seen;
  std::vector<State> todo{State{}};
  const auto visit = [&](State state) {
    if (seen.insert(state).second) todo.push_back(state);
  };
  while (!todo.empty()) {
    State state = todo.back();
    todo.pop_back();
    if (state.at >= program.size()) {
      complete = false;
      reach.allowed = true;
      continue;
    }
    const sock_filter& step = program[state.at];
    const Value operand = BPF_SRC(step.code) == BPF_X ? state.x : Value(step.k);
    State next = state;
    ++next.at;
    switch (BPF_CLASS(step.code)) {
      case BPF_LD:
        if (BPF_MODE(step.code) == BPF_ABS)
          next.a = load_field(step.k, number);
        else if (BPF_MODE(step.code) == BPF_IMM)
          next.a = step.k;
        else if (BPF_MODE(step.code) == BPF_MEM && step.k < BPF_MEMWORDS)
          next.a = state.memory[step.k];
        else if (BPF_MODE(step.code) == BPF_LEN)
          next.a = static_cast<uint32_t>(sizeof(seccomp_data));
        else
          next.a = std::nullopt, complete = false;
        visit(next);
        break;
      case BPF_LDX:
        if (BPF_MODE(step.code) == BPF_IMM)
          next.x = step.k;
        else if (BPF_MODE(step.code) == BPF_MEM && step.k < BPF_MEMWORDS)
          next.x = state.memory[step.k];
        else if (BPF_MODE(step.code) == BPF_LEN)
          next.x = static_cast<uint32_t>(sizeof(seccomp_data));
        else
          next.x = std::nullopt, complete = false;
        visit(next);
        break;
      case BPF_ST:
      case BPF_STX:
        if (step.k < BPF_MEMWORDS) next.memory[step.k] = BPF_CLASS(step.code) == BPF_ST ? state.a : state.x;
        visit(next);
        break;
      case BPF_ALU:
        next.a = arithmetic(BPF_OP(step.code), state.a, operand);
        visit(next);
        break;
      case BPF_MISC:
        if (BPF_MISCOP(step.code) == BPF_TAX)
          next.x = state.a;
        else
          next.a = state.x;
        visit(next);
        break;
      case BPF_JMP: {
        if (BPF_OP(step.code) == BPF_JA) {
          next.at += step.k;
          visit(next);
          break;
        }
        const std::optional<bool> taken = compare(BPF_OP(step.code), state.a, operand);
        if (taken.value_or(true)) {
          State branch = next;
          branch.at += step.jt;
          visit(branch);
        }
        if (!taken.value_or(false)) {
          State branch = next;
          branch.at += step.jf;
          visit(branch);
        }
        break;
      }
      case BPF_RET:
        if (BPF_RVAL(step.code) == BPF_A && !state.a) {
          complete = false;
          reach.allowed = true;
        } else {
          answer(BPF_RVAL(step.code) == BPF_A ? *state.a : step.k, reach);
        }
        break;
      default:
        complete = false;
        reach.allowed = true;
    }
  }
  return reach;
}

Reach chain_reach(std::span<const std::vector<sock_filter>> chain, uint32_t number, bool& complete) {
  Reach all{true, false};
  for (const auto& program : chain) {
    const Reach one = filter_reach(program, number, complete);
    // USER_NOTIF is stricter than ALLOW: a call passes the chain undecided if some filter asks and none
    // refuses.
    const bool passes = (one.allowed || one.consulted) && (all.allowed || all.consulted);
    all = {passes && one.allowed && all.allowed, passes && (one.consulted || all.consulted)};
  }
  return all;
}

}  // namespace hap
