#include "sentry/platform/trap/patch.h"

#include <capstone/capstone.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>

#include "sentry/base/log.h"
#include "sentry/platform/trap/stub.h"

// Capstone's static library refers to every architecture that it knows; only x86's is wanted in the program.
#define NO_ARCHITECTURE(name)                                         \
  extern "C" cs_err name##_global_init(void*);                        \
  extern "C" cs_err name##_option(void*, cs_opt_type, size_t);        \
  extern "C" cs_err name##_global_init(void*) { return CS_ERR_ARCH; } \
  extern "C" cs_err name##_option(void*, cs_opt_type, size_t) { return CS_ERR_ARCH; }
NO_ARCHITECTURE(ARM)
NO_ARCHITECTURE(AArch64)
NO_ARCHITECTURE(Mips)
NO_ARCHITECTURE(PPC)
NO_ARCHITECTURE(Sparc)
NO_ARCHITECTURE(SystemZ)
NO_ARCHITECTURE(XCore)
NO_ARCHITECTURE(M68K)
NO_ARCHITECTURE(TMS320C64x)
NO_ARCHITECTURE(M680X)
NO_ARCHITECTURE(EVM)

namespace sentry::platform::trap {
namespace {

constexpr size_t kJumpLength = 5;       // jmp rel32
constexpr size_t kShortJumpLength = 2;  // jmp rel8
constexpr size_t kLongest = 15;         // of an x86 instruction
constexpr int kVotes = 16;
constexpr size_t kMostMoved = 4;   // instructions
constexpr size_t kFunctions = 16;  // where they begin: at its multiples

class Code {
 public:
  void byte(uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void word(int64_t value) {
    const auto narrow = static_cast<int32_t>(value);
    for (int i = 0; i < 4; ++i) byte(static_cast<uint8_t>(static_cast<uint32_t>(narrow) >> (8 * i)));
  }
  // Up to this size with what must not be executed.
  void fill(size_t size) {
    while (bytes_.size() < size) byte(0xcc);
  }
  void bytes(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

bool fits(int64_t distance) { return distance == static_cast<int32_t>(distance); }

// Whether an operand lies at a distance from what this register holds.
bool has_operand_by(const cs_x86& x86, x86_reg base) {
  return std::any_of(x86.operands, x86.operands + x86.op_count, [&](const cs_x86_op& operand) {
    return operand.type == X86_OP_MEM && operand.mem.base == base;
  });
}

bool movable(const cs_insn& instruction) {
  const cs_detail& detail = *instruction.detail;
  // C libraries jump over the prefix as long as there is one thread, into the instruction.
  constexpr uint8_t kLock = 0xf0;
  if (detail.x86.prefix[0] == kLock) return false;
  // Who sets the trap flag there steps over the call, not to it.
  if (instruction.id == X86_INS_POPF || instruction.id == X86_INS_POPFD || instruction.id == X86_INS_POPFQ)
    return false;
  // Addresses of 32 bits are cut: their distances cannot be told anew.
  if (has_operand_by(detail.x86, X86_REG_EIP)) return false;
  for (uint8_t i = 0; i < detail.groups_count; ++i) {
    switch (detail.groups[i]) {
      case CS_GRP_JUMP:
      case CS_GRP_CALL:
      case CS_GRP_RET:
      case CS_GRP_INT:
      case CS_GRP_IRET:
      case CS_GRP_BRANCH_RELATIVE:
        return false;
      default:
        break;
    }
  }
  return true;
}

// Of an operand at a distance from the instruction, where that stands in it.
size_t relative_place(const cs_insn& instruction) {
  const cs_x86& x86 = instruction.detail->x86;
  return has_operand_by(x86, X86_REG_RIP) ? x86.encoding.disp_offset : 0;
}

}  // namespace

CallSitePatcher::~CallSitePatcher() {
  if (decoder_ == 0) return;
  cs_free(static_cast<cs_insn*>(instruction_), 1);
  cs_close(&decoder_);
}

// x86 code can only be read forwards. From several places before this one on, decoding soon falls into step
// with the real instructions; what nearly all agree on is what ends here.
std::optional<CallSitePatcher::Instruction> CallSitePatcher::instruction_before(
    std::span<const std::byte> text, size_t place) {
  if (decoder_ == 0) {
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &decoder_) != CS_ERR_OK) return std::nullopt;
    cs_option(decoder_, CS_OPT_DETAIL, CS_OPT_ON);
    instruction_ = cs_malloc(decoder_);
  }
  auto* const instruction = static_cast<cs_insn*>(instruction_);
  std::map<size_t, int> votes;
  std::map<size_t, Instruction> kinds;
  int cast = 0, counted = 0;
  const size_t first = place > kContext ? place - kContext : 0;
  for (size_t start = first; start + kLongest < place; ++start) {
    const auto* code = reinterpret_cast<const uint8_t*>(text.data()) + start;
    size_t left = place - start;
    uint64_t address = start;
    ++cast;
    while (left > 0 && cs_disasm_iter(decoder_, &code, &left, &address, instruction)) {
      if (address != place) continue;
      ++counted;
      ++votes[instruction->size];
      kinds[instruction->size] = {instruction->size, instruction->id, movable(*instruction),
                                  relative_place(*instruction)};
    }
  }
  const auto best = std::max_element(votes.begin(), votes.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  // Starts that run into bytes which are no instructions say nothing.
  if (cast < kVotes || counted * 5 < cast * 2 || best == votes.end() || best->second * 10 < counted * 9)
    return std::nullopt;
  return kinds[best->first];
}

size_t CallSitePatcher::padding(std::span<const std::byte> text, size_t place) {
  constexpr size_t kAlignment = 8;
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};  // a no-operation that is one's own
  auto* const instruction = static_cast<cs_insn*>(instruction_);
  const auto* code = reinterpret_cast<const uint8_t*>(text.data()) + place;
  // Where a function may begin none of it is padding: some begin with no-operations, one byte each, to be
  // rewritten by others (-fpatchable-function-entry).
  if (place % kFunctions == 0) return 0;
  size_t left = std::min(text.size(), place + kFunctions - place % kFunctions) - place, found = 0, single = 0;
  uint64_t address = place;
  while (left > 0) {
    if (left >= sizeof kEndbr64 && std::memcmp(code, kEndbr64, sizeof kEndbr64) == 0) break;
    if (!cs_disasm_iter(decoder_, &code, &left, &address, instruction)) break;
    if (instruction->id != X86_INS_NOP && instruction->id != X86_INS_INT3) break;
    if (instruction->id == X86_INS_NOP && instruction->size == 1 && ++single > 1) return 0;
    found = address - place;
  }
  return (place + found) % kAlignment == 0 ? found : 0;
}

std::optional<CallSitePatcher::Springboard> CallSitePatcher::springboard_near(std::span<const std::byte> text,
                                                                              size_t first, size_t behind) {
  constexpr size_t kReach = 128;
  const size_t from = std::max(behind > kReach ? behind - kReach : 1, first),
               to = std::min(behind + kReach - 1, text.size() - kJumpLength);
  for (size_t place = from; place <= to; ++place) {
    // What most padding begins with, before anything is decoded.
    const auto byte = static_cast<uint8_t>(text[place]);
    if (byte != 0x0f && byte != 0x66 && byte != 0x2e && byte != 0x90 && byte != 0xcc) continue;
    const size_t size = padding(text, place);
    if (size < kJumpLength) continue;
    // Nothing runs into it.
    const std::optional<Instruction> before = instruction_before(text, place);
    if (before && (before->id == X86_INS_RET || before->id == X86_INS_JMP)) return Springboard{place, size};
  }
  return std::nullopt;
}

CallSitePatcher::CallSitePatcher() {
  // Capstone sorts, and the first time that glibc sorts much it asks how much memory the host has,
  // sysinfo(2).
  std::array<int, 1024> numbers{};
  std::qsort(numbers.data(), numbers.size(), sizeof(int), [](const void* a, const void* b) {
    return *static_cast<const int*>(a) - *static_cast<const int*>(b);
  });
}

std::vector<std::byte> CallSitePatcher::region_header() {
  const uint64_t entry = shim_header().jump;
  std::vector<std::byte> header(sizeof entry);
  std::memcpy(header.data(), &entry, sizeof entry);
  return header;
}

std::optional<SitePatcher::Patch> CallSitePatcher::patch(const Text& text, size_t site, int64_t distance,
                                                         int64_t base_distance) {
  // A call through the vsyscall page comes from there as well, but for what is at its place.
  constexpr std::byte kSyscall[] = {std::byte{0x0f}, std::byte{0x05}};
  if (site + sizeof kSyscall > text.original.size() ||
      !std::ranges::equal(text.original.subspan(site, sizeof kSyscall), kSyscall))
    return std::nullopt;
  // The instructions that are carried out elsewhere, the last first. What may be padding is not where the
  // jump goes: a function may begin behind it.
  const auto gives_way = [](const Instruction& one) {
    return one.size >= kJumpLength && one.id != X86_INS_NOP;
  };
  std::vector<Instruction> moved;
  size_t start = site;
  while (moved.size() < kMostMoved && (moved.empty() || !gives_way(moved.back()))) {
    // A function may begin there, and what comes before it be a table.
    if (!moved.empty() && start % kFunctions == 0) break;
    const std::optional<Instruction> before = instruction_before(text.original, start);
    if (!before || !before->movable || start - before->size < text.first) break;
    start -= before->size;
    moved.push_back(*before);
  }
  if (moved.empty()) return std::nullopt;
  const bool springs = !gives_way(moved.back());
  if (springs) {
    moved.resize(1);
    start = site - moved[0].size;
    if (moved[0].size < kShortJumpLength) return std::nullopt;
  }
  const size_t room = moved.back().size;
  const auto displaced = text.current.subspan(start, site - start);
  if (!std::ranges::equal(displaced, text.original.subspan(start, site - start))) return std::nullopt;

  Patch patch;
  patch.displaced = start;
  Springboard jump_from{start, room};
  if (springs) {
    const size_t behind = start + kShortJumpLength;
    const std::optional<Springboard> springboard = springboard_near(text.current, text.first, behind);
    if (!springboard) return std::nullopt;
    jump_from = *springboard;
    patch.springboard = springboard->offset;
    Code short_jump;
    short_jump.byte(0xeb);  // jmp rel8
    short_jump.byte(static_cast<uint8_t>(springboard->offset - behind));
    short_jump.fill(room);
    patch.edits.push_back({start, short_jump.take()});
  }
  const int64_t jump = distance - static_cast<int64_t>(jump_from.offset + kJumpLength);
  if (!fits(jump) || !fits(distance - static_cast<int64_t>(site))) return std::nullopt;
  Code long_jump;
  long_jump.byte(0xe9);  // jmp rel32
  long_jump.word(jump);
  long_jump.fill(jump_from.size);
  patch.edits.push_back({jump_from.offset, long_jump.take()});

  // The displaced instructions; lea data(%rip), %r11; jmp *header(%rip); data: from here to behind the site.
  Code outside;
  for (auto instruction = moved.rbegin(); instruction != moved.rend(); ++instruction) {
    const size_t at = static_cast<size_t>(outside.size());
    auto bytes = displaced.subspan(at, instruction->size);
    if (instruction->relative == 0) {
      outside.bytes(bytes);
      continue;
    }
    int32_t operand = 0;
    std::memcpy(&operand, &bytes[instruction->relative], sizeof operand);
    const int64_t moved_operand = operand + static_cast<int64_t>(start) - distance;
    if (!fits(moved_operand)) return std::nullopt;
    outside.bytes(bytes.first(instruction->relative));
    outside.word(moved_operand);
    outside.bytes(bytes.subspan(instruction->relative + sizeof operand));
  }
  for (const uint8_t byte : std::initializer_list<uint8_t>{0x4c, 0x8d, 0x1d}) outside.byte(byte);
  outside.word(6);
  for (const uint8_t byte : std::initializer_list<uint8_t>{0xff, 0x25}) outside.byte(byte);
  outside.word(base_distance - (distance + outside.size() + 4));
  const int64_t data = distance + outside.size();
  outside.word(static_cast<int64_t>(site) + 2 - data);
  patch.outside = outside.take();
  return patch;
}

}  // namespace sentry::platform::trap
