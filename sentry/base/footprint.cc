#include "sentry/base/footprint.h"

#include <link.h>
#include <sys/mman.h>

#include <cstdint>

namespace sentry {

void drop_clean_pages() {
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void*) {
        constexpr uintptr_t kPageMask = 4095;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = object->dlpi_phdr[i];
          // What the linker made writable holds relocated pointers, which no file has.
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
          const uintptr_t start = object->dlpi_addr + segment.p_vaddr;
          const uintptr_t end = (start + segment.p_memsz + kPageMask) & ~kPageMask;
          void* const place = reinterpret_cast<void*>(start & ~kPageMask);
          ::madvise(place, end - (start & ~kPageMask), MADV_DONTNEED);  // if not, they stay
        }
        return 0;
      },
      nullptr);
}

}  // namespace sentry
