// Values as strace(1) writes them: strings, flags, signals.
#include "sentry/syscalls/print.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "sentry/mm/guest_pointer.h"
#include "sentry/syscalls/names.h"

namespace sentry::syscalls::text {
namespace {

std::string nameless(uint64_t value, const char* comment) {
  if (value == 0) return "0";
  return comment == nullptr ? fmt::format("{:#x}", value) : fmt::format("{:#x} /* {} */", value, comment);
}

constexpr size_t kShown = 32;        // strace's default for strings
constexpr size_t kPiecesShown = 32;  // and for arrays

}  // namespace

std::string integer(int64_t value) { return fmt::format("{}", value); }

std::string address(uint64_t value) { return value == 0 ? "NULL" : fmt::format("{:#x}", value); }

std::string octal(uint64_t mode) { return mode == 0 ? "000" : fmt::format("0{:02o}", mode); }

std::string fd(int number) { return number == AT_FDCWD ? "AT_FDCWD" : fmt::format("{}", number); }

std::string quoted(std::string_view bytes) {
  constexpr std::string_view kSpecial = "\n\t\r\v\f\"\\", kLetters = "ntrvf\"\\";
  std::string out = "\"";
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (const size_t special = kSpecial.find(bytes[i]); special != std::string_view::npos) {
      out += '\\';
      out += kLetters[special];
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += bytes[i];
    } else {
      // A digit that follows must not be taken for one of the escape's.
      const bool digit_follows = i + 1 < bytes.size() && bytes[i + 1] >= '0' && bytes[i + 1] <= '9';
      out += digit_follows ? fmt::format("\\{:03o}", byte) : fmt::format("\\{:o}", byte);
    }
  }
  return out + "\"";
}

std::string flags(uint64_t value, const FlagName* names) {
  bool has_field = false;
  for (const FlagName* name = names; name->name != nullptr; ++name) has_field |= name->field != 0;
  for (const FlagName* name = names; !has_field && name->name != nullptr; ++name)
    if (name->bits == value) return name->name;
  std::string text;
  uint64_t rest = value;
  for (const FlagName* name = names; name->name != nullptr; ++name) {
    if (name->field == 0 || (value & name->field) != name->bits) continue;
    text = name->name;
    rest &= ~name->field;
  }
  for (; names->name != nullptr; ++names) {
    if (names->field != 0 || names->bits == 0 || (rest & names->bits) != names->bits) continue;
    if (!text.empty()) text += '|';
    text += names->name;
    rest &= ~names->bits;
  }
  if (text.empty()) return nameless(rest, names->unknown);
  if (rest != 0) text += fmt::format("|{:#x}", rest);
  return text;
}

std::string choice(uint64_t value, const FlagName* names) {
  for (; names->name != nullptr; ++names)
    if (names->bits == value) return names->name;
  return nameless(value, names->unknown);
}

std::string signal_name(int signo) {
  if (signo > 32 && signo <= kernel::kSignals) return fmt::format("SIGRT_{}", signo - 32);
  for (const FlagName* name = kSignalNames; name->name != nullptr; ++name)
    if (name->bits == static_cast<uint64_t>(signo)) return name->name;
  return fmt::format("{}", signo);
}

std::string signal_set(kernel::SignalSet set) {
  // What is left out is shown where that is shorter.
  const bool inverted = std::popcount(set.bits()) >= kernel::kSignals * 2 / 3;
  if (inverted) set = ~set;
  std::string text = inverted ? "~[" : "[";
  bool first = true;
  for (int signo = 1; signo <= kernel::kSignals; ++signo) {
    if (!set.contains(signo)) continue;
    text += first ? "" : " ";
    text += signal_name(signo).substr(3);
    first = false;
  }
  return text + "]";
}

