#include "runtime/container_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "runtime/text_file.h"

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

// What is there was made by the caller, for this: the hooks and cgroups of anybody else's state are not to be
// acted on, nor is what a link leads to.
Outcome<> check_own(const std::string& path, const struct stat& status) {
  if (S_ISLNK(status.st_mode))
    return failure("the container's state {} is a symbolic link: nothing was done", path);
  if (status.st_uid != ::geteuid())
    return failure("the container's state {} belongs to user {}, not to the caller: nothing was done", path,
                   status.st_uid);
  return {};
}

bool same_file(int fd, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

void remove_folder(const std::string& path) {
  for (const char* file : {kStateFile, kLockFile, "/process", "/control", "/state.json.new", "/process.new"})
    ::unlink((path + file).c_str());
  ::rmdir(path.c_str());
  ::rmdir(path.substr(0, path.rfind('/')).c_str());  // only if nothing else is in it
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

Outcome<ContainerFolder> ContainerFolder::claim(const std::string& root, const std::string& id) {
  TRY(check_container_id(id));
  const std::string path = fmt::format("{}/{}", root, id);
  // A folder may vanish between these steps, when a container ends; then the steps are taken again.
  for (;;) {
    TRY(make_root(root));
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      if (errno == ENOENT) continue;
      return system_failure(errno, "cannot make the state directory {}", path);
    }
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) TRY(check_own(path, status));
    Fd lock(::open((path + kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock && errno == ENOENT) continue;
    if (!lock) {
      const int error = errno;
      ::rmdir(path.c_str());  // only if it is empty: nobody's
      return system_failure(error, "cannot open the lock {}{}", path, kLockFile);
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return failure("a container with the id \"{}\" exists already", id);
      return system_failure(errno, "cannot lock {}{}", path, kLockFile);
    }
    if (!same_file(lock.get(), path + kLockFile)) continue;
    const std::optional<std::string> text = read_text_file(path + kStateFile);
    const oci::Checked<oci::Record> old = oci::parse_record(text.value_or(""));
    if (old && old->detached)
      return failure("a container with the id \"{}\" exists already; it has ended (bulkhead delete {})", id,
                     id);
    return ContainerFolder(path, std::move(lock));
  }
}

ContainerFolder::ContainerFolder(ContainerFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)), remove_(other.remove_) {}

ContainerFolder::~ContainerFolder() {
  if (!lock_ || !remove_) return;
  remove_folder(path_);
}

Outcome<> ContainerFolder::write(const oci::Record& record) const {
  return write_file(kStateFile + 1, oci::to_json(record));
}

Outcome<> ContainerFolder::write_file(const std::string& file_name, const std::string& bytes) const {
  const std::string name = path_ + "/" + file_name, fresh = name + ".new";
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return system_failure(errno, "cannot write {}", fresh);
  const ssize_t written = TEMP_FAILURE_RETRY(::write(file.get(), bytes.data(), bytes.size()));
  if (written < 0 || static_cast<size_t>(written) != bytes.size() ||
      std::rename(fresh.c_str(), name.c_str()) != 0) {
    const int error = written >= 0 && static_cast<size_t>(written) != bytes.size() ? ENOSPC : errno;
    ::unlink(fresh.c_str());
    return system_failure(error, "cannot write {}", name);
  }
  return {};
}

Outcome<KnownContainer> KnownContainer::find(const std::string& root, const std::string& id) {
  TRY(check_container_id(id));
  KnownContainer container(fmt::format("{}/{}", root, id), id);
  const std::string state_file = container.path_ + kStateFile;
  // ROOT itself may be a link (/var/run is one), to a directory of the caller's.
  struct stat status {};
  if (::stat(root.c_str(), &status) == 0) TRY(check_own(root, status));
  for (const std::string& path : {container.path_, state_file})
    if (::lstat(path.c_str(), &status) == 0) TRY(check_own(path, status));
  const std::optional<std::string> text = read_text_file(state_file);
  if (!text && (errno == ENOENT || errno == ENOTDIR))
    return failure("the container \"{}\" does not exist", id);
  if (!text) return system_failure(errno, "cannot read {}", state_file);
  oci::Checked<oci::Record> record = oci::parse_record(*text);
  if (!record) return failure("{}: {}", state_file, record.error().text());
  container.record_ = std::move(*record);
  const Fd lock(::open((container.path_ + kLockFile).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!lock && errno != ENOENT) return system_failure(errno, "cannot open {}{}", container.path_, kLockFile);
  container.alive_ = lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
  return container;
}

oci::State KnownContainer::state() const {
  oci::State state = record_.state;
  if (alive_) return state;
  state.status = "stopped";
  state.pid = 0;
  return state;
}

Outcome<Fd> KnownContainer::claim_start() const {
  const auto not_created = [&](const std::string& status) {
    return failure("cannot start the container \"{}\": it is {}, not created", id_, status);
  };
  if (state().status != "created") return not_created(state().status);
  Fd folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!folder) return system_failure(errno, "cannot open {}", path_);
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return not_created("being started");
    return system_failure(errno, "cannot lock {}", path_);
  }
  // What was known may be from before another `start`.
  const oci::Checked<oci::Record> record = oci::parse_record(read_text_file(path_ + kStateFile).value_or(""));
  if (!record) return failure("{}{}: {}", path_, kStateFile, record.error().text());
  if (record->state.status != "created") return not_created(record->state.status);
  return folder;
}

void KnownContainer::wait_for_end() const {
  const Fd lock(::open((path_ + kLockFile).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (lock) TEMP_FAILURE_RETRY(::flock(lock.get(), LOCK_SH));
}

bool KnownContainer::remove() const {
  // state.json is what makes a container exist.
  if (::unlink((path_ + kStateFile).c_str()) != 0) return false;
  remove_folder(path_);
  return true;
}

std::vector<std::string> container_ids(const std::string& root) {
  std::vector<std::string> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(root.c_str()), ::closedir);
  while (const dirent* entry = listing ? ::readdir(listing.get()) : nullptr)
    if (check_container_id(entry->d_name)) ids.emplace_back(entry->d_name);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace runtime
