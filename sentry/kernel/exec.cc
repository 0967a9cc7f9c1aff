#include "sentry/kernel/exec.h"

#include <cpuid.h>
#include <linux/landlock.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/kernel/elf.h"
#include "sentry/kernel/exec_identity.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/script.h"
#include "sentry/kernel/timers.h"
#include "sentry/kernel/trace.h"
#include "sentry/vfs/landlock.h"
#include "sentry/vfs/lock.h"
#include "sentry/vfs/operations.h"

namespace sentry::kernel {
namespace {

using mm::kGuestEnd;
using mm::kPageSize;
using mm::page_ceil;
using mm::page_floor;

constexpr int kMaxScripts = 5;                 // a script whose interpreter is a script whose...: then ELOOP
constexpr size_t kMaxString = 32 * kPageSize;  // MAX_ARG_STRLEN
constexpr uint64_t kPieBase =
    0x5555'5555'4000;  // where Linux puts position-independent programs (ELF_ET_DYN_BASE)

// ADDR_NO_RANDOMIZE, personality(2).
bool randomizes(const Task& task) { return (task.personality & 0x0040000) == 0; }

uint64_t random_pages(const Task& task, uint64_t mask) {
  uint64_t value = 0;
  if (!randomizes(task)) return 0;
  if (::getrandom(&value, sizeof value, GRND_NONBLOCK) < 0) value = 0;
  return (value & mask) * kPageSize;
}

// Builds the stack of a new program, elf(5) and the System V ABI's "Process Initialization".
class StackBuilder {
 public:
  explicit StackBuilder(uint64_t top) : top_(top) {}
  uint64_t push_bytes(const void* data, size_t size) {
    bytes_.insert(bytes_.begin(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
    return top_ - bytes_.size();
  }
  // Strings lie one behind the other in their order, so the last is pushed first. Their addresses, in order.
  std::vector<uint64_t> push_strings(const std::vector<std::string>& strings) {
    std::string block;
    std::vector<uint64_t> offsets;
    for (const std::string& text : strings) {
      offsets.push_back(block.size());
      block.append(text);
      block.push_back('\0');
    }
    const uint64_t start = push_bytes(block.data(), block.size());
    for (uint64_t& offset : offsets) offset += start;
    return offsets;
  }
  uint64_t place() const { return top_ - bytes_.size(); }
  void align(uint64_t alignment) {
    const uint64_t excess = place() % alignment;
    bytes_.insert(bytes_.begin(), static_cast<size_t>(excess), '\0');
  }
  const std::string& bytes() const { return bytes_; }

 private:
  uint64_t top_;
  std::string bytes_;
};

uint64_t hardware_capabilities() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid(1, &a, &b, &c, &d);
  return d;
}

struct Placed {
  uint64_t stack_pointer;
};

Result<Placed> build_stack(Task& task, mm::AddressSpaceMap& memory, const ExecRequest& request,
                           const vfs::Credentials& credentials, bool secure, const ElfImage& image,
                           const LoadedElf& program, uint64_t interpreter_base, bool executable_stack) {
  const uint64_t top = kGuestEnd - kPageSize - random_pages(task, mm::kStackShift / kPageSize - 1);
  uint64_t size = 0;
  for (const auto& text : request.args) size += text.size() + 1 + 8;
  for (const auto& text : request.env) size += text.size() + 1 + 8;
  const uint64_t initial = page_ceil(size + 132 * 1024);
  mm::MmapRequest stack;
  stack.address = top - initial;
  stack.length = initial;
  stack.prot = PROT_READ | PROT_WRITE | (executable_stack ? PROT_EXEC : 0);
  stack.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN | MAP_NORESERVE;
  stack.name = "[stack]";
  TRY(memory.mmap(stack));

  StackBuilder builder(top);
  const uint64_t zero = 0;
  builder.push_bytes(&zero, sizeof zero);
  const uint64_t execfn = builder.push_strings({request.filename}).front();
  const std::vector<uint64_t> env = builder.push_strings(request.env);
  const uint64_t env_start = builder.place();
  const std::vector<uint64_t> args = builder.push_strings(request.args);
  const uint64_t arg_start = builder.place();
  unsigned char random[16];
  if (::getrandom(random, sizeof random, 0) != sizeof random) return Errno(EIO);
  const uint64_t platform = builder.push_strings({"x86_64"}).front();
  builder.align(16);
  const uint64_t random_place = builder.push_bytes(random, sizeof random);
  builder.align(16);

  const std::vector<uint64_t> auxv = {
      AT_HWCAP,
      hardware_capabilities(),
      AT_PAGESZ,
      kPageSize,
      AT_CLKTCK,
      100,
      AT_PHDR,
      program.phdr,
      AT_PHENT,
      sizeof(Elf64_Phdr),
      AT_PHNUM,
      image.header.e_phnum,
      AT_BASE,
      interpreter_base,
      AT_FLAGS,
      0,
      AT_ENTRY,
      program.entry,
      AT_UID,
      credentials.uid,
      AT_EUID,
      credentials.euid,
      AT_GID,
      credentials.gid,
      AT_EGID,
      credentials.egid,
      AT_SECURE,
      secure ? 1u : 0u,
      AT_RANDOM,
      random_place,
      AT_HWCAP2,
      2,  // ring 3 FSGSBASE
      AT_EXECFN,
      execfn,
      AT_PLATFORM,
      platform,
      51 /* AT_MINSIGSTKSZ */,
      task.kernel.platform.fpstate_size() + 1024,
      AT_NULL,
      0,
  };
  std::vector<uint64_t> words;
  words.push_back(request.args.size());
  words.insert(words.end(), args.begin(), args.end());
  words.push_back(0);
  words.insert(words.end(), env.begin(), env.end());
  words.push_back(0);
  words.insert(words.end(), auxv.begin(), auxv.end());
  if (words.size() % 2 != 0) {
    // argc must lie on 16 bytes.
    const uint64_t filler = 0;
    builder.push_bytes(&filler, sizeof filler);
  }
  const uint64_t pointer = builder.push_bytes(words.data(), words.size() * sizeof(uint64_t));
  TRY(memory.write(pointer, builder.bytes().data(), builder.bytes().size()));

  memory.layout.stack_start = pointer;
  memory.layout.arg_start = arg_start;
  memory.layout.arg_end = env_start;
  memory.layout.env_start = env_start;
  memory.layout.env_end = execfn;
  memory.layout.auxv = auxv;
  return Placed{pointer};
}

Result<> check_arguments(const Task& task, const ExecRequest& request) {
  const uint64_t limit =
      std::max<uint64_t>(std::min<uint64_t>(task.group->limit(RLIMIT_STACK) / 4, 6 << 20), 128 * 1024);
  uint64_t total = 0;
  for (const auto* list : {&request.args, &request.env}) {
    for (const std::string& text : *list) {
      if (text.size() >= kMaxString) return Errno(E2BIG);
      total += text.size() + 1 + sizeof(uint64_t);
      if (total > limit) return Errno(E2BIG);
    }
  }
  return {};
}

std::string base_name(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1)).substr(0, 15);
}

struct NewImage {
  std::shared_ptr<mm::AddressSpaceMap> memory;
  std::unique_ptr<platform::Context> context;
  uint64_t entry = 0;
  uint64_t stack_pointer = 0;
};

// Memory for the new image, beside the old one, which is untouched.
Result<NewImage> make_image(Task& task) {
  platform::AddressSpace::Forked fresh = TRY(task.kernel.platform.new_address_space());
  NewImage result;
  result.context = std::move(fresh.context);
  result.memory = std::make_shared<mm::AddressSpaceMap>(std::move(fresh.space), task.kernel.memory_file,
                                                        randomizes(task));
  return result;
}

// Everything up to the new image being complete.
Result<> fill_image(NewImage& result, Task& task, const ExecRequest& request, const ElfImage& image,
                    const std::optional<ElfImage>& interpreter, const vfs::Credentials& credentials,
                    bool secure) {
  mm::AddressSpaceMap& memory = *result.memory;
  mm::AddressSpaceMap::Limits limits;
  limits.address_space = task.group->limit(RLIMIT_AS);
  limits.data = task.group->limit(RLIMIT_DATA);
  limits.stack = task.group->limit(RLIMIT_STACK);
  limits.memlock = task.group->limit(RLIMIT_MEMLOCK);
  if (task.kernel.host_memory_bytes != 0) limits.overcommit = task.kernel.host_memory_bytes;
  memory.set_limits(limits);
  const uint64_t base = image.header.e_type == ET_DYN ? kPieBase + random_pages(task, 0xfff'ffff) : 0;
  const LoadedElf program = TRY(map_elf(memory, image, base));
  memory.set_heap(page_ceil(program.end) + random_pages(task, 0x1fff));
  result.entry = program.entry;
  uint64_t interpreter_base = 0;
  if (interpreter) {
    const LoadedElf loaded = TRY(map_elf(memory, *interpreter, 0));
    interpreter_base = loaded.bias;
    result.entry = loaded.entry;
  }
  memory.layout.code_start = program.code_start;
  memory.layout.code_end = program.code_end;
  memory.layout.data_start = program.data_start;
  memory.layout.data_end = program.data_end;
  const Placed placed = TRY(build_stack(task, memory, request, credentials, secure, image, program,
                                        interpreter_base, image.executable_stack));
  result.stack_pointer = placed.stack_pointer;
  memory.dumpable = !secure;
  memory.huge_pages_disabled = task.memory_map != nullptr && task.memory().huge_pages_disabled;
  return {};
}

// AddressSpaceMap::executable: the path, which keeps what forbids writing to it.
std::shared_ptr<vfs::Path> running_program(vfs::Path path, std::shared_ptr<void> unchanged) {
  struct Program {
    vfs::Path path;
    std::shared_ptr<void> unchanged;
  };
  auto program = std::make_shared<Program>(Program{std::move(path), std::move(unchanged)});
  return {program, &program->path};
}

}  // namespace

Result<vfs::FileRef> open_executable(Task& task, const vfs::Path& start, std::string_view path, bool follow,
                                     bool empty_path) {
  vfs::WalkOptions options;
  options.follow = follow;
  options.empty_path = empty_path;
  const vfs::Walked walked = TRY(vfs::walk(task.fs(), *task.credentials, start, path, options));
  const vfs::InodeRef inode = walked.path.dentry->inode();
  if (inode == nullptr) return Errno(ENOENT);
  if (inode->is_symlink()) return Errno(ELOOP);
  if (!S_ISREG(inode->type())) return Errno(EACCES);
  if (walked.path.mount != nullptr && walked.path.mount->noexec) return Errno(EACCES);
  TRY(inode->permission(*task.credentials, X_OK));
  constexpr uint64_t kLandlock = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE;
  TRY(vfs::landlock_check(*task.credentials, walked.path, kLandlock));
  return inode->open(walked.path, O_RDONLY);
}

Result<> exec(Task& task, ExecRequest request) {
  ThreadGroup& group = *task.group;
  std::string name = base_name(request.filename);
  if (request.args.empty()) request.args.emplace_back();  // since Linux 5.18
  TRY(check_arguments(task, request));
  const NewIdentity identity = TRY(new_identity(task, *request.file));
  // Nobody writes to a program while it is loaded, nor to the last one, the binary, while it runs.
  std::shared_ptr<void> unchanged = TRY(vfs::deny_writes(request.file->inode()));

  for (int depth = 0;; ++depth) {
    auto script = TRY(read_script(*request.file));
    if (!script) break;
    if (depth >= kMaxScripts) return Errno(ELOOP);
    request.args.erase(request.args.begin());
    request.args.insert(request.args.begin(), request.filename);
    if (script->argument) request.args.insert(request.args.begin(), *script->argument);
    request.args.insert(request.args.begin(), script->interpreter);
    request.filename = script->interpreter;
    request.file = TRY(open_executable(task, task.fs().cwd, script->interpreter));
    unchanged = TRY(vfs::deny_writes(request.file->inode()));
    TRY(check_arguments(task, request));
  }
  const ElfImage image = TRY(read_elf(request.file));
  std::optional<ElfImage> interpreter;
  std::shared_ptr<void> interpreter_unchanged;
  if (image.interpreter) {
    const vfs::FileRef file = TRY(open_executable(task, task.fs().cwd, *image.interpreter));
    interpreter_unchanged = TRY(vfs::deny_writes(file->inode()));
    auto loaded = read_elf(file);
    if (!loaded.ok()) return Errno(loaded.is(ENOEXEC) ? ELIBBAD : loaded.error().value());
    interpreter = std::move(*loaded);
  }
  NewImage fresh = TRY(make_image(task));
  // As on Linux, which has given the old image up by now, a file whose segments cannot be loaded is the end
  // of the process and no error of the call.
  const bool complete =
      fill_image(fresh, task, request, image, interpreter, *identity.credentials, identity.secure).ok();
  fresh.memory->executable = running_program(image.file->path(), std::move(unchanged));
  TRY(end_other_tasks(task));

  // The point of no return.
  const pid_t former_tid = task.tid;
  group.traced_by.reset();  // of a leader whose place this task takes
  if (task.group->leader != &task) {
    task.kernel.remove(task);
    task.tid = group.id;
    task.kernel.add(task);
    group.leader = &task;
  }
  release_futexes(task);
  task.robust_list = 0;
  add_time(group.usage.ru_utime, to_timeval(task.user_time()));  // of the stub that ends
  task.context = std::move(fresh.context);
  task.open_vfork_gate();
  task.memory_map = std::move(fresh.memory);
  task.context->reset_fpstate();
  task.credentials = identity.credentials;
  if (task.fd_table.use_count() > 1) task.fd_table = task.fd_table->clone();
  task.fd_table->close_on_exec();
  // exec changes dispositions of this process alone.
  auto handlers = std::make_shared<SignalHandlers>();
  for (int signo = 1; signo <= kSignals; ++signo)
    if ((*group.handlers)[signo].handler == reinterpret_cast<uint64_t>(SIG_IGN))
      handlers->set_handler(signo, reinterpret_cast<uint64_t>(SIG_IGN));
  group.handlers = std::move(handlers);
  task.alt_stack = AltStack{};
  task.restart = nullptr;
  group.posix_timers.reset();
  group.has_executed = true;
  if (identity.secure) task.parent_death_signal = 0;
  if (identity.secure) task.personality &= ~uint32_t{0x0040000};
  task.comm = std::move(name);
  platform::Registers& registers = task.registers();
  registers = platform::Registers{};
  registers.cs = abi::kUserCode;
  registers.ss = abi::kUserData;
  registers.eflags = 0x202;
  registers.rip = fresh.entry;
  registers.rsp = fresh.stack_pointer;
  registers.orig_rax = ~uint64_t{0};
  if (task.traced != nullptr) task.traced->debug = {};
  report_exec(task, former_tid);
  if (!complete) task.force(make_signal(SIGSEGV));
  return {};
}

}  // namespace sentry::kernel
