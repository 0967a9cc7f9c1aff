// Waiting for many files: poll(2), select(2), epoll(7).
#include <poll.h>

#include <climits>
#include <deque>
#include <limits>

#include "sentry/fs/epoll/epoll.h"
#include "sentry/syscalls/descriptor.h"
#include "sentry/syscalls/temporary_mask.h"

namespace sentry::syscalls {
namespace {

using vfs::FileRef;

constexpr Nanoseconds kForever = std::numeric_limits<Nanoseconds>::max();

// A timeout, and the moment that it ends.
struct Timeout {
  Deadline deadline;
  bool may_wait = true;
};

Timeout after(Nanoseconds duration) {
  if (duration <= 0) return {std::nullopt, false};
  const Nanoseconds now = monotonic_now();
  if (duration > kForever - now) return {};
  return {now + duration, true};
}

Timeout after_milliseconds(int timeout_ms) {
  return timeout_ms < 0 ? Timeout{} : after(timeout_ms * kMillisecond);
}

Result<Nanoseconds> to_duration(const timespec& time) {
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
  if (time.tv_sec >= kForever / kSecond) return kForever;
  return time.tv_sec * kSecond + time.tv_nsec;
}

Nanoseconds remaining(const Timeout& timeout) {
  if (!timeout.deadline) return 0;
  return std::max<Nanoseconds>(0, *timeout.deadline - monotonic_now());
}

// One file that is waited for.
struct Watched {
  FileRef file;
  Events interest = 0;
  Events found = 0;
};

// How many are ready, waiting for the first. 0 at the deadline; ERESTARTSYS.
Result<int> await(std::vector<Watched>& files, const Timeout& timeout) {
  const auto scan = [&files] {
    int ready = 0;
    for (Watched& watched : files) {
      if (watched.file == nullptr) continue;
      watched.found = watched.file->poll() & watched.interest;
      ready += watched.found != 0;
    }
    return ready;
  };
  int ready = scan();
  if (ready != 0 || !timeout.may_wait) return ready;
  std::deque<FiberWaiter> waiters;
  for (const Watched& watched : files) {
    if (watched.file == nullptr) continue;
    if (WaitQueue* queue = watched.file->wait_queue(); queue != nullptr)
      waiters.emplace_back(watched.interest).join(*queue);
  }
  while (ready == 0) {
    const Result<> parked = park_interruptible(timeout.deadline);
    ready = scan();
    if (ready != 0 || parked.is(ETIMEDOUT)) return ready;
    TRY(parked);
  }
  return ready;
}

// poll(2) proper. EINTR where a signal came; the callers say how that restarts.
Result<int> poll(Task& task, GuestPtr<pollfd> fds, unsigned count, const Timeout& timeout) {
  if (count > task.group->limit(RLIMIT_NOFILE)) return Errno(EINVAL);
  std::vector<pollfd> entries = TRY(task.memory().read_array(fds, count));
  std::vector<Watched> files(count);
  int invalid = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (entries[i].fd < 0) continue;
    const Result<FileRef> file = task.fds().get_io(entries[i].fd);
    if (!file.ok()) {
      files[i].found = POLLNVAL;
      ++invalid;
      continue;
    }
    files[i].file = *file;
    files[i].interest = static_cast<uint16_t>(entries[i].events) | EPOLLERR | EPOLLHUP;
  }
  const Result<int> ready = await(files, invalid != 0 ? Timeout{std::nullopt, false} : timeout);
  if (!ready.ok()) return Errno(EINTR);
  for (unsigned i = 0; i < count; ++i) {
    // Only this member is ours to change: another thread may be changing the others.
    const short found = static_cast<short>(files[i].found);
    if (found == entries[i].revents) continue;
    TRY(task.memory().write(fds.at(i).address() + offsetof(pollfd, revents), &found, sizeof found));
  }
  return *ready + invalid;
}

Result<int> poll_restartable(Task& task, GuestPtr<pollfd> fds, unsigned count, const Timeout& timeout) {
  const Result<int> ready = poll(task, fds, count, timeout);
  if (!ready.is(EINTR)) return ready;
  task.restart = [=](Task& again) -> Result<uint64_t> {
    // The deadline stays what it was; past it, one look.
    const bool expired = timeout.deadline && *timeout.deadline <= monotonic_now();
    return static_cast<uint64_t>(
        TRY(poll_restartable(again, fds, count, expired ? Timeout{std::nullopt, false} : timeout)));
  };
  return Errno(kErestartRestartblock);
}

// What is left of the time goes back to the caller, who need not be able to take it (poll_select_finish):
// then the call cannot be restarted.
template <typename Time>
Result<int> finish(Task& task, Result<int> result, GuestPtr<Time> place, const Timeout& timeout) {
  if (!place || (!timeout.deadline && timeout.may_wait)) return result;
  if (!timeout.may_wait) return result;  // it was 0
  const timespec left = to_timespec(remaining(timeout));
  Time value{};
  value.tv_sec = left.tv_sec;
  if constexpr (std::is_same_v<Time, timeval>)
    value.tv_usec = left.tv_nsec / 1000;
  else
    value.tv_nsec = left.tv_nsec;
  if (!task.memory().write(place, value).ok() && result.is(kErestartNoHand)) return Errno(EINTR);
  return result;
}

}  // namespace

