#include "operations.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "call_site.h"
#include "guard.h"

namespace random_program {
namespace {

constexpr const char* kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr uint64_t kCarry = 1, kParity = 4, kAdjust = 0x10, kZero = 0x40, kSign = 0x80, kDirection = 0x400,
                   kOverflow = 0x800, kAlignment = 0x40000, kIdentification = 0x200000, kAlways = 0x202;
constexpr size_t kRedZone = 128;
constexpr size_t kRedZoneOfBoth = kRedZone - 8;

// A call whose answer follows from its arguments, with those that it looks at; the rest is left as random as
// it was.
struct Call {
  const char* name;
  long number;
  void (*arguments)(Machine& machine, void* memory);
};
void none(Machine&, void*) {}

constexpr Call kCalls[] = {
    {"getpid", SYS_getpid, none},
    {"gettid", SYS_gettid, none},
    {"getuid", SYS_getuid, none},
    {"sched_yield", SYS_sched_yield, none},
    {"fcntl", SYS_fcntl,
     [](Machine& machine, void*) {
       machine.general[kRdi] = ~uint64_t{0};
       machine.general[kRsi] = F_GETFL;
     }},
    {"rt_sigprocmask", SYS_rt_sigprocmask,
     [](Machine& machine, void* memory) {
       machine.general[kRsi] = 0;
       machine.general[kRdx] = reinterpret_cast<uint64_t>(memory);
       machine.general[kR10] = 8;
     }},
    {"clock_gettime", SYS_clock_gettime,
     [](Machine& machine, void* memory) {
       machine.general[kRdi] = CLOCK_MONOTONIC;
       machine.general[kRsi] = reinterpret_cast<uint64_t>(memory);
     }},
    {"clock_gettime of nowhere", SYS_clock_gettime,
     [](Machine& machine, void*) {
       machine.general[kRdi] = CLOCK_REALTIME;
       machine.general[kRsi] = 16;
     }},
    {"lseek", SYS_lseek, [](Machine& machine, void*) { machine.general[kRdi] = ~uint64_t{0}; }},
    {"madvise", SYS_madvise,
     [](Machine& machine, void*) {
       machine.general[kRdi] = 0;
       machine.general[kRsi] = 0;
       machine.general[kRdx] = 0;
     }},
    {"no such call", 4000, none},
    {"sigaltstack", SYS_sigaltstack,
     [](Machine& machine, void*) {
       machine.general[kRdi] = 0;
       machine.general[kRsi] = 0;
     }},
    {"close", SYS_close, [](Machine& machine, void*) { machine.general[kRdi] = ~uint64_t{0}; }},
    {"futex", SYS_futex,
     [](Machine& machine, void* memory) {
       machine.general[kRdi] = reinterpret_cast<uint64_t>(memory);
       machine.general[kRsi] = 129;  // FUTEX_WAKE of the process's own
       machine.general[kRdx] = 1;
     }},
    {"read of nothing", SYS_read,
     [](Machine& machine, void*) {
       machine.general[kRdi] = STDOUT_FILENO;
       machine.general[kRsi] = 0;
       machine.general[kRdx] = 0;
     }},
};

const Call& call_numbered(long number) {
  return *std::find_if(std::begin(kCalls), std::end(kCalls),
                       [&](const Call& call) { return call.number == number; });
}

// Memory of the thread's that the calls are made with.
struct Scratch {
  alignas(64) uint8_t stack[64 << 10];
  alignas(64) uint64_t words[64];
  Machine in, out;
};
thread_local Scratch scratch;
bool checks_alignment =
    false;  // with the flag by which the processor faults on accesses that are not aligned
thread_local uint8_t* generated = nullptr;  // a page of code

void randomize(Machine& machine, Random& random) {
  for (uint64_t& word : machine.general) word = random.next();
  machine.flags =
      kAlways | (random.next() & (kCarry | kParity | kAdjust | kZero | kSign | kDirection | kOverflow));
  if (random.one_in(4)) machine.flags |= kIdentification;
  bool aligned = checks_alignment && random.one_in(2);
  if (aligned) machine.flags |= kAlignment;
  uint64_t top = reinterpret_cast<uint64_t>(scratch.stack + sizeof scratch.stack - 1024);
  machine.general[kRsp] = top - random.below(64) * 8 - (aligned || random.one_in(2) ? 0 : random.below(8));
  for (size_t at = 0; at < sizeof scratch.stack; at += 8) {
    uint64_t word = random.next();
    if (at >= sizeof scratch.stack - 2048) memcpy(scratch.stack + at, &word, 8);
  }
  // Every exception masked: what is pending of them says nothing about calls.
  machine.mxcsr = 0x1f80 | static_cast<uint32_t>(random.next() & 0xe07f);
  std::fill(machine.x87.begin(), machine.x87.end(), uint8_t{0});
  uint16_t control = static_cast<uint16_t>(0x37f & ~0x300) |
                     static_cast<uint16_t>(random.of({0, 2, 3}) << 8) |
                     static_cast<uint16_t>(random.below(4) << 10);
  uint16_t status = static_cast<uint16_t>(random.next() & 0x7f00);  // the top of the stack and the conditions
  uint16_t tags = 0;
  for (int i = 0; i < 8; i++) tags = static_cast<uint16_t>(tags | (random.one_in(2) ? 3 << (2 * i) : 0));
  memcpy(&machine.x87[0], &control, 2);
  memcpy(&machine.x87[4], &status, 2);
  memcpy(&machine.x87[8], &tags, 2);
  for (size_t at = 28; at < 108; at++) machine.x87[at] = static_cast<uint8_t>(random.next());
  normalize_x87(machine.x87.data());
  for (uint64_t& word : machine.masks) word = random.next();
  for (auto& vector : machine.vectors) {
    bool plain = random.one_in(4);  // a state that the processor need not save
    for (uint64_t& word : vector) word = plain ? 0 : random.next();
  }
}

// A site in memory that is written again and again.
Site generate(Random& random, long number) {
  if (generated == nullptr) {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) broken("mmap of code");
    generated = static_cast<uint8_t*>(page);
  }
  uint8_t* start = generated + random.below(4000);
  uint8_t* at = start;
  for (uint64_t count = random.below(8); count > 0; count--) *at++ = 0x90;
  if (random.one_in(2)) {
    *at++ = 0xb8;
    auto word = static_cast<uint32_t>(number);
    memcpy(at, &word, 4);
    at += 4;
    *at++ = 0x0f;
    *at++ = 0x05;
    Site site{"generated", start, at, Loads::kNumber, number};
    *at = 0xc3;
    return site;
  }
  const uint8_t rest[] = {0x44, 0x89, 0xf8, 0x0f, 0x05, 0xc3};  // mov %r15d, %eax; syscall; ret
  memcpy(at, rest, sizeof rest);
  return {"generated with a register", start, at + 5, Loads::kNumberFromR15};
}

long has_wide() {
  static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  return wide;
}

const char* answer(long value) {
  thread_local char text[32];
  if (value == getpid()) return "the process";
  if (value == gettid()) return "the thread";
  snprintf(text, sizeof text, "%ld", value);
  return text;
}

// What differs from what Linux leaves, by name; nothing if nothing does. `wrapped`: through libc's
// syscall(2).
void compare(const Machine& in, const Machine& out, const Site& site, bool wrapped) {
  Machine expected = in;
  expected.general[kRax] = out.general[kRax];
  if (wrapped) {  // it moves the arguments to where the kernel wants them
    const auto& from = in.general;
    for (auto [to, origin] :
         {std::pair{kRax, kRdi}, {kRdi, kRsi}, {kRsi, kRdx}, {kRdx, kRcx}, {kR10, kR8}, {kR8, kR9}}) {
      if (to != kRax) expected.general[to] = from[origin];
    }
    memcpy(&expected.general[kR9], reinterpret_cast<const void*>(in.general[kRsp]), 8);
    expected.general[kRcx] = out.general[kRcx];  // the wrapper compares the result, which sets flags
    expected.general[kR11] = out.general[kR11];
    expected.flags = out.flags;
    if ((out.flags & kDirection) != (in.flags & kDirection)) say("  the direction flag differs");
  } else {
    expected.general[kRcx] = reinterpret_cast<uint64_t>(site.after);
    expected.general[kR11] = in.flags;
  }
  if (site.loads == Loads::kGetpidSite) expected.general[kR14] = reinterpret_cast<uint64_t>(sites()[0].entry);
  if (site.loads == Loads::kRedZone) {
    memcpy(&expected.general[kR14], reinterpret_cast<const void*>(in.general[kRsp] - 72), 8);
  }
  if (site.loads == Loads::kThreadPointer) {
    expected.general[kR14] = reinterpret_cast<uint64_t>(__builtin_thread_pointer());
  }
  for (size_t i = 0; i < 16; i++) {
    if (out.general[i] != expected.general[i]) {
      say("  %s differs by %#llx", kNames[i],
          static_cast<unsigned long long>(out.general[i] ^ expected.general[i]));
    }
  }
  if (out.flags != expected.flags) {
    say("  flags differ by %#llx", static_cast<unsigned long long>(out.flags ^ expected.flags));
  }
  if (out.mxcsr != in.mxcsr) say("  mxcsr differs by %#x", out.mxcsr ^ in.mxcsr);
  for (size_t at = 0; at < 108; at++) {
    bool compared =
        at < 2 || at == 4 || at == 5 || at == 8 || at == 9 || at >= 28;  // not where the last fault was
    if (compared && out.x87[at] != in.x87[at]) say("  byte %zu of the x87 state differs", at);
  }
  size_t count = has_wide() ? 32 : 16, words = has_wide() ? 8 : 4;
  for (size_t i = 0; i < count; i++) {
    for (size_t word = 0; word < words; word++) {
      if (out.vectors[i][word] != in.vectors[i][word]) say("  word %zu of vector %zu differs", word, i);
    }
  }
  for (size_t i = 0; has_wide() && i < 8; i++) {
    if (out.masks[i] != in.masks[i]) say("  mask %zu differs", i);
  }
}

// `quiet`: only what differs.
void one_call(Random& random, bool quiet) {
  Machine &in = scratch.in, &out = scratch.out;
  randomize(in, random);
  const Call* call = &kCalls[random.below(std::size(kCalls))];
  Site site{};
  bool wrapped = false;
  switch (random.below(8)) {
    case 0:
      if (call->number != 4000 && call->number != SYS_close && call->number != SYS_lseek &&
          call->number != SYS_fcntl && strcmp(call->name, "clock_gettime of nowhere") != 0 &&
          call->number != SYS_read) {
        wrapped = true;
        site = {"syscall(2)", reinterpret_cast<const void*>(&syscall), nullptr};
        break;
      }
      [[fallthrough]];
    case 1:
      site = generate(random, call->number);
      break;
    case 2:
      site = bare(sites()[random.below(sites().size())]);
      break;
    default:
      site = sites()[random.below(sites().size())];
      if (site.loads == Loads::kNumber) call = &call_numbered(site.number);
  }
  call->arguments(in, scratch.words);
  auto number = static_cast<uint64_t>(call->number);
  // The upper half of rax does not count where the number is loaded as 32 bits; Linux ignores it anyway.
  if (site.loads == Loads::kNumberFromR15) in.general[kR15] = number;
  if (site.loads == Loads::kNothing || site.loads >= Loads::kGetpidSite) in.general[kRax] = number;
  if (wrapped) {
    in.flags &= ~kAlignment;
    auto& general = in.general;
    general[kRsp] = (general[kRsp] & ~uint64_t{15});
    uint64_t six[] = {general[kRdi], general[kRsi], general[kRdx], general[kR10], general[kR8], general[kR9]};
    general[kRdi] = number;
    general[kRsi] = six[0];
    general[kRdx] = six[1];
    general[kRcx] = six[2];
    general[kR8] = six[3];
    general[kR9] = six[4];
    memcpy(reinterpret_cast<void*>(general[kRsp]), &six[5], 8);
  }
  uint8_t red[kRedZoneOfBoth];
  // The site's return address lies above its red zone; so much of that as is the caller's as well.
  auto* zone = reinterpret_cast<uint8_t*>(in.general[kRsp] - kRedZone);
  memcpy(red, zone, sizeof red);
  scratch.words[0] = scratch.words[1] = ~uint64_t{0};
  call_site_with(&in, &out, site.entry, static_cast<int>(has_wide()));
  if (!quiet) say("  %s at %s: %s", call->name, site.name, answer(static_cast<long>(out.general[kRax])));
  if (call->number == SYS_clock_gettime && out.general[kRax] == 0 && scratch.words[1] >= 1000000000) {
    say("  the clock's nanoseconds are none");
  }
  if (memcmp(red, zone, sizeof red) != 0) say("  the red zone differs");
  compare(in, out, site, wrapped);
}

void on_storm(int) {
  // What a handler uses must not show where it interrupted.
  asm volatile("vpcmpeqb %%ymm3, %%ymm3, %%ymm3; cld; fninit; vzeroupper" ::: "xmm3", "memory");
  syscall(SYS_getpid);
}

void calls(Random& random, bool quiet, uint64_t count) {
  for (; count > 0; count--) one_call(random, quiet);
}

uint64_t gs_word() {
  uint64_t word = 0;
  asm volatile("mov %%gs:0, %0" : "=r"(word));
  return word;
}

}  // namespace

