// The platform over PTRACE_SYSEMU: short and slow; runs wherever ptrace(2) does.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "sentry/platform/platform.h"

namespace sentry::platform::ptrace {

class PtraceContext;
class PtraceAddressSpace;

class PtracePlatform final : public Platform {
 public:
  PtracePlatform();
  ~PtracePlatform() override;

  Result<AddressSpace::Forked> new_address_space() override;
  size_t fpstate_size() const override { return fpstate_size_; }
  bool collect() override;
  const sigset_t* sleep_mask() const override { return &sleep_mask_; }

 private:
  friend class PtraceContext;
  friend class PtraceAddressSpace;
  void stopped(PtraceContext& context, int status);
  void let_die(pid_t tid);

  pid_t zygote_;
  size_t fpstate_size_;
  sigset_t sleep_mask_;
  std::unordered_map<pid_t, PtraceContext*> contexts_;
  std::unordered_set<pid_t> dying_;  // told to exit, not yet reaped
};

}  // namespace sentry::platform::ptrace
