// landlock(7): what processes forbid themselves in the tree of files, as Linux 6.1 has it (ABI 2).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/vfs/credentials.h"
#include "sentry/vfs/dentry.h"

namespace sentry::vfs {

inline constexpr int kLandlockAbi = 2;
inline constexpr uint64_t kLandlockAccesses = (uint64_t{1} << 14) - 1;  // LANDLOCK_ACCESS_FS_*

// How many rules somebody keeps. Each takes memory and holds on to an inode, so there is a limit for the
// sandbox.
class LandlockAccount {
 public:
  LandlockAccount() = default;
  ~LandlockAccount() { total_ -= rules_; }
  LandlockAccount(const LandlockAccount&) = delete;
  LandlockAccount& operator=(const LandlockAccount&) = delete;

  Result<> charge(size_t rules);  // ENOMEM
  size_t rules() const { return rules_; }

 private:
  static constexpr size_t kMaximum = size_t{1} << 18;
  inline static size_t total_ = 0;
  size_t rules_ = 0;
};

// An inode that rules are for, and its file system, which must be there as long (and no mount, which may go).
struct LandlockObject {
  std::shared_ptr<Superblock> superblock;
  InodeRef inode;
};

// What landlock_add_rule(2) has gathered.
class LandlockRuleset {
 public:
  explicit LandlockRuleset(uint64_t handled) : handled_(handled) {}
  uint64_t handled() const { return handled_; }
  // For the place, which has a name in the tree, and all that is below it. ENOMEM.
  Result<> allow(const Path& place, uint64_t accesses);

 private:
  friend class LandlockDomain;
  struct Rule {
    LandlockObject object;
    uint64_t allowed = 0;
  };
  uint64_t handled_;
  std::map<const Inode*, Rule> rules_;
  LandlockAccount account_;
};

// The rulesets that a thread has put on itself, in layers: what each of them allows is allowed. Never
// changed; whoever is made by the thread shares it.
class LandlockDomain {
 public:
  // One more layer than `below` (may be null). E2BIG as landlock_restrict_self(2), ENOMEM.
  static Result<LandlockRef> create(const LandlockRef& below, const LandlockRuleset& ruleset);

  // Whether it forbids all that `other` does: `other` or one made from it.
  bool within(const LandlockDomain& other) const;

  // EACCES unless every layer allows all of `accesses` at the place. What has no name in the tree is free.
  Result<> check(const Path& place, uint64_t accesses) const;

  // A name that moves or becomes another's too: current_check_refer_path. EACCES for what may not be done in
  // a directory, EXDEV where the file would get more rights than it has.
  struct Move {
    const Path& from;  // the directories, in one mount
    const Path& to;
    const Dentry& source;
    const Dentry* target = nullptr;  // what the new name stands for so far
    bool removes = false;            // rename(2), not link(2)
    bool exchanges = false;          // RENAME_EXCHANGE
  };
  Result<> check_move(const Move& move) const;

 private:
  // Bit n: layer n.
  using Layers = uint16_t;
  static constexpr size_t kMaxLayers = 16;  // LANDLOCK_MAX_NUM_LAYERS
  static constexpr size_t kAccessCount = 14;
  // For each access the layers that do not allow it.
  struct Forbidden {
    std::array<Layers, kAccessCount> by{};
    bool any(uint64_t accesses) const;
  };
  struct Grant {
    size_t layer;
    uint64_t allowed;
  };
  struct Rule {
    LandlockObject object;
    std::vector<Grant> grants;
  };

  // All layers that handle the accesses, before any rule.
  Forbidden initial(uint64_t accesses) const;
  // Takes out what the rules for one inode allow.
  void allow(Forbidden& forbidden, const Inode* inode) const;
  // What remains forbidden at a place, with the rules for all that lies above it.
  Forbidden forbidden_at(const Path& place, uint64_t accesses) const;

  // What each layer handles. The object itself says which layer it is, among all that there are.
  std::vector<std::shared_ptr<const uint64_t>> handled_;
  std::unordered_map<const Inode*, Rule> rules_;
  LandlockAccount account_;
};

// What making a file of this type asks for: LANDLOCK_ACCESS_FS_MAKE_*.
uint64_t landlock_making(uint32_t mode);

inline Result<> landlock_check(const Credentials& credentials, const Path& place, uint64_t accesses) {
  return credentials.landlock == nullptr ? Result<>() : credentials.landlock->check(place, accesses);
}

// Whether `tracer` may look into who has the credentials `target`: only into who may do no more.
bool landlock_may_trace(const Credentials& tracer, const Credentials& target);

}  // namespace sentry::vfs
