// Messages of netlink(7), as they are written, and what may answer requests with them.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sentry::net {

// One netlink message after another.
class MessageWriter {
 public:
  void begin(const nlmsghdr& request, uint16_t type, uint16_t flags, uint32_t port) {
    start_ = bytes_.size();
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    header.nlmsg_seq = request.nlmsg_seq;
    header.nlmsg_pid = port;
    add(header);
  }
  template <typename T>
  void add(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    pad();
  }
  void attribute(uint16_t type, const void* data, size_t size) {
    const rtattr header{static_cast<uint16_t>(RTA_LENGTH(size)), type};
    bytes_.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes_.append(static_cast<const char*>(data), size);
    pad();
  }
  template <typename T>
  void attribute(uint16_t type, const T& value) {
    attribute(type, &value, sizeof value);
  }
  void text(uint16_t type, std::string_view value) {
    attribute(type, std::string(value).c_str(), value.size() + 1);
  }
  void end() {
    const auto length = static_cast<uint32_t>(bytes_.size() - start_);
    std::memcpy(bytes_.data() + start_ + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
  }
  size_t size() const { return bytes_.size(); }
  std::string take() { return std::exchange(bytes_, {}); }

 private:
  void pad() { bytes_.resize(NLMSG_ALIGN(bytes_.size())); }
  std::string bytes_;
  size_t start_ = 0;
};

// A request, as a copy of the guest's.
struct NetlinkRequest {
  nlmsghdr header;
  std::span<const std::byte> payload;
  uint32_t port;  // of the socket that asks
  bool dump;      // NLM_F_DUMP
  bool strict;    // NETLINK_GET_STRICT_CHK is on
  uint32_t uid;   // of who asks

  // The payload's start as T; false if it is shorter.
  template <typename T>
  bool read(T& value) const {
    if (payload.size() < sizeof value) return false;
    std::memcpy(&value, payload.data(), sizeof value);
    return true;
  }
};

// The value of the first attribute of a type among those in `bytes`; empty data() if there is none.
inline std::span<const std::byte> find_attribute(std::span<const std::byte> bytes, uint16_t type) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, bytes.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > bytes.size()) break;
    if (attribute.rta_type == type)
      return bytes.subspan(sizeof attribute, attribute.rta_len - sizeof attribute);
    bytes = bytes.subspan(std::min<size_t>(bytes.size(), RTA_ALIGN(attribute.rta_len)));
  }
  return {};
}

// What a protocol answers to one request. A dump may be long, and comes in pieces: `position` is 0 first, and
// what was set before then; it is set to 0 once all has been written.
struct NetlinkProtocol {
  int number;  // NETLINK_*
  // Writes messages; 0, or the error that the request ends with.
  int (*answer)(MessageWriter& writer, const NetlinkRequest& request, size_t& position);
};
inline constexpr size_t kNetlinkPiece = 16384;

}  // namespace sentry::net
