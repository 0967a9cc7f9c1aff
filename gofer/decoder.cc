#include "gofer/decoder.h"

#include <cerrno>

namespace gofer {

Result<> check_component(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return Errno(EINVAL);
  if (name.size() > kMaxName) return Errno(ENAMETOOLONG);
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Errno(EINVAL);
  return {};
}

Result<std::string_view> Decoder::component() {
  const auto text = reader_.string();
  if (!text) return malformed("a name is cut off");
  TRY(check_component(*text));
  return *text;
}

Result<Name> Decoder::name() { return Name(TRY(component())); }

Result<LinkTarget> Decoder::link_target() {
  const auto text = reader_.string();
  if (!text) return malformed("a symlink's target is cut off");
  if (text->empty()) return Errno(ENOENT);  // symlink(2)
  if (text->size() > kMaxLink) return Errno(ENAMETOOLONG);
  if (text->find('\0') != text->npos) return Errno(EINVAL);
  return LinkTarget(*text);
}

Result<XattrName> Decoder::xattr_name() {
  const auto text = reader_.string();
  if (!text) return malformed("an attribute's name is cut off");
  if (text->empty() || text->size() > kMaxXattrName) return Errno(ERANGE);  // setxattr(2)
  if (text->find('\0') != text->npos) return Errno(EINVAL);
  return XattrName(*text);
}

Result<std::span<const uint8_t>> Decoder::data(size_t count) {
  const auto bytes = reader_.bytes(count);
  if (!bytes) return malformed("the data is cut off");
  return *bytes;
}

Result<> Decoder::end() {
  if (!reader_.done()) return malformed("bytes follow the request");
  return {};
}

}  // namespace gofer