Result<int> sys_poll(Task& task, PollSet fds, unsigned count, int timeout_ms) {
  return poll_restartable(task, fds, count, after_milliseconds(timeout_ms));
}

Result<int> sys_ppoll(Task& task, PollSet fds, unsigned count, Updated<timespec> timeout_place,
                      InSignalSet mask, size_t mask_size) {
  Timeout timeout;
  if (timeout_place) timeout = after(TRY(to_duration(TRY(task.memory().read(timeout_place)))));
  TemporaryMask temporary(task);
  TRY(temporary.set(mask, mask_size));
  Result<int> ready = poll(task, fds, count, timeout);
  if (ready.is(EINTR)) ready = Errno(kErestartNoHand);
  return finish(task, temporary.finish(ready), timeout_place, timeout);
}

// select(2) ---------------------------------------------------------------------------------------

namespace {

constexpr Events kSelectIn = EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR;
constexpr Events kSelectOut = EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR;
constexpr Events kSelectExcept = EPOLLPRI;

struct Selection {
  GuestPtr<uint64_t> place;
  Events events;
  std::vector<uint64_t> bits;

  bool contains(int fd) const {
    return !bits.empty() && (bits[static_cast<size_t>(fd) / 64] >> (fd % 64) & 1) != 0;
  }
  void add(int fd) { bits[static_cast<size_t>(fd) / 64] |= uint64_t{1} << (fd % 64); }
};

Result<int> select(Task& task, int count, GuestPtr<uint64_t> in, GuestPtr<uint64_t> out,
                   GuestPtr<uint64_t> except, const Timeout& timeout) {
  if (count < 0) return Errno(EINVAL);
  count = std::min(count, std::max(task.fds().highest(), 64));
  const size_t words = (static_cast<size_t>(count) + 63) / 64;
  Selection sets[] = {{in, kSelectIn, {}}, {out, kSelectOut, {}}, {except, kSelectExcept, {}}};
  for (Selection& set : sets)
    if (set.place) set.bits = TRY(task.memory().read_array(set.place, words));

  std::vector<Watched> files;
  std::vector<int> numbers;
  for (int fd = 0; fd < count; ++fd) {
    Events interest = 0;
    for (const Selection& set : sets)
      if (set.contains(fd)) interest |= set.events;
    if (interest == 0) continue;
    files.push_back({TRY(task.fds().get_io(fd)), interest, 0});
    numbers.push_back(fd);
  }
  const Result<int> ready = await(files, timeout);
  if (!ready.ok()) return Errno(kErestartNoHand);

  int total = 0;
  for (Selection& set : sets) {
    if (!set.place) continue;
    Selection answer{set.place, set.events, std::vector<uint64_t>(words)};
    for (size_t i = 0; i < files.size(); ++i) {
      if (!set.contains(numbers[i]) || (files[i].found & set.events) == 0) continue;
      answer.add(numbers[i]);
      ++total;
    }
    TRY(task.memory().write(set.place.address(), answer.bits.data(), words * sizeof(uint64_t)));
  }
  return total;
}

}  // namespace

Result<int> sys_select(Task& task, int count, FdSet in, FdSet out, FdSet except,
                       Updated<timeval> timeout_place) {
  Timeout timeout;
  if (timeout_place) {
    const timeval time = TRY(task.memory().read(timeout_place));
    constexpr long kMicroseconds = 1'000'000;
    if (time.tv_sec < 0 || time.tv_usec < 0) return Errno(EINVAL);
    if (time.tv_sec > std::numeric_limits<long>::max() - time.tv_usec / kMicroseconds) return Errno(EINVAL);
    const timespec normal{time.tv_sec + time.tv_usec / kMicroseconds, time.tv_usec % kMicroseconds * 1000};
    timeout = after(TRY(to_duration(normal)));
  }
  return finish(task, select(task, count, in, out, except, timeout), timeout_place, timeout);
}

