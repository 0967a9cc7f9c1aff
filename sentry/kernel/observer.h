// Who wants to see what happens to tasks: --strace.
#pragma once

#include <string>
#include <vector>

#include "sentry/kernel/signal.h"

namespace sentry::kernel {

class Task;

class TaskObserver {
 public:
  virtual ~TaskObserver() = default;
  // The first process has its program; nothing of it has run.
  virtual void started(Task& task, const std::string& program, const std::vector<std::string>& args,
                       size_t variables) = 0;
  // A signal is about to act on the task: handler, default action, or none.
  virtual void signalled(const Task& task, const SignalInfo& info) = 0;
  // The task has ended, by itself or by its process's end; `wait_status` as wait(2) would say.
  virtual void ended(const Task& task, int wait_status) = 0;
};

}  // namespace sentry::kernel
