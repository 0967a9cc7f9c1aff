// Structs as strace(1) writes them.
#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/abi/signal_frame.h"
#include "sentry/mm/guest_pointer.h"
#include "sentry/syscalls/file.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/print.h"

namespace sentry::syscalls::text {
namespace {

std::string device(uint64_t number) {
  return fmt::format("makedev({:#x}, {:#x})", gnu_dev_major(number), gnu_dev_minor(number));
}

std::string limit(uint64_t value) {
  if (value == RLIM_INFINITY) return "RLIM64_INFINITY";
  if (value > 1024 && value % 1024 == 0) return fmt::format("{}*1024", value / 1024);
  return fmt::format("{}", value);
}

std::string hexadecimal(uint64_t value) { return value == 0 ? "0" : fmt::format("{:#x}", value); }

std::string handler(uint64_t address) {
  if (address == reinterpret_cast<uint64_t>(SIG_DFL)) return "SIG_DFL";
  if (address == reinterpret_cast<uint64_t>(SIG_IGN)) return "SIG_IGN";
  return text::address(address);
}

}  // namespace

std::string value(Task&, const timespec& time) {
  return fmt::format("{{tv_sec={}, tv_nsec={}}}", time.tv_sec, time.tv_nsec);
}

std::string value(Task&, const timeval& time) {
  return fmt::format("{{tv_sec={}, tv_usec={}}}", time.tv_sec, time.tv_usec);
}

std::string value(Task& task, const itimerval& timer) {
  return fmt::format("{{it_interval={}, it_value={}}}", value(task, timer.it_interval),
                     value(task, timer.it_value));
}

std::string value(Task& task, const itimerspec& timer) {
  return fmt::format("{{it_interval={}, it_value={}}}", value(task, timer.it_interval),
                     value(task, timer.it_value));
}

std::string value(Task&, const rlimit& both) {
  return fmt::format("{{rlim_cur={}, rlim_max={}}}", limit(both.rlim_cur), limit(both.rlim_max));
}

std::string value(Task&, const struct stat& status) {
  const bool special = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
  return fmt::format(
      "{{st_mode={}, {}, ...}}", file_mode(status.st_mode),
      special ? "st_rdev=" + device(status.st_rdev) : fmt::format("st_size={}", status.st_size));
}

std::string value(Task&, const struct statx& status) {
  return fmt::format("{{stx_mask={}, stx_attributes={}, stx_mode={}, stx_size={}, ...}}",
                     flags(status.stx_mask, kStatxMaskNames),
                     flags(status.stx_attributes, kStatxAttributeNames), file_mode(status.stx_mode),
                     status.stx_size);
}

std::string value(Task&, const struct statfs& status) {
  return fmt::format(
      "{{f_type={}, f_bsize={}, f_blocks={}, f_bfree={}, f_bavail={}, f_files={}, f_ffree={}, "
      "f_fsid={{val=[{:#x}, {:#x}]}}, f_namelen={}, f_frsize={}, f_flags={}}}",
      choice(static_cast<uint32_t>(status.f_type), kMagicNames), status.f_bsize, status.f_blocks,
      status.f_bfree, status.f_bavail, status.f_files, status.f_ffree,
      static_cast<unsigned>(status.f_fsid.__val[0]), static_cast<unsigned>(status.f_fsid.__val[1]),
      status.f_namelen, status.f_frsize, flags(static_cast<uint64_t>(status.f_flags), kMountStateNames));
}

std::string value(Task&, const kernel::SignalAction& action) {
  std::string text = fmt::format("{{sa_handler={}, sa_mask={}, sa_flags={}", handler(action.handler),
                                 signal_set(action.mask), flags(action.flags, kSignalActionNames));
  if ((action.flags & abi::kSaRestorer) != 0) text += ", sa_restorer=" + address(action.restorer);
  return text + "}";
}

std::string value(Task&, const siginfo_t& info) { return signal_info(info); }

std::string value(Task&, const utsname& names) {
  return fmt::format("{{sysname=\"{}\", nodename=\"{}\", ...}}", names.sysname, names.nodename);
}

std::string value(Task&, const epoll_event& event) {
  const uint64_t data = event.data.u64;
  const std::string shown = data > UINT32_MAX
                                ? fmt::format("{{u32={}, u64={}}}", static_cast<uint32_t>(data), data)
                                : fmt::format("{{u32={}, u64={}}}", data, data);
  const uint32_t events = event.events;
  return fmt::format("{{events={}, data={}}}", flags(events, kEpollEventNames), shown);
}

std::string value(Task&, const clone_args& args) {
  std::string text = fmt::format("{{flags={}", flags(args.flags, kCloneNames));
  if ((args.flags & CLONE_PIDFD) != 0) text += ", pidfd=" + address(args.pidfd);
  if ((args.flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)) != 0)
    text += ", child_tid=" + address(args.child_tid);
  if ((args.flags & CLONE_PARENT_SETTID) != 0) text += ", parent_tid=" + address(args.parent_tid);
  text += fmt::format(", exit_signal={}, stack={}, stack_size={}",
                      args.exit_signal < kernel::kSignals ? signal_name(static_cast<int>(args.exit_signal))
                                                          : fmt::format("{}", args.exit_signal),
                      address(args.stack), hexadecimal(args.stack_size));
  if ((args.flags & CLONE_SETTLS) != 0) text += ", tls=" + hexadecimal(args.tls);
  if (args.set_tid != 0 || args.set_tid_size != 0)
    text += fmt::format(", set_tid={}, set_tid_size={}", address(args.set_tid), args.set_tid_size);
  if ((args.flags & CLONE_INTO_CGROUP) != 0 || args.cgroup != 0)
    text += fmt::format(", cgroup={}", args.cgroup);
  return text + "}";
}

std::string message(Task& task, uint64_t place, uint64_t filled) {
  if (place == 0) return "NULL";
  const auto message = task.memory().read(mm::GuestPtr<const msghdr>(place));
  if (!message.ok()) return address(place);
  std::string name = "NULL";
  if (message->msg_name != nullptr) {
    sockaddr_storage storage{};
    const size_t length = std::min<size_t>(message->msg_namelen, sizeof storage);
    const auto name_place = reinterpret_cast<uint64_t>(message->msg_name);
    name = task.memory().read(name_place, &storage, length).ok() ? socket_address(&storage, length)
                                                                 : address(name_place);
  }
  return fmt::format(
      "{{msg_name={}, msg_namelen={}, msg_iov={}, msg_iovlen={}, msg_controllen={}, msg_flags={}}}", name,
      message->msg_namelen,
      pieces(task, reinterpret_cast<uint64_t>(message->msg_iov), message->msg_iovlen, filled),
      message->msg_iovlen, message->msg_controllen,
      flags(static_cast<uint32_t>(message->msg_flags), kMessageFlagNames));
}

}  // namespace sentry::syscalls::text
