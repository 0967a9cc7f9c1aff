// One path resolution under way. walk() and open() drive it; open() must be able to go on where a last
// symbolic link leads, since creation happens at its target.
#pragma once

#include <string>
#include <string_view>

#include "sentry/vfs/dentry.h"

namespace sentry::vfs {

class Walker {
 public:
  // The references must outlive the walker.
  Walker(const FsContext& context, const Credentials& credentials, const Path& start, uint64_t resolve)
      : context_(context), credentials_(credentials), start_(start), place_(start), resolve_(resolve) {}
  Walker(const Walker&) = delete;
  Walker& operator=(const Walker&) = delete;

  // Walks all but the last component of `path`, which must stay valid while the walker is used. ENOENT if it
  // is empty.
  Result<> to_parent(std::string_view path);

  // What the path leads to is going to be opened for reading: a hint for the file system.
  void will_open() { opens_ = true; }

  // The directory where the walk stands; with jumped() where a magic link has led.
  const Path& place() const { return place_; }
  Path take_place() { return std::move(place_); }
  // The last component: "." and ".." as they are, empty where the text is only slashes. Valid until the next
  // step.
  std::string_view last() const { return last_; }
  bool last_is_name() const { return !last_.empty() && last_ != "." && last_ != ".."; }
  bool trailing_slash() const { return trailing_slash_; }
  bool jumped() const { return jumped_; }
  // Gets all that is looked at.
  void gather(Grounds* grounds) { grounds_ = grounds; }

  // Looks the last component (a name) up and crosses mounts: a place that may be negative or a symbolic link.
  Result<Path> find_last() { return child(last_); }
  // Goes on at the target of the symbolic link that find_last() gave: to the parent of its last component, or
  // jumped().
  Result<> follow_last(const Path& link);
  // Walks the rest: place() is then the end of the path. ENOENT for what is absent.
  Result<> finish(bool follow, bool directory);

 private:
  Result<> begin(std::string_view text);
  Result<> run();
  Result<> step_up();
  Result<> follow(const Path& link);
  Result<Path> child(std::string_view name);
  const Path& root() const;

  const FsContext& context_;
  const Credentials& credentials_;
  const Path& start_;
  Path place_;
  uint64_t resolve_;
  std::string_view rest_;  // what is not walked yet, of the caller's path or of text_
  std::string_view last_;
  std::string text_;  // a link's target and what came behind the link
  bool trailing_slash_ = false;
  bool jumped_ = false;
  bool opens_ = false;
  Grounds* grounds_ = nullptr;
  int links_ = 0;
};

}  // namespace sentry::vfs
