#include "sentry/fs/sys/caches.h"

#include <cpuid.h>

namespace sentry::fs::sys {

std::vector<Cache> list_caches() {
  // Intel SDM volume 2A, CPUID leaf 4; AMD APM volume 3, appendix E.4.15, leaf 0x8000001d, which has the same
  // layout.
  std::vector<Cache> caches;
  for (const unsigned leaf : {4u, 0x8000001du}) {
    constexpr unsigned kMostCaches = 8;
    for (unsigned i = 0; i < kMostCaches; ++i) {
      unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
      if (__get_cpuid_count(leaf, i, &eax, &ebx, &ecx, &edx) == 0) break;
      const unsigned type = eax & 0x1f;
      if (type < 1 || type > 3) break;
      Cache cache{};
      cache.level = eax >> 5 & 7;
      cache.type = " DIU"[type];
      cache.line_bytes = (ebx & 0xfff) + 1;
      cache.ways = ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3ff) + 1);
      cache.sets = ecx + 1;
      cache.sharing = (eax >> 14 & 0xfff) + 1;
      caches.push_back(cache);
    }
    if (!caches.empty()) break;
  }
  return caches;
}

}  // namespace sentry::fs::sys
