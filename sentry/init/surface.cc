#include "sentry/init/surface.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>

#include "sentry/platform/platform.h"

namespace sentry::init {

Surface sentry_surface(std::string_view platform) {
  Surface list{.program = "bulkhead-sentry", .calls = {}};
  list.calls = {
      // Waiting.
      HOST_CALL(epoll_pwait2,
                "the one place where the sentry sleeps; whether a stream is ready, without waiting"),
      HOST_CALL(epoll_ctl, "watches the standard streams, the gofer, the runtime"),
      HOST_CALL(rt_sigreturn,
                "leaves the handlers: of the signal that ends the sleep, and of SIGBUS in guarded_copy()"),
      HOST_CALL(clock_gettime, "time, where the vDSO has no answer (CPU clocks of stubs)"),
      // Data: the standard streams, donated descriptors, the sandbox's memory file.
      HOST_CALL(preadv2, "reads streams and donated files without waiting, and the memory file"),
      HOST_CALL(pwritev2, "writes streams without waiting, the memory file, the log"),
      HOST_CALL(fallocate, "takes pages of the memory file ahead"),
      HOST_CALL(lseek, "finds holes in the memory file; the position of a redirected stream"),
      HOST_CALL(fstat, "what kind of stream a standard descriptor is"),
      HOST_CALL(ftruncate, "truncates a redirected stream, by the guest's order"),
      HOST_CALL(close, "drops donated descriptors"),
      HOST_CALL(sendmsg, "requests to the gofer, messages to the runtime"),
      HOST_CALL(recvmsg, "the gofer's replies, the runtime's messages, with descriptors"),
      HOST_CALL(getrandom, "the guest's random numbers, address layout"),
      // The sentry's own memory.
      HOST_CALL(mmap, {arg_masked(4, 0xffffffff, 0xffffffff), arg_masked(2, PROT_EXEC, 0)},
                "fd == -1, never executable", "heap, fibers' stacks"),
      HOST_CALL(munmap, "heap, fibers' stacks"),
      HOST_CALL(madvise, {arg_equals(2, MADV_DONTNEED)}, "MADV_DONTNEED", "gives heap back"),
      HOST_CALL(madvise, {arg_equals(2, MADV_REMOVE)}, "MADV_REMOVE", "gives pages of the memory file back"),
      HOST_CALL(exit_group, "the end"),
  };
  list.refused = {
      {SYS_mremap, "mremap", ENOMEM, "realloc of a large block: the C library copies it then"},
      // Not an error: brk(2) answers with where the heap ends, and the C library takes 0 for a failure.
      {SYS_brk, "brk", 0, "heap: the C library maps it then"}};
  for (HostCall& call : platform::sentry_calls(platform)) list.calls.push_back(std::move(call));
#ifdef BULKHEAD_SANITIZE
  for (HostCall call : {
           HOST_CALL(mmap, "sanitizers: shadow memory"),
           HOST_CALL(write, "sanitizers: reports"),
           HOST_CALL(read, "sanitizers: /proc/self/maps for reports"),
           HOST_CALL(openat, "sanitizers: reports"),
           HOST_CALL(readlink, "sanitizers: reports"),
           HOST_CALL(getpid, "sanitizers: reports"),
           HOST_CALL(gettid, "sanitizers: reports"),
           HOST_CALL(futex, "sanitizers: locks"),
           HOST_CALL(sched_yield, "sanitizers: locks"),
           HOST_CALL(sigaltstack, "sanitizers: reports"),
           HOST_CALL(rt_sigaction, "sanitizers: reports"),
           HOST_CALL(rt_sigprocmask, "sanitizers: reports"),
           HOST_CALL(madvise, "sanitizers: shadow memory"),
           HOST_CALL(prctl, "sanitizers: names of mappings"),
           HOST_CALL(getrlimit, "sanitizers: stack bounds"),
           HOST_CALL(prlimit64, "sanitizers: stack bounds"),
           HOST_CALL(ioctl, "sanitizers: is the report's stream a terminal"),
           HOST_CALL(uname, "sanitizers: address-space size"),
           HOST_CALL(pipe, "sanitizers: whether memory is readable"),
           HOST_CALL(pipe2, "sanitizers: whether memory is readable"),
           HOST_CALL(mprotect, "sanitizers: shadow memory"),
           HOST_CALL(open, "sanitizers: reports"),
           HOST_CALL(newfstatat, "sanitizers: reports"),
           HOST_CALL(sched_getaffinity, "sanitizers: number of processors"),
           HOST_CALL(process_vm_readv, "sanitizers: reports"),
           HOST_CALL(tgkill, "sanitizers: abort"),
       })
    list.calls.push_back(call);
#endif
  return list;
}

}  // namespace sentry::init
