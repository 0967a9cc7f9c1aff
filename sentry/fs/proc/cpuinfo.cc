// /proc/cpuinfo from the cpuid instruction: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E. Flag
// names are those of Linux's arch/x86/include/asm/cpufeatures.h.
#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "sentry/fs/proc/system_text.h"

namespace sentry::fs::proc {
namespace {

enum Register { kEax, kEbx, kEcx, kEdx };

struct Leaf {
  unsigned leaf, subleaf;
  Register in;
  std::array<const char*, 32> names;  // by bit; null: Linux shows nothing
};

constexpr const char* kNone = nullptr;

constexpr Leaf kLeaves[] = {
    {1, 0, kEdx, {"fpu",  "vme",  "de",   "pse", "tsc",  "msr", "pae",   "mce", "cx8",     "apic", kNone,
                  "sep",  "mtrr", "pge",  "mca", "cmov", "pat", "pse36", "pn",  "clflush", kNone,  "dts",
                  "acpi", "mmx",  "fxsr", "sse", "sse2", "ss",  "ht",    "tm",  "ia64",    "pbe"}},
    {0x80000001, 0, kEdx, {kNone, kNone,      kNone,     kNone,     kNone, kNone, kNone,      kNone,
                           kNone, kNone,      kNone,     "syscall", kNone, kNone, kNone,      kNone,
                           kNone, kNone,      kNone,     "mp",      "nx",  kNone, "mmxext",   kNone,
                           kNone, "fxsr_opt", "pdpe1gb", "rdtscp",  kNone, "lm",  "3dnowext", "3dnow"}},
    {1, 0, kEcx, {"pni",    "pclmulqdq", "dtes64", "monitor", "ds_cpl",
                  "vmx",    "smx",       "est",    "tm2",     "ssse3",
                  "cid",    "sdbg",      "fma",    "cx16",    "xtpr",
                  "pdcm",   kNone,       "pcid",   "dca",     "sse4_1",
                  "sse4_2", "x2apic",    "movbe",  "popcnt",  "tsc_deadline_timer",
                  "aes",    "xsave",     kNone,    "avx",     "f16c",
                  "rdrand", "hypervisor"}},
    {0x80000001, 0, kEcx, {"lahf_lm", "cmp_legacy", "svm",         "extapic",       "cr8_legacy",
                           "abm",     "sse4a",      "misalignsse", "3dnowprefetch", "osvw",
                           "ibs",     "xop",        "skinit",      "wdt",           kNone,
                           "lwp",     "fma4",       "tce",         kNone,           "nodeid_msr",
                           kNone,     "tbm",        "topoext",     "perfctr_core",  "perfctr_nb",
                           kNone,     "bpext",      "ptsc",        "perfctr_llc",   "mwaitx",
                           kNone,     kNone}},
    {7, 0, kEbx, {"fsgsbase",   "tsc_adjust", kNone,        "bmi1",     "hle",      "avx2",     kNone,
                  "smep",       "bmi2",       "erms",       "invpcid",  "rtm",      "cqm",      kNone,
                  "mpx",        "rdt_a",      "avx512f",    "avx512dq", "rdseed",   "adx",      "smap",
                  "avx512ifma", kNone,        "clflushopt", "clwb",     "intel_pt", "avx512pf", "avx512er",
                  "avx512cd",   "sha_ni",     "avx512bw",   "avx512vl"}},
    {0xd, 1, kEax, {"xsaveopt", "xsavec", "xgetbv1", "xsaves"}},
    {7, 1, kEax, {kNone, kNone, kNone, kNone, "avx_vnni", "avx512_bf16"}},
    {0x80000008,
     0,
     kEbx,
     {"clzero", "irperf", "xsaveerptr", kNone, "rdpru", kNone, kNone, kNone, kNone, "wbnoinvd"}},
    {6, 0, kEax, {"dtherm", "ida", "arat", kNone, "pln", kNone, "pts"}},
    {7, 0, kEcx, {kNone,        "avx512vbmi",   "umip",          "pku",       "ospke",
                  "waitpkg",    "avx512_vbmi2", kNone,           "gfni",      "vaes",
                  "vpclmulqdq", "avx512_vnni",  "avx512_bitalg", "tme",       "avx512_vpopcntdq",
                  kNone,        "la57",         kNone,           kNone,       kNone,
                  kNone,        kNone,          "rdpid",         kNone,       "bus_lock_detect",
                  "cldemote",   kNone,          "movdiri",       "movdir64b", "enqcmd"}},
    {7, 0, kEdx, {kNone,           kNone,       "avx512_4vnniw",
                  "avx512_4fmaps", "fsrm",      kNone,
                  kNone,           kNone,       "avx512_vp2intersect",
                  kNone,           "md_clear",  kNone,
                  kNone,           kNone,       "serialize",
                  kNone,           "tsxldtrk",  kNone,
                  "pconfig",       "arch_lbr",  "ibt",
                  kNone,           "amx_bf16",  "avx512_fp16",
                  "amx_tile",      "amx_int8",  kNone,
                  kNone,           "flush_l1d", "arch_capabilities"}},
};

std::array<unsigned, 4> cpuid(unsigned leaf, unsigned subleaf) {
  std::array<unsigned, 4> registers{};
  // False for a leaf beyond the CPU's highest: all zeros then.
  if (__get_cpuid_count(leaf, subleaf, &registers[kEax], &registers[kEbx], &registers[kEcx],
                        &registers[kEdx]) == 0)
    registers.fill(0);
  return registers;
}

std::string text_of(const unsigned* registers, size_t count) {
  std::string text(count * sizeof *registers, '\0');
  std::memcpy(text.data(), registers, text.size());
  return text.substr(0, text.find('\0'));
}

struct Cpu {
  std::string vendor, model_name, flags;
  unsigned family = 0, model = 0, stepping = 0, highest_leaf = 0, cache_kib = 0, clflush = 64;
  unsigned physical_bits = 36, virtual_bits = 48, megahertz = 0;
};

Cpu identify() {
  Cpu cpu;
  const auto basic = cpuid(0, 0);
  cpu.highest_leaf = basic[kEax];
  const unsigned vendor[] = {basic[kEbx], basic[kEdx], basic[kEcx]};
  cpu.vendor = text_of(vendor, 3);
  const auto version = cpuid(1, 0);
  cpu.stepping = version[kEax] & 0xf;
  cpu.family = version[kEax] >> 8 & 0xf;
  cpu.model = version[kEax] >> 4 & 0xf;
  if (cpu.family == 0xf) cpu.family += version[kEax] >> 20 & 0xff;
  if (cpu.family >= 6) cpu.model |= (version[kEax] >> 16 & 0xf) << 4;
  cpu.clflush = (version[kEbx] >> 8 & 0xff) * 8;
  unsigned brand[12];
  for (unsigned i = 0; i < 3; ++i) {
    const auto part = cpuid(0x80000002 + i, 0);
    std::copy(part.begin(), part.end(), brand + i * 4);
  }
  cpu.model_name = text_of(brand, 12);
  cpu.model_name.erase(0, cpu.model_name.find_first_not_of(' '));
  while (cpu.model_name.ends_with(' ')) cpu.model_name.pop_back();
  const auto sizes = cpuid(0x80000008, 0);
  if (sizes[kEax] != 0) {
    cpu.physical_bits = sizes[kEax] & 0xff;
    cpu.virtual_bits = sizes[kEax] >> 8 & 0xff;
  }
  cpu.cache_kib = cpuid(0x80000006, 0)[kEcx] >> 16;
  // The deterministic cache leaf, for the largest level.
  for (unsigned i = 0; i < 8; ++i) {
    const auto cache = cpuid(4, i);
    if ((cache[kEax] & 0x1f) == 0) break;
    const unsigned size = ((cache[kEbx] >> 22) + 1) * ((cache[kEbx] >> 12 & 0x3ff) + 1) *
                          ((cache[kEbx] & 0xfff) + 1) * (cache[kEcx] + 1);
    if ((cache[kEax] >> 5 & 7) >= 2) cpu.cache_kib = size >> 10;
  }
  cpu.megahertz = cpuid(0x16, 0)[kEax] & 0xffff;
  if (cpu.megahertz == 0) {
    const auto ratio = cpuid(0x15, 0);  // time stamp counter over the core crystal
    if (ratio[kEax] != 0 && ratio[kEcx] != 0)
      cpu.megahertz = static_cast<unsigned>(uint64_t{ratio[kEcx]} * ratio[kEbx] / ratio[kEax] / 1'000'000);
  }
  if (cpu.megahertz == 0)
    cpu.megahertz = 2000;  // not told (AMD, most virtual machines): programs divide by it

  for (const Leaf& leaf : kLeaves) {
    // The extended leaves are asked only where they exist; cpuid() answers zeros otherwise.
    const unsigned bits = cpuid(leaf.leaf, leaf.subleaf)[leaf.in];
    for (unsigned bit = 0; bit < leaf.names.size(); ++bit)
      if (leaf.names[bit] != nullptr && (bits >> bit & 1) != 0)
        cpu.flags += std::string(leaf.names[bit]) + " ";
  }
  // Linux's own, which are true wherever we run.
  cpu.flags += "constant_tsc rep_good nopl xtopology cpuid";
  return cpu;
}

}  // namespace

std::string cpuinfo_text(const kernel::Kernel& kernel) {
  static const Cpu cpu = identify();
  std::string text;
  for (unsigned i = 0; i < kernel.cpus; ++i) {
    text += fmt::format(
        "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: "
        "{}\n"
        "microcode\t: 0x1\ncpu MHz\t\t: {}.000\ncache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {}\ncore "
        "id\t\t: {}\n"
        "cpu cores\t: {}\napicid\t\t: {}\ninitial apicid\t: {}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid "
        "level\t: {}\n"
        "wp\t\t: yes\nflags\t\t: {}\nbugs\t\t:\nbogomips\t: {}.00\nclflush size\t: {}\ncache_alignment\t: "
        "{}\n"
        "address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
        i, cpu.vendor, cpu.family, cpu.model, cpu.model_name, cpu.stepping, cpu.megahertz, cpu.cache_kib,
        kernel.cpus, i, kernel.cpus, i, i, cpu.highest_leaf, cpu.flags, cpu.megahertz * 2, cpu.clflush,
        cpu.clflush, cpu.physical_bits, cpu.virtual_bits);
  }
  return text;
}

}  // namespace sentry::fs::proc
