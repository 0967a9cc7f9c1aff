// For inodes that keep their attributes themselves.
#pragma once

#include "sentry/vfs/inode.h"

namespace sentry::vfs {

// Carries out what setattr() is asked for, ctime with it; but for the size, which is the content's.
void apply(const AttributeChange& change, Attributes& attributes);

}  // namespace sentry::vfs