void registers_operation(Random& random) {
  bool with_gs = random.one_in(16);
  if (with_gs) {
    scratch.words[32] = random.next();
    must(syscall(SYS_arch_prctl, ARCH_SET_GS, &scratch.words[32]), "arch_prctl");
  }
  if (random.one_in(6)) {  // signals at any instruction
    struct sigaction action {
    }, before{};
    action.sa_handler = on_storm;
    action.sa_flags = SA_RESTART | (random.one_in(2) ? SA_ONSTACK : 0);
    must(sigaction(SIGALRM, &action, &before), "sigaction");
    itimerval timer{};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = 200;
    must(setitimer(ITIMER_REAL, &timer, nullptr), "setitimer");
    calls(random, true, 100 + random.below(400));
    timer = {};
    must(setitimer(ITIMER_REAL, &timer, nullptr), "setitimer");
    must(sigaction(SIGALRM, &before, nullptr), "sigaction");
    say("  many, interrupted");
  } else {
    calls(random, false, 1 + random.below(12));
  }
  if (with_gs) {
    say("  gs: %s", gs_word() == scratch.words[32] ? "as set" : "differs");
    uint64_t own = 0;
    must(syscall(SYS_arch_prctl, ARCH_GET_GS, &own), "arch_prctl");
    say("  gs base: %s", own == reinterpret_cast<uint64_t>(&scratch.words[32]) ? "as set" : "differs");
  }
}

