// What lies beyond the ends of files and stacks: page faults there, and files that become shorter.
#include <sys/mman.h>

#include <algorithm>
#include <csignal>

#include "sentry/mm/address_space_map.h"

namespace sentry::mm {

// Each once, kept while somebody waits for them.
void Mappable::add(const Maps& from, std::vector<std::shared_ptr<AddressSpaceMap>>& to) {
  for (AddressSpaceMap* const map : from) {
    auto living = map->weak_from_this().lock();
    if (living != nullptr && std::find(to.begin(), to.end(), living) == to.end())
      to.push_back(std::move(living));
  }
}

// Those that reach it.
std::vector<std::shared_ptr<AddressSpaceMap>> Mappable::maps() const {
  std::vector<std::shared_ptr<AddressSpaceMap>> maps;
  add(maps_, maps);
  add(windowed_, maps);
  return maps;
}

void Mappable::finish_reads() {
  if (windowed_.empty()) return;
  std::vector<std::shared_ptr<AddressSpaceMap>> readers;
  add(windowed_, readers);
  for (const auto& map : readers) map->space_->finish_copies();
}

void Mappable::invalidate(uint64_t offset, uint64_t length) {
  const auto affected = maps();
  for (const auto& map : affected) map->invalidate(*this, offset, length);
  // Guest code that runs on still has the pages: it is stopped for that.
  for (const auto& map : affected) (void)map->space_->take_effect();
}

void Mappable::give_way(const std::shared_ptr<Mappable>& successor, uint64_t offset) {
  const auto affected = maps();
  for (const auto& map : affected) map->replace(*this, successor, offset);
  for (const auto& map : affected) (void)map->space_->take_effect();
}

// Maps [from, to) of a VMA that starts at `start` as what lies beyond the file's end.
Result<> AddressSpaceMap::map_beyond(uint64_t start, const Vma& vma, uint64_t from, uint64_t to) {
  TRY(space_->map({from, to - from, vma.prot & kProtMask, vma.sharing(), memory_file_.host_fd(),
                   MemoryFile::beyond_end(vma.offset + (from - start))}));
  beyond_.add(from / kPageSize, to / kPageSize);
  return {};
}

void AddressSpaceMap::invalidate(Mappable& file, uint64_t offset, uint64_t length) {
  if (forking_) invalidated_.push_back({&file, offset, length});
  ++changes_;
  windows_.drop(file);
  const uint64_t file_end = length > ~offset ? ~0ull : offset + length;
  for (auto& [start, vma] : vmas_) {
    if (vma.file.get() != &file) continue;
    const uint64_t vma_end_offset = vma.offset + (vma.end - start);
    const uint64_t from = std::max(offset, vma.offset), to = std::min(file_end, vma_end_offset);
    if (from >= to) continue;
    const uint64_t first = start + (from - vma.offset), last = start + (to - vma.offset);
    // A process that sleeps is not told twice.
    if (beyond_.missing(first / kPageSize, last / kPageSize) != 0) (void)map_beyond(start, vma, first, last);
  }
}

void AddressSpaceMap::replace(const Mappable& file, const std::shared_ptr<Mappable>& successor,
                              uint64_t offset) {
  ++changes_;
  windows_.drop(file);
  std::vector<uint64_t> places;
  for (const auto& [start, vma] : vmas_) {
    if (vma.file.get() != &file) continue;
    const uint64_t from = vma.shared ? vma.offset : std::max(offset, vma.offset);
    if (from - vma.offset < vma.end - start) places.push_back(start + (from - vma.offset));
  }
  for (const uint64_t place : places) {
    if (!split_at(place).ok()) continue;  // too many mappings: it keeps what it has
    Vma& vma = vmas_.find(place)->second;
    detach(vma);
    vma.file = successor;
    attach(vma);
    (void)host_map(place, vma, place, vma.end);
    if (forking_) replaced_.push_back({place, vma.end});
  }
}

// Maps what files have come to reach of [start, end) since it was mapped as lying beyond their ends. Nothing
// is lost by that: nobody can have written there.
void AddressSpaceMap::reach(uint64_t start, uint64_t end) {
  await_fork();
  for (uint64_t at = start;;) {
    const uint64_t page = beyond_.next(at / kPageSize, true);
    if (page >= page_ceil(end) / kPageSize) return;
    const auto here = std::prev(vmas_.upper_bound(page * kPageSize));
    const Vma& vma = here->second;
    at = page * kPageSize;
    const uint64_t run = std::min(beyond_.next(page, false) * kPageSize, vma.end);
    const Result<Mappable::Backing> backing =
        vma.file->backing(vma.offset + (at - here->first), run - at, vma.writes_file());
    const bool there = backing.ok() && backing->host_fd >= 0;
    const uint64_t length = there ? std::min(backing->length, run - at) : run - at;
    if (there) {
      if (!host_map(here->first, vma, at, at + length).ok()) return;
      ++changes_;
    }
    at += length;
  }
}

bool AddressSpaceMap::try_grow_stack(uint64_t address) {
  const auto above = vmas_.upper_bound(address);
  if (above == vmas_.end() || !above->second.grows_down) return false;
  Vma& vma = above->second;
  uint64_t start = page_floor(address);
  if (vma.end - start > limits_.stack) return false;
  // A stretch at a time, so that a deep stack does not fault for each page.
  constexpr uint64_t kStretch = 32 * kPageSize;
  const uint64_t lowest = vma.end > limits_.stack ? vma.end - page_floor(limits_.stack) : kGuestStart;
  uint64_t floor = kGuestStart;
  if (above != vmas_.begin()) {
    const Vma& below = std::prev(above)->second;
    floor = below.end + (below.prot == PROT_NONE ? 0 : kStackGap);
  }
  if (start < floor) return false;
  start = std::max({start > kStretch ? start - kStretch : 0, lowest, floor, kGuestStart});
  if (start > page_floor(address)) start = page_floor(address);
  if (mapped_bytes_ + (above->first - start) > limits_.address_space) return false;
  if (!space_->map({start, above->first - start, vma.prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE}).ok())
    return false;
  Vma grown = vma;
  grown.end = above->first;
  const uint64_t old_start = above->first;
  Vma upper = vma;
  forget(old_start, upper.end);
  grown.end = upper.end;
  insert(start, std::move(grown));
  return true;
}

AddressSpaceMap::FaultAnswer AddressSpaceMap::handle_fault(uint64_t address, const siginfo_t& info,
                                                           FaultRetry& retry) {
  await_fork();
  const FaultAnswer as_it_is{false, info.si_signo, info.si_code};
  // General protection and alignment faults are not about mappings.
  const bool page_fault = info.si_signo == SIGSEGV
                              ? info.si_code == SEGV_MAPERR || info.si_code == SEGV_ACCERR
                              : info.si_signo == SIGBUS && info.si_code == BUS_ADRERR;
  if (!page_fault || address >= kGuestEnd) return as_it_is;
  const auto above = vmas_.upper_bound(address);
  if (above == vmas_.begin() || std::prev(above)->second.end <= address) {
    if (try_grow_stack(address)) return {true, 0, 0};
    return {false, SIGSEGV, SEGV_MAPERR};
  }
  const auto& [start, vma] = *std::prev(above);
  if (info.si_signo == SIGSEGV) return {false, SIGSEGV, SEGV_ACCERR};
  if (vma.file == nullptr) return as_it_is;
  const uint64_t page = page_floor(address);
  if (beyond_.contains(page / kPageSize)) {
    reach(start, vma.end);
    if (beyond_.contains(page / kPageSize)) return as_it_is;
    return {true, 0, 0};
  }
  // Of the sandbox's own memory the host refuses nothing that is there: another thread's fault has had it
  // mapped meanwhile. Unless the host has no memory, which the next try tells.
  const Result<Mappable::Backing> backing = vma.file->backing(vma.offset + (page - start), kPageSize, false);
  const bool own = backing.ok() && backing->host_fd == memory_file_.host_fd();
  if (!own || (retry.page == page && retry.changes == changes_)) return as_it_is;
  retry = {page, changes_};
  return {true, 0, 0};
}

// Does what a fault by guest code at this address would have done, for a copy of the sentry's own. Whether
// that has changed anything.
bool AddressSpaceMap::resolve_fault(uint64_t address) {
  await_fork();
  if (address >= kGuestEnd) return false;
  const auto above = vmas_.upper_bound(address);
  if (above == vmas_.begin() || std::prev(above)->second.end <= address) return try_grow_stack(address);
  const uint64_t changes = changes_;
  reach(std::prev(above)->first, std::prev(above)->second.end);
  return changes != changes_;
}

}  // namespace sentry::mm
