#include "sentry/syscalls/arguments.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>

#include <algorithm>

#include "sentry/syscalls/file.h"
#include "sentry/syscalls/names.h"

namespace sentry::syscalls {
namespace {

constexpr uint64_t kElementsShown = 32;  // strace's default

int low_int(uint64_t raw) { return static_cast<int>(raw); }

// An array in guest memory, by a text for each element.
template <typename T, typename Text>
std::string array(Task& task, uint64_t place, uint64_t count, Text text) {
  if (place == 0) return "NULL";
  std::string out = "[";
  for (uint64_t i = 0; i < count; ++i) {
    if (i != 0) out += ", ";
    if (i == kElementsShown) return out + "...]";
    const Result<T> element = task.memory().read(GuestPtr<const T>(place).at(i));
    if (!element.ok()) return text::address(place);
    out += text(*element);
  }
  return out + "]";
}

std::string number(Task& task, uint64_t place) {
  return array<int>(task, place, 1, [](int value) { return text::integer(value); });
}

// Null-terminated, of pointers: how many there are.
Result<uint64_t> count_pointers(Task& task, uint64_t place) {
  constexpr uint64_t kMost = 65'536;
  for (uint64_t i = 0; i < kMost; ++i) {
    const Result<uint64_t> pointer = task.memory().read(GuestPtr<const uint64_t>(place).at(i));
    if (!pointer.ok()) return pointer.error();
    if (*pointer == 0) return i;
  }
  return kMost;
}

}  // namespace

// ---- numbers

std::string FdNumber::print(const CallView& call, size_t index) { return text::fd(low_int(call.raw[index])); }

std::string SignalNumber::print(const CallView& call, size_t index) {
  return text::signal_name(low_int(call.raw[index]));
}

std::string Mode::print(const CallView& call, size_t index) {
  return text::octal(static_cast<uint32_t>(call.raw[index]));
}

std::string CreationMode::print(const CallView& call, size_t index) {
  const auto flags = static_cast<uint32_t>(call.raw[index - 1]);
  if ((flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE) return {};
  return text::octal(static_cast<uint32_t>(call.raw[index]));
}

std::string FileOffset::print(const CallView& call, size_t index) {
  return call.raw[index] == 0 ? "0" : fmt::format("{:#x}", call.raw[index]);
}

std::string PrctlArgument::print(const CallView& call, size_t index) {
  const uint64_t raw = call.raw[index];
  switch (low_int(call.raw[0])) {
    case PR_SET_NAME:
    case PR_GET_NAME:
      return index == 1 ? text::path(call.task, raw) : "";
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
    case PR_CAP_AMBIENT:
    case PR_SET_MM:
      return raw < 4096 ? std::to_string(raw) : text::address(raw);
    default:
      if (index > 1) return {};
      return raw < 4096 ? std::to_string(raw) : text::address(raw);
  }
}

std::string FcntlArgument::print(const CallView& call, size_t index) {
  const uint64_t raw = call.raw[index];
  switch (low_int(call.raw[1])) {
    case F_GETFD:
    case F_GETFL:
    case F_GETOWN:
    case F_GETSIG:
    case F_GETLEASE:
    case F_GETPIPE_SZ:
    case F_GET_SEALS:
      return {};
    case F_SETFD:
      return text::flags(raw, kDescriptorFlagNames);
    case F_SETFL:
      return text::flags(raw, kOpenNames);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW: {
      const auto lock = call.task.memory().read(GuestPtr<const struct flock>(raw));
      if (!lock.ok()) return text::address(raw);
      return fmt::format("{{l_type={}, l_whence={}, l_start={}, l_len={}}}",
                         text::choice(static_cast<uint16_t>(lock->l_type), kLockTypeNames),
                         text::choice(static_cast<uint16_t>(lock->l_whence), kSeekNames), lock->l_start,
                         lock->l_len);
    }
    case F_GETOWN_EX:
    case F_SETOWN_EX:
      return text::address(raw);
    default:
      return text::integer(low_int(raw));
  }
}

std::string FcntlArgument::note(const CallView& call, size_t) {
  const uint64_t value = **call.result;
  switch (low_int(call.raw[1])) {
    case F_GETFD:
      return value == 0 ? "" : "flags " + text::flags(value, kDescriptorFlagNames);
    case F_GETFL:
      return "flags " + text::flags(value, kOpenNames);
    default:
      return {};
  }
}

std::string IoctlArgument::print(const CallView& call, size_t index) {
  const uint64_t raw = call.raw[index];
  const auto integer_at = [&] { return number(call.task, raw); };
  switch (static_cast<uint32_t>(call.raw[1])) {
    case FIOCLEX:
    case FIONCLEX:
    case TIOCEXCL:
    case TIOCNXCL:
    case TIOCNOTTY:
      return {};
    case TIOCSPGRP:
    case TIOCSPTLCK:
    case FIONBIO:
    case FIOASYNC:
      return integer_at();
    case FIONREAD:
    case TIOCOUTQ:
    case TIOCGPGRP:
    case TIOCGSID:
    case TIOCGPTN:
      return call.succeeded() ? integer_at() : text::address(raw);
    case TIOCGWINSZ:
      if (!call.succeeded()) return text::address(raw);
      [[fallthrough]];
    case TIOCSWINSZ: {
      const auto size = call.task.memory().read(GuestPtr<const winsize>(raw));
      if (!size.ok()) return text::address(raw);
      return fmt::format("{{ws_row={}, ws_col={}, ws_xpixel={}, ws_ypixel={}}}", size->ws_row, size->ws_col,
                         size->ws_xpixel, size->ws_ypixel);
    }
    case TCSBRK:
    case TCXONC:
    case TCFLSH:
    case TIOCSCTTY:
    case TIOCGPTPEER:
      return text::integer(low_int(raw));
    default:
      return text::address(raw);
  }
}

std::string RemapTarget::print(const CallView& call, size_t index) {
  return (call.raw[index - 1] & MREMAP_FIXED) != 0 ? text::address(call.raw[index]) : "";
}

std::string SocketProtocol::print(const CallView& call, size_t index) {
  const auto protocol = static_cast<uint32_t>(call.raw[index]);
  switch (low_int(call.raw[0])) {
    case AF_INET:
    case AF_INET6:
      return text::choice(protocol, kProtocolNames);
    case AF_NETLINK:
      return text::choice(protocol, kNetlinkNames);
    default:
      return text::integer(low_int(call.raw[index]));
  }
}

std::string FrameOnStack::print(const CallView& call, size_t) {
  // struct ucontext of the kernel: uc_flags, uc_link, uc_stack, uc_mcontext, uc_sigmask.
  constexpr uint64_t kMaskAt = 40 + 256;
  const auto bits = call.task.memory().read(GuestPtr<const uint64_t>(call.task.registers().rsp + kMaskAt));
  return bits.ok() ? "{mask=" + text::signal_set(kernel::SignalSet(*bits)) + "}" : "";
}

namespace {

int futex_command(const CallView& call) { return low_int(call.raw[1]) & FUTEX_CMD_MASK; }

std::string bitset(uint64_t raw) {
  const auto bits = static_cast<uint32_t>(raw);
  return bits == FUTEX_BITSET_MATCH_ANY ? "FUTEX_BITSET_MATCH_ANY" : fmt::format("{:#x}", bits);
}

}  // namespace

std::string FutexTimeout::print(const CallView& call, size_t index) {
  switch (futex_command(call)) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_WAIT_REQUEUE_PI:
      return text::pointed<timespec>(call.task, call.raw[index]);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
      return std::to_string(static_cast<uint32_t>(call.raw[index]));
    default:
      return {};
  }
}

std::string FutexSecond::print(const CallView& call, size_t index) {
  switch (futex_command(call)) {
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
    case FUTEX_WAIT_REQUEUE_PI:
      return text::address(call.raw[index]);
    default:
      return {};
  }
}

std::string FutexThird::print(const CallView& call, size_t index) {
  switch (futex_command(call)) {
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAKE_BITSET:
      return bitset(call.raw[index]);
    case FUTEX_CMP_REQUEUE:
      return std::to_string(static_cast<uint32_t>(call.raw[index]));
    case FUTEX_WAKE_OP:
      return fmt::format("{:#x}", static_cast<uint32_t>(call.raw[index]));
    default:
      return {};
  }
}

std::string CloneFlags::print(const CallView& call, size_t index) {
  const auto flags = static_cast<uint32_t>(call.raw[index]);
  std::string text = (flags & ~0xffu) == 0 ? "" : text::flags(flags & ~0xffu, kCloneNames);
  if ((flags & 0xff) != 0)
    text += (text.empty() ? "" : "|") + text::signal_name(static_cast<int>(flags & 0xff));
  return fmt::format("child_stack={}, flags={}", text::address(call.raw[1]), text.empty() ? "0" : text);
}

std::string CloneParentTid::print(const CallView& call, size_t index) {
  if ((call.raw[0] & (CLONE_PARENT_SETTID | CLONE_PIDFD)) == 0) return {};
  const std::string where =
      call.succeeded() ? number(call.task, call.raw[index]) : text::address(call.raw[index]);
  return ((call.raw[0] & CLONE_PIDFD) != 0 ? "pidfd=" : "parent_tid=") + where;
}

std::string CloneChildTid::print(const CallView& call, size_t index) {
  std::string text;
  if ((call.raw[0] & CLONE_SETTLS) != 0) text = "tls=" + text::address(call.raw[index + 1]);
  if ((call.raw[0] & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)) != 0)
    text += (text.empty() ? "child_tidptr=" : ", child_tidptr=") + text::address(call.raw[index]);
  return text;
}

