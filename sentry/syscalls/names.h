// Names of flag bits for --strace, as strace(1) prints them.
#pragma once

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#include "sentry/syscalls/print.h"

namespace sentry::syscalls {

inline constexpr FlagName kProtNames[] = {{PROT_READ, "PROT_READ"},
                                          {PROT_WRITE, "PROT_WRITE"},
                                          {PROT_EXEC, "PROT_EXEC"},
                                          {0, "PROT_NONE"},
                                          {0, nullptr}};
inline constexpr FlagName kMapNames[] = {{MAP_SHARED, "MAP_SHARED"},
                                         {MAP_PRIVATE, "MAP_PRIVATE"},
                                         {MAP_FIXED, "MAP_FIXED"},
                                         {MAP_ANONYMOUS, "MAP_ANONYMOUS"},
                                         {MAP_32BIT, "MAP_32BIT"},
                                         {MAP_GROWSDOWN, "MAP_GROWSDOWN"},
                                         {MAP_DENYWRITE, "MAP_DENYWRITE"},
                                         {MAP_EXECUTABLE, "MAP_EXECUTABLE"},
                                         {MAP_LOCKED, "MAP_LOCKED"},
                                         {MAP_NORESERVE, "MAP_NORESERVE"},
                                         {MAP_POPULATE, "MAP_POPULATE"},
                                         {MAP_NONBLOCK, "MAP_NONBLOCK"},
                                         {MAP_STACK, "MAP_STACK"},
                                         {MAP_HUGETLB, "MAP_HUGETLB"},
                                         {MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
                                         {0, nullptr}};
inline constexpr FlagName kMremapNames[] = {
    {1, "MREMAP_MAYMOVE"}, {2, "MREMAP_FIXED"}, {4, "MREMAP_DONTUNMAP"}, {0, "0"}, {0, nullptr}};
inline constexpr FlagName kAdviceNames[] = {{MADV_DONTNEED, "MADV_DONTNEED"},
                                            {MADV_FREE, "MADV_FREE"},
                                            {MADV_HUGEPAGE, "MADV_HUGEPAGE"},
                                            {MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE"},
                                            {MADV_WILLNEED, "MADV_WILLNEED"},
                                            {MADV_SEQUENTIAL, "MADV_SEQUENTIAL"},
                                            {MADV_RANDOM, "MADV_RANDOM"},
                                            {MADV_DONTFORK, "MADV_DONTFORK"},
                                            {MADV_DONTDUMP, "MADV_DONTDUMP"},
                                            {MADV_WIPEONFORK, "MADV_WIPEONFORK"},
                                            {0, "MADV_NORMAL"},
                                            {0, nullptr}};
inline constexpr FlagName kMsyncNames[] = {
    {MS_ASYNC, "MS_ASYNC"}, {MS_INVALIDATE, "MS_INVALIDATE"}, {MS_SYNC, "MS_SYNC"}, {0, "0"}, {0, nullptr}};
inline constexpr FlagName kCloneNames[] = {{0x80, "CLONE_NEWTIME"},
                                           {CLONE_VM, "CLONE_VM"},
                                           {CLONE_FS, "CLONE_FS"},
                                           {CLONE_FILES, "CLONE_FILES"},
                                           {CLONE_SIGHAND, "CLONE_SIGHAND"},
                                           {CLONE_PIDFD, "CLONE_PIDFD"},
                                           {CLONE_PTRACE, "CLONE_PTRACE"},
                                           {CLONE_VFORK, "CLONE_VFORK"},
                                           {CLONE_PARENT, "CLONE_PARENT"},
                                           {CLONE_THREAD, "CLONE_THREAD"},
                                           {CLONE_NEWNS, "CLONE_NEWNS"},
                                           {CLONE_SYSVSEM, "CLONE_SYSVSEM"},
                                           {CLONE_SETTLS, "CLONE_SETTLS"},
                                           {CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
                                           {CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"},
                                           {CLONE_UNTRACED, "CLONE_UNTRACED"},
                                           {CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
                                           {CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
                                           {CLONE_NEWUTS, "CLONE_NEWUTS"},
                                           {CLONE_NEWIPC, "CLONE_NEWIPC"},
                                           {CLONE_NEWUSER, "CLONE_NEWUSER"},
                                           {CLONE_NEWPID, "CLONE_NEWPID"},
                                           {CLONE_NEWNET, "CLONE_NEWNET"},
                                           {CLONE_IO, "CLONE_IO"},
                                           {1ULL << 32, "CLONE_CLEAR_SIGHAND"},
                                           {1ULL << 33, "CLONE_INTO_CGROUP"},
                                           {0, nullptr}};

inline constexpr FlagName kArchPrctlNames[] = {{0x1001, "ARCH_SET_GS"},
                                               {0x1002, "ARCH_SET_FS"},
                                               {0x1003, "ARCH_GET_FS"},
                                               {0x1004, "ARCH_GET_GS"},
                                               {0, nullptr}};
inline constexpr FlagName kPrctlNames[] = {{1, "PR_SET_PDEATHSIG"},
                                           {3, "PR_GET_DUMPABLE"},
                                           {4, "PR_SET_DUMPABLE"},
                                           {15, "PR_SET_NAME"},
                                           {16, "PR_GET_NAME"},
                                           {23, "PR_CAPBSET_READ"},
                                           {24, "PR_CAPBSET_DROP"},
                                           {36, "PR_SET_CHILD_SUBREAPER"},
                                           {38, "PR_SET_NO_NEW_PRIVS"},
                                           {47, "PR_CAP_AMBIENT"},
                                           {0, nullptr}};

inline constexpr FlagName kPtraceNames[] = {{1, "PTRACE_PEEKTEXT"},
                                            {2, "PTRACE_PEEKDATA"},
                                            {3, "PTRACE_PEEKUSER"},
                                            {4, "PTRACE_POKETEXT"},
                                            {5, "PTRACE_POKEDATA"},
                                            {6, "PTRACE_POKEUSER"},
                                            {7, "PTRACE_CONT"},
                                            {8, "PTRACE_KILL"},
                                            {9, "PTRACE_SINGLESTEP"},
                                            {12, "PTRACE_GETREGS"},
                                            {13, "PTRACE_SETREGS"},
                                            {14, "PTRACE_GETFPREGS"},
                                            {15, "PTRACE_SETFPREGS"},
                                            {16, "PTRACE_ATTACH"},
                                            {17, "PTRACE_DETACH"},
                                            {24, "PTRACE_SYSCALL"},
                                            {30, "PTRACE_ARCH_PRCTL"},
                                            {31, "PTRACE_SYSEMU"},
                                            {32, "PTRACE_SYSEMU_SINGLESTEP"},
                                            {0x4200, "PTRACE_SETOPTIONS"},
                                            {0x4201, "PTRACE_GETEVENTMSG"},
                                            {0x4202, "PTRACE_GETSIGINFO"},
                                            {0x4203, "PTRACE_SETSIGINFO"},
                                            {0x4204, "PTRACE_GETREGSET"},
                                            {0x4205, "PTRACE_SETREGSET"},
                                            {0x4206, "PTRACE_SEIZE"},
                                            {0x4207, "PTRACE_INTERRUPT"},
                                            {0x4208, "PTRACE_LISTEN"},
                                            {0x4209, "PTRACE_PEEKSIGINFO"},
                                            {0x420a, "PTRACE_GETSIGMASK"},
                                            {0x420b, "PTRACE_SETSIGMASK"},
                                            {0x420e, "PTRACE_GET_SYSCALL_INFO"},
                                            {0, "PTRACE_TRACEME"},
                                            {0, nullptr}};
inline constexpr FlagName kSeccompNames[] = {{1, "SECCOMP_SET_MODE_FILTER"},
                                             {2, "SECCOMP_GET_ACTION_AVAIL"},
                                             {3, "SECCOMP_GET_NOTIF_SIZES"},
                                             {0, "SECCOMP_SET_MODE_STRICT"},
                                             {0, nullptr}};

inline constexpr FlagName kMaskHowNames[] = {
    {1, "SIG_UNBLOCK"}, {2, "SIG_SETMASK"}, {0, "SIG_BLOCK"}, {0, nullptr}};
inline constexpr FlagName kFutexNames[] = {{0x80, "FUTEX_WAIT_PRIVATE"},
                                           {0x81, "FUTEX_WAKE_PRIVATE"},
                                           {0x83, "FUTEX_REQUEUE_PRIVATE"},
                                           {0x84, "FUTEX_CMP_REQUEUE_PRIVATE"},
                                           {0x85, "FUTEX_WAKE_OP_PRIVATE"},
                                           {0x86, "FUTEX_LOCK_PI_PRIVATE"},
                                           {0x87, "FUTEX_UNLOCK_PI_PRIVATE"},
                                           {0x89, "FUTEX_WAIT_BITSET_PRIVATE"},
                                           {0x8a, "FUTEX_WAKE_BITSET_PRIVATE"},
                                           {0x189, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"},
                                           {0x109, "FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME"},
                                           {1, "FUTEX_WAKE"},
                                           {3, "FUTEX_REQUEUE"},
                                           {4, "FUTEX_CMP_REQUEUE"},
                                           {5, "FUTEX_WAKE_OP"},
                                           {6, "FUTEX_LOCK_PI"},
                                           {7, "FUTEX_UNLOCK_PI"},
                                           {9, "FUTEX_WAIT_BITSET"},
                                           {10, "FUTEX_WAKE_BITSET"},
                                           {0, "FUTEX_WAIT"},
                                           {0, nullptr}};
inline constexpr FlagName kSignalNames[] = {
    {1, "SIGHUP"},   {2, "SIGINT"},     {3, "SIGQUIT"},  {4, "SIGILL"},     {5, "SIGTRAP"},  {6, "SIGABRT"},
    {7, "SIGBUS"},   {8, "SIGFPE"},     {9, "SIGKILL"},  {10, "SIGUSR1"},   {11, "SIGSEGV"}, {12, "SIGUSR2"},
    {13, "SIGPIPE"}, {14, "SIGALRM"},   {15, "SIGTERM"}, {16, "SIGSTKFLT"}, {17, "SIGCHLD"}, {18, "SIGCONT"},
    {19, "SIGSTOP"}, {20, "SIGTSTP"},   {21, "SIGTTIN"}, {22, "SIGTTOU"},   {23, "SIGURG"},  {24, "SIGXCPU"},
    {25, "SIGXFSZ"}, {26, "SIGVTALRM"}, {27, "SIGPROF"}, {28, "SIGWINCH"},  {29, "SIGIO"},   {30, "SIGPWR"},
    {31, "SIGSYS"},  {32, "SIGRTMIN"},  {33, "SIGRT_1"}, {34, "SIGRT_2"},   {0, "0"},        {0, nullptr}};

inline constexpr FlagName kEpollCreateNames[] = {{EPOLL_CLOEXEC, "EPOLL_CLOEXEC"}, {0, nullptr}};
inline constexpr FlagName kEpollOperationNames[] = {{EPOLL_CTL_ADD, "EPOLL_CTL_ADD"},
                                                    {EPOLL_CTL_DEL, "EPOLL_CTL_DEL"},
                                                    {EPOLL_CTL_MOD, "EPOLL_CTL_MOD"},
                                                    {0, nullptr}};
inline constexpr FlagName kEpollEventNames[] = {
    {EPOLLIN, "EPOLLIN"},         {EPOLLPRI, "EPOLLPRI"},
    {EPOLLOUT, "EPOLLOUT"},       {EPOLLRDNORM, "EPOLLRDNORM"},
    {EPOLLRDBAND, "EPOLLRDBAND"}, {EPOLLWRNORM, "EPOLLWRNORM"},
    {EPOLLWRBAND, "EPOLLWRBAND"}, {EPOLLMSG, "EPOLLMSG"},
    {EPOLLERR, "EPOLLERR"},       {EPOLLHUP, "EPOLLHUP"},
    {EPOLLRDHUP, "EPOLLRDHUP"},   {EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
    {EPOLLWAKEUP, "EPOLLWAKEUP"}, {EPOLLONESHOT, "EPOLLONESHOT"},
    {EPOLLET, "EPOLLET"},         {0, nullptr}};
inline constexpr FlagName kPollNames[] = {{POLLIN, "POLLIN"},
                                          {POLLPRI, "POLLPRI"},
                                          {POLLOUT, "POLLOUT"},
                                          {POLLRDNORM, "POLLRDNORM"},
                                          {POLLRDBAND, "POLLRDBAND"},
                                          {POLLWRNORM, "POLLWRNORM"},
                                          {POLLWRBAND, "POLLWRBAND"},
                                          {POLLMSG, "POLLMSG"},
                                          {POLLERR, "POLLERR"},
                                          {POLLHUP, "POLLHUP"},
                                          {POLLNVAL, "POLLNVAL"},
                                          {POLLRDHUP, "POLLRDHUP"},
                                          {0, nullptr}};
inline constexpr FlagName kEventfdNames[] = {{EFD_SEMAPHORE, "EFD_SEMAPHORE"},
                                             {EFD_CLOEXEC, "EFD_CLOEXEC"},
                                             {EFD_NONBLOCK, "EFD_NONBLOCK"},
                                             {0, nullptr}};
inline constexpr FlagName kSignalfdNames[] = {
    {SFD_CLOEXEC, "SFD_CLOEXEC"}, {SFD_NONBLOCK, "SFD_NONBLOCK"}, {0, nullptr}};
inline constexpr FlagName kTimerfdNames[] = {
    {TFD_CLOEXEC, "TFD_CLOEXEC"}, {TFD_NONBLOCK, "TFD_NONBLOCK"}, {0, nullptr}};
inline constexpr FlagName kTimerSetNames[] = {{TIMER_ABSTIME, "TIMER_ABSTIME"}, {0, nullptr}};
inline constexpr FlagName kClockNames[] = {{CLOCK_REALTIME, "CLOCK_REALTIME"},
                                           {CLOCK_MONOTONIC, "CLOCK_MONOTONIC"},
                                           {CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID"},
                                           {CLOCK_THREAD_CPUTIME_ID, "CLOCK_THREAD_CPUTIME_ID"},
                                           {CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW"},
                                           {CLOCK_REALTIME_COARSE, "CLOCK_REALTIME_COARSE"},
                                           {CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE"},
                                           {CLOCK_BOOTTIME, "CLOCK_BOOTTIME"},
                                           {CLOCK_REALTIME_ALARM, "CLOCK_REALTIME_ALARM"},
                                           {CLOCK_BOOTTIME_ALARM, "CLOCK_BOOTTIME_ALARM"},
                                           {CLOCK_TAI, "CLOCK_TAI"},
                                           {0, nullptr}};
inline constexpr FlagName kDescriptorFlagNames[] = {{FD_CLOEXEC, "FD_CLOEXEC"}, {0, nullptr}};
inline constexpr FlagName kFlockNames[] = {
    {LOCK_SH, "LOCK_SH"},     {LOCK_EX, "LOCK_EX"},     {LOCK_NB, "LOCK_NB"},       {LOCK_UN, "LOCK_UN"},
    {LOCK_MAND, "LOCK_MAND"}, {LOCK_READ, "LOCK_READ"}, {LOCK_WRITE, "LOCK_WRITE"}, {0, nullptr}};
inline constexpr FlagName kLockTypeNames[] = {
    {F_RDLCK, "F_RDLCK"}, {F_WRLCK, "F_WRLCK"}, {F_UNLCK, "F_UNLCK"}, {0, nullptr}};
inline constexpr FlagName kFcntlNames[] = {{F_DUPFD, "F_DUPFD"},
                                           {F_GETFD, "F_GETFD"},
                                           {F_SETFD, "F_SETFD"},
                                           {F_GETFL, "F_GETFL"},
                                           {F_SETFL, "F_SETFL"},
                                           {F_GETLK, "F_GETLK"},
                                           {F_SETLK, "F_SETLK"},
                                           {F_SETLKW, "F_SETLKW"},
                                           {F_SETOWN, "F_SETOWN"},
                                           {F_GETOWN, "F_GETOWN"},
                                           {F_SETSIG, "F_SETSIG"},
                                           {F_GETSIG, "F_GETSIG"},
                                           {F_SETOWN_EX, "F_SETOWN_EX"},
                                           {F_GETOWN_EX, "F_GETOWN_EX"},
                                           {F_OFD_GETLK, "F_OFD_GETLK"},
                                           {F_OFD_SETLK, "F_OFD_SETLK"},
                                           {F_OFD_SETLKW, "F_OFD_SETLKW"},
                                           {F_SETLEASE, "F_SETLEASE"},
                                           {F_GETLEASE, "F_GETLEASE"},
                                           {F_NOTIFY, "F_NOTIFY"},
                                           {F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
                                           {F_SETPIPE_SZ, "F_SETPIPE_SZ"},
                                           {F_GETPIPE_SZ, "F_GETPIPE_SZ"},
                                           {F_ADD_SEALS, "F_ADD_SEALS"},
                                           {F_GET_SEALS, "F_GET_SEALS"},
                                           {F_GET_RW_HINT, "F_GET_RW_HINT"},
                                           {F_SET_RW_HINT, "F_SET_RW_HINT"},
                                           {F_GET_FILE_RW_HINT, "F_GET_FILE_RW_HINT"},
                                           {F_SET_FILE_RW_HINT, "F_SET_FILE_RW_HINT"},
                                           {0, nullptr}};
// Requests by the names that strace(1) prefers where several have one number.
inline constexpr FlagName kIoctlNames[] = {{TCGETS, "TCGETS"},
                                           {TCSETS, "TCSETS"},
                                           {TCSETSW, "TCSETSW"},
                                           {TCSETSF, "TCSETSF"},
                                           {TCSBRK, "TCSBRK"},
                                           {TCXONC, "TCXONC"},
                                           {TCFLSH, "TCFLSH"},
                                           {TIOCEXCL, "TIOCEXCL"},
                                           {TIOCNXCL, "TIOCNXCL"},
                                           {TIOCSCTTY, "TIOCSCTTY"},
                                           {TIOCGPGRP, "TIOCGPGRP"},
                                           {TIOCSPGRP, "TIOCSPGRP"},
                                           {TIOCOUTQ, "TIOCOUTQ"},
                                           {TIOCSTI, "TIOCSTI"},
                                           {TIOCGWINSZ, "TIOCGWINSZ"},
                                           {TIOCSWINSZ, "TIOCSWINSZ"},
                                           {FIONREAD, "FIONREAD"},
                                           {FIONBIO, "FIONBIO"},
                                           {TIOCNOTTY, "TIOCNOTTY"},
                                           {TIOCGSID, "TIOCGSID"},
                                           {TIOCGPTN, "TIOCGPTN"},
                                           {TIOCSPTLCK, "TIOCSPTLCK"},
                                           {TIOCGPTPEER, "TIOCGPTPEER"},
                                           {TIOCPKT, "TIOCPKT"},
                                           {FIONCLEX, "FIONCLEX"},
                                           {FIOCLEX, "FIOCLEX"},
                                           {FIOASYNC, "FIOASYNC"},
                                           {FIOQSIZE, "FIOQSIZE"},
                                           {SIOCGIFCONF, "SIOCGIFCONF"},
                                           {SIOCGIFFLAGS, "SIOCGIFFLAGS"},
                                           {SIOCGIFADDR, "SIOCGIFADDR"},
                                           {SIOCGIFINDEX, "SIOCGIFINDEX"},
                                           {SIOCGIFNAME, "SIOCGIFNAME"},
                                           {SIOCGIFHWADDR, "SIOCGIFHWADDR"},
                                           {SIOCGIFMTU, "SIOCGIFMTU"},
                                           {SIOCATMARK, "SIOCATMARK"},
                                           {0x40049409, "FICLONE"},
                                           {2, "FIGETBSZ"},
                                           {0, nullptr}};
inline constexpr FlagName kAddressFamilyNames[] = {
    {AF_UNSPEC, "AF_UNSPEC"}, {AF_UNIX, "AF_UNIX"},       {AF_INET, "AF_INET"},
    {AF_INET6, "AF_INET6"},   {AF_NETLINK, "AF_NETLINK"}, {AF_PACKET, "AF_PACKET"},
    {AF_ALG, "AF_ALG"},       {AF_VSOCK, "AF_VSOCK"},     {0, nullptr}};
inline constexpr FlagName kSocketTypeNames[] = {{SOCK_STREAM, "SOCK_STREAM", 0xf},
                                                {SOCK_DGRAM, "SOCK_DGRAM", 0xf},
                                                {SOCK_RAW, "SOCK_RAW", 0xf},
                                                {SOCK_RDM, "SOCK_RDM", 0xf},
                                                {SOCK_SEQPACKET, "SOCK_SEQPACKET", 0xf},
                                                {SOCK_CLOEXEC, "SOCK_CLOEXEC"},
                                                {SOCK_NONBLOCK, "SOCK_NONBLOCK"},
                                                {0, nullptr}};
inline constexpr FlagName kProtocolNames[] = {
    {0, "IPPROTO_IP"},      {1, "IPPROTO_ICMP"},  {6, "IPPROTO_TCP"}, {17, "IPPROTO_UDP"},
    {58, "IPPROTO_ICMPV6"}, {255, "IPPROTO_RAW"}, {0, nullptr}};
inline constexpr FlagName kNetlinkNames[] = {{0, "NETLINK_ROUTE"},
                                             {9, "NETLINK_AUDIT"},
                                             {15, "NETLINK_KOBJECT_UEVENT"},
                                             {16, "NETLINK_GENERIC"},
                                             {0, nullptr}};
inline constexpr FlagName kSocketFlagNames[] = {
    {SOCK_CLOEXEC, "SOCK_CLOEXEC"}, {SOCK_NONBLOCK, "SOCK_NONBLOCK"}, {0, nullptr, 0, "SOCK_???"}};
inline constexpr FlagName kSocketLevelNames[] = {
    {SOL_SOCKET, "SOL_SOCKET"}, {0, "SOL_IP"},        {6, "SOL_TCP"},           {17, "SOL_UDP"},
    {41, "SOL_IPV6"},           {270, "SOL_NETLINK"}, {0, nullptr, 0, "SOL_??"}};
inline constexpr FlagName kShutdownNames[] = {
    {SHUT_RD, "SHUT_RD"}, {SHUT_WR, "SHUT_WR"}, {SHUT_RDWR, "SHUT_RDWR"}, {0, nullptr}};
inline constexpr FlagName kMessageFlagNames[] = {{MSG_OOB, "MSG_OOB"},
                                                 {MSG_PEEK, "MSG_PEEK"},
                                                 {MSG_DONTROUTE, "MSG_DONTROUTE"},
                                                 {MSG_CTRUNC, "MSG_CTRUNC"},
                                                 {MSG_TRUNC, "MSG_TRUNC"},
                                                 {MSG_DONTWAIT, "MSG_DONTWAIT"},
                                                 {MSG_EOR, "MSG_EOR"},
                                                 {MSG_WAITALL, "MSG_WAITALL"},
                                                 {MSG_CONFIRM, "MSG_CONFIRM"},
                                                 {MSG_ERRQUEUE, "MSG_ERRQUEUE"},
                                                 {MSG_NOSIGNAL, "MSG_NOSIGNAL"},
                                                 {MSG_MORE, "MSG_MORE"},
                                                 {MSG_WAITFORONE, "MSG_WAITFORONE"},
                                                 {MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"},
                                                 {0, nullptr}};
inline constexpr FlagName kWaitNames[] = {
    {WNOHANG, "WNOHANG"},       {WUNTRACED, "WSTOPPED"},  {WEXITED, "WEXITED"},
    {WCONTINUED, "WCONTINUED"}, {WNOWAIT, "WNOWAIT"},     {__WNOTHREAD, "__WNOTHREAD"},
    {__WALL, "__WALL"},         {0x80000000, "__WCLONE"}, {0, nullptr}};
inline constexpr FlagName kWaitIdNames[] = {
    {P_ALL, "P_ALL"}, {P_PID, "P_PID"}, {P_PGID, "P_PGID"}, {3, "P_PIDFD"}, {0, nullptr}};
inline constexpr FlagName kLimitNames[] = {{RLIMIT_CPU, "RLIMIT_CPU"},
                                           {RLIMIT_FSIZE, "RLIMIT_FSIZE"},
                                           {RLIMIT_DATA, "RLIMIT_DATA"},
                                           {RLIMIT_STACK, "RLIMIT_STACK"},
                                           {RLIMIT_CORE, "RLIMIT_CORE"},
                                           {RLIMIT_RSS, "RLIMIT_RSS"},
                                           {RLIMIT_NPROC, "RLIMIT_NPROC"},
                                           {RLIMIT_NOFILE, "RLIMIT_NOFILE"},
                                           {RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
                                           {RLIMIT_AS, "RLIMIT_AS"},
                                           {RLIMIT_LOCKS, "RLIMIT_LOCKS"},
                                           {RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
                                           {RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"},
                                           {RLIMIT_NICE, "RLIMIT_NICE"},
                                           {RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
                                           {RLIMIT_RTTIME, "RLIMIT_RTTIME"},
                                           {0, nullptr}};
inline constexpr FlagName kUsageNames[] = {
    {0, "RUSAGE_SELF"}, {0xffffffff, "RUSAGE_CHILDREN"}, {1, "RUSAGE_THREAD"}, {0, nullptr}};
inline constexpr FlagName kRandomNames[] = {{GRND_NONBLOCK, "GRND_NONBLOCK"},
                                            {GRND_RANDOM, "GRND_RANDOM"},
                                            {GRND_INSECURE, "GRND_INSECURE"},
                                            {0, nullptr}};
inline constexpr FlagName kSignalActionNames[] = {
    {0x04000000, "SA_RESTORER"},    {SA_ONSTACK, "SA_ONSTACK"},     {SA_RESTART, "SA_RESTART"},
    {SA_NODEFER, "SA_NODEFER"},     {SA_RESETHAND, "SA_RESETHAND"}, {SA_SIGINFO, "SA_SIGINFO"},
    {SA_NOCLDSTOP, "SA_NOCLDSTOP"}, {SA_NOCLDWAIT, "SA_NOCLDWAIT"}, {0, nullptr}};
inline constexpr FlagName kStatxMaskNames[] = {{0xfff, "STATX_ALL"},     {0x7ff, "STATX_BASIC_STATS"},
                                               {1, "STATX_TYPE"},        {2, "STATX_MODE"},
                                               {4, "STATX_NLINK"},       {8, "STATX_UID"},
                                               {0x10, "STATX_GID"},      {0x20, "STATX_ATIME"},
                                               {0x40, "STATX_MTIME"},    {0x80, "STATX_CTIME"},
                                               {0x100, "STATX_INO"},     {0x200, "STATX_SIZE"},
                                               {0x400, "STATX_BLOCKS"},  {0x800, "STATX_BTIME"},
                                               {0x1000, "STATX_MNT_ID"}, {0, nullptr}};
inline constexpr FlagName kStatxAttributeNames[] = {{0x4, "STATX_ATTR_COMPRESSED"},
                                                    {0x10, "STATX_ATTR_IMMUTABLE"},
                                                    {0x20, "STATX_ATTR_APPEND"},
                                                    {0x2000, "STATX_ATTR_MOUNT_ROOT"},
                                                    {0, nullptr}};
inline constexpr FlagName kMagicNames[] = {{TMPFS_MAGIC, "TMPFS_MAGIC"},
                                           {PROC_SUPER_MAGIC, "PROC_SUPER_MAGIC"},
                                           {SYSFS_MAGIC, "SYSFS_MAGIC"},
                                           {DEVPTS_SUPER_MAGIC, "DEVPTS_SUPER_MAGIC"},
                                           {EXT4_SUPER_MAGIC, "EXT2_SUPER_MAGIC"},
                                           {XFS_SUPER_MAGIC, "XFS_SUPER_MAGIC"},
                                           {BTRFS_SUPER_MAGIC, "BTRFS_SUPER_MAGIC"},
                                           {OVERLAYFS_SUPER_MAGIC, "OVERLAYFS_SUPER_MAGIC"},
                                           {ANON_INODE_FS_MAGIC, "ANON_INODE_FS_MAGIC"},
                                           {0, nullptr}};
inline constexpr FlagName kMountStateNames[] = {
    {0x20, "ST_VALID"},           {ST_RDONLY, "ST_RDONLY"},
    {ST_NOSUID, "ST_NOSUID"},     {ST_NODEV, "ST_NODEV"},
    {ST_NOEXEC, "ST_NOEXEC"},     {ST_SYNCHRONOUS, "ST_SYNCHRONOUS"},
    {ST_NOATIME, "ST_NOATIME"},   {ST_NODIRATIME, "ST_NODIRATIME"},
    {ST_RELATIME, "ST_RELATIME"}, {0, nullptr}};

}  // namespace sentry::syscalls
