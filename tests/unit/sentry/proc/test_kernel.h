// A kernel without guests, to look at through /proc.
#pragma once

#include "sentry/kernel/kernel.h"
#include "tests/unit/sentry/tty/local_memory.h"

namespace sentry::test {

class NoPlatform final : public platform::Platform {
 public:
  bool collect() override { return false; }
  Result<platform::AddressSpace::Forked> new_address_space() override { return Errno(ENOSYS); }
  size_t fpstate_size() const override { return 0; }
};

struct TestKernel {
  EventLoop loop;
  NoPlatform platform;
  mm::MemoryFile memory_file;
  kernel::Kernel kernel{loop, platform, memory_file, nullptr};
  std::vector<std::unique_ptr<kernel::Task>> tasks;

  TestKernel() {
    kernel.cpus = 2;
    kernel.host_memory_bytes = uint64_t{4} << 30;
    kernel.boot_time = monotonic_now();
  }
  ~TestKernel() {
    for (const auto& task : tasks) {
      task->group->tasks.clear();
      task->group->leader = nullptr;
      kernel.remove(*task);
    }
  }

  // A process of one thread with an empty address space.
  kernel::Task& add_process(const std::string& name) {
    const pid_t id = *kernel.allocate_tid();
    auto group = std::make_shared<kernel::ThreadGroup>(kernel, id);
    group->handlers = std::make_shared<kernel::SignalHandlers>();
    auto session = std::make_shared<kernel::Session>();
    session->id = id;
    group->process_group = kernel.make_process_group(id, session);
    group->start_time = kernel.boot_time;
    kernel.add(group);
    auto task = std::make_unique<kernel::Task>(kernel, id, group);
    task->comm = name;
    task->credentials =
        std::make_shared<vfs::Credentials>(vfs::Credentials{.uid = 7, .euid = 7, .gid = 8, .egid = 8});
    task->fd_table = std::make_shared<vfs::FdTable>();
    task->memory_map = std::make_shared<mm::AddressSpaceMap>(std::make_unique<LocalSpace>(), memory_file);
    group->tasks.push_back(task.get());
    group->leader = task.get();
    kernel.add(*task);
    tasks.push_back(std::move(task));
    return *tasks.back();
  }
};

// A node by its path below `root`, without links followed.
inline Result<vfs::InodeRef> find(vfs::InodeRef root, std::string_view path) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    root = TRY(root->lookup(path.substr(0, slash)));
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  }
  return root;
}

inline Result<std::string> read_text(const vfs::InodeRef& root, std::string_view path) {
  const vfs::InodeRef node = TRY(find(root, path));
  const vfs::FileRef file = TRY(node->open({}, O_RDONLY));
  std::string text;
  for (;;) {
    // Small pieces: the text must stay the same from one read to the next.
    char piece[100];
    mm::BufferSink sink(piece, sizeof piece);
    const size_t count = TRY(file->read(sink, {}));
    if (count == 0) return text;
    text.append(piece, count);
  }
}

inline Result<> write_text(const vfs::InodeRef& root, std::string_view path, std::string_view text) {
  const vfs::InodeRef node = TRY(find(root, path));
  const vfs::FileRef file = TRY(node->open({}, O_WRONLY));
  mm::BufferSource source(text.data(), text.size());
  TRY(file->write(source, {}));
  return {};
}

}  // namespace sentry::test
