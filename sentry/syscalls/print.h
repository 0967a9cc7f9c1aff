// How values of the guest's are written by --strace: as strace(1) writes them.
#pragma once

#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/utsname.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "sentry/base/result.h"
#include "sentry/kernel/task.h"

struct clone_args;

namespace sentry::syscalls {

using kernel::Task;

// A name for bits or a value: "O_CREAT" and so on. Zero has a name of its own ("0" if null).
struct FlagName {
  uint64_t bits;
  const char* name;
  uint64_t field = 0;  // for a value of an enumerated field (O_ACCMODE): the field's mask
  // In the table's last row: strace's comment on what has no name ("SOL_??").
  const char* unknown = nullptr;
};

// A call as it is printed: before it is carried out (`result` null), and after.
struct CallView {
  Task& task;
  const uint64_t (&raw)[6];
  const Result<uint64_t>* result = nullptr;
  int64_t (&lengths)[6];  // what value-result lengths were before the call

  bool succeeded() const { return result != nullptr && result->ok(); }
};

namespace text {

std::string integer(int64_t value);
std::string address(uint64_t value);
std::string octal(uint64_t mode);  // "0644"
std::string fd(int number);
// C's notation; octal escapes are as short as what follows allows.
std::string quoted(std::string_view bytes);
// Names of bits, joined; what has no name in hexadecimal.
std::string flags(uint64_t value, const FlagName* names);
// The name of one value; a value without a name as a number.
std::string choice(uint64_t value, const FlagName* names);
std::string signal_name(int signo);              // "SIGCHLD"
std::string signal_set(kernel::SignalSet set);   // "[CHLD]", "~[RTMIN RT_1]"
std::string signal_info(const siginfo_t& info);  // "{si_signo=SIGCHLD, ..."
std::string wait_status(int status);             // "{WIFEXITED(s) && WEXITSTATUS(s) == 0}"
std::string file_mode(uint32_t mode);            // "S_IFREG|0644"
std::string socket_address(const void* address, size_t length);

// What lies in guest memory; its address where it cannot be read.
std::string path(Task& task, uint64_t place);
// The first bytes of a buffer of `size`, with "..." where there are more.
std::string data(Task& task, uint64_t place, uint64_t size);
// The same with every byte in hexadecimal: what is not meant to be read.
std::string binary_data(Task& task, uint64_t place, uint64_t size);
// iovec elements whose buffers hold `filled` bytes in all.
std::string pieces(Task& task, uint64_t place, uint64_t count, uint64_t filled);

// A msghdr whose buffers hold `filled` bytes in all.
std::string message(Task& task, uint64_t place, uint64_t filled);

std::string value(Task&, const timespec& time);
std::string value(Task&, const timeval& time);
std::string value(Task&, const itimerval& timer);
std::string value(Task&, const itimerspec& timer);
std::string value(Task&, const rlimit& limit);
std::string value(Task&, const struct stat& status);
std::string value(Task&, const struct statx& status);
std::string value(Task&, const struct statfs& status);
std::string value(Task&, const kernel::SignalAction& action);
std::string value(Task&, const siginfo_t& info);
std::string value(Task&, const utsname& names);
std::string value(Task&, const epoll_event& event);
std::string value(Task&, const clone_args& args);

}  // namespace text

// A struct that text::value knows.
template <typename T>
concept Printable = requires(Task& task, const T& value) {
  text::value(task, value);
};

}  // namespace sentry::syscalls
