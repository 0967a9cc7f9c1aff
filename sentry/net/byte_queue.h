// Bytes on their way from a writer to a reader.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <memory>

namespace sentry::net {

class ByteQueue {
 public:
  // A run of bytes in memory that is shared with the queue.
  struct Run {
    std::shared_ptr<std::byte[]> memory;
    size_t begin = 0, end = 0;
    const std::byte* data() const { return memory.get() + begin; }
    size_t size() const { return end - begin; }
  };

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Copies short runs into what room the last one's memory has: many small writes cost little more than their
  // bytes.
  void push(const std::byte* data, size_t size) {
    size_ += size;
    if (!chunks_.empty()) {
      Chunk& last = chunks_.back();
      const size_t count = std::min(size, last.capacity - last.run.end);
      std::memcpy(last.run.memory.get() + last.run.end, data, count);
      last.run.end += count;
      data += count;
      size -= count;
    }
    if (size == 0) return;
    const size_t capacity = std::max(size, kChunk);
    Chunk chunk{{std::make_shared_for_overwrite<std::byte[]>(capacity), 0, size}, capacity};
    std::memcpy(chunk.run.memory.get(), data, size);
    chunks_.push_back(std::move(chunk));
  }

  // Takes a run of up to `size` bytes from the front; not more than there are in one piece.
  Run take(size_t size) {
    if (chunks_.empty()) return {};
    Run& front = chunks_.front().run;
    Run taken{front.memory, front.begin, front.begin + std::min(size, front.size())};
    front.begin = taken.end;
    size_ -= taken.size();
    if (front.size() == 0) chunks_.pop_front();
    return taken;
  }
  // Gives back what take() answered, or its end.
  void put_back(Run run) {
    size_ += run.size();
    // Full, so that nothing is ever appended to memory that may be another chunk's too.
    const size_t capacity = run.end;
    if (run.size() != 0) chunks_.push_front({std::move(run), capacity});
  }
  // Looks at a run of up to `size` bytes that begins `offset` bytes from the front.
  Run peek(size_t offset, size_t size) const {
    for (const Chunk& chunk : chunks_) {
      if (offset < chunk.run.size()) {
        const size_t begin = chunk.run.begin + offset;
        return {chunk.run.memory, begin, begin + std::min(size, chunk.run.end - begin)};
      }
      offset -= chunk.run.size();
    }
    return {};
  }
  void clear() {
    chunks_.clear();
    size_ = 0;
  }

 private:
  static constexpr size_t kChunk = 4096;
  struct Chunk {
    Run run;
    size_t capacity;
  };
  std::deque<Chunk> chunks_;
  size_t size_ = 0;
};

}  // namespace sentry::net
