#pragma once
// What a random program is made of: numbers that follow from a seed, and a trace that says nothing but what
// follows from the numbers and from Linux. One trace a thread; whoever starts a thread or process prints its
// trace where the order of things allows just one place.
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace random_program {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();  // splitmix64
  uint64_t below(uint64_t limit) { return next() % limit; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <typename T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[below(choices.size())];
  }
  Random split() { return Random(next()); }

 private:
  uint64_t state_;
};

// Text that is appended without allocating, since signal handlers append as well. It lies in shared memory,
// so that what a child wrote is there whatever the child died of.
class Trace {
 public:
  Trace();
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  void append(const char* text, size_t size);
  void append(const Trace& other) { append(other.content_->text, other.content_->size); }
  // Writes what there is to a descriptor, and forgets it.
  void flush(int fd);

 private:
  struct Content {
    size_t size;
    char text[(size_t{4} << 20) - sizeof(size_t)];
  };
  Content* content_;
};

// The calling thread's.
void set_trace(Trace* trace);
Trace& trace();
// One line of it.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The program itself has come to a state that it cannot: ends the process, loudly.
[[noreturn]] void broken(const char* what);
// The value, unless it is -1.
long must(long value, const char* what);

uint64_t checksum(const void* bytes, size_t size);
// "ok", or the name of the error in errno if the value is -1; a number in a buffer of the thread's otherwise.
const char* outcome(long value);
// The first 64 signals.
uint64_t bits(const sigset_t& set);

}  // namespace random_program
