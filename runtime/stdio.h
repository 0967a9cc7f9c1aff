// The standard streams as the caller gave them. Their open file descriptions are shared with the caller's
// shell, so nothing here or later sets flags on them.
#pragma once

#include <array>

namespace runtime {

// Which of 0, 1, 2 are open: the number, or -1 where the caller closed it. Closed ones are taken by
// /dev/null, so that nothing opened later sits in their place. Call once, before anything else is opened.
std::array<int, 3> inherited_stdio();

}  // namespace runtime
