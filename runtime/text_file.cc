#include "runtime/text_file.h"

#include <fcntl.h>

#include <array>
#include <cerrno>

#include "sentry/base/fd.h"

namespace runtime {
namespace {

constexpr size_t kMostText = 64 << 20;  // no document is longer, and /dev/zero has no end

}  // namespace

std::optional<std::string> read_text_file(const std::string& path) {
  const sentry::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(file.get(), chunk.data(), chunk.size()));
    if (size < 0) return std::nullopt;
    if (size == 0) return text;
    if (text.size() > kMostText) {
      errno = EFBIG;
      return std::nullopt;
    }
    text.append(chunk.data(), static_cast<size_t>(size));
  }
}

bool write_text_file(const std::string& path, std::string_view text) {
  const sentry::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return false;
  const ssize_t written = TEMP_FAILURE_RETRY(::write(file.get(), text.data(), text.size()));
  if (written >= 0 && static_cast<size_t>(written) != text.size()) errno = EIO;
  return written >= 0 && static_cast<size_t>(written) == text.size();
}

}  // namespace runtime