std::string signal_info(const siginfo_t& info) {
  static constexpr FlagName kChildCodes[] = {{CLD_EXITED, "CLD_EXITED"},
                                             {CLD_KILLED, "CLD_KILLED"},
                                             {CLD_DUMPED, "CLD_DUMPED"},
                                             {CLD_TRAPPED, "CLD_TRAPPED"},
                                             {CLD_STOPPED, "CLD_STOPPED"},
                                             {CLD_CONTINUED, "CLD_CONTINUED"},
                                             {0, nullptr}};
  static constexpr FlagName kSegvCodes[] = {
      {SEGV_MAPERR, "SEGV_MAPERR"}, {SEGV_ACCERR, "SEGV_ACCERR"}, {0, nullptr}};
  static constexpr FlagName kBusCodes[] = {
      {BUS_ADRALN, "BUS_ADRALN"}, {BUS_ADRERR, "BUS_ADRERR"}, {BUS_OBJERR, "BUS_OBJERR"}, {0, nullptr}};
  static constexpr FlagName kFpeCodes[] = {
      {FPE_INTDIV, "FPE_INTDIV"}, {FPE_INTOVF, "FPE_INTOVF"}, {FPE_FLTDIV, "FPE_FLTDIV"},
      {FPE_FLTOVF, "FPE_FLTOVF"}, {FPE_FLTUND, "FPE_FLTUND"}, {FPE_FLTRES, "FPE_FLTRES"},
      {FPE_FLTINV, "FPE_FLTINV"}, {FPE_FLTSUB, "FPE_FLTSUB"}, {0, nullptr}};
  static constexpr FlagName kIllCodes[] = {
      {ILL_ILLOPC, "ILL_ILLOPC"}, {ILL_ILLOPN, "ILL_ILLOPN"}, {ILL_PRVOPC, "ILL_PRVOPC"}, {0, nullptr}};
  static constexpr FlagName kTrapCodes[] = {
      {TRAP_BRKPT, "TRAP_BRKPT"}, {TRAP_TRACE, "TRAP_TRACE"}, {0, nullptr}};
  static constexpr FlagName kGeneralCodes[] = {{SI_USER, "SI_USER"},
                                               {SI_KERNEL, "SI_KERNEL"},
                                               {static_cast<uint32_t>(SI_QUEUE), "SI_QUEUE"},
                                               {static_cast<uint32_t>(SI_TIMER), "SI_TIMER"},
                                               {static_cast<uint32_t>(SI_MESGQ), "SI_MESGQ"},
                                               {static_cast<uint32_t>(SI_ASYNCIO), "SI_ASYNCIO"},
                                               {static_cast<uint32_t>(SI_SIGIO), "SI_SIGIO"},
                                               {static_cast<uint32_t>(SI_TKILL), "SI_TKILL"},
                                               {0, nullptr}};
  const int signo = info.si_signo;
  const auto code_names = [&]() -> const FlagName* {
    if (info.si_code <= 0 || info.si_code == SI_KERNEL) return kGeneralCodes;
    switch (signo) {
      case SIGCHLD:
        return kChildCodes;
      case SIGSEGV:
        return kSegvCodes;
      case SIGBUS:
        return kBusCodes;
      case SIGFPE:
        return kFpeCodes;
      case SIGILL:
        return kIllCodes;
      case SIGTRAP:
        return kTrapCodes;
      default:
        return kGeneralCodes;
    }
  };
  std::string text = fmt::format("{{si_signo={}, si_code={}", signal_name(signo),
                                 choice(static_cast<uint32_t>(info.si_code), code_names()));
  const bool fault =
      signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL || signo == SIGTRAP;
  if (info.si_code > 0 && signo == SIGCHLD) {
    const std::string status =
        info.si_code == CLD_EXITED ? integer(info.si_status) : signal_name(info.si_status);
    text += fmt::format(", si_pid={}, si_uid={}, si_status={}, si_utime={}, si_stime={}", info.si_pid,
                        info.si_uid, status, info.si_utime, info.si_stime);
  } else if (info.si_code > 0 && fault) {
    text += fmt::format(", si_addr={}", address(reinterpret_cast<uint64_t>(info.si_addr)));
  } else if (info.si_code == SI_TIMER) {
    text += fmt::format(", si_timerid={}, si_overrun={}, si_value={{int={}, ptr={}}}", info.si_timerid,
                        info.si_overrun, info.si_value.sival_int,
                        address(reinterpret_cast<uint64_t>(info.si_value.sival_ptr)));
  } else if (info.si_code <= 0) {
    text += fmt::format(", si_pid={}, si_uid={}", info.si_pid, info.si_uid);
    if (info.si_code == SI_QUEUE)
      text += fmt::format(", si_value={{int={}, ptr={}}}", info.si_value.sival_int,
                          address(reinterpret_cast<uint64_t>(info.si_value.sival_ptr)));
  }
  return text + "}";
}

std::string wait_status(int status) {
  if (WIFEXITED(status)) return fmt::format("{{WIFEXITED(s) && WEXITSTATUS(s) == {}}}", WEXITSTATUS(status));
  if (WIFSIGNALED(status))
    return fmt::format("{{WIFSIGNALED(s) && WTERMSIG(s) == {}{}}}", signal_name(WTERMSIG(status)),
                       WCOREDUMP(status) ? " && WCOREDUMP(s)" : "");
  if (WIFSTOPPED(status))
    return fmt::format("{{WIFSTOPPED(s) && WSTOPSIG(s) == {}}}", signal_name(WSTOPSIG(status)));
  if (WIFCONTINUED(status)) return "{WIFCONTINUED(s)}";
  return fmt::format("{:#x}", status);
}

