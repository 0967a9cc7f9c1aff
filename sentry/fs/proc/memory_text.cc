#include "sentry/fs/proc/memory_text.h"

#include <sys/mman.h>

#include <algorithm>

#include <fmt/format.h>

namespace sentry::fs::proc {
namespace {

using mm::Vma;

// Arguments and environment together fit in a quarter of the stack limit (execve(2)); a program may point
// elsewhere.
constexpr size_t kLongestArguments = 4 << 20;

uint64_t resident(const Vma& vma, uint64_t start) {
  return vma.prot == PROT_NONE || vma.no_reserve ? 0 : vma.end - start;
}

std::string escaped(std::string_view path) {
  std::string text;
  for (char c : path) {
    if (c == '\n')
      text += "\\012";
    else
      text += c;
  }
  return text;
}

// One line of maps. Private anonymous memory has no file; what the kernel named, a name in brackets.
std::string line(uint64_t start, const Vma& vma) {
  mm::Mappable::Identity identity;
  uint64_t offset = 0;
  if (vma.file != nullptr) {
    identity = vma.file->identity();
    offset = vma.offset;
  } else if (vma.name != nullptr) {
    identity.path = vma.name;
  }
  std::string text =
      fmt::format("{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ", start, vma.end,
                  (vma.prot & PROT_READ) != 0 ? 'r' : '-', (vma.prot & PROT_WRITE) != 0 ? 'w' : '-',
                  (vma.prot & PROT_EXEC) != 0 ? 'x' : '-', vma.shared ? 's' : 'p', offset,
                  identity.device_major, identity.device_minor, identity.inode);
  if (!identity.path.empty()) {
    constexpr size_t kPathColumn = 73;
    text.resize(std::max(text.size(), kPathColumn), ' ');
    text += escaped(identity.path);
  }
  text += '\n';
  return text;
}

struct Sums {
  uint64_t rss = 0, shared_clean = 0, private_clean = 0, private_dirty = 0, anonymous = 0, locked = 0;
};

Sums sums(uint64_t start, const Vma& vma) {
  Sums sum;
  sum.rss = resident(vma, start);
  const bool written = (vma.prot & PROT_WRITE) != 0;
  if (vma.file == nullptr) {
    sum.anonymous = sum.private_dirty = sum.rss;
  } else if (vma.shared) {
    sum.shared_clean = sum.rss;
  } else if (written) {
    sum.anonymous = sum.private_dirty = sum.rss;
  } else {
    sum.private_clean = sum.rss;
  }
  if (vma.locked) sum.locked = sum.rss;
  return sum;
}

std::string sums_text(const Sums& sum) {
  std::string text;
  const auto row = [&](const char* name, uint64_t bytes) {
    text += fmt::format("{:<16}{:>8} kB\n", std::string(name) + ":", bytes >> 10);
  };
  row("Rss", sum.rss);
  row("Pss", sum.rss);
  row("Pss_Dirty", sum.private_dirty);
  row("Shared_Clean", sum.shared_clean);
  row("Shared_Dirty", 0);
  row("Private_Clean", sum.private_clean);
  row("Private_Dirty", sum.private_dirty);
  row("Referenced", sum.rss);
  row("Anonymous", sum.anonymous);
  row("LazyFree", 0);
  row("AnonHugePages", 0);
  row("ShmemPmdMapped", 0);
  row("FilePmdMapped", 0);
  row("Shared_Hugetlb", 0);
  row("Private_Hugetlb", 0);
  row("Swap", 0);
  row("SwapPss", 0);
  row("Locked", sum.locked);
  return text;
}

std::string flags_text(const Vma& vma) {
  std::string text = "VmFlags: ";
  if ((vma.prot & PROT_READ) != 0) text += "rd ";
  if ((vma.prot & PROT_WRITE) != 0) text += "wr ";
  if ((vma.prot & PROT_EXEC) != 0) text += "ex ";
  if (vma.shared) text += "sh ";
  if ((vma.max_prot & PROT_READ) != 0) text += "mr ";
  if ((vma.max_prot & PROT_WRITE) != 0) text += "mw ";
  if ((vma.max_prot & PROT_EXEC) != 0) text += "me ";
  if (vma.grows_down) text += "gd ";
  if (vma.locked) text += "lo ";
  if (vma.dont_fork) text += "dc ";
  if (vma.no_reserve) text += "nr ";
  if (vma.wipe_on_fork) text += "wf ";
  return text + "\n";
}

}  // namespace

MemoryFacts measure(const mm::AddressSpaceMap& memory) {
  MemoryFacts facts;
  const auto& layout = memory.layout;
  for (const auto& [start, vma] : memory.vmas()) {
    const uint64_t length = vma.end - start;
    const uint64_t touched = resident(vma, start);
    facts.size += length;
    facts.resident += touched;
    if (vma.file == nullptr || (!vma.shared && (vma.prot & PROT_WRITE) != 0))
      facts.anonymous += touched;
    else if (vma.shared && (vma.prot & PROT_WRITE) != 0)
      facts.shared += touched;
    else
      facts.file += touched;
    if (vma.grows_down)
      facts.stack += length;
    else if (!vma.shared && (vma.prot & PROT_WRITE) != 0)
      facts.data += length;
    if ((vma.prot & (PROT_EXEC | PROT_WRITE)) == PROT_EXEC) facts.libraries += length;
    if (vma.locked) facts.locked += length;
  }
  if (layout.code_end > layout.code_start)
    facts.executable = mm::page_ceil(layout.code_end) - mm::page_floor(layout.code_start);
  facts.libraries -= std::min(facts.libraries, facts.executable);
  return facts;
}

Result<std::string> maps_text(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  std::string text;
  if (memory == nullptr) return text;
  for (const auto& [start, vma] : memory->vmas()) text += line(start, vma);
  return text;
}

Result<std::string> smaps_text(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  std::string text;
  if (memory == nullptr) return text;
  for (const auto& [start, vma] : memory->vmas()) {
    text += line(start, vma);
    text += fmt::format("{:<16}{:>8} kB\n", "Size:", (vma.end - start) >> 10);
    text += fmt::format("{:<16}{:>8} kB\n{:<16}{:>8} kB\n", "KernelPageSize:", 4, "MMUPageSize:", 4);
    text += sums_text(sums(start, vma));
    text += "THPeligible:    0\n";
    text += flags_text(vma);
  }
  return text;
}

Result<std::string> smaps_rollup_text(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr) return Errno(ESRCH);
  const auto& vmas = memory->vmas();
  Sums total;
  for (const auto& [start, vma] : vmas) {
    const Sums sum = sums(start, vma);
    total.rss += sum.rss;
    total.shared_clean += sum.shared_clean;
    total.private_clean += sum.private_clean;
    total.private_dirty += sum.private_dirty;
    total.anonymous += sum.anonymous;
    total.locked += sum.locked;
  }
  const uint64_t first = vmas.empty() ? 0 : vmas.begin()->first;
  const uint64_t last = vmas.empty() ? 0 : vmas.rbegin()->second.end;
  std::string text = fmt::format("{:08x}-{:08x} ---p 00000000 00:00 0 ", first, last);
  text.resize(73, ' ');
  text += "[rollup]\n";
  return text + sums_text(total);
}

