// Where the bytes of a read go and where those of a write come from: guest memory or the sentry's own.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/mm/windows.h"

namespace sentry::mm {

class AddressSpaceMap;

// A piece of guest memory.
struct GuestRange {
  uint64_t address;
  uint64_t length;
};

// Destination of a read. Filled from the front; each put() consumes room.
class Sink {
 public:
  virtual ~Sink() = default;
  uint64_t remaining() const { return remaining_; }
  // Copies up to `size` bytes; how many went in before the end or a fault. EFAULT if none could though there
  // was room.
  virtual Result<size_t> put(const void* data, size_t size) = 0;
  virtual Result<size_t> put_zeros(size_t size);
  // To be called now and then by whoever puts more than some hundred kilobytes: what has been put may wait in
  // the sentry's own memory. May park.
  virtual Result<> catch_up() { return {}; }
  // The same straight from a host file. EOPNOTSUPP where that cannot be, and where it is not worth it;
  // whatever it answers, put() can do the rest. The descriptor is closed by platform::close_unnamed().
  virtual Result<size_t> put_from(int /*host_fd*/, uint64_t /*offset*/, size_t /*size*/) {
    return Errno(EOPNOTSUPP);
  }
  // The same from a file of which it is known that so much is there, by a window on it. `file` and `open` as
  // in WindowRequest.
  virtual Result<size_t> put_shown(const void* /*file*/, const MappableOpener& /*open*/, uint64_t /*offset*/,
                                   size_t /*size*/) {
    return Errno(EOPNOTSUPP);
  }

 protected:
  explicit Sink(uint64_t size) : remaining_(size) {}
  uint64_t remaining_;
};

// Origin of a write. Drained from the front.
class Source {
 public:
  virtual ~Source() = default;
  uint64_t remaining() const { return remaining_; }
  // Copies up to `size` bytes out; how many before the end or a fault. EFAULT if none could though there were
  // some.
  virtual Result<size_t> get(void* buffer, size_t size) = 0;
  // The same straight to a host file, as Sink::put_from().
  virtual Result<size_t> get_to(int /*host_fd*/, uint64_t /*offset*/, size_t /*size*/) {
    return Errno(EOPNOTSUPP);
  }
  // Gives back the last `size` bytes that get() took (what a short host write left over).
  virtual void unget(size_t size) = 0;

 protected:
  explicit Source(uint64_t size) : remaining_(size) {}
  uint64_t remaining_;
};

// Bytes from which on it pays to ask the guest's own thread for the host call, instead of copying twice.
inline constexpr size_t kWorthAHostCall = 64 * 1024;

// Guest memory, in pieces (iovec). The map must outlive the object.
class GuestSink final : public Sink {
 public:
  // `windows`: whose windows may be used, if any's.
  GuestSink(AddressSpaceMap& memory, uint64_t address, uint64_t length, WindowOwner* windows = nullptr);
  GuestSink(AddressSpaceMap& memory, std::vector<GuestRange> ranges, WindowOwner* windows = nullptr);
  Result<size_t> put(const void* data, size_t size) override;
  Result<> catch_up() override;
  Result<size_t> put_from(int host_fd, uint64_t offset, size_t size) override;
  Result<size_t> put_shown(const void* file, const MappableOpener& open, uint64_t offset,
                           size_t size) override;

 private:
  AddressSpaceMap& memory_;
  WindowOwner* windows_;
  std::vector<GuestRange> ranges_;
  size_t index_ = 0;
  uint64_t within_ = 0;
};

class GuestSource final : public Source {
 public:
  GuestSource(AddressSpaceMap& memory, uint64_t address, uint64_t length);
  GuestSource(AddressSpaceMap& memory, std::vector<GuestRange> ranges);
  Result<size_t> get(void* buffer, size_t size) override;
  Result<size_t> get_to(int host_fd, uint64_t offset, size_t size) override;
  void unget(size_t size) override;

 private:
  AddressSpaceMap& memory_;
  std::vector<GuestRange> ranges_;
  size_t index_ = 0;
  uint64_t within_ = 0;
};

// The sentry's memory.
class BufferSink final : public Sink {
 public:
  BufferSink(void* data, size_t size) : Sink(size), next_(static_cast<std::byte*>(data)) {}
  Result<size_t> put(const void* data, size_t size) override {
    const size_t count = size < remaining_ ? size : static_cast<size_t>(remaining_);
    std::memcpy(next_, data, count);
    next_ += count;
    remaining_ -= count;
    return count;
  }

 private:
  std::byte* next_;
};

class BufferSource final : public Source {
 public:
  BufferSource(const void* data, size_t size) : Source(size), next_(static_cast<const std::byte*>(data)) {}
  Result<size_t> get(void* buffer, size_t size) override {
    const size_t count = size < remaining_ ? size : static_cast<size_t>(remaining_);
    std::memcpy(buffer, next_, count);
    next_ += count;
    remaining_ -= count;
    return count;
  }
  void unget(size_t size) override {
    next_ -= size;
    remaining_ += size;
  }

 private:
  const std::byte* next_;
};

}  // namespace sentry::mm
