#include "trace.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace random_program {

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Trace::Trace()
    : content_(static_cast<Content*>(mmap(nullptr, sizeof(Content), PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
  if (content_ == MAP_FAILED) broken("mmap of a trace");
}

Trace::~Trace() { munmap(content_, sizeof(Content)); }

void Trace::append(const char* text, size_t size) {
  if (size > sizeof content_->text - content_->size) broken("a trace too long");
  memcpy(content_->text + content_->size, text, size);
  content_->size += size;
}

void Trace::flush(int fd) {
  for (size_t done = 0; done < content_->size;) {
    ssize_t written = write(fd, content_->text + done, content_->size - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) broken("write of a trace");
    done += static_cast<size_t>(written);
  }
  content_->size = 0;
}

namespace {
thread_local Trace* current = nullptr;
}

void set_trace(Trace* trace) { current = trace; }

Trace& trace() {
  if (current == nullptr) broken("no trace");
  return *current;
}

void say(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (size < 0 || static_cast<size_t>(size) >= sizeof line - 1) broken("a line too long");
  line[size] = '\n';
  trace().append(line, static_cast<size_t>(size) + 1);
}

void broken(const char* what) {
  dprintf(STDERR_FILENO, "random_program: %s: %s\n", what, strerror(errno));
  _exit(99);
}

long must(long value, const char* what) {
  if (value == -1) broken(what);
  return value;
}

uint64_t checksum(const void* bytes, size_t size) {
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    memcpy(&word, static_cast<const char*>(bytes) + at, size - at < sizeof word ? size - at : sizeof word);
    sum = (sum ^ word) * 0x100000001b3;
    sum ^= sum >> 29;
  }
  return sum;
}

const char* outcome(long value) {
  if (value == -1) return strerrorname_np(errno);
  thread_local char number[24];
  snprintf(number, sizeof number, "%ld", value);
  return number;
}

uint64_t bits(const sigset_t& set) {
  uint64_t word = 0;
  memcpy(&word, &set, sizeof word);
  return word;
}

}  // namespace random_program
