#include "sentry/kernel/file_view.h"

namespace sentry::kernel {

// What path_resolution(7) looks at.
bool FileView::same_access(const vfs::CredentialsRef& credentials) {
  if (credentials == credentials_ || credentials == same_) return true;
  if (credentials == other_) return false;
  const vfs::Credentials &one = *credentials, &view = *credentials_;
  const bool same = one.fsuid == view.fsuid && one.fsgid == view.fsgid && one.groups == view.groups &&
                    one.cap_effective == view.cap_effective && one.landlock == view.landlock;
  (same ? same_ : other_) = credentials;
  return same;
}

uint64_t FileView::place_for(const vfs::CredentialsRef& credentials, const vfs::FsContext& fs) {
  if (credentials_ == nullptr) {
    credentials_ = credentials;
    space_ = fs.space->id();
    root_ = id_of(fs.root);
  }
  if (fs.space->id() != space_ || id_of(fs.root) != root_ || !same_access(credentials)) return 0;
  return id_of(fs.cwd);  // neither 0 nor platform::Platform::kRootPlace
}

}  // namespace sentry::kernel
