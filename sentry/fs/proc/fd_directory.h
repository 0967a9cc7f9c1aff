// /proc/PID/fd and /proc/PID/fdinfo.
#pragma once

#include "sentry/fs/proc/subject.h"
#include "sentry/fs/pseudo/node.h"

namespace sentry::fs::proc {

// A node that belongs to the user of the process it is about.
template <typename Base>
class Owned : public Base {
 public:
  template <typename... Args>
  Owned(Subject subject, Args&&... args) : Base(std::forward<Args>(args)...), subject_(std::move(subject)) {}

 protected:
  Result<pseudo::Node::Owner> owner() override;
  Subject subject_;
};

// Inode numbers of what is below a process's directory: the id in the upper half, and a code of each node.
constexpr uint64_t node_number(pid_t id, uint32_t code) { return static_cast<uint64_t>(id) << 32 | code; }
inline constexpr uint32_t kFdCodes = 0x0100'0000, kFdInfoCodes = 0x0200'0000, kThreadCodes = 0x0300'0000;

std::shared_ptr<pseudo::Node> make_fd_directory(vfs::Superblock& superblock, const Subject& subject,
                                                uint64_t number);
std::shared_ptr<pseudo::Node> make_fdinfo_directory(vfs::Superblock& superblock, const Subject& subject,
                                                    uint64_t number);

// The text of a place as the current task sees it.
std::string place_text(const vfs::Path& path);

}  // namespace sentry::fs::proc
