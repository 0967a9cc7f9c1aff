// Windows: mappings of files in a guest's process that the guest has not asked for and does not see, above
// its range. What it reads from a file again and again is then copied from there by its own thread, and the
// bytes do not travel by way of the sentry.
//
// A window is read-only, and no more than the process could map itself by a descriptor that it has: it goes
// as soon as any descriptor of that open file description is closed, and as soon as the file becomes shorter
// or gives way to another.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "sentry/base/result.h"

namespace sentry::mm {

class AddressSpaceMap;
class Mappable;

// Where the file comes from that a window is to show.
using MappableOpener = std::function<Result<std::shared_ptr<Mappable>>()>;

// Of an open file description: the address spaces that have windows by it.
class WindowOwner {
 public:
  WindowOwner() = default;
  ~WindowOwner() { drop(); }
  WindowOwner(const WindowOwner&) = delete;
  WindowOwner& operator=(const WindowOwner&) = delete;

  // Takes all of its windows away, before guest code of theirs comes back from the sentry.
  void drop();

 private:
  friend class Windows;
  std::vector<std::weak_ptr<AddressSpaceMap>> maps_;
  uint64_t drops_ = 0;
  // Descriptions come and go, and the next may lie where the last has been.
  inline static uint64_t last_id_ = 0;
  const uint64_t id_ = ++last_id_;
};

// Whose window on what. `file` tells it from others that the description may come to show.
struct WindowRequest {
  WindowOwner& owner;
  const void* file;
  const MappableOpener& open;
};

// Of an address space.
class Windows {
 public:
  // What less is asked for at a time travels with the answer as well. A copy of more would keep the process's
  // other threads, whose orders wait for it.
  static constexpr uint64_t kLeast = 1024, kMost = 4 << 20;

  explicit Windows(AddressSpaceMap& map) : map_(map) {}
  ~Windows();
  Windows(const Windows&) = delete;
  Windows& operator=(const Windows&) = delete;

  // Where the process finds [offset, offset + size) of a file, and how much of it; nullopt: nowhere, or it
  // has not been asked for often enough.
  struct Place {
    uint64_t address, size;
  };
  std::optional<Place> find(const WindowRequest& request, uint64_t offset, uint64_t size);
  void drop(const WindowOwner& owner);
  void drop(const Mappable& file);

  // fork(2): the host has copied what there was before it.
  std::vector<std::pair<uint64_t, uint64_t>> ranges() const;  // address, length
  void copy(const Windows& from, const std::vector<std::pair<uint64_t, uint64_t>>& before);

 private:
  struct Window {
    WindowOwner* owner = nullptr;  // null: none
    const void* file = nullptr;
    std::shared_ptr<Mappable> shown;
    uint64_t offset = 0, length = 0;
    uint64_t used = 0;  // when: find()'s count
    bool shows(const WindowRequest& request) const { return owner == &request.owner && file == request.file; }
  };
  struct Candidate {
    uint64_t owner = 0;  // its id
    const void* file = nullptr;
    uint64_t bytes = 0, times = 0, used = 0;
  };
  static constexpr size_t kWindows = 16;

  uint64_t address(const Window& window) const;
  bool often(const WindowRequest& request, uint64_t size);
  Window* open(const WindowRequest& request, uint64_t offset);
  void close(Window& window);
  void attach(Window& window);

  AddressSpaceMap& map_;
  std::array<Window, kWindows> windows_;
  std::array<Candidate, kWindows> candidates_;
  uint64_t finds_ = 0;
};

}  // namespace sentry::mm
