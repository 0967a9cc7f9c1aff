// What Linux has and a sandbox refuses: by the errno at which programs and libraries fall back. Natively
// there is nothing to see. (sweep.py holds every absent call to the errno in the table, whatever its
// arguments.)
#include <linux/futex.h>
#include <pthread.h>
#include <sys/quota.h>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

void only_inside() {
  if (!check::in_sandbox()) SKIP("Linux has it");
}

TEST(asynchronous_input_and_output) {
  only_inside();
  char parameters[256] = {};
  FAILS(ENOSYS, syscall(SYS_io_uring_setup, 8, parameters));
  unsigned long context = 0;
  FAILS(ENOSYS, syscall(SYS_io_setup, 8, &context));
}

TEST(priority_inheritance) {
  only_inside();
  // pthread_mutex_init(3) asks the kernel once.
  int word = 0;
  for (const int operation :
       {FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_LOCK_PI2, FUTEX_CMP_REQUEUE_PI})
    FAILS(ENOSYS, syscall(SYS_futex, &word, operation, 1, nullptr, &word, 0));
  pthread_mutexattr_t attributes;
  CHECK_EQ(pthread_mutexattr_init(&attributes), 0);
  CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
  pthread_mutex_t mutex;
  CHECK_EQ(pthread_mutex_init(&mutex, &attributes), ENOTSUP);
}

TEST(restartable_sequences) {
  only_inside();
  alignas(32) char area[32] = {};
  FAILS(ENOSYS, syscall(SYS_rseq, area, sizeof area, 0, 0x53053053));
}

TEST(leases) {
  only_inside();
  const Fd file(OK(open("file", O_RDONLY | O_CREAT, 0600)));
  FAILS(EINVAL, fcntl(file, F_SETLEASE, F_RDLCK));
  CHECK_EQ(OK(fcntl(file, F_GETLEASE)), F_UNLCK);
}

TEST(file_handles_and_quotas) {
  only_inside();
  struct {
    file_handle handle{.handle_bytes = 64, .handle_type = 0};
    char room[64];
  } named;
  int mount = 0;
  FAILS(EOPNOTSUPP, syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &named, &mount, 0));
  FAILS(ENOSYS, syscall(SYS_quotactl, QCMD(Q_GETFMT, USRQUOTA), "/dev/root", 0, nullptr));
}

TEST(what_concerns_the_hosts_kernel) {
  only_inside();
  char attributes[128] = {};
  FAILS(EPERM, syscall(SYS_bpf, 0, attributes, sizeof attributes));
  FAILS(EACCES, syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0));
  FAILS(ENOSYS, syscall(SYS_userfaultfd, O_CLOEXEC));
  FAILS(ENOSYS, syscall(SYS_keyctl, 0, -1, 0, 0, 0));
}

}  // namespace
