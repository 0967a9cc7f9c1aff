#include "sentry/fs/proc/fd_directory.h"

#include <dirent.h>

#include <charconv>

#include <fmt/format.h>

#include "sentry/vfs/dentry.h"
#include "sentry/vfs/fd_table.h"

namespace sentry::fs::proc {
namespace {

using kernel::Task;

Result<std::shared_ptr<vfs::FdTable>> table_of(const Subject& subject) {
  const Snapshot snapshot = TRY(subject.look());
  TRY(check_access(snapshot));
  if (snapshot.task == nullptr || snapshot.task->fd_table == nullptr) return Errno(ENOENT);
  return snapshot.task->fd_table;
}

Result<vfs::FileRef> file_of(const Subject& subject, int fd) {
  const std::shared_ptr<vfs::FdTable> table = TRY(table_of(subject));
  const Result<vfs::FileRef> file = table->get(fd);
  if (!file.ok()) return Errno(ENOENT);
  return *file;
}

std::optional<int> parse_fd(std::string_view name) {
  int fd = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), fd);
  // No signs, no leading zeros: a name is one spelling.
  if (error != std::errc{} || end != name.data() + name.size() || fmt::format("{}", fd) != name)
    return std::nullopt;
  return fd;
}

// /proc/PID/fd/N leads to the file itself, whatever its name says now.
class FdLink final : public Owned<pseudo::Node> {
 public:
  FdLink(const Subject& subject, vfs::Superblock& superblock, int fd, uint32_t permissions)
      : Owned(subject, superblock, node_number(subject.id(), kFdCodes + static_cast<uint32_t>(fd)),
              S_IFLNK | permissions),
        fd_(fd) {}

  Result<vfs::Attributes> getattr() override {
    vfs::Attributes attributes = TRY(Node::getattr());
    attributes.size = 64;
    return attributes;
  }
  Result<std::string> readlink() override {
    const vfs::FileRef file = TRY(file_of(subject_, fd_));
    if (file->path() && !vfs::is_anonymous(file->path())) return place_text(file->path());
    return file->description();
  }
  std::optional<Result<vfs::Path>> follow() override {
    const Result<vfs::FileRef> file = file_of(subject_, fd_);
    if (!file.ok()) return file.error();
    if ((*file)->path()) return (*file)->path();
    return vfs::anonymous_path((*file)->inode(), (*file)->description());
  }

 private:
  int fd_;
};

// What fd/ and fdinfo/ have in common: one entry for each open descriptor.
class DescriptorDirectory : public Owned<pseudo::Directory> {
 public:
  using Owned::Owned;

  // proc_fd_permission of Linux: a process may always look at its own, even after it has changed its user.
  Result<> permission(const vfs::Credentials& credentials, int mask) override {
    const Task* caller = Task::current_or_null();
    const Result<Snapshot> snapshot = subject_.look();
    if (caller != nullptr && snapshot.ok() && caller->group == snapshot->group && (mask & W_OK) == 0)
      return {};
    return Directory::permission(credentials, mask);
  }

  Result<std::vector<Entry>> list() override {
    const Snapshot snapshot = TRY(subject_.look());
    TRY(check_access(snapshot));
    std::vector<Entry> entries;
    if (snapshot.task == nullptr || snapshot.task->fd_table == nullptr) return entries;
    for (int fd : snapshot.task->fd_table->list())
      entries.push_back({fmt::format("{}", fd),
                         node_number(subject_.id(), codes() + static_cast<uint32_t>(fd)), entry_type()});
    return entries;
  }

  Result<vfs::InodeRef> lookup(std::string_view name) override {
    const std::optional<int> fd = parse_fd(name);
    if (!fd) return Errno(ENOENT);
    const vfs::FileRef file = TRY(file_of(subject_, *fd));
    return make(*fd, *file);
  }

 protected:
  virtual uint32_t codes() const = 0;
  virtual unsigned char entry_type() const = 0;
  virtual vfs::InodeRef make(int fd, const vfs::File& file) = 0;
};

class FdDirectory final : public DescriptorDirectory {
 public:
  using DescriptorDirectory::DescriptorDirectory;

 private:
  uint32_t codes() const override { return kFdCodes; }
  unsigned char entry_type() const override { return DT_LNK; }
  vfs::InodeRef make(int fd, const vfs::File& file) override {
    const uint32_t permissions = (file.readable() ? 0500u : 0u) | (file.writable() ? 0300u : 0u);
    return std::make_shared<FdLink>(subject_, superblock(), fd, permissions);
  }
};

Result<std::string> fdinfo_text(const Subject& subject, int fd) {
  const vfs::FileRef file = TRY(file_of(subject, fd));
  const std::shared_ptr<vfs::FdTable> table = TRY(table_of(subject));
  const int close_on_exec = table->cloexec(fd).value_or(false) ? O_CLOEXEC : 0;
  const uint64_t inode = file->inode() != nullptr ? TRY(file->inode()->getattr()).ino : 0;
  const uint32_t mount = file->path() && file->path().mount != nullptr ? file->path().mount->id : 0;
  return fmt::format("pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n{}", file->position,
                     static_cast<unsigned>(file->flags() | close_on_exec), mount, inode, file->fdinfo());
}

class FdInfoDirectory final : public DescriptorDirectory {
 public:
  using DescriptorDirectory::DescriptorDirectory;

 private:
  uint32_t codes() const override { return kFdInfoCodes; }
  unsigned char entry_type() const override { return DT_REG; }
  vfs::InodeRef make(int fd, const vfs::File&) override {
    return std::make_shared<Owned<pseudo::TextNode>>(
        subject_, superblock(), node_number(subject_.id(), kFdInfoCodes + static_cast<uint32_t>(fd)), 0400u,
        [subject = subject_, fd] { return fdinfo_text(subject, fd); });
  }
};

}  // namespace

// task_dump_owner of Linux: root where the program may not be looked into; directories that all may list are
// always the user's.
template <typename Base>
Result<pseudo::Node::Owner> Owned<Base>::owner() {
  const Snapshot snapshot = TRY(subject_.look());
  if (snapshot.task == nullptr || snapshot.task->credentials == nullptr)
    return pseudo::Node::Owner{.uid = snapshot.group->uid};
  const bool for_all = this->is_directory() && (this->permissions() & 0555) == 0555;
  const auto memory = snapshot.memory();
  if (!for_all && memory != nullptr && !memory->dumpable) return pseudo::Node::Owner{};
  return pseudo::Node::Owner{snapshot.task->credentials->euid, snapshot.task->credentials->egid};
}
template class Owned<pseudo::Node>;
template class Owned<pseudo::TextNode>;
template class Owned<pseudo::LinkNode>;
template class Owned<pseudo::Directory>;

std::string place_text(const vfs::Path& path) {
  const Task* caller = Task::current_or_null();
  if (caller == nullptr || caller->fs_context == nullptr) return path.dentry->name();
  const vfs::FsContext& fs = *caller->fs_context;
  return fs.space->path_text(path, fs.root);
}

std::shared_ptr<pseudo::Node> make_fd_directory(vfs::Superblock& superblock, const Subject& subject,
                                                uint64_t number) {
  return std::make_shared<FdDirectory>(subject, superblock, number, 0500u);
}

std::shared_ptr<pseudo::Node> make_fdinfo_directory(vfs::Superblock& superblock, const Subject& subject,
                                                    uint64_t number) {
  return std::make_shared<FdInfoDirectory>(subject, superblock, number, 0555u);
}

}  // namespace sentry::fs::proc
