// A piece of sentry memory through which bytes travel between guest memory and a host descriptor. Reused,
// since fiber stacks are too small for one and many reads need one.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace sentry::vfs {

class BounceBuffer {
 public:
  static constexpr size_t kSize = 64 * 1024;

  BounceBuffer() {
    if (free_list().empty()) {
      bytes_ = std::make_unique_for_overwrite<std::byte[]>(kSize);
    } else {
      bytes_ = std::move(free_list().back());
      free_list().pop_back();
    }
  }
  ~BounceBuffer() {
    if (free_list().size() < kKept) free_list().push_back(std::move(bytes_));
  }
  BounceBuffer(const BounceBuffer&) = delete;
  BounceBuffer& operator=(const BounceBuffer&) = delete;

  std::byte* data() { return bytes_.get(); }
  static constexpr size_t size() { return kSize; }

 private:
  static constexpr size_t kKept = 4;
  using Bytes = std::unique_ptr<std::byte[]>;
  static std::vector<Bytes>& free_list() {
    static std::vector<Bytes> list;
    return list;
  }
  Bytes bytes_;
};

}  // namespace sentry::vfs