void alignment_operation(Random& random) {
  checks_alignment = true;
  registers_operation(random);
  checks_alignment = false;
}

void calls_in_thread(Random& random) { calls(random, false, 1 + random.below(4)); }

namespace {

// Where the steps were.
struct Steps {
  uint64_t count;
  uint64_t instruction[400];
  int code[400];
};
Steps steps;

void on_step(int, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (steps.count < std::size(steps.instruction)) {
    steps.instruction[steps.count] = static_cast<uint64_t>(registers[REG_RIP]);
    steps.code[steps.count++] = info->si_code;
  } else {
    registers[REG_EFL] &= ~0x100ll;
  }
}

}  // namespace

void steps_operation(Random& random) {
  void* memory = mmap(nullptr, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) broken("mmap of code");
  auto* code = static_cast<uint8_t*>(memory);
  uint8_t* at = code;
  auto put = [&](std::initializer_list<uint8_t> bytes) {
    for (uint8_t byte : bytes) *at++ = byte;
  };
  put({0x53, 0x55, 0x41, 0x57});                    // push %rbx, %rbp, %r15
  put({0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d});  // pushf; orl $0x100, (%rsp); popf
  for (uint64_t left = 2 + random.below(10); left > 0; left--) {
    switch (random.below(9)) {
      case 0:
        put({0x90});
        break;  // nop
      case 1:
        put({0x48, 0xff, 0xc3});
        break;  // inc %rbx
      case 2:
        put({0x50, 0x58});
        break;  // push %rax; pop %rax
      case 3:
        put({0x9c, 0x9d});
        break;  // pushf; popf
      case 4:
        put({0xcc});
        break;  // int3
      case 5:
        put({0xb8, 39, 0, 0, 0, 0x0f, 0x05});
        break;   // mov $39, %eax; syscall
      case 6: {  // a call of a site, maybe a patched one
        const Site& site = sites()[random.below(sites().size())];
        long number = site.loads == Loads::kNumber ? site.number : SYS_getpid;
        const Call& call = call_numbered(number);
        Machine machine{};
        call.arguments(machine, scratch.words);
        auto load = [&](uint8_t rex, uint8_t opcode, uint64_t value) {
          put({rex, opcode});
          memcpy(at, &value, 8);
          at += 8;
        };
        load(0x48, 0xbf, machine.general[kRdi]);
        load(0x48, 0xbe, machine.general[kRsi]);
        load(0x48, 0xba, machine.general[kRdx]);
        load(0x49, 0xba, machine.general[kR10]);
        load(0x49, 0xbf, static_cast<uint64_t>(number));
        load(0x48, 0xb8, static_cast<uint64_t>(number));
        load(0x48, 0xbb, reinterpret_cast<uint64_t>(random.one_in(3) ? bare(site).entry : site.entry));
        put({0x41, 0x56, 0xff, 0xd3, 0x41, 0x5e});  // push %r14; call *%rbx; pop %r14
        break;
      }
      case 7:
        put({0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3});
        break;  // call 1f; jmp 2f; 1: ret; 2:
      default:
        put({0x0f, 0xa2});
        break;  // cpuid
    }
  }
  put({0x9c, 0x81, 0x24, 0x24, 0xff, 0xfe, 0xff, 0xff, 0x9d});  // pushf; andl $~0x100, (%rsp); popf
  put({0x90, 0x41, 0x5f, 0x5d, 0x5b, 0xc3});
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_step;
  action.sa_flags = SA_SIGINFO | (random.one_in(2) ? SA_ONSTACK : 0);
  must(sigaction(SIGTRAP, &action, &before), "sigaction");
  for (uint64_t rounds = 1 + random.below(4); rounds > 0; rounds--) {
    steps.count = 0;
    // cpuid writes what the callee may, and rbx is saved.
    reinterpret_cast<void (*)()>(code)();
    for (uint64_t i = 0; i < steps.count; i++) {
      const char* what = "the code";
      auto base = reinterpret_cast<uint64_t>(code);
      for (const Site& site : sites()) {
        auto entry = reinterpret_cast<uint64_t>(site.entry);
        if (steps.instruction[i] - entry <= 12 &&
            steps.instruction[i] <= reinterpret_cast<uint64_t>(site.after)) {
          what = site.name, base = entry;
        }
      }
      say("  step at %s%+lld code %d", what, static_cast<long long>(steps.instruction[i] - base),
          steps.code[i]);
    }
  }
  must(sigaction(SIGTRAP, &before, nullptr), "sigaction");
  must(munmap(memory, 8192), "munmap");
}

}  // namespace random_program
