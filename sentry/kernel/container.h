// What the processes of one container share. A sandbox holds one container, or several (a pod) that see each
// other's processes and sockets, but have file trees of their own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sentry/base/wait_queue.h"
#include "sentry/boot/boot.h"
#include "sentry/vfs/dentry.h"

namespace sentry::kernel {

class ThreadGroup;

struct Container {
  std::string id;
  std::shared_ptr<vfs::MountNamespace> mount_space;
  // Orphans go to it, as to a pid namespace's pid 1: the sandbox's own (no task, reaps by itself) or the
  // container's first process. Null once it has ended.
  ThreadGroup* init = nullptr;
  // Its exit ends the container, that of the sandbox's first container all of them. Null once it has ended.
  ThreadGroup* first = nullptr;
  // No guest code runs, as in a frozen cgroup: calls in progress finish, and wait here to return.
  bool frozen = false;
  WaitQueue thawed;
  std::vector<boot::DeviceRule> device_rules;  // empty: everything is allowed

  // By the last rule that fits, as the device controller of cgroups(7).
  bool may_use_device(char type, unsigned major, unsigned minor, unsigned access) const;
};

}  // namespace sentry::kernel