std::string CloneArguments::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index], size = call.raw[index + 1];
  if (place == 0) return "NULL";
  clone_args args{};
  if (size < CLONE_ARGS_SIZE_VER0 ||
      !call.task.memory().read(place, &args, static_cast<size_t>(std::min<uint64_t>(size, sizeof args))).ok())
    return text::address(place);
  std::string text = text::value(call.task, args);
  // What a newer kernel might know.
  if (size > sizeof args && size <= mm::kPageSize) {
    std::vector<uint8_t> rest(static_cast<size_t>(size) - sizeof args);
    if (call.task.memory().read(place + sizeof args, rest.data(), rest.size()).ok() &&
        std::any_of(rest.begin(), rest.end(), [](uint8_t byte) { return byte != 0; })) {
      text.pop_back();
      text += fmt::format(", /* bytes {}..{} */ {}}}", sizeof args, size - 1,
                          text::binary_data(call.task, place + sizeof args, rest.size()));
    }
  }
  return text;
}

void CloneArguments::update(const CallView& call, size_t index, std::string& text) {
  if (!call.succeeded()) return;
  const auto args = call.task.memory().read(GuestPtr<const clone_args>(call.raw[index]));
  if (!args.ok()) return;
  std::string made;
  if ((args->flags & CLONE_PIDFD) != 0) made += "pidfd=" + number(call.task, args->pidfd);
  if ((args->flags & CLONE_PARENT_SETTID) != 0)
    made += (made.empty() ? "" : ", ") + ("parent_tid=" + number(call.task, args->parent_tid));
  if (!made.empty()) text += " => {" + made + "}";
}

