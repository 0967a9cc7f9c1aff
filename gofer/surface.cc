#include "gofer/surface.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace gofer {

using sentry::arg_equals;
using sentry::arg_masked;
using sentry::ArgRule;

namespace {

// An int argument: the upper half of the register is the caller's accident.
constexpr ArgRule int_equals(unsigned index, int value) {
  return arg_masked(index, 0xffffffff, static_cast<uint32_t>(value));
}
// An int argument with no bits but these.
constexpr ArgRule only_bits(unsigned index, unsigned bits) {
  return arg_masked(index, 0xffffffff & ~bits, 0);
}

constexpr unsigned kTemporary = 020000000;  // __O_TMPFILE, the bit of O_TMPFILE that is not O_DIRECTORY

}  // namespace

// What an fd-based call is given is a descriptor below an attach point, or made from one: the process holds
// no others. What a path-based call is given is one component that was checked, or the number of a descriptor
// in /proc/self/fd, the working directory.
sentry::Surface surface() {
  return {
      "bulkhead-gofer",
      {
          // The client
          HOST_CALL(recvmsg, {int_equals(0, kSocketFd)}, "the socket", "requests"),
          HOST_CALL(sendmsg, {int_equals(0, kSocketFd)}, "the socket", "replies and donated descriptors"),
          HOST_CALL(ppoll, "the wait point while transfers are under way"),
          HOST_CALL(io_uring_enter, {int_equals(0, kRingFd)}, "the ring",
                    "read, write, fsync, fallocate; others the ring refuses"),
          HOST_CALL(fcntl, {int_equals(1, F_GET_SEALS)}, "F_GET_SEALS", "the shared buffer cannot shrink"),

          // Reaching files
          HOST_CALL(openat2, "walk and create; flags are in memory, where no rule sees them"),
          HOST_CALL(openat, {int_equals(0, AT_FDCWD), only_bits(2, ~(O_CREAT | kTemporary))},
                    "in /proc/self/fd, no O_CREAT", "a node's file again, by its descriptor"),
          HOST_CALL(close, "nodes, handles"),
          HOST_CALL(statx, "attributes"),
          HOST_CALL(readlinkat, "a symlink's target"),
          HOST_CALL(getdents64, "directory entries"),
          HOST_CALL(lseek, "a directory's cookie"),
          HOST_CALL(fstatfs, "statfs; which mounts below are no file trees"),

          // Changing names
          HOST_CALL(mkdirat, "mkdir"),
          HOST_CALL(mknodat, {arg_masked(2, S_IFMT, S_IFREG)}, "S_IFREG", "mknod; a device is never made"),
          HOST_CALL(mknodat, {arg_masked(2, S_IFMT, S_IFIFO)}, "S_IFIFO", "mkfifo"),
          HOST_CALL(mknodat, {arg_masked(2, S_IFMT, S_IFSOCK)}, "S_IFSOCK", "bind of a unix socket"),
          HOST_CALL(symlinkat, "symlink"),
          HOST_CALL(linkat, {int_equals(0, AT_FDCWD), int_equals(4, AT_SYMLINK_FOLLOW)}, "from /proc/self/fd",
                    "link, by the node's descriptor"),
          HOST_CALL(unlinkat, {only_bits(2, AT_REMOVEDIR)}, "0 or AT_REMOVEDIR", "unlink, rmdir"),
          HOST_CALL(renameat2, {only_bits(4, RENAME_NOREPLACE | RENAME_EXCHANGE)}, "NOREPLACE, EXCHANGE",
                    "rename; no whiteouts"),

          // Changing attributes
          HOST_CALL(fchmodat, {int_equals(0, AT_FDCWD)}, "in /proc/self/fd",
                    "chmod, by the node's descriptor"),
          HOST_CALL(fchownat, {int_equals(4, AT_EMPTY_PATH)}, "AT_EMPTY_PATH", "chown of a node"),
          HOST_CALL(utimensat, {int_equals(3, AT_EMPTY_PATH)}, "AT_EMPTY_PATH", "times of a node"),
          HOST_CALL(ftruncate, "truncate"),
          HOST_CALL(getxattr, "extended attributes, in /proc/self/fd"),
          HOST_CALL(setxattr, "extended attributes, in /proc/self/fd"),
          HOST_CALL(listxattr, "extended attributes, in /proc/self/fd"),
          HOST_CALL(removexattr, "extended attributes, in /proc/self/fd"),

          // Contents where there is no io_uring
          HOST_CALL(preadv2, {only_bits(5, RWF_NOWAIT)}, "0 or RWF_NOWAIT",
                    "read; whether a file system can do that without waiting"),
          HOST_CALL(pwritev2, {only_bits(5, RWF_APPEND | RWF_DSYNC | RWF_SYNC)}, "APPEND, DSYNC, SYNC",
                    "write; the log"),
          HOST_CALL(fsync, "fsync"),
          HOST_CALL(fdatasync, "fdatasync"),
          HOST_CALL(fallocate, "fallocate"),

          // The process itself
          HOST_CALL(brk, "memory for the id table"),
          HOST_CALL(mmap, {only_bits(2, PROT_READ | PROT_WRITE)}, "never executable",
                    "memory; the shared buffer"),
          HOST_CALL(munmap, "memory"),
          HOST_CALL(exit_group, "the end"),
#ifdef BULKHEAD_SANITIZE
          // What the sanitizers' runtime does. Not part of a release.
          HOST_CALL(mprotect, "sanitizer"),
          HOST_CALL(madvise, "sanitizer"),
          HOST_CALL(mremap, "sanitizer"),
          HOST_CALL(futex, "sanitizer"),
          HOST_CALL(write, "sanitizer: reports"),
          HOST_CALL(sigaltstack, "sanitizer"),
          HOST_CALL(rt_sigaction, "sanitizer"),
          HOST_CALL(rt_sigprocmask, "sanitizer"),
          HOST_CALL(getpid, "sanitizer: reports"),
          HOST_CALL(gettid, "sanitizer: reports"),
          HOST_CALL(tgkill, "sanitizer: abort"),
          HOST_CALL(sched_yield, "sanitizer"),
          HOST_CALL(clock_gettime, "sanitizer"),
          HOST_CALL(readlink, "sanitizer: reports"),
          HOST_CALL(open, "sanitizer: reports"),
          HOST_CALL(openat, {only_bits(2, ~(O_CREAT | kTemporary))}, "no O_CREAT", "sanitizer: reports"),
          HOST_CALL(read, "sanitizer: reports"),
          HOST_CALL(newfstatat, "sanitizer: reports"),
          HOST_CALL(prctl, "sanitizer"),
          HOST_CALL(getrlimit, "sanitizer"),
          HOST_CALL(prlimit64, "sanitizer"),
          HOST_CALL(sched_getaffinity, "sanitizer"),
          HOST_CALL(process_vm_readv, "sanitizer: reports"),
          HOST_CALL(pipe2, "sanitizer: whether memory is readable"),
          HOST_CALL(pipe, "sanitizer: whether memory is readable"),
#endif
      }};
}

}  // namespace gofer
