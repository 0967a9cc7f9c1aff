// The standard streams as the caller gave them. Their open file descriptions are shared with the caller's
// shell, so nothing here or later sets flags on them.
#pragma once

#include <array>
#include <vector>

#include "sentry/boot/boot.h"

namespace runtime {

// Which of 0, 1, 2 are open: the number, or -1 where the caller closed it. Closed ones are taken by
// /dev/null, so that nothing opened later sits in their place. Call once, before anything else is opened.
std::array<int, 3> inherited_stdio();

// Tells the program how the descriptors that are passed through to it were opened: it may not ask.
void name_open_flags(sentry::boot::Process& process, const std::array<int, 3>& stdio,
                     const std::vector<int>& more_fds);

}  // namespace runtime