// ---- strings and buffers

std::string GuestPath::print(const CallView& call, size_t index) {
  return text::path(call.task, call.raw[index]);
}

std::string InBuffer::print(const CallView& call, size_t index) {
  return text::data(call.task, call.raw[index], call.raw[index + 1]);
}

std::string OutBuffer::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  // A datagram's result may say more than came (MSG_TRUNC).
  return text::data(call.task, call.raw[index], std::min(**call.result, call.raw[index + 1]));
}

std::string OutRandom::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  return text::binary_data(call.task, call.raw[index], **call.result);
}

std::string OutString::print(const CallView& call, size_t index) {
  return call.succeeded() ? text::path(call.task, call.raw[index]) : text::address(call.raw[index]);
}

std::string OutEntries::print(const CallView& call, size_t index) {
  const std::string place = text::address(call.raw[index]);
  if (!call.succeeded()) return place;
  uint64_t count = 0;
  for (uint64_t at = 0; at < **call.result; ++count) {
    const auto length = call.task.memory().read(
        GuestPtr<const uint16_t>(call.raw[index] + at + offsetof(dirent64, d_reclen)));
    if (!length.ok() || *length == 0) break;
    at += *length;
  }
  return fmt::format("{} /* {} entries */", place, count);
}

std::string Gather::print(const CallView& call, size_t index) {
  return text::pieces(call.task, call.raw[index], call.raw[index + 1], UINT64_MAX);
}

