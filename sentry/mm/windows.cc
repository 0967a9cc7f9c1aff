#include "sentry/mm/windows.h"

#include <sys/mman.h>

#include <algorithm>

#include "sentry/mm/address_space_map.h"

namespace sentry::mm {

void WindowOwner::drop() {
  ++drops_;
  if (maps_.empty()) return;
  for (const std::weak_ptr<AddressSpaceMap>& map : std::exchange(maps_, {}))
    if (const auto living = map.lock()) living->windows().drop(*this);
}

Windows::~Windows() {
  for (Window& window : windows_)
    if (window.owner != nullptr) map_.forget_window(*window.shown);
}

uint64_t Windows::address(const Window& window) const {
  const platform::WindowRoom room = map_.platform_space().window_room();
  return room.start + static_cast<uint64_t>(&window - windows_.data()) * (room.size / kWindows);
}

// Making one costs as much as some reads, and the first touch of each of its pages as much again.
bool Windows::often(const WindowRequest& request, uint64_t size) {
  constexpr uint64_t kOften = 8, kMuch = 64 * 1024;
  Candidate* candidate = &candidates_[0];
  for (Candidate& one : candidates_) {
    if (one.owner == request.owner.id_ && one.file == request.file) {
      candidate = &one;
      break;
    }
    if (one.used < candidate->used) candidate = &one;
  }
  if (candidate->owner != request.owner.id_ || candidate->file != request.file)
    *candidate = {request.owner.id_, request.file, 0, 0, 0};
  candidate->used = finds_;
  const bool answer = candidate->times >= kOften || candidate->bytes >= kMuch;
  ++candidate->times;
  candidate->bytes += size;
  if (answer) *candidate = {};
  return answer;
}

std::optional<Windows::Place> Windows::find(const WindowRequest& request, uint64_t offset, uint64_t size) {
  ++finds_;
  const auto place = [&](Window& window) {
    window.used = finds_;
    const uint64_t within = offset - window.offset;
    return Place{address(window) + within, std::min(size, window.length - within)};
  };
  for (Window& window : windows_)
    if (window.shows(request) && offset - window.offset < window.length) return place(window);
  if (map_.platform_space().window_room().size == 0 || !often(request, size)) return std::nullopt;
  Window* const made = open(request, offset);
  if (made == nullptr) return std::nullopt;
  return place(*made);
}

// As much as there is room for, around the place that is asked for.
Windows::Window* Windows::open(const WindowRequest& request, uint64_t offset) {
  const uint64_t drops = request.owner.drops_;
  const auto shown = request.open();
  // That may have let others run: who has closed the description, or forked.
  if (!shown.ok() || request.owner.drops_ != drops || map_.forking()) return nullptr;
  const uint64_t room = map_.platform_space().window_room().size / kWindows;
  uint64_t first = offset / room * room;
  const uint64_t end = page_ceil(std::min(first + room, (*shown)->likely_end()));
  if (end <= offset) return nullptr;
  Mappable::Backing backing{};
  for (;; first += backing.length) {
    const auto asked = (*shown)->backing(first, end - first, false);
    if (!asked.ok() || asked->host_fd < 0 || asked->length == 0) return nullptr;
    backing = *asked;
    if (offset - first < backing.length) break;
  }
  // The one in the same place ends too early. Else the one that was used least lately: empty ones never were.
  Window* chosen = &windows_[0];
  for (Window& window : windows_) {
    if (window.shows(request) && window.offset == first) {
      chosen = &window;
      break;
    }
    if (window.used < chosen->used) chosen = &window;
  }
  if (chosen->owner != nullptr) close(*chosen);
  const uint64_t length = std::min(backing.length, end - first);
  if (!map_.platform_space()
           .map({address(*chosen), length, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, backing.host_fd,
                 backing.host_offset})
           .ok())
    return nullptr;
  *chosen = {&request.owner, request.file, *shown, first, length, finds_};
  attach(*chosen);
  return chosen;
}

void Windows::attach(Window& window) {
  map_.keep_window(*window.shown);
  auto& maps = window.owner->maps_;
  const auto self = map_.weak_from_this();
  const bool known = std::any_of(maps.begin(), maps.end(), [&](const auto& one) {
    return !one.owner_before(self) && !self.owner_before(one);
  });
  if (!known) {
    std::erase_if(maps, [](const auto& one) { return one.expired(); });
    maps.push_back(self);
  }
}

void Windows::close(Window& window) {
  (void)map_.platform_space().unmap(address(window), window.length);
  map_.forget_window(*window.shown);
  window = {};
}

void Windows::drop(const WindowOwner& owner) {
  for (Window& window : windows_)
    if (window.owner == &owner) close(window);
}

void Windows::drop(const Mappable& file) {
  for (Window& window : windows_)
    if (window.shown.get() == &file) close(window);
}

std::vector<std::pair<uint64_t, uint64_t>> Windows::ranges() const {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const Window& window : windows_)
    if (window.owner != nullptr) ranges.emplace_back(address(window), window.length);
  return ranges;
}

void Windows::copy(const Windows& from, const std::vector<std::pair<uint64_t, uint64_t>>& before) {
  for (size_t i = 0; i < kWindows; ++i) {
    if (from.windows_[i].owner == nullptr) continue;
    windows_[i] = from.windows_[i];
    attach(windows_[i]);
  }
  // Those that have gone meanwhile.
  const auto now = ranges();
  for (const auto& range : before)
    if (std::find(now.begin(), now.end(), range) == now.end())
      (void)map_.platform_space().unmap(range.first, range.second);
}

}  // namespace sentry::mm