Result<std::string> statm_text(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr) return std::string("0 0 0 0 0 0 0\n");
  const MemoryFacts facts = measure(*memory);
  const auto pages = [](uint64_t bytes) { return bytes / mm::kPageSize; };
  return fmt::format("{} {} {} {} 0 {} 0\n", pages(facts.size), pages(facts.resident),
                     pages(facts.file + facts.shared), pages(facts.executable),
                     pages(facts.data + facts.stack));
}

std::string read_range(mm::AddressSpaceMap& memory, uint64_t start, uint64_t end, size_t limit) {
  if (start == 0 || end <= start) return {};
  std::string text(static_cast<size_t>(std::min<uint64_t>(end - start, limit)), '\0');
  text.resize(memory.read_some(start, text.data(), text.size()).value_or(0));
  return text;
}

Result<std::string> command_line(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr) return std::string{};
  const auto layout = memory->layout;
  std::string text = read_range(*memory, layout.arg_start, layout.arg_end, kLongestArguments);
  // A program that has written over its arguments up to the last byte shows a title, which may run on into
  // the environment and ends at the first NUL (get_mm_cmdline in Linux).
  if (text.empty() || text.back() == '\0' || layout.env_start != layout.arg_end) return text;
  text = read_range(*memory, layout.arg_start, layout.env_end, kLongestArguments);
  return text.substr(0, text.find('\0'));
}

Result<std::string> environment(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr) return std::string{};
  return read_range(*memory, memory->layout.env_start, memory->layout.env_end, kLongestArguments);
}

Result<std::string> auxiliary_vector(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr) return std::string{};
  const std::vector<uint64_t>& words = memory->layout.auxv;
  return std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof words[0]);
}

}  // namespace sentry::fs::proc
