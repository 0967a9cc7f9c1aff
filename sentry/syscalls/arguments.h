// Parameter types of handlers that say more than a register does: what the guest means by it. A handler uses
// them as the plain value that they are; --strace prints the call by them.
//
// print() is asked before the call, or after it where kAfter says that the call fills in what is to be seen;
// an empty text leaves the argument out. update() changes after the call what print() said before it. note()
// adds to the result, in parentheses.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <concepts>
#include <optional>
#include <string>

#include "sentry/mm/guest_pointer.h"
#include "sentry/syscalls/print.h"

namespace sentry::syscalls {

using mm::GuestPtr;

// ---- numbers

// A descriptor number as the guest gave it.
struct FdNumber {
  int value;
  static std::string print(const CallView& call, size_t index);
};

// Bits that have names. `kNames` is a null-terminated table with static storage; `field` marks what belongs
// to one enumerated field (printed first), for example O_ACCMODE.
template <const FlagName* kNames>
struct Flags {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index) {
    return text::flags(static_cast<uint32_t>(call.raw[index]), kNames);
  }
};

// One of several values that have names.
template <const FlagName* kNames>
struct Choice {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index) {
    return text::choice(static_cast<uint32_t>(call.raw[index]), kNames);
  }
};

struct SignalNumber {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// Permission bits.
struct Mode {
  unsigned value;
  operator unsigned() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// open(2)'s: there if the flags before it create something.
struct CreationMode {
  unsigned value;
  operator unsigned() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// mmap(2)'s: strace shows it in hexadecimal.
struct FileOffset {
  uint64_t value;
  operator uint64_t() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// fcntl(2)'s third argument, which the command explains.
struct FcntlArgument {
  uint64_t value;
  operator uint64_t() const { return value; }
  static std::string print(const CallView& call, size_t index);
  static constexpr bool kHexadecimalResult = true;  // where there is a note
  static std::string note(const CallView& call, size_t index);
};

// ioctl(2)'s, which the request explains.
struct IoctlArgument {
  uint64_t value;
  operator uint64_t() const { return value; }
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};

// mremap(2)'s fifth: there with MREMAP_FIXED.
struct RemapTarget : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};

// socket(2)'s: named by family.
struct SocketProtocol {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// rt_sigreturn(2) has no argument but the frame on the stack; the mask in it is shown.
struct FrameOnStack {
  uint64_t value;
  static std::string print(const CallView& call, size_t index);
};

// prctl(2)'s: what the option takes.
struct PrctlArgument {
  uint64_t value;
  operator uint64_t() const { return value; }
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};

// futex(2)'s fourth to sixth: there where the operation uses them.
struct FutexTimeout {
  uint64_t value;
  operator uint64_t() const { return value; }
  static std::string print(const CallView& call, size_t index);
};
struct FutexSecond : GuestPtr<uint32_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct FutexThird {
  uint32_t value;
  operator uint32_t() const { return value; }
  static std::string print(const CallView& call, size_t index);
};

// clone(2): strace names the arguments, and shows those that the flags ask for.
struct CloneFlags {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index);
};
struct CloneStack : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView&, size_t) { return {}; }  // with the flags
};
struct CloneParentTid : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
struct CloneChildTid : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct CloneTls {
  uint64_t value;
  operator uint64_t() const { return value; }
  static std::string print(const CallView&, size_t) { return {}; }  // with the child's tid
};

// clone3(2)'s; their size is the next argument.
struct CloneArguments : GuestPtr<const clone_args> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
  static void update(const CallView& call, size_t index, std::string& text);
};

// ---- strings and buffers

// The address of a path, or of another string.
struct GuestPath {
  uint64_t address;
  static std::string print(const CallView& call, size_t index);
};

// What a call reads; its length is the next argument.
struct InBuffer : GuestPtr<const void> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
// What a call fills; its result is the number of bytes.
struct OutBuffer : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// getrandom(2)'s.
struct OutRandom : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// The same for a string that ends in NUL: getcwd(2).
struct OutString : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// getdents64(2)'s: the number of entries is shown.
struct OutEntries : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// Pieces that a call writes from, and such as it reads into. Their number is the next argument.
struct Gather : GuestPtr<const iovec> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct Scatter : GuestPtr<const iovec> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// execve(2)'s arrays of strings.
struct ArgumentStrings : GuestPtr<const uint64_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct EnvironmentStrings : GuestPtr<const uint64_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};

// ---- structs that a plain GuestPtr would not describe

// A struct that the call also changes, shown as it was before.
template <typename T>
struct Updated : GuestPtr<T> {
  using GuestPtr<T>::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct InSignalSet : GuestPtr<const uint64_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct OutSignalSet : GuestPtr<uint64_t> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
struct OutWaitStatus : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
struct OutFdPair : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// A socket's address; its length is the next argument.
struct InAddress : GuestPtr<const void> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct OutAddress : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// Its length: the room there is, and what the call makes of it. The address is the argument before.
struct OutLength : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
  static void update(const CallView& call, size_t index, std::string& text);
};
// getsockopt(2)'s and setsockopt(2)'s option, by its level, the argument before; then the value; then its
// length, there by value and here as OptionLength.
struct OptionName {
  int value;
  operator int() const { return value; }
  static std::string print(const CallView& call, size_t index);
};
struct InOption : GuestPtr<const std::byte> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct OutOption : GuestPtr<void> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
struct OptionLength : GuestPtr<int> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
  static void update(const CallView& call, size_t index, std::string& text);
};
struct InMessage : GuestPtr<const msghdr> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct OutMessage : GuestPtr<msghdr> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// A set of processors; its size is the argument before, and what of it a call fills its result.
struct InCpuSet : GuestPtr<const uint64_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
};
struct OutCpuSet : GuestPtr<uint64_t> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};
// poll(2)'s; the number of elements is the next argument.
struct PollSet : GuestPtr<pollfd> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
  static std::string note(const CallView& call, size_t index);
};
// select(2)'s sets; the number of descriptors is the first argument.
struct FdSet : GuestPtr<uint64_t> {
  using GuestPtr::GuestPtr;
  static std::string print(const CallView& call, size_t index);
  static std::string note(const CallView& call, size_t index);
};
struct OutEvents : GuestPtr<epoll_event> {
  using GuestPtr::GuestPtr;
  static constexpr bool kAfter = true;
  static std::string print(const CallView& call, size_t index);
};

// ---- results

// exit(2), exit_group(2).
struct NoReturn {};
// mmap(2), brk(2), shmat(2).
struct Address {
  uint64_t value;
};
inline Result<Address> as_address(const Result<uint64_t>& place) {
  if (!place.ok()) return place.error();
  return Address{*place};
}

namespace text {
// A struct in guest memory: itself, or its address where it cannot be read.
template <typename T>
std::string pointed(Task& task, uint64_t place) {
  if (place == 0) return "NULL";
  const Result<T> read = task.memory().read(GuestPtr<const T>(place));
  return read.ok() ? value(task, *read) : address(place);
}
}  // namespace text

template <typename T>
std::string Updated<T>::print(const CallView& call, size_t index) {
  return text::pointed<T>(call.task, call.raw[index]);
}

}  // namespace sentry::syscalls