Result<int> sys_pselect6(Task& task, int count, FdSet in, FdSet out, FdSet except,
                         Updated<timespec> timeout_place, GuestPtr<const uint64_t> mask) {
  struct MaskArgument {
    uint64_t address;
    uint64_t size;
  } argument{};
  if (mask) argument = TRY(task.memory().read(mask.as<const MaskArgument>()));
  Timeout timeout;
  if (timeout_place) timeout = after(TRY(to_duration(TRY(task.memory().read(timeout_place)))));
  TemporaryMask temporary(task);
  TRY(temporary.set(GuestPtr<const uint64_t>(argument.address), argument.size));
  const Result<int> ready = temporary.finish(select(task, count, in, out, except, timeout));
  return finish(task, ready, timeout_place, timeout);
}

// epoll(7) ----------------------------------------------------------------------------------------

namespace {

Result<std::shared_ptr<fs::epoll::EpollFile>> epoll_at(Task& task, FdNumber fd) {
  auto epoll = std::dynamic_pointer_cast<fs::epoll::EpollFile>(TRY(task.fds().get_io(fd.value)));
  if (epoll == nullptr) return Errno(EINVAL);
  return epoll;
}

Result<int> epoll_wait(Task& task, FdNumber fd, GuestPtr<epoll_event> place, int limit,
                       const Timeout& timeout) {
  TRY(task.fds().get_io(fd.value));
  if (limit <= 0 || limit > INT_MAX / static_cast<int>(sizeof(epoll_event))) return Errno(EINVAL);
  const auto epoll = TRY(epoll_at(task, fd));
  const std::vector<epoll_event> events =
      TRY(epoll->wait(static_cast<size_t>(limit), timeout.deadline, timeout.may_wait));
  if (!events.empty()) {
    const Result<> written =
        task.memory().write(place.address(), events.data(), events.size() * sizeof(epoll_event));
    if (!written.ok()) {
      epoll->give_back();
      return written.error();
    }
  }
  return static_cast<int>(events.size());
}

Result<int> epoll_pwait(Task& task, FdNumber fd, GuestPtr<epoll_event> place, int limit,
                        const Timeout& timeout, GuestPtr<const uint64_t> mask, size_t mask_size) {
  TemporaryMask temporary(task);
  TRY(temporary.set(mask, mask_size));
  return temporary.finish(epoll_wait(task, fd, place, limit, timeout));
}

}  // namespace

Result<int> sys_epoll_create1(Task& task, Flags<kEpollCreateNames> flags) {
  if ((flags & ~EPOLL_CLOEXEC) != 0) return Errno(EINVAL);
  return task.install_fd(fs::epoll::make_epoll(task.credentials), (flags & EPOLL_CLOEXEC) != 0);
}

Result<int> sys_epoll_create(Task& task, int size) {
  if (size <= 0) return Errno(EINVAL);
  return sys_epoll_create1(task, {0});
}

Result<> sys_epoll_ctl(Task& task, FdNumber epoll_fd, Choice<kEpollOperationNames> operation, FdNumber fd,
                       GuestPtr<const epoll_event> place) {
  epoll_event event{};
  if (operation != EPOLL_CTL_DEL) event = TRY(task.memory().read(place));
  const FileRef epoll_file = TRY(task.fds().get_io(epoll_fd.value));
  const FileRef file = TRY(task.fds().get_io(fd.value));
  if (!file->pollable()) return Errno(EPERM);
  auto* epoll = dynamic_cast<fs::epoll::EpollFile*>(epoll_file.get());
  if (epoll == nullptr || epoll_file == file) return Errno(EINVAL);
  switch (operation) {
    case EPOLL_CTL_ADD:
      return epoll->add(fd.value, file, event);
    case EPOLL_CTL_MOD:
      return epoll->modify(fd.value, *file, event);
    case EPOLL_CTL_DEL:
      return epoll->remove(fd.value, *file);
    default:
      return Errno(EINVAL);
  }
}

Result<int> sys_epoll_wait(Task& task, FdNumber epoll, OutEvents events, int limit, int timeout_ms) {
  return epoll_wait(task, epoll, events, limit, after_milliseconds(timeout_ms));
}

Result<int> sys_epoll_pwait(Task& task, FdNumber epoll, OutEvents events, int limit, int timeout_ms,
                            InSignalSet mask, size_t mask_size) {
  return epoll_pwait(task, epoll, events, limit, after_milliseconds(timeout_ms), mask, mask_size);
}

Result<int> sys_epoll_pwait2(Task& task, FdNumber epoll, OutEvents events, int limit,
                             GuestPtr<const timespec> timeout_place, InSignalSet mask, size_t mask_size) {
  Timeout timeout;
  if (timeout_place) timeout = after(TRY(to_duration(TRY(task.memory().read(timeout_place)))));
  return epoll_pwait(task, epoll, events, limit, timeout, mask, mask_size);
}

}  // namespace sentry::syscalls
