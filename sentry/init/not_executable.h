// Why a program cannot be executed, in words for the operator: execve(2) has one errno for many causes.
#pragma once

#include <string>

#include "sentry/base/result.h"
#include "sentry/kernel/task.h"

namespace sentry::init {

// What belongs between the name of `program`, which exec() has refused, and the text of `error`: ": a 32-bit
// program", ": its interpreter /bin/zsh". Empty if the errno says it all. May park.
std::string explain_refusal(kernel::Task& task, const vfs::FileRef& program, Errno error);

}  // namespace sentry::init
