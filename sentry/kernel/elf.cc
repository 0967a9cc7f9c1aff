#include "sentry/kernel/elf.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace sentry::kernel {
namespace {

using mm::kGuestEnd;
using mm::kPageSize;
using mm::page_ceil;
using mm::page_floor;

constexpr size_t kMaxSegments = 65536 / sizeof(Elf64_Phdr);  // as Linux: the table fits 64 KiB
constexpr size_t kMaxInterpreter = 4096;

int protection(uint32_t flags) {
  return ((flags & PF_R) != 0 ? PROT_READ : 0) | ((flags & PF_W) != 0 ? PROT_WRITE : 0) |
         ((flags & PF_X) != 0 ? PROT_EXEC : 0);
}

// No segment lies there.
Result<> leave_out(mm::AddressSpaceMap& memory, uint64_t from, uint64_t to) {
  if (from >= to) return {};
  mm::MmapRequest request;
  request.address = from;
  request.length = to - from;
  request.prot = PROT_NONE;
  request.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  TRY(memory.mmap(request));
  return {};
}

}  // namespace

Result<> read_exactly(vfs::File& file, uint64_t offset, void* buffer, size_t size) {
  auto* next = static_cast<char*>(buffer);
  while (size > 0) {
    mm::BufferSink sink(next, size);
    vfs::File::IoOptions options;
    options.offset = offset;
    const size_t count = TRY(file.read(sink, options));
    if (count == 0) return Errno(EIO);
    next += count;
    offset += count;
    size -= count;
  }
  return {};
}

Result<ElfImage> read_elf(const vfs::FileRef& file) {
  ElfImage image;
  image.file = file;
  Elf64_Ehdr& header = image.header;
  const Result<> read = read_exactly(*file, 0, &header, sizeof header);
  if (!read.ok()) return Errno(read.is(EIO) ? ENOEXEC : read.error().value());
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64 ||
      (header.e_type != ET_EXEC && header.e_type != ET_DYN) || header.e_phentsize != sizeof(Elf64_Phdr) ||
      header.e_phnum == 0 || header.e_phnum > kMaxSegments || header.e_phoff > (uint64_t{1} << 62))
    return Errno(ENOEXEC);
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  const Result<> listed =
      read_exactly(*file, header.e_phoff, headers.data(), headers.size() * sizeof(Elf64_Phdr));
  if (!listed.ok()) return Errno(listed.is(EIO) ? ENOEXEC : listed.error().value());
  uint64_t last_end = 0;
  for (const Elf64_Phdr& segment : headers) {
    switch (segment.p_type) {
      case PT_INTERP: {
        if (image.interpreter) break;
        if (segment.p_filesz < 2 || segment.p_filesz > kMaxInterpreter) return Errno(ENOEXEC);
        std::string name(segment.p_filesz, '\0');
        TRY(read_exactly(*file, segment.p_offset, name.data(), name.size()));
        if (name.back() != '\0') return Errno(ENOEXEC);
        name.resize(std::strlen(name.c_str()));
        image.interpreter = std::move(name);
        break;
      }
      case PT_GNU_STACK:
        image.executable_stack = (segment.p_flags & PF_X) != 0;
        break;
      case PT_LOAD: {
        if (segment.p_memsz == 0) break;
        if (segment.p_filesz > segment.p_memsz || segment.p_memsz > kGuestEnd ||
            segment.p_vaddr > kGuestEnd || segment.p_vaddr + segment.p_memsz > kGuestEnd ||
            segment.p_offset > (uint64_t{1} << 62) || (segment.p_vaddr - segment.p_offset) % kPageSize != 0)
          return Errno(ENOEXEC);
        if (!image.segments.empty() && segment.p_vaddr < last_end) return Errno(ENOEXEC);
        last_end = segment.p_vaddr + segment.p_memsz;
        if (header.e_phoff >= segment.p_offset && header.e_phoff < segment.p_offset + segment.p_filesz)
          image.phdr_address = header.e_phoff - segment.p_offset + segment.p_vaddr;
        image.segments.push_back(segment);
        break;
      }
      default:
        break;
    }
  }
  if (image.segments.empty()) return Errno(ENOEXEC);
  image.low = page_floor(image.segments.front().p_vaddr);
  image.high = page_ceil(last_end);
  return image;
}

