#include "bench/hap/elf_functions.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <stdexcept>

namespace hap {
namespace {

using Bytes = std::span<const char>;

template <typename T>
T load(Bytes file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T))
    throw std::runtime_error("the ELF file breaks off");
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(value));
  return value;
}

Bytes section_bytes(Bytes file, const Elf64_Shdr& section) {
  if (section.sh_offset > file.size() || file.size() - section.sh_offset < section.sh_size)
    throw std::runtime_error("a section of the ELF file breaks off");
  return file.subspan(section.sh_offset, section.sh_size);
}

std::string text_at(Bytes bytes, uint64_t offset) {
  if (offset >= bytes.size()) return "";
  const char* first = bytes.data() + offset;
  return {first, strnlen(first, bytes.size() - offset)};
}

using Found = std::map<uint64_t, ProgramFunction>;

Found from_symbols(Bytes symbols, Bytes names) {
  Found found;
  for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols.size(); at += sizeof(Elf64_Sym)) {
    const auto symbol = load<Elf64_Sym>(symbols, at);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF || symbol.st_size == 0)
      continue;
    found.try_emplace(symbol.st_value,
                      ProgramFunction{symbol.st_value, symbol.st_size, text_at(names, symbol.st_name)});
  }
  return found;
}

// runtime.pcHeader and the function table behind it, src/runtime/symtab.go.
Found from_go(Bytes table) {
  constexpr uint32_t kGo118 = 0xfffffff0, kGo120 = 0xfffffff1;
  const auto magic = load<uint32_t>(table, 0);
  if (magic != kGo118 && magic != kGo120)
    throw std::runtime_error("an unknown version of Go's function table");
  const auto count = load<uint64_t>(table, 8);
  const auto text = load<uint64_t>(table, 24);
  const auto names = load<uint64_t>(table, 32);
  const auto functions = load<uint64_t>(table, 64);
  Found found;
  for (uint64_t at = 0; at < count; ++at) {
    const uint64_t entry = functions + at * 8;
    const uint64_t address = text + load<uint32_t>(table, entry);
    const auto name = load<int32_t>(table, functions + load<uint32_t>(table, entry + 4) + 4);
    found.try_emplace(address, ProgramFunction{address, text + load<uint32_t>(table, entry + 8) - address,
                                               text_at(table, names + static_cast<uint64_t>(name))});
  }
  return found;
}

// The index's entries are pairs of 32-bit offsets from the index (DW_EH_PE_datarel | DW_EH_PE_sdata4).
Found from_exception_index(Bytes index, uint64_t address) {
  constexpr uint8_t kUdata4 = 0x03, kDatarelSdata4 = 0x3b;
  if (load<uint8_t>(index, 2) != kUdata4 || load<uint8_t>(index, 3) != kDatarelSdata4)
    throw std::runtime_error("an exception index in an unusual encoding");
  Found found;
  for (uint32_t at = 0; at < load<uint32_t>(index, 8); ++at) {
    const uint64_t start = address + static_cast<uint64_t>(int64_t{load<int32_t>(index, 12 + at * 8)});
    found.try_emplace(start, ProgramFunction{start, 0, ""});
  }
  return found;
}

}  // namespace

Program read_program(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<char> content{std::istreambuf_iterator<char>(stream), {}};
  const Bytes file(content);
  const auto header = load<Elf64_Ehdr>(file, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64)
    throw std::runtime_error(path + " is not a 64-bit ELF file");

  Program program;
  std::vector<std::pair<uint64_t, uint64_t>> executable;
  bool first = true;
  for (unsigned at = 0; at < header.e_phnum; ++at) {
    const auto segment = load<Elf64_Phdr>(file, header.e_phoff + at * sizeof(Elf64_Phdr));
    if (segment.p_type != PT_LOAD) continue;
    if (first) program.first_address = segment.p_vaddr & ~uint64_t{4095};
    first = false;
    if (segment.p_flags & PF_X) executable.emplace_back(segment.p_vaddr, segment.p_vaddr + segment.p_filesz);
  }

  std::vector<Elf64_Shdr> sections;
  for (unsigned at = 0; at < header.e_shnum; ++at)
    sections.push_back(load<Elf64_Shdr>(file, header.e_shoff + at * sizeof(Elf64_Shdr)));
  if (header.e_shstrndx >= sections.size()) throw std::runtime_error(path + " has no sections");
  const Bytes section_names = section_bytes(file, sections[header.e_shstrndx]);
  const auto section = [&](const std::string& wanted) -> const Elf64_Shdr* {
    for (const Elf64_Shdr& one : sections) {
      if (text_at(section_names, one.sh_name) == wanted) return &one;
    }
    return nullptr;
  };

  Found found;
  if (const Elf64_Shdr* symbols = section(".symtab");
      symbols != nullptr && symbols->sh_link < sections.size()) {
    program.source = ".symtab";
    found = from_symbols(section_bytes(file, *symbols), section_bytes(file, sections[symbols->sh_link]));
  } else if (const Elf64_Shdr* go = section(".gopclntab"); go != nullptr) {
    program.source = ".gopclntab";
    found = from_go(section_bytes(file, *go));
  } else if (const Elf64_Shdr* index = section(".eh_frame_hdr"); index != nullptr) {
    program.source = ".eh_frame_hdr";
    found = from_exception_index(section_bytes(file, *index), index->sh_addr);
  } else {
    throw std::runtime_error(path + " does not tell its functions");
  }

  for (auto entry = found.begin(); entry != found.end(); ++entry) {
    ProgramFunction& function = entry->second;
    const auto segment = std::find_if(executable.begin(), executable.end(), [&](const auto& range) {
      return function.address >= range.first && function.address < range.second;
    });
    if (segment == executable.end()) continue;
    const auto next = std::next(entry);
    const uint64_t end = next == found.end() ? segment->second : std::min(next->first, segment->second);
    if (function.size == 0) function.size = end - function.address;
    program.functions.push_back(std::move(function));
  }
  return program;
}

}  // namespace hap
