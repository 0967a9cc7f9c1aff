#include "sentry/fs/proc/net_directory.h"

#include <dirent.h>

#include <fmt/format.h>

#include "sentry/fs/proc/proc.h"

namespace sentry::fs::proc {
namespace {

std::map<std::string, std::function<std::string()>, std::less<>>& registry() {
  static std::map<std::string, std::function<std::string()>, std::less<>> files;
  return files;
}

// A header line as seq_setwidth pads it.
std::string padded(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text + "\n";
}

// What an empty network shows: the headers of net/ipv4/tcp_ipv4.c, udp.c, raw.c, fib_trie.c and their kin in
// Linux.
const std::map<std::string, std::string, std::less<>>& defaults() {
  static const std::string kColumns = "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
  static const std::string kWide =
      "  sl  local_address                         remote_address                        ";
  static const std::map<std::string, std::string, std::less<>> files = {
      {"arp", "IP address       HW type     Flags       HW address            Mask     Device\n"},
      {"dev",
       "Inter-|   Receive                                                |  Transmit\n"
       " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo "
       "colls carrier "
       "compressed\n"
       "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0    "
       " 0       0 "
       "         0\n"},
      {"dev_mcast", ""},
      {"icmp", padded("   sl  local_address rem_address   " + kColumns + " ref pointer drops", 127)},
      {"if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"},
      {"igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"},
      {"ipv6_route", ""},
      {"netlink",
       "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"},
      {"netstat", "TcpExt: SyncookiesSent\nTcpExt: 0\nIpExt: InNoRoutes\nIpExt: 0\n"},
      {"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"},
      {"raw", padded("  sl  local_address rem_address   " + kColumns + " ref pointer drops", 127)},
      {"raw6", kWide + kColumns + " ref pointer drops\n"},
      {"route",
       padded("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", 127)},
      {"snmp6", ""},
      {"tcp", padded("  sl  local_address rem_address   " + kColumns, 149)},
      {"tcp6", kWide + kColumns + "\n"},
      {"udp", padded("   sl  local_address rem_address   " + kColumns + " ref pointer drops", 127)},
      {"udp6", kWide + kColumns + " ref pointer drops\n"},
      {"unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"},
  };
  return files;
}

// Numbers of the entries do not matter to anybody but must not change between list() and lookup().
class NetDirectory final : public pseudo::Directory {
 public:
  NetDirectory(pseudo::Superblock& superblock, uint64_t number)
      : Directory(superblock, number, 0555), own_(superblock) {}

  Result<vfs::InodeRef> lookup(std::string_view name) override {
    const auto registered = registry().find(name);
    if (registered != registry().end())
      return node(name, [generator = registered->second]() -> Result<std::string> { return generator(); });
    const auto standard = defaults().find(name);
    if (standard == defaults().end()) return Errno(ENOENT);
    return node(name, [text = standard->second]() -> Result<std::string> { return text; });
  }
  Result<std::vector<Entry>> list() override {
    std::map<std::string, uint64_t, std::less<>> names;
    for (const auto& [name, text] : defaults()) names.emplace(name, number_of(name));
    for (const auto& [name, generator] : registry()) names.emplace(name, number_of(name));
    std::vector<Entry> entries;
    for (const auto& [name, number] : names) entries.push_back({name, number, DT_REG});
    return entries;
  }

 private:
  Result<vfs::InodeRef> node(std::string_view name, pseudo::Generator generator) {
    return vfs::InodeRef(
        std::make_shared<pseudo::TextNode>(superblock(), number_of(name), 0444, std::move(generator)));
  }
  uint64_t number_of(std::string_view name) {
    const auto found = numbers_.find(name);
    if (found != numbers_.end()) return found->second;
    return numbers_.emplace(name, own_.allocate_inode()).first->second;
  }
  pseudo::Superblock& own_;
  std::map<std::string, uint64_t, std::less<>> numbers_;
};

}  // namespace

void register_net_file(std::string_view name, std::function<std::string()> generator) {
  registry()[std::string(name)] = std::move(generator);
}

std::shared_ptr<pseudo::Node> make_net_directory(pseudo::Superblock& superblock) {
  return std::make_shared<NetDirectory>(superblock, superblock.allocate_inode());
}

}  // namespace sentry::fs::proc
