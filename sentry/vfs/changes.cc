#include "sentry/vfs/changes.h"

namespace sentry::vfs {
namespace {

uint64_t own_count = 1;

}  // namespace

uint64_t* detail::changes = &own_count;

void count_changes_at(uint64_t* place) {
  *place = changes() + 1;
  detail::changes = place;
}

}  // namespace sentry::vfs