std::string file_mode(uint32_t mode) {
  static constexpr FlagName kTypes[] = {{S_IFREG, "S_IFREG"},   {S_IFDIR, "S_IFDIR"}, {S_IFLNK, "S_IFLNK"},
                                        {S_IFCHR, "S_IFCHR"},   {S_IFBLK, "S_IFBLK"}, {S_IFIFO, "S_IFIFO"},
                                        {S_IFSOCK, "S_IFSOCK"}, {0, nullptr}};
  static constexpr FlagName kSetBits[] = {
      {S_ISUID, "S_ISUID"}, {S_ISGID, "S_ISGID"}, {S_ISVTX, "S_ISVTX"}, {0, nullptr}};
  std::string text = (mode & S_IFMT) == 0 ? "" : choice(mode & S_IFMT, kTypes) + "|";
  if ((mode & 07000) != 0) text += flags(mode & 07000, kSetBits) + "|";
  return text + octal(mode & 0777);
}

std::string socket_address(const void* address, size_t length) {
  sockaddr_storage storage{};
  std::memcpy(&storage, address, std::min(length, sizeof storage));
  if (length < sizeof(sa_family_t)) return "{}";
  std::string text = fmt::format("{{sa_family={}", choice(storage.ss_family, kAddressFamilyNames));
  char buffer[INET6_ADDRSTRLEN] = "";
  const auto raw = [&] {
    const char* bytes = reinterpret_cast<const char*>(&storage) + sizeof(sa_family_t);
    return text + ", sa_data=" + quoted({bytes, std::min(length, sizeof storage) - sizeof(sa_family_t)}) +
           "}";
  };
  switch (storage.ss_family) {
    case AF_INET: {
      if (length < sizeof(sockaddr_in)) return raw();
      const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
      ::inet_ntop(AF_INET, &in.sin_addr, buffer, sizeof buffer);
      return text +
             fmt::format(", sin_port=htons({}), sin_addr=inet_addr(\"{}\")}}", ntohs(in.sin_port), buffer);
    }
    case AF_INET6: {
      if (length < sizeof(sockaddr_in6)) return raw();
      const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
      ::inet_ntop(AF_INET6, &in.sin6_addr, buffer, sizeof buffer);
      return text + fmt::format(
                        ", sin6_port=htons({}), sin6_flowinfo=htonl({}), inet_pton(AF_INET6, \"{}\", "
                        "&sin6_addr), sin6_scope_id={}}}",
                        ntohs(in.sin6_port), ntohl(in.sin6_flowinfo), buffer, in.sin6_scope_id);
    }
    case AF_UNIX: {
      const auto& un = reinterpret_cast<const sockaddr_un&>(storage);
      const size_t room = std::min(length, sizeof un) - offsetof(sockaddr_un, sun_path);
      if (length <= offsetof(sockaddr_un, sun_path)) return text + "}";
      if (un.sun_path[0] == '\0')  // unix(7): an abstract name
        return text + ", sun_path=@" + quoted({un.sun_path + 1, room - 1}) + "}";
      return text + ", sun_path=" + quoted({un.sun_path, ::strnlen(un.sun_path, room)}) + "}";
    }
    default:
      return raw();
  }
}

std::string path(Task& task, uint64_t place) {
  if (place == 0) return "NULL";
  const Result<std::string> text = task.memory().read_string(place, 4097);
  return text.ok() ? quoted(*text) : address(place);
}

std::string data(Task& task, uint64_t place, uint64_t size) {
  if (place == 0) return "NULL";
  if (size == 0) return "\"\"";
  char bytes[kShown];
  const Result<size_t> got =
      task.memory().read_some(place, bytes, static_cast<size_t>(std::min<uint64_t>(size, kShown)));
  if (!got.ok()) return address(place);
  return quoted({bytes, *got}) + (size > *got ? "..." : "");
}

std::string binary_data(Task& task, uint64_t place, uint64_t size) {
  if (place == 0) return "NULL";
  unsigned char bytes[kShown];
  const Result<size_t> got =
      task.memory().read_some(place, bytes, static_cast<size_t>(std::min<uint64_t>(size, kShown)));
  if (!got.ok()) return address(place);
  std::string text = "\"";
  for (size_t i = 0; i < *got; ++i) text += fmt::format("\\x{:02x}", bytes[i]);
  return text + (size > *got ? "\"..." : "\"");
}

std::string pieces(Task& task, uint64_t place, uint64_t count, uint64_t filled) {
  if (place == 0) return "NULL";
  std::string text = "[";
  for (uint64_t i = 0; i < count; ++i) {
    if (i != 0) text += ", ";
    if (i == kPiecesShown) return text + "...]";
    const auto piece = task.memory().read(mm::GuestPtr<const iovec>(place).at(i));
    if (!piece.ok()) return i == 0 ? address(place) : text + address(place + i * sizeof(iovec)) + "]";
    const uint64_t here = std::min<uint64_t>(piece->iov_len, filled);
    filled -= here;
    text += fmt::format("{{iov_base={}, iov_len={}}}",
                        data(task, reinterpret_cast<uint64_t>(piece->iov_base), here), piece->iov_len);
  }
  return text + "]";
}

}  // namespace sentry::syscalls::text
