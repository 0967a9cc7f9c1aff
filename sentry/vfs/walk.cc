// path_resolution(7).
#include <linux/openat2.h>
#include <unistd.h>

#include "sentry/vfs/walker.h"

namespace sentry::vfs {
namespace {

constexpr int kMaxLinks = 40;  // MAXSYMLINKS of the kernel

}  // namespace

const Path& Walker::root() const { return (resolve_ & RESOLVE_IN_ROOT) != 0 ? start_ : context_.root; }

Result<> Walker::to_parent(std::string_view path) {
  if (path.empty()) return Errno(ENOENT);
  if (path.size() >= kPathMax) return Errno(ENAMETOOLONG);
  TRY(begin(path));
  return run();
}

Result<> Walker::begin(std::string_view text) {
  if (text.front() == '/') {
    if ((resolve_ & RESOLVE_BENEATH) != 0) return Errno(EXDEV);
    if ((resolve_ & RESOLVE_NO_XDEV) != 0 && root().mount != place_.mount) return Errno(EXDEV);
    place_ = root();
    const size_t first = text.find_first_not_of('/');
    text.remove_prefix(first == std::string_view::npos ? text.size() : first);
  }
  rest_ = text;
  trailing_slash_ = false;
  return {};
}

Result<> Walker::run() {
  for (;;) {
    if (rest_.empty()) {  // nothing but slashes
      last_ = {};
      return {};
    }
    const InodeRef& directory = place_.dentry->inode();
    if (grounds_ != nullptr) {
      const Superblock& superblock = directory->superblock();
      if (superblock.caches_names() && superblock.keeps_attributes())
        grounds_->add(*directory);
      else
        grounds_->give_up();
    }
    if (!directory->is_directory()) return Errno(ENOTDIR);
    TRY(directory->permission(credentials_, X_OK));

    const size_t end = rest_.find('/');
    const std::string_view component = rest_.substr(0, end);
    const size_t next = end == std::string_view::npos ? end : rest_.find_first_not_of('/', end);
    if (next == std::string_view::npos) {
      last_ = component;
      trailing_slash_ = end != std::string_view::npos;
      rest_ = {};
      return {};
    }
    rest_.remove_prefix(next);
    if (component == ".") continue;
    if (component == "..") {
      TRY(step_up());
      continue;
    }
    Path found = TRY(child(component));
    if (found.dentry->negative()) return Errno(ENOENT);
    const InodeRef& inode = found.dentry->inode();
    if (inode->is_symlink()) {
      TRY(follow(found));
      continue;
    }
    if (!inode->is_directory()) return Errno(ENOTDIR);
    place_ = std::move(found);
  }
}

Result<> Walker::step_up() {
  if ((resolve_ & RESOLVE_BENEATH) != 0 && place_ == start_) return Errno(EXDEV);
  Path up = context_.space->ascend(place_, root());
  if ((resolve_ & RESOLVE_NO_XDEV) != 0 && up.mount != place_.mount) return Errno(EXDEV);
  place_ = std::move(up);
  return {};
}

Result<Path> Walker::child(std::string_view name) {
  DentryCache& dentries = context_.space->dentries();
  DentryRef dentry = dentries.lookup_cached(place_.dentry, name);
  if (dentry == nullptr) {
    if (name.size() > kNameMax) return Errno(ENAMETOOLONG);
    if ((resolve_ & RESOLVE_CACHED) != 0) return Errno(EAGAIN);
    if (!rest_.empty() || opens_) place_.dentry->inode()->expect(name, rest_, opens_);
    dentry = TRY(dentries.lookup(place_.dentry, name));
  }
  if (!dentry->is_mountpoint()) return Path{place_.mount, std::move(dentry)};
  Path found = context_.space->descend({place_.mount, std::move(dentry)});
  if ((resolve_ & RESOLVE_NO_XDEV) != 0 && found.mount != place_.mount) return Errno(EXDEV);
  return found;
}

// Replaces the link by its target: the text to walk becomes the target and what came behind the link.
Result<> Walker::follow(const Path& link) {
  if ((resolve_ & RESOLVE_NO_SYMLINKS) != 0 || ++links_ > kMaxLinks || link.mount->nosymfollow)
    return Errno(ELOOP);
  Inode& inode = *link.dentry->inode();
  if (auto target = inode.follow()) {
    if ((resolve_ & RESOLVE_NO_MAGICLINKS) != 0) return Errno(ELOOP);
    Path place = TRY(std::move(*target));
    if ((resolve_ & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0) return Errno(EXDEV);
    if ((resolve_ & RESOLVE_NO_XDEV) != 0 && place.mount != place_.mount) return Errno(EXDEV);
    place_ = std::move(place);
    jumped_ = rest_.empty();
    return {};
  }
  std::string text = TRY(inode.readlink());
  if (text.empty()) return Errno(ENOENT);
  if (!rest_.empty()) {
    text += '/';
    text += rest_;
  } else if (trailing_slash_) {
    text += '/';
  }
  text_ = std::move(text);
  return begin(text_);
}

Result<> Walker::follow_last(const Path& link) {
  TRY(follow(link));
  return jumped_ ? Result<>{} : run();
}

Result<> Walker::finish(bool follow, bool directory) {
  while (!jumped_) {
    if (last_is_name()) {
      Path found = TRY(find_last());
      if (found.dentry->negative()) return Errno(ENOENT);
      if (found.dentry->inode()->is_symlink() && (follow || trailing_slash_)) {
        TRY(follow_last(found));
        continue;
      }
      place_ = std::move(found);
    } else if (last_ == "..") {
      TRY(step_up());
    }
    break;
  }
  if ((directory || trailing_slash_) && !place_.dentry->inode()->is_directory()) return Errno(ENOTDIR);
  return {};
}

Result<Walked> walk(const FsContext& context, const Credentials& credentials, const Path& start,
                    std::string_view path, const WalkOptions& options) {
  if (path.empty() && options.empty_path && !options.parent) {
    if (options.directory && !start.dentry->inode()->is_directory()) return Errno(ENOTDIR);
    return Walked{start, {}, false};
  }
  Walker walker(context, credentials, start, options.resolve);
  walker.gather(options.grounds);
  Result<> found = walker.to_parent(path);
  if (found.ok() && options.parent) {
    std::string last(walker.last());
    const bool slash = walker.trailing_slash();
    return Walked{walker.take_place(), std::move(last), slash};
  }
  if (found.ok()) found = walker.finish(options.follow, options.directory);
  TRY(std::move(found));
  const bool slash = walker.trailing_slash();
  return Walked{walker.take_place(), {}, slash};
}

}  // namespace sentry::vfs
