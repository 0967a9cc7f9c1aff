// How much sentry memory files may take: of one mount (size=, nr_inodes=), and of the sandbox. Writes through
// a mapping happen without the sentry: they are counted when it next looks at the file, and what keeps them
// in bounds at once is the host's limit on the sandbox.
#pragma once

#include <cstdint>
#include <memory>

namespace sentry::fs::tmpfs {

// A sandbox's cap on all of its files in memory, in bytes; 0: none.
struct Budget {
  // The one of this process: its limit is set before the first mount.
  static const std::shared_ptr<Budget>& of_sandbox() {
    static const auto budget = std::make_shared<Budget>();
    return budget;
  }
  uint64_t limit_bytes = 0;
  uint64_t used_bytes = 0;
};

class Quota {
 public:
  static constexpr uint64_t kPage = 4096;
  // What an inode and its name take of the sentry's own memory, roughly.
  static constexpr uint64_t kInodeBytes = 1024;

  // A limit of 0 is none.
  Quota(uint64_t max_pages, uint64_t max_inodes, std::shared_ptr<Budget> budget)
      : max_pages_(max_pages), max_inodes_(max_inodes), budget_(std::move(budget)) {}

  bool charge_pages(uint64_t pages) {
    if (max_pages_ != 0 && (pages > max_pages_ || pages_ > max_pages_ - pages)) return false;
    if (!charge_budget(pages * kPage)) return false;
    pages_ += pages;
    return true;
  }
  // For what has been taken already.
  void force_pages(uint64_t pages) {
    pages_ += pages;
    if (budget_ != nullptr) budget_->used_bytes += pages * kPage;
  }
  void release_pages(uint64_t pages) {
    pages_ -= pages;
    if (budget_ != nullptr) budget_->used_bytes -= pages * kPage;
  }
  bool charge_inode() {
    if (max_inodes_ != 0 && inodes_ >= max_inodes_) return false;
    if (!charge_budget(kInodeBytes)) return false;
    ++inodes_;
    return true;
  }
  void release_inode() {
    --inodes_;
    if (budget_ != nullptr) budget_->used_bytes -= kInodeBytes;
  }

  uint64_t pages() const { return pages_; }
  uint64_t inodes() const { return inodes_; }
  uint64_t max_inodes() const { return max_inodes_; }
  // The nearest limit in pages; 0: none.
  uint64_t limit_pages() const {
    const uint64_t budget = budget_ != nullptr ? budget_->limit_bytes / kPage : 0;
    if (max_pages_ == 0 || budget == 0) return max_pages_ + budget;
    return max_pages_ < budget ? max_pages_ : budget;
  }
  // remount,size=
  void set_max_pages(uint64_t pages) { max_pages_ = pages; }

 private:
  bool charge_budget(uint64_t bytes) {
    if (budget_ == nullptr) return true;
    if (budget_->limit_bytes != 0 &&
        (bytes > budget_->limit_bytes || budget_->used_bytes > budget_->limit_bytes - bytes))
      return false;
    budget_->used_bytes += bytes;
    return true;
  }

  uint64_t max_pages_;
  uint64_t max_inodes_;
  std::shared_ptr<Budget> budget_;
  uint64_t pages_ = 0;
  uint64_t inodes_ = 0;
};

}  // namespace sentry::fs::tmpfs
