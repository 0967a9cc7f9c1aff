#include "sentry/init/home.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "sentry/vfs/operations.h"

namespace sentry::init {
namespace {

constexpr size_t kMostText = 1 << 20;  // what a container's image makes one read

// Whoever the process will be may not be able to read it.
Result<std::string> read_passwd(const vfs::FsContext& fs) {
  auto everything = std::make_shared<vfs::Credentials>();
  everything->cap_effective = ~uint64_t{0};
  const vfs::CredentialsRef reader = std::move(everything);
  const vfs::Path path = TRY(vfs::walk(fs, *reader, fs.root, "/etc/passwd", {})).path;
  if (path.dentry->inode()->type() != S_IFREG) return Errno(EINVAL);  // nobody waits for a pipe
  const vfs::FileRef file = TRY(vfs::open_path({fs, reader, fs.root}, path, O_RDONLY));
  std::string text;
  std::array<char, 4096> chunk;
  while (text.size() < kMostText) {
    mm::BufferSink sink(chunk.data(), chunk.size());
    vfs::File::IoOptions options;
    options.offset = static_cast<int64_t>(text.size());
    const size_t count = TRY(file->read(sink, options));
    if (count == 0) break;
    text.append(chunk.data(), count);
  }
  return text;
}

std::string_view next_part(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

}  // namespace

std::string home_of(const vfs::FsContext& fs, uint32_t uid) {
  const Result<std::string> passwd = read_passwd(fs);
  std::string_view rest = passwd.ok() ? std::string_view(*passwd) : std::string_view();
  const std::string wanted = std::to_string(uid);
  while (!rest.empty()) {
    std::string_view line = next_part(rest, '\n');
    // name:password:uid:gid:comment:home:shell
    next_part(line, ':');
    next_part(line, ':');
    if (next_part(line, ':') != wanted) continue;
    next_part(line, ':');
    next_part(line, ':');
    const std::string_view home = next_part(line, ':');
    if (home.starts_with('/') && home.find('\0') == home.npos) return std::string(home);
  }
  return "/";
}

}  // namespace sentry::init
