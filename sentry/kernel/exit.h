// Ends: of tasks, of processes, of what their parents wait for. exit(2), wait(2).
#pragma once

#include <sys/resource.h>

#include <functional>

#include "sentry/kernel/task.h"

namespace sentry::kernel {

// exit(2): this thread only; it leaves its loop once the call returns.
void exit_task(Task& task, int code);

// The last act of a task's fiber: lets go of everything; the last one makes its process a zombie.
void finish_exit(Task& task);

// Ends every task but this one and waits until they are gone (exec). ERESTARTNOINTR if the process is ending
// meanwhile.
Result<> end_other_tasks(Task& task);

// What wait4(2) and waitid(2) ask for.
struct WaitRequest {
  enum class Which { kAny, kPid, kGroup, kSelfGroup } which = Which::kAny;
  pid_t id = 0;
  int options = 0;  // WNOHANG, WEXITED, WSTOPPED, WCONTINUED, WNOWAIT, __WCLONE, __WALL, __WNOTHREAD
};
struct WaitAnswer {
  pid_t pid = 0;  // 0: nothing yet (WNOHANG)
  uid_t uid = 0;
  int status = 0;  // as wait(2)
  int code = 0;    // CLD_*
  rusage usage{};
};
Result<WaitAnswer> wait_for_child(Task& task, const WaitRequest& request);

// getrusage(2)'s numbers of a living process.
rusage usage_of(const ThreadGroup& group);

}  // namespace sentry::kernel
