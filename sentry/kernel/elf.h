// Reading and mapping of ELF images. Everything in the file is hostile.
#pragma once

#include <elf.h>

#include <optional>
#include <string>
#include <vector>

#include "sentry/mm/address_space_map.h"
#include "sentry/vfs/file.h"

namespace sentry::kernel {

// A checked image: 64-bit x86 executable or shared object.
struct ElfImage {
  vfs::FileRef file;
  Elf64_Ehdr header;
  std::vector<Elf64_Phdr> segments;        // PT_LOAD, ascending, not overlapping
  std::optional<std::string> interpreter;  // PT_INTERP
  bool executable_stack = false;
  uint64_t phdr_address = 0;   // of the program headers in memory, unrelocated; 0 if not loaded
  uint64_t low = 0, high = 0;  // unrelocated page-aligned extent of the segments
};

// ENOEXEC for what is not such an image, EIO for a truncated one.
Result<ElfImage> read_elf(const vfs::FileRef& file);

struct LoadedElf {
  uint64_t bias = 0;
  uint64_t entry = 0;
  uint64_t phdr = 0;
  uint64_t end = 0;  // first address behind the bss
  uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0;
};

// Maps the image; ET_DYN at `base` (page-aligned), or where there is room if base is 0.
Result<LoadedElf> map_elf(mm::AddressSpaceMap& memory, const ElfImage& image, uint64_t base);

// Fills `buffer` from the file: EIO if it is shorter.
Result<> read_exactly(vfs::File& file, uint64_t offset, void* buffer, size_t size);

}  // namespace sentry::kernel
