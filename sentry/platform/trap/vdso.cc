#include "sentry/platform/trap/vdso.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <string_view>

#include "sentry/platform/platform.h"

namespace sentry::platform::trap {
namespace {

constexpr uint64_t kMostPages = 16;  // of one part

// The value of a function symbol; 0 if there is none of this name. The image is the host kernel's and
// trusted.
uint64_t find_symbol(const unsigned char* image, std::string_view wanted) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  for (size_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, image + header.e_shoff + i * sizeof section, sizeof section);
    if (section.sh_type != SHT_DYNSYM) continue;
    Elf64_Shdr strings;
    std::memcpy(&strings, image + header.e_shoff + section.sh_link * sizeof strings, sizeof strings);
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, image + section.sh_offset + at, sizeof symbol);
      const char* const name = reinterpret_cast<const char*>(image) + strings.sh_offset + symbol.st_name;
      if (symbol.st_value != 0 && wanted == name) return symbol.st_value;
    }
  }
  return 0;
}

void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

// Moves the part that starts at `start` (or ends at `end`), whose length nothing tells without /proc: the
// host splits none of these mappings, so only the right length moves. The length; 0 if none did.
uint64_t move_part(uint64_t start, uint64_t end, uint64_t to, uint64_t to_end) {
  for (uint64_t pages = 1; pages <= kMostPages; ++pages) {
    const uint64_t length = pages * kPageSize;
    const uint64_t from = start != 0 ? start : end - length, target = start != 0 ? to : to_end - length;
    if (::mremap(pointer(from), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(target)) != MAP_FAILED)
      return length;
  }
  return 0;
}

// Puts a copy of the code in its own place.
bool make_private(uint64_t code, uint64_t length) {
  void* const copy = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return false;
  std::memcpy(copy, pointer(code), length);
  return ::mprotect(copy, length, PROT_READ | PROT_EXEC) == 0 &&
         ::mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(code)) != MAP_FAILED;
}

// The vDSO's data pages are device memory to the host, which cannot be cold.
bool is_data(uint64_t page) { return ::madvise(pointer(page), kPageSize, MADV_COLD) != 0 && errno == EINVAL; }

// How long the code is; 0 if something did not move.
uint64_t move_parts(uint64_t from, uint64_t to) {
  const uint64_t code_length = move_part(from, 0, to, 0);
  if (code_length == 0) return 0;
  while (is_data(from - kPageSize)) {
    const uint64_t length = move_part(0, from, 0, to);
    if (length == 0) return 0;
    from -= length;
    to -= length;
  }
  return code_length;
}

}  // namespace

uint64_t find_vdso() { return ::getauxval(AT_SYSINFO_EHDR); }

uint64_t find_vdso_clock(uint64_t vdso) {
  return vdso == 0 ? 0 : find_symbol(reinterpret_cast<const unsigned char*>(vdso), "__vdso_clock_gettime");
}

uint64_t move_vdso(uint64_t from, uint64_t to) {
  // A mapping cannot be moved to where it lies in part.
  constexpr uint64_t kRoom = 4 * kMostPages * kPageSize;
  if ((from < to ? to - from : from - to) < kRoom) {
    void* const aside = ::mmap(nullptr, 2 * kRoom, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (aside == MAP_FAILED) return 0;
    const uint64_t middle = reinterpret_cast<uint64_t>(aside) + kRoom;
    if (move_parts(from, middle) == 0) return 0;
    from = middle;
  }
  return move_parts(from, to);
}

bool keep_vdso_across_fork(uint64_t vdso, uint64_t code_length) {
  const uint64_t clock = vdso + find_vdso_clock(vdso);
  if (!make_private(vdso, code_length)) return false;
  timespec now;
  return reinterpret_cast<int (*)(clockid_t, timespec*)>(clock)(CLOCK_MONOTONIC, &now) == 0;
}

}  // namespace sentry::platform::trap
