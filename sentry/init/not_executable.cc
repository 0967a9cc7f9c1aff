#include "sentry/init/not_executable.h"

#include <elf.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "sentry/kernel/elf.h"
#include "sentry/kernel/exec.h"
#include "sentry/kernel/script.h"

namespace sentry::init {
namespace {

// The interpreter that a script or an ELF file names; empty if there is none.
std::string interpreter_of(const vfs::FileRef& program) {
  const auto script = kernel::read_script(*program);
  if (script.ok() && *script) return (*script)->interpreter;
  const auto image = kernel::read_elf(program);
  return image.ok() ? image->interpreter.value_or("") : "";
}

std::string format_of(const vfs::FileRef& program) {
  Elf64_Ehdr header{};
  mm::BufferSink sink(&header, sizeof header);
  vfs::File::IoOptions options;
  options.offset = 0;
  const Result<size_t> count = program->read(sink, options);
  if (!count.ok()) return "";
  if (*count == 0) return "the file is empty";
  if (std::memcmp(header.e_ident, "#!", 2) == 0) return "its #! line names no interpreter";
  if (*count < SELFMAG || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return "neither an ELF program nor a script with a #! line";
  // e_machine is at the same place in 32-bit files.
  const bool foreign_order = header.e_ident[EI_DATA] == ELFDATA2MSB;
  const bool whole = *count >= offsetof(Elf64_Ehdr, e_version);
  if (whole && (foreign_order || (header.e_machine != EM_X86_64 && header.e_machine != EM_386)))
    return "a program for another processor; only x86-64 ones run here";
  if (header.e_ident[EI_CLASS] == ELFCLASS32) return "a 32-bit program; only x86-64 ones run here";
  return "a damaged or unusual ELF file";
}

}  // namespace

std::string explain_refusal(kernel::Task& task, const vfs::FileRef& program, Errno error) {
  if (error.value() == ENOEXEC) {
    const std::string why = format_of(program);
    return why.empty() ? why : ": " + why;
  }
  // exec() opened the program before, so that what is missing or forbidden is what it needs.
  const std::string interpreter = interpreter_of(program);
  if (interpreter.empty() || kernel::open_executable(task, task.fs().cwd, interpreter).ok()) return "";
  return ": its interpreter " + interpreter;
}

}  // namespace sentry::init