std::string Scatter::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  return text::pieces(call.task, call.raw[index], call.raw[index + 1], **call.result);
}

std::string ArgumentStrings::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  const Result<uint64_t> count = count_pointers(call.task, place);
  if (place == 0 || !count.ok()) return text::address(place);
  return array<uint64_t>(call.task, place, *count,
                         [&](uint64_t pointer) { return text::path(call.task, pointer); });
}

std::string EnvironmentStrings::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  const Result<uint64_t> count = count_pointers(call.task, place);
  if (place == 0 || !count.ok()) return text::address(place);
  return fmt::format("{} /* {} var{} */", text::address(place), *count, *count == 1 ? "" : "s");
}

// ---- structs

std::string InSignalSet::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  if (place == 0) return "NULL";
  const Result<uint64_t> bits = call.task.memory().read(GuestPtr<const uint64_t>(place));
  return bits.ok() ? text::signal_set(kernel::SignalSet(*bits)) : text::address(place);
}

std::string OutSignalSet::print(const CallView& call, size_t index) {
  return call.succeeded() ? InSignalSet::print(call, index) : text::address(call.raw[index]);
}

std::string OutWaitStatus::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  if (!call.succeeded() || **call.result == 0) return text::address(place);  // 0: nobody has changed
  return array<int>(call.task, place, 1, text::wait_status);
}

std::string OutFdPair::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  return array<int>(call.task, call.raw[index], 2, [](int fd) { return text::integer(fd); });
}

namespace {

std::string socket_address_at(Task& task, uint64_t place, int64_t length) {
  if (place == 0) return "NULL";
  char bytes[sizeof(sockaddr_storage)];
  if (length < static_cast<int64_t>(sizeof(sa_family_t))) return text::address(place);
  const auto size = std::min(static_cast<size_t>(length), sizeof bytes);
  return task.memory().read(place, bytes, size).ok() ? text::socket_address(bytes, size)
                                                     : text::address(place);
}

}  // namespace

std::string InAddress::print(const CallView& call, size_t index) {
  return socket_address_at(call.task, call.raw[index], low_int(call.raw[index + 1]));
}

std::string OutAddress::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  const auto length = call.task.memory().read(GuestPtr<const int>(call.raw[index + 1]));
  return length.ok() ? socket_address_at(call.task, call.raw[index],
                                         std::min<int64_t>(*length, call.lengths[index + 1]))
                     : text::address(call.raw[index]);
}

std::string OutLength::print(const CallView& call, size_t index) {
  if (call.raw[index - 1] == 0) return text::address(call.raw[index]);
  return OptionLength::print(call, index);
}

std::string OptionLength::print(const CallView& call, size_t index) {
  const Result<int> room = call.task.memory().read(GuestPtr<const int>(call.raw[index]));
  if (!room.ok()) return text::address(call.raw[index]);
  call.lengths[index] = *room;
  return fmt::format("[{}]", *room);
}

void OptionLength::update(const CallView& call, size_t index, std::string& text) {
  const int64_t room = call.lengths[index];
  const Result<int> length = call.task.memory().read(GuestPtr<const int>(call.raw[index]));
  if (call.succeeded() && length.ok() && *length != room) text = fmt::format("[{} => {}]", room, *length);
}

void OutLength::update(const CallView& call, size_t index, std::string& text) {
  if (call.raw[index - 1] != 0) OptionLength::update(call, index, text);
}

