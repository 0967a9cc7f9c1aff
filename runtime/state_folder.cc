#include "runtime/state_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace runtime {
namespace {

using sentry::Fd;

constexpr const char* kStateFile = "/state.json";
constexpr const char* kLockFile = "/lock";

Outcome<> make_root(const std::string& root) {
  for (size_t slash = root.find('/', 1);; slash = root.find('/', slash + 1)) {
    const std::string part = root.substr(0, slash);
    if (::mkdir(part.c_str(), 0711) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
      return system_failure(errno, "cannot make the state directory {}", part);
    if (slash == std::string::npos) break;
  }
  struct stat status {};
  if (::stat(root.c_str(), &status) != 0)
    return with_advice(system_failure(errno, "cannot use the state directory {}", root),
                       "--root DIR names another");
  if (!S_ISDIR(status.st_mode)) return failure("the state directory {} is not a directory", root);
  if (status.st_uid != ::geteuid())
    return failure("the state directory {} belongs to user {}, not to the caller: use --root DIR for another",
                   root, status.st_uid);
  if (::access(root.c_str(), W_OK | X_OK) != 0)
    return with_advice(system_failure(errno, "cannot write to the state directory {}", root),
                       "--root DIR names another");
  return {};
}

bool same_file(int fd, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

}  // namespace

std::string default_state_root() {
  if (::geteuid() == 0) return "/run/bulkhead";
  const char* runtime_dir = std::getenv("XDG_RUNTIME_DIR");
  if (runtime_dir && *runtime_dir == '/') return fmt::format("{}/bulkhead", runtime_dir);
  return fmt::format("/tmp/bulkhead-{}", ::geteuid());
}

Outcome<> check_container_id(const std::string& id) {
  constexpr size_t kMaxId = 255;  // NAME_MAX
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";
  if (id.empty()) return failure("the container's id is empty");
  if (id.size() > kMaxId)
    return failure("the container's id has {} characters, {} are possible", id.size(), kMaxId);
  if (id.find_first_not_of(kAllowed) != id.npos || id == "." || id == "..")
    return failure("the container's id \"{}\" may hold letters, digits, _, +, - and . only", id);
  return {};
}

Outcome<StateFolder> StateFolder::claim(const std::string& root, const std::string& id) {
  TRY(check_container_id(id));
  const std::string path = fmt::format("{}/{}", root, id);
  // A folder may vanish between these steps, when a container ends; then the steps are taken again.
  for (;;) {
    TRY(make_root(root));
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      if (errno == ENOENT) continue;
      return system_failure(errno, "cannot make the state directory {}", path);
    }
    Fd lock(::open((path + kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock && errno == ENOENT) continue;
    if (!lock) return system_failure(errno, "cannot open the lock {}{}", path, kLockFile);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return failure("a container with the id \"{}\" exists already", id);
      return system_failure(errno, "cannot lock {}{}", path, kLockFile);
    }
    if (same_file(lock.get(), path + kLockFile)) return StateFolder(path, std::move(lock));
  }
}

StateFolder::StateFolder(StateFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

StateFolder::~StateFolder() {
  if (!lock_) return;
  ::unlink((path_ + kStateFile).c_str());
  ::unlink((path_ + kLockFile).c_str());
  ::rmdir(path_.c_str());
  ::rmdir(path_.substr(0, path_.rfind('/')).c_str());  // only if nothing else is in it
}

Outcome<> StateFolder::write(const oci::State& state) const {
  const std::string name = path_ + kStateFile, fresh = name + ".new";
  const std::string text = oci::to_json(state);
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return system_failure(errno, "cannot write {}", fresh);
  const ssize_t written = TEMP_FAILURE_RETRY(::write(file.get(), text.data(), text.size()));
  if (written < 0 || static_cast<size_t>(written) != text.size() ||
      std::rename(fresh.c_str(), name.c_str()) != 0) {
    const int error = written >= 0 && static_cast<size_t>(written) != text.size() ? ENOSPC : errno;
    ::unlink(fresh.c_str());
    return system_failure(error, "cannot write {}", name);
  }
  return {};
}

}  // namespace runtime
