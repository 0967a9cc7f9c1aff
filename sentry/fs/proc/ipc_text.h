// What /proc says of locks and of System V IPC: proc_locks(5), proc_sysvipc(5).
#pragma once

#include <string>

#include "sentry/kernel/kernel.h"

namespace sentry::fs::proc {

std::string locks_text(const kernel::Kernel& kernel);
std::string shared_memory_text(const kernel::Kernel& kernel);
std::string semaphores_text(const kernel::Kernel& kernel);
std::string message_queues_text(const kernel::Kernel& kernel);

}  // namespace sentry::fs::proc
