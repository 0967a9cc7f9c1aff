// linux.seccomp as the program that the sentry judges a container's system calls with.
#pragma once

#include <string>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"

namespace runtime {

// The BPF program, one struct sock_filter after the other. Names that no system call of x86-64 has are left
// out, as in every other runtime: profiles are written for many architectures and kernels.
Outcome<std::string> compile_seccomp(const oci::Seccomp& seccomp);

}  // namespace runtime
