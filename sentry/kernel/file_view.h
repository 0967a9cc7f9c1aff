// Who may know without asking what stat(2) answers: a platform shows that to guest code as it is, so only to
// tasks that would get the same answers. These are those with the credentials, the root and the mounts of the
// sandbox's first task.
#pragma once

#include "sentry/vfs/dentry.h"

namespace sentry::kernel {

class FileView {
 public:
  // For platform::Context::Identity; 0 for whoever may not. The first task that asks has the view.
  uint64_t place_for(const vfs::CredentialsRef& credentials, const vfs::FsContext& fs);

 private:
  bool same_access(const vfs::CredentialsRef& credentials);
  // No other place's, ever.
  static uint64_t id_of(const vfs::Path& place) {
    return place.dentry->id() << 24 | (place.mount->id & 0xff'ffff);
  }

  // The first, and the last that were found to be the same, and not.
  vfs::CredentialsRef credentials_, same_, other_;
  uint64_t space_ = 0, root_ = 0;
};

}  // namespace sentry::kernel
