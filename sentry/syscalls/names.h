// Names of flag bits for --strace, as strace(1) prints them.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>

#include "sentry/syscalls/handler.h"

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
// Enumerated values, not bits: the table is searched for the whole value first.
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
inline constexpr FlagName kCloneNames[] = {{CLONE_VM, "CLONE_VM"},
                                           {CLONE_FS, "CLONE_FS"},
                                           {CLONE_FILES, "CLONE_FILES"},
                                           {CLONE_SIGHAND, "CLONE_SIGHAND"},
                                           {CLONE_PIDFD, "CLONE_PIDFD"},
                                           {CLONE_VFORK, "CLONE_VFORK"},
                                           {CLONE_PARENT, "CLONE_PARENT"},
                                           {CLONE_THREAD, "CLONE_THREAD"},
                                           {CLONE_SYSVSEM, "CLONE_SYSVSEM"},
                                           {CLONE_SETTLS, "CLONE_SETTLS"},
                                           {CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
                                           {CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"},
                                           {CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
                                           {17, "SIGCHLD"},
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

inline constexpr FlagName kMaskHowNames[] = {
    {1, "SIG_UNBLOCK"}, {2, "SIG_SETMASK"}, {0, "SIG_BLOCK"}, {0, nullptr}};
inline constexpr FlagName kFutexNames[] = {{0x80, "FUTEX_WAIT_PRIVATE"},
                                           {0x81, "FUTEX_WAKE_PRIVATE"},
                                           {0x89, "FUTEX_WAIT_BITSET_PRIVATE"},
                                           {0x8a, "FUTEX_WAKE_BITSET_PRIVATE"},
                                           {0x84, "FUTEX_CMP_REQUEUE_PRIVATE"},
                                           {0x85, "FUTEX_WAKE_OP_PRIVATE"},
                                           {0x189, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"},
                                           {1, "FUTEX_WAKE"},
                                           {9, "FUTEX_WAIT_BITSET"},
                                           {0, "FUTEX_WAIT"},
                                           {0, nullptr}};
inline constexpr FlagName kSignalNames[] = {
    {1, "SIGHUP"},   {2, "SIGINT"},     {3, "SIGQUIT"},  {4, "SIGILL"},     {5, "SIGTRAP"},  {6, "SIGABRT"},
    {7, "SIGBUS"},   {8, "SIGFPE"},     {9, "SIGKILL"},  {10, "SIGUSR1"},   {11, "SIGSEGV"}, {12, "SIGUSR2"},
    {13, "SIGPIPE"}, {14, "SIGALRM"},   {15, "SIGTERM"}, {16, "SIGSTKFLT"}, {17, "SIGCHLD"}, {18, "SIGCONT"},
    {19, "SIGSTOP"}, {20, "SIGTSTP"},   {21, "SIGTTIN"}, {22, "SIGTTOU"},   {23, "SIGURG"},  {24, "SIGXCPU"},
    {25, "SIGXFSZ"}, {26, "SIGVTALRM"}, {27, "SIGPROF"}, {28, "SIGWINCH"},  {29, "SIGIO"},   {30, "SIGPWR"},
    {31, "SIGSYS"},  {32, "SIGRTMIN"},  {33, "SIGRT_1"}, {34, "SIGRT_2"},   {0, "0"},        {0, nullptr}};

}  // namespace sentry::syscalls