Result<LoadedElf> map_elf(mm::AddressSpaceMap& memory, const ElfImage& image, uint64_t base) {
  LoadedElf loaded;
  const uint64_t file_size = TRY(image.file->inode()->getattr()).size;
  std::shared_ptr<mm::Mappable> mappable = TRY(image.file->mmap(PROT_READ | PROT_EXEC, MAP_PRIVATE));
  if (image.header.e_type == ET_DYN) {
    // Room for the whole first: the segments keep their distances.
    mm::MmapRequest room;
    room.address = base;
    room.length = image.high - image.low;
    room.prot = PROT_NONE;
    room.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const uint64_t place = TRY(memory.mmap(room));
    loaded.bias = place - image.low;
    // Segments that lie in memory as they do in the file are mapped at once; each then gets its protection.
    const auto shift = [](const Elf64_Phdr& segment) { return segment.p_vaddr - segment.p_offset; };
    size_t alike = 0;
    while (alike < image.segments.size() && shift(image.segments[alike]) == shift(image.segments[0])) ++alike;
    if (alike > 1) {
      const Elf64_Phdr& first = image.segments[0];
      const Elf64_Phdr& last = image.segments[alike - 1];
      mm::MmapRequest request;
      request.address = place;
      request.length = page_ceil(last.p_vaddr + last.p_filesz) - image.low;
      request.prot = PROT_READ;
      request.flags = MAP_PRIVATE | MAP_FIXED;
      request.file = mappable;
      request.offset = page_floor(first.p_offset);
      TRY(memory.mmap(request));
      for (size_t i = 1; i < alike; ++i)
        TRY(leave_out(memory,
                      page_ceil(image.segments[i - 1].p_vaddr + image.segments[i - 1].p_memsz) + loaded.bias,
                      page_floor(image.segments[i].p_vaddr) + loaded.bias));
    }
  }
  for (const Elf64_Phdr& segment : image.segments) {
    const uint64_t start = segment.p_vaddr + loaded.bias;
    const uint64_t file_end = start + segment.p_filesz, memory_end = start + segment.p_memsz;
    const int prot = protection(segment.p_flags);
    if (segment.p_filesz > 0) {
      mm::MmapRequest request;
      request.address = page_floor(start);
      request.length = page_ceil(file_end) - request.address;
      request.prot = prot;
      request.flags = MAP_PRIVATE | MAP_FIXED;
      request.file = mappable;
      request.offset = page_floor(segment.p_offset);
      TRY(memory.mmap(request));
    }
    const uint64_t bss = segment.p_filesz > 0 ? page_ceil(file_end) : page_floor(start);
    if (memory_end > bss) {
      mm::MmapRequest request;
      request.address = bss;
      request.length = page_ceil(memory_end) - bss;
      request.prot = prot;
      request.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
      TRY(memory.mmap(request));
    }
    if (segment.p_filesz > 0 && memory_end > file_end && (prot & PROT_WRITE) != 0) {
      // The rest of the last file page belongs to the bss.
      const uint64_t tail = std::min(page_ceil(file_end), memory_end) - file_end;
      static constexpr char kZeros[kPageSize]{};
      // There is no such page in a file that is cut off before it.
      if (tail > 0 && page_floor(segment.p_offset + segment.p_filesz) >= file_size) return Errno(EFAULT);
      if (tail > 0) TRY(memory.write(file_end, kZeros, static_cast<size_t>(page_ceil(file_end) - file_end)));
    }
    if ((segment.p_flags & PF_X) != 0) {
      if (loaded.code_start == 0) loaded.code_start = start;
      loaded.code_end = std::max(loaded.code_end, file_end);
    }
    loaded.data_start = std::max(loaded.data_start, start);
    loaded.data_end = std::max(loaded.data_end, file_end);
    loaded.end = std::max(loaded.end, memory_end);
  }
  loaded.entry = image.header.e_entry + loaded.bias;
  loaded.phdr = image.phdr_address != 0 ? image.phdr_address + loaded.bias : 0;
  return loaded;
}

}  // namespace sentry::kernel
