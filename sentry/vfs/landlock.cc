#include "sentry/vfs/landlock.h"

#include <linux/landlock.h>
#include <sys/stat.h>

#include <bit>

namespace sentry::vfs {
namespace {

// What is of use for a file that is no directory.
constexpr uint64_t kFileAccesses =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE;

template <typename Visit>
void for_each_access(uint64_t accesses, Visit visit) {
  for (; accesses != 0; accesses &= accesses - 1) visit(static_cast<size_t>(std::countr_zero(accesses)));
}

uint64_t removing(const Dentry& dentry) {
  return dentry.inode()->is_directory() ? LANDLOCK_ACCESS_FS_REMOVE_DIR : LANDLOCK_ACCESS_FS_REMOVE_FILE;
}

}  // namespace

uint64_t landlock_making(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFLNK:
      return LANDLOCK_ACCESS_FS_MAKE_SYM;
    case S_IFDIR:
      return LANDLOCK_ACCESS_FS_MAKE_DIR;
    case S_IFCHR:
      return LANDLOCK_ACCESS_FS_MAKE_CHAR;
    case S_IFBLK:
      return LANDLOCK_ACCESS_FS_MAKE_BLOCK;
    case S_IFIFO:
      return LANDLOCK_ACCESS_FS_MAKE_FIFO;
    case S_IFSOCK:
      return LANDLOCK_ACCESS_FS_MAKE_SOCK;
    default:
      return LANDLOCK_ACCESS_FS_MAKE_REG;
  }
}

bool landlock_may_trace(const Credentials& tracer, const Credentials& target) {
  if (tracer.landlock == nullptr) return true;
  return target.landlock != nullptr && target.landlock->within(*tracer.landlock);
}

Result<> LandlockAccount::charge(size_t rules) {
  if (rules > kMaximum - total_) return Errno(ENOMEM);
  total_ += rules;
  rules_ += rules;
  return {};
}

Result<> LandlockRuleset::allow(const Path& place, uint64_t accesses) {
  const InodeRef& inode = place.dentry->inode();
  if (!rules_.contains(inode.get())) TRY(account_.charge(1));
  Rule& rule = rules_[inode.get()];
  rule.object = {place.mount->superblock, inode};
  rule.allowed |= accesses;
  return {};
}

Result<LandlockRef> LandlockDomain::create(const LandlockRef& below, const LandlockRuleset& ruleset) {
  auto domain = std::make_shared<LandlockDomain>();
  if (below != nullptr) {
    if (below->handled_.size() == kMaxLayers) return Errno(E2BIG);
    TRY(domain->account_.charge(below->account_.rules()));
    domain->handled_ = below->handled_;
    domain->rules_ = below->rules_;
  }
  TRY(domain->account_.charge(ruleset.rules_.size()));
  const size_t layer = domain->handled_.size();
  domain->handled_.push_back(std::make_shared<const uint64_t>(ruleset.handled()));
  for (const auto& [inode, rule] : ruleset.rules_) {
    Rule& own = domain->rules_[inode];
    own.object = rule.object;
    own.grants.push_back({layer, rule.allowed});
  }
  return LandlockRef(std::move(domain));
}

bool LandlockDomain::within(const LandlockDomain& other) const {
  const size_t layers = other.handled_.size();
  return handled_.size() >= layers && handled_[layers - 1] == other.handled_[layers - 1];
}

bool LandlockDomain::Forbidden::any(uint64_t accesses) const {
  Layers layers = 0;
  for_each_access(accesses, [&](size_t access) { layers |= by[access]; });
  return layers != 0;
}

LandlockDomain::Forbidden LandlockDomain::initial(uint64_t accesses) const {
  Forbidden forbidden;
  for (size_t layer = 0; layer < handled_.size(); ++layer) {
    // Moving between directories is forbidden by every layer that does not allow it.
    for_each_access(accesses & (*handled_[layer] | LANDLOCK_ACCESS_FS_REFER), [&](size_t access) {
      forbidden.by[access] = static_cast<Layers>(forbidden.by[access] | 1u << layer);
    });
  }
  return forbidden;
}

void LandlockDomain::allow(Forbidden& forbidden, const Inode* inode) const {
  const auto found = rules_.find(inode);
  if (found == rules_.end()) return;
  for (const Grant& grant : found->second.grants)
    for_each_access(grant.allowed, [&](size_t access) {
      forbidden.by[access] = static_cast<Layers>(forbidden.by[access] & ~(1u << grant.layer));
    });
}

LandlockDomain::Forbidden LandlockDomain::forbidden_at(const Path& place, uint64_t accesses) const {
  Forbidden forbidden = initial(accesses);
  const Mount* mount = place.mount.get();
  const Dentry* dentry = place.dentry.get();
  // To the very top, whatever the root of the process is.
  while (forbidden.any(accesses)) {
    allow(forbidden, dentry->inode().get());
    while (dentry == mount->root.get() && mount->parent != nullptr) {
      dentry = mount->mountpoint.get();
      mount = mount->parent.get();
    }
    if (dentry == mount->root.get() || dentry->parent() == nullptr) break;
    dentry = dentry->parent().get();
  }
  return forbidden;
}

Result<> LandlockDomain::check(const Path& place, uint64_t accesses) const {
  if (place.mount == nullptr || is_anonymous(place)) return {};
  return forbidden_at(place, accesses).any(accesses) ? Result<>(Errno(EACCES)) : Result<>();
}

Result<> LandlockDomain::check_move(const Move& move) const {
  uint64_t wanted_from = 0, wanted_to = landlock_making(move.source.inode()->type());
  if (move.exchanges) wanted_from |= landlock_making(move.target->inode()->type());
  if (move.removes) {
    wanted_from |= removing(move.source);
    if (move.target != nullptr && !move.target->negative()) wanted_to |= removing(*move.target);
  }
  if (move.from == move.to) return check(move.to, wanted_from | wanted_to);

  const Forbidden from = forbidden_at(move.from, kLandlockAccesses);
  const Forbidden to = forbidden_at(move.to, kLandlockAccesses);
  if (from.any(wanted_from) || to.any(wanted_to)) return Errno(EACCES);
  if (from.any(LANDLOCK_ACCESS_FS_REFER) || to.any(LANDLOCK_ACCESS_FS_REFER)) return Errno(EXDEV);
  // Nothing may become allowed by going elsewhere: what is forbidden for a file, by its place and for itself,
  // must be forbidden where it goes.
  const auto gains = [&](const Forbidden& old_place, const Dentry& file, const Forbidden& new_place) {
    Forbidden itself = initial(kLandlockAccesses);
    allow(itself, file.inode().get());
    Forbidden gained;
    for (size_t access = 0; access < kAccessCount; ++access)
      gained.by[access] =
          static_cast<Layers>(old_place.by[access] & itself.by[access] & ~new_place.by[access]);
    return gained.any(file.inode()->is_directory() ? kLandlockAccesses : kFileAccesses);
  };
  if (gains(from, move.source, to)) return Errno(EXDEV);
  if (move.exchanges && gains(to, *move.target, from)) return Errno(EXDEV);
  return {};
}

}  // namespace sentry::vfs
