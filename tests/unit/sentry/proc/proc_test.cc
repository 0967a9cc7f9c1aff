#include "sentry/fs/proc/proc.h"

#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "sentry/fs/proc/process_text.h"
#include "sentry/fs/proc/sysctl.h"
#include "sentry/fs/pseudo/node.h"
#include "sentry/fs/pseudo/snapshot_budget.h"
#include "sentry/kernel/sysctl.h"
#include "sentry/kernel/sysv_message.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/kernel/sysv_shared_memory.h"
#include "test_kernel.h"

namespace sentry::fs::proc {
namespace {

using test::find;
using test::read_text;
using test::TestKernel;
using test::write_text;

class ProcTest : public testing::Test {
 protected:
  TestKernel test;
  kernel::Task& task = test.add_process("odd) name (x");
  std::shared_ptr<vfs::Superblock> proc = make_proc(test.kernel);
  vfs::InodeRef root = proc->root();
  const std::string own = std::to_string(task.tid) + "/";
  std::vector<kernel::Sysctl::Values> sysctls;

  ProcTest() {
    for (const kernel::Sysctl* each : kernel::Sysctls::current().all()) sysctls.push_back(each->values());
  }
  ~ProcTest() override {
    for (size_t i = 0; i < sysctls.size(); ++i) kernel::Sysctls::current().all()[i]->restore(sysctls[i]);
  }

