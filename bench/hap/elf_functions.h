// The functions of a program file, stripped or not: where each begins and how long it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hap {

struct ProgramFunction {
  uint64_t address;  // as the file's program headers count, before any load bias
  uint64_t size;     // bytes; up to the next function where the file does not say
  std::string name;  // empty where the file does not say
};

struct Program {
  uint64_t first_address = 0;  // page-aligned address of the first loaded segment: load bias = mapping - this
  std::string source;          // where the functions come from: .symtab, .gopclntab, .eh_frame_hdr
  std::vector<ProgramFunction> functions;  // by ascending address, executable segments only
};

// Reads a 64-bit little-endian ELF file's symbol table; without one, Go's function table (the runtime's
// pclntab, Go 1.18 and 1.20 formats); without that, the exception tables' index (.eh_frame_hdr, LSB Core
// generic, chapter 10.6). Throws std::runtime_error for anything else.
Program read_program(const std::string& path);

}  // namespace hap