std::string InMessage::print(const CallView& call, size_t index) {
  return text::message(call.task, call.raw[index], UINT64_MAX);
}

std::string OutMessage::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  return text::message(call.task, call.raw[index], **call.result);
}

namespace {

std::string processors(Task& task, uint64_t place, uint64_t size) {
  if (place == 0) return "NULL";
  uint8_t bytes[128];  // of 1024 processors, CPU_SETSIZE
  const auto length = static_cast<size_t>(std::min<uint64_t>(size, sizeof bytes));
  if (!task.memory().read(place, bytes, length).ok()) return text::address(place);
  std::string text = "[";
  for (size_t cpu = 0; cpu < length * 8; ++cpu)
    if ((bytes[cpu / 8] >> cpu % 8 & 1) != 0) text += fmt::format("{}{}", text.size() == 1 ? "" : " ", cpu);
  return text + "]";
}

}  // namespace

std::string InCpuSet::print(const CallView& call, size_t index) {
  return processors(call.task, call.raw[index], static_cast<uint32_t>(call.raw[index - 1]));
}

std::string OutCpuSet::print(const CallView& call, size_t index) {
  return call.succeeded() ? processors(call.task, call.raw[index], **call.result)
                          : text::address(call.raw[index]);
}

std::string PollSet::print(const CallView& call, size_t index) {
  return array<pollfd>(call.task, call.raw[index], static_cast<uint32_t>(call.raw[index + 1]),
                       [](const pollfd& one) {
                         if (one.fd < 0) return fmt::format("{{fd={}}}", one.fd);
                         return fmt::format("{{fd={}, events={}}}", one.fd,
                                            text::flags(static_cast<uint16_t>(one.events), kPollNames));
                       });
}

std::string PollSet::note(const CallView& call, size_t index) {
  if (**call.result == 0) return "Timeout";
  std::string text = "[";
  const auto count = std::min<uint64_t>(static_cast<uint32_t>(call.raw[index + 1]), kElementsShown);
  for (uint64_t i = 0; i < count; ++i) {
    const auto one = call.task.memory().read(GuestPtr<const pollfd>(call.raw[index]).at(i));
    if (!one.ok()) break;
    if (one->revents == 0) continue;
    text += fmt::format("{}{{fd={}, revents={}}}", text.size() == 1 ? "" : ", ", one->fd,
                        text::flags(static_cast<uint16_t>(one->revents), kPollNames));
  }
  return text + "]";
}

namespace {

std::string descriptors(const CallView& call, size_t index) {
  const auto count = std::clamp<int64_t>(low_int(call.raw[0]), 0, FD_SETSIZE);
  std::string text = "[";
  for (int64_t at = 0; at < count; at += 64) {
    const auto word =
        call.task.memory().read(GuestPtr<const uint64_t>(call.raw[index]).at(static_cast<uint64_t>(at / 64)));
    if (!word.ok()) return text::address(call.raw[index]);
    for (int64_t bit = 0; bit < 64 && at + bit < count; ++bit)
      if ((*word >> bit & 1) != 0) text += fmt::format("{}{}", text.size() == 1 ? "" : " ", at + bit);
  }
  return text + "]";
}

}  // namespace

std::string FdSet::print(const CallView& call, size_t index) {
  return call.raw[index] == 0 ? "NULL" : descriptors(call, index);
}

std::string FdSet::note(const CallView& call, size_t index) {
  if (**call.result == 0) return index == 1 ? "Timeout" : "";
  if (call.raw[index] == 0) return {};
  const std::string ready = descriptors(call, index);
  constexpr const char* kNames[] = {"", "in ", "out ", "except "};
  return ready == "[]" || index > 3 ? "" : kNames[index] + ready;
}

std::string OutEvents::print(const CallView& call, size_t index) {
  if (!call.succeeded()) return text::address(call.raw[index]);
  return array<epoll_event>(call.task, call.raw[index], **call.result,
                            [&](const epoll_event& event) { return text::value(call.task, event); });
}

}  // namespace sentry::syscalls
