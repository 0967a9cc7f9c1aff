#include "sentry/platform/trap/vdso.h"

#include <elf.h>
#include <sys/auxv.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

namespace sentry::platform::trap {
namespace {

// The value of a function symbol; 0 if there is none of this name. The image is the host kernel's and trusted.
uint64_t find_symbol(const unsigned char* image, std::string_view wanted) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, image + header.e_shoff + static_cast<size_t>(i) * sizeof section, sizeof section);
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

}  // namespace

Vdso find_vdso() {
  Vdso vdso;
  const uint64_t image = ::getauxval(AT_SYSINFO_EHDR);
  const std::unique_ptr<FILE, int (*)(FILE*)> maps(std::fopen("/proc/self/maps", "re"), std::fclose);
  if (image == 0 || maps == nullptr) return vdso;
  char line[512];
  while (std::fgets(line, sizeof line, maps.get()) != nullptr) {
    unsigned long start = 0, end = 0;
    const bool ours = std::strstr(line, "[vvar") != nullptr || std::strstr(line, "[vdso]") != nullptr;
    if (ours && std::sscanf(line, "%lx-%lx", &start, &end) == 2) vdso.parts.push_back({start, end - start});
  }
  const uint64_t function = find_symbol(reinterpret_cast<const unsigned char*>(image), "__vdso_clock_gettime");
  if (vdso.parts.empty() || function == 0 || image < vdso.parts.front().start) return {};
  vdso.clock_gettime_offset = image - vdso.parts.front().start + function;
  return vdso;
}

}  // namespace sentry::platform::trap
