#include "runtime/failure.h"

#include "sentry/base/log.h"

namespace runtime {

int report(const Failure& failed) {
  sentry::log_line(failed.message);
  return failed.status;
}

}  // namespace runtime
