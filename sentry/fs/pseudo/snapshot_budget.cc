#include "sentry/fs/pseudo/snapshot_budget.h"

namespace sentry::fs::pseudo {
namespace {

struct Budget {
  std::list<SnapshotHolder*> holders;  // the oldest first
  size_t kept = 0;
};

Budget& budget() {
  static Budget instance;
  return instance;
}

}  // namespace

size_t kept_bytes() { return budget().kept; }

void SnapshotHolder::account(size_t bytes) {
  forget();
  Budget& all = budget();
  while (!all.holders.empty() && all.kept + bytes > kKeptBytesLimit) {
    SnapshotHolder* oldest = all.holders.front();
    oldest->forget();
    oldest->drop();
  }
  bytes_ = bytes;
  all.kept += bytes;
  position_ = all.holders.insert(all.holders.end(), this);
  listed_ = true;
}

void SnapshotHolder::forget() {
  if (!listed_) return;
  Budget& all = budget();
  all.kept -= bytes_;
  all.holders.erase(position_);
  listed_ = false;
}

}  // namespace sentry::fs::pseudo