  std::string text(const std::string& path) {
    const Result<std::string> value = read_text(root, path);
    EXPECT_TRUE(value.ok()) << path << ": " << value.error().value();
    return value.value_or("");
  }
};

// Every listed name can be looked up and is what the listing said; every text can be read.
void check_tree(const vfs::InodeRef& node, const std::string& path, size_t& count) {
  auto* directory = dynamic_cast<pseudo::Directory*>(node.get());
  ASSERT_NE(directory, nullptr) << path;
  const auto entries = directory->list();
  ASSERT_TRUE(entries.ok()) << path;
  std::set<std::string> names;
  for (const auto& entry : *entries) {
    const std::string child = path + "/" + entry.name;
    EXPECT_TRUE(names.insert(entry.name).second) << child << " is listed twice";
    const auto found = node->lookup(entry.name);
    ASSERT_TRUE(found.ok()) << child;
    const auto attributes = (*found)->getattr();
    ASSERT_TRUE(attributes.ok()) << child;
    EXPECT_EQ(attributes->ino, entry.number) << child;
    EXPECT_EQ(pseudo::directory_type(attributes->mode), entry.type) << child;
    ++count;
    if ((*found)->is_directory()) check_tree(*found, child, count);
    if ((*found)->type() == S_IFREG && entry.name != "mem" && path.find("/attr") == std::string::npos) {
      const auto file = (*found)->open({}, O_RDONLY);
      ASSERT_TRUE(file.ok()) << child;
      char buffer[4096];
      mm::BufferSink sink(buffer, sizeof buffer);
      const auto read = (*file)->read(sink, {});
      // A task without a file system view has no mounts.
      if (entry.name.find("mount") == 0) continue;
      EXPECT_TRUE(read.ok()) << child << ": " << read.error().value();
    }
  }
}

TEST_F(ProcTest, ListingAgreesWithLookup) {
  size_t count = 0;
  check_tree(root, "", count);
  EXPECT_GT(count, 200u);
}

TEST_F(ProcTest, StatHasItsFields) {
  const std::string line = text(own + "stat");
  EXPECT_EQ(line.find(fmt::format("{} (odd) name (x) ", task.tid)), 0u);
  const std::string rest = line.substr(line.rfind(')') + 2);
  EXPECT_EQ(std::count(rest.begin(), rest.end(), ' '), 49) << line;
  EXPECT_EQ(rest.back(), '\n');
}

TEST_F(ProcTest, StatusShowsIdsAndSignals) {
  task.mask = kernel::signal_set({SIGINT});
  task.group->handlers->set_handler(SIGTERM, reinterpret_cast<uint64_t>(SIG_IGN));
  task.group->handlers->set_handler(SIGUSR1, 0x1000);
  const std::string status = text(own + "status");
  EXPECT_NE(status.find("Name:\todd) name (x\n"), std::string::npos);
  EXPECT_NE(status.find("\nUid:\t7\t7\t0\t0\nGid:\t8\t8\t0\t0\n"), std::string::npos);
  EXPECT_NE(
      status.find("\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000200\n"),
      std::string::npos);
  EXPECT_NE(status.find("\nThreads:\t1\n"), std::string::npos);
}

TEST_F(ProcTest, NameCanBeChanged) {
  EXPECT_TRUE(write_text(root, own + "comm", "a name that is too long").ok());
  EXPECT_EQ(text(own + "comm"), "a name that is \n");
}

TEST_F(ProcTest, OomAdjustment) {
  EXPECT_TRUE(write_text(root, own + "oom_score_adj", "500\n").ok());
  EXPECT_EQ(task.group->oom_score_adj, 500);
  EXPECT_EQ(text(own + "oom_score_adj"), "500\n");
  EXPECT_EQ(text(own + "oom_adj"), "8\n");
  for (const char* bad : {"1001", "-1001", "", "x", "5 5"})
    EXPECT_TRUE(write_text(root, own + "oom_score_adj", bad).is(EINVAL)) << bad;
}

TEST_F(ProcTest, OwnerIsTheProcesss) {
  EXPECT_EQ((*find(root, own + "environ"))->getattr()->uid, 7u);
  task.memory_map->dumpable = false;
  EXPECT_EQ((*find(root, own + "environ"))->getattr()->uid, 0u);
  EXPECT_EQ((*find(root, own + "task"))->getattr()->uid, 7u);
}

TEST_F(ProcTest, GoneProcess) {
  const vfs::InodeRef directory = *find(root, std::to_string(task.tid));
  const vfs::InodeRef stat = *find(root, own + "stat");
  const vfs::FileRef opened = *stat->open({}, O_RDONLY);
  const std::shared_ptr<kernel::ThreadGroup> group = task.group;
  group->tasks.clear();
  group->leader = nullptr;
  group->dead = true;
  group->command_line_name = "late";
  const std::string line = text(own + "stat");
  EXPECT_NE(line.find("(late) Z "), std::string::npos);
  EXPECT_EQ(text(own + "cmdline"), "");
  EXPECT_NE(text(own + "status").find("State:\tZ (zombie)"), std::string::npos);
  test.kernel.remove(task);
  test.kernel.reap(*group);
  EXPECT_TRUE(root->lookup(std::to_string(group->id)).is(ENOENT));
  EXPECT_TRUE(directory->lookup("stat").is(ENOENT));
  char byte = 0;
  mm::BufferSink sink(&byte, 1);
  EXPECT_TRUE(opened->read(sink, {}).is(ESRCH));
}

TEST_F(ProcTest, OnlyPlainNumbersAreProcesses) {
  for (const char* name : {"0", "-1", "+1", "01", "1x", "99999999999999", ""})
    EXPECT_TRUE(root->lookup(name).is(ENOENT)) << name;
}

TEST_F(ProcTest, SysctlOfTheOperator) {
  EXPECT_FALSE(set_sysctls(test.kernel, {{"net.core.somaxconn", "99\n"},
                                         {"kernel/sem", " 5 010 0x7\t2"},
                                         {"kernel.printk", "4 4 1  7"},
                                         {"kernel.domainname", "a.domain"}}));
  EXPECT_EQ(text("sys/net/core/somaxconn"), "99\n");
  EXPECT_EQ(text("sys/kernel/sem"), "5\t8\t7\t2\n");
  EXPECT_EQ(test.kernel.domainname, "a.domain");
  // One that is refused leaves all as they were.
  using Refused = std::tuple<const char*, const char*, int>;
  for (const auto& [name, value, error] :
       {Refused{"net.core.somaxconn", "1x", EINVAL},
        Refused{"net.core.somaxconn", "18446744073709551616", EINVAL},
        Refused{"kernel.sem", "1 2 3 4 5", EINVAL}, Refused{"net.ipv4.ip_local_port_range", "2 1", EINVAL},
        Refused{"net.ipv4.ip_unprivileged_port_start", "40000", EINVAL},
        Refused{"kernel.printk", "4 4 1", EPERM}, Refused{"kernel.hostname", "x", EPERM},
        Refused{"kernel.threads-max", "9", EPERM}, Refused{"kernel.new", "1", ENOENT},
        Refused{"net.core", "1", ENOENT}, Refused{"", "1", ENOENT}}) {
    const auto refusal =
        set_sysctls(test.kernel, {{"net.core.somaxconn", "5"}, {"kernel.domainname", "b"}, {name, value}});
    ASSERT_TRUE(refusal) << name;
    EXPECT_EQ(refusal->error, error) << name;
    EXPECT_TRUE(refusal->what.starts_with(name)) << refusal->what;
    EXPECT_EQ(text("sys/net/core/somaxconn"), "99\n") << name;
    EXPECT_EQ(test.kernel.domainname, "a.domain") << name;
  }
}

TEST_F(ProcTest, SysctlsOfSystemVIpc) {
  ASSERT_FALSE(set_sysctls(test.kernel, {{"kernel.sem", "3 4 5 2"},
                                         {"kernel.msgmni", "1"},
                                         {"kernel.msgmnb", "77"},
                                         {"kernel.shmmax", "8192"},
                                         {"kernel.shmall", "3"}}));
  kernel::SysvIpc ipc;
  EXPECT_TRUE(ipc.semaphores->get(task, IPC_PRIVATE, 4, 0600).is(EINVAL));
  EXPECT_TRUE(ipc.semaphores->get(task, IPC_PRIVATE, 3, 0600).ok());
  EXPECT_TRUE(ipc.semaphores->get(task, IPC_PRIVATE, 2, 0600).is(ENOSPC)) << "five in all";
  EXPECT_TRUE(ipc.semaphores->get(task, IPC_PRIVATE, 1, 0600).ok());
  EXPECT_TRUE(ipc.semaphores->get(task, IPC_PRIVATE, 1, 0600).is(ENOSPC)) << "a third set";
  const int queue = *ipc.messages->get(task, IPC_PRIVATE, 0600);
  EXPECT_EQ((*ipc.messages->find(queue))->limit, 77u);
  EXPECT_TRUE(ipc.messages->get(task, IPC_PRIVATE, 0600).is(ENOSPC));
  EXPECT_TRUE(ipc.shared_memory->get(task, IPC_PRIVATE, 8193, 0600).is(EINVAL));
  EXPECT_TRUE(ipc.shared_memory->get(task, IPC_PRIVATE, 8192, 0600).ok());
  EXPECT_TRUE(ipc.shared_memory->get(task, IPC_PRIVATE, 8192, 0600).is(ENOSPC)) << "four pages in all";
}

TEST_F(ProcTest, HostNameIsWritable) {
  EXPECT_TRUE(write_text(root, "sys/kernel/hostname", "elsewhere\nignored").ok());
  EXPECT_EQ(test.kernel.hostname, "elsewhere");
  EXPECT_TRUE(write_text(root, "sys/kernel/osrelease", "7").is(EIO));
}

TEST_F(ProcTest, UuidsDifferAndTheBootsDoesNot) {
  EXPECT_NE(text("sys/kernel/random/uuid"), text("sys/kernel/random/uuid"));
  EXPECT_EQ(text("sys/kernel/random/boot_id"), text("sys/kernel/random/boot_id"));
  EXPECT_EQ(text("sys/kernel/random/uuid").size(), 37u);
}

TEST_F(ProcTest, NetFilesCanBeRegistered) {
  EXPECT_EQ(text(own + "net/tcp6").find("  sl  local_address"), 0u);
  EXPECT_EQ(text(own + "net/tcp").size(), 150u);
  EXPECT_EQ(text(own + "net/udp").size(), 128u);
  register_net_file("tcp6", [] { return std::string("registered\n"); });
  register_net_file("own", [] { return std::string("more\n"); });
  EXPECT_EQ(text(own + "net/tcp6"), "registered\n");
  EXPECT_EQ(text(own + "net/own"), "more\n");
}

TEST_F(ProcTest, MemoryIsWhatTheSandboxHas) {
  EXPECT_NE(text("meminfo").find("MemTotal:        4194304 kB\n"), std::string::npos);
  test.kernel.memory_limit_bytes = uint64_t{256} << 20;
  EXPECT_NE(text("meminfo").find("MemTotal:         262144 kB\n"), std::string::npos);
}

TEST_F(ProcTest, OneBlockForEachCpu) {
  const std::string info = text("cpuinfo");
  size_t processors = 0;
  for (size_t at = 0; (at = info.find("processor\t: ", at)) != std::string::npos; ++at) ++processors;
  EXPECT_EQ(processors, 2u);
  EXPECT_NE(info.find(" sse2 "), std::string::npos) << "every x86-64 has it";
  EXPECT_NE(info.find(" lm "), std::string::npos);
}

TEST(CpuMask, GroupsOf32Bits) {
  EXPECT_EQ(cpu_mask(1), "1");
  EXPECT_EQ(cpu_mask(4), "f");
  EXPECT_EQ(cpu_mask(32), "ffffffff");
  EXPECT_EQ(cpu_mask(33), "1,ffffffff");
  EXPECT_EQ(cpu_list(1), "0");
  EXPECT_EQ(cpu_list(16), "0-15");
}

TEST_F(ProcTest, SeekRewindsAndDoesNotGoBelowZero) {
  const vfs::FileRef file = *(*find(root, "version"))->open({}, O_RDONLY);
  char first[4] = {}, second[4] = {};
  mm::BufferSink one(first, 4), two(second, 4);
  EXPECT_EQ(file->read(one, {}).value(), 4u);
  EXPECT_EQ(file->seek(0, SEEK_SET).value(), 0u);
  EXPECT_EQ(file->read(two, {}).value(), 4u);
  EXPECT_EQ(std::string(first, 4), std::string(second, 4));
  EXPECT_TRUE(file->seek(-1, SEEK_SET).is(EINVAL));
  EXPECT_TRUE(file->seek(INT64_MAX, SEEK_CUR).is(EINVAL));
  EXPECT_TRUE(file->seek(0, SEEK_END).is(EINVAL));
}

TEST_F(ProcTest, ManyOpenFilesKeepLittle) {
  constexpr size_t kLong = 1 << 20, kFiles = 100;
  const auto node =
      std::make_shared<pseudo::TextNode>(*proc, 1, 0444, [] { return std::string(kLong, 't') + "end"; });
  std::vector<vfs::FileRef> files;
  const auto read = [](vfs::File& file, size_t size) {
    std::string piece(size, '\0');
    mm::BufferSink sink(piece.data(), size);
    piece.resize(file.read(sink, {}).value());
    return piece;
  };
  for (size_t i = 0; i < kFiles; ++i) {
    files.push_back(*node->open({}, O_RDONLY));
    EXPECT_EQ(read(*files.back(), kLong), std::string(kLong, 't'));
    EXPECT_LE(pseudo::kept_bytes(), pseudo::kKeptBytesLimit);
  }
  for (const vfs::FileRef& file : files) EXPECT_EQ(read(*file, 10), "end");
  files.clear();
  EXPECT_EQ(pseudo::kept_bytes(), 0u);
}

TEST_F(ProcTest, NothingCanBeMade) {
  EXPECT_TRUE(root->create("x", {.mode = S_IFREG | 0644}).is(ENOENT));
  EXPECT_TRUE(root->mkdir("x", {.mode = S_IFDIR | 0755}).is(ENOENT));
  EXPECT_TRUE((*find(root, "version"))->setattr({.mode = 0777}).is(EPERM));
  EXPECT_TRUE((*find(root, "version"))->setattr({.size = 0}).ok());
}

}  // namespace
}  // namespace sentry::fs::proc
