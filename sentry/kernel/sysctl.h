// sysctl(8): the numbers below /proc/sys that the operator may set, and that the sandbox goes by.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/boot/sysctl.h"

namespace sentry::kernel {

class Sysctls;

// One file: a number, or some of them.
class Sysctl {
 public:
  static constexpr size_t kMostValues = 4;
  using Values = std::array<uint64_t, kMostValues>;
  // What holds between the numbers, beyond each one's bounds.
  using Check = bool (*)(const Values& values);

  // Adds itself to `all`.
  Sysctl(Sysctls& all, std::string_view path, std::initializer_list<uint64_t> initial, uint64_t least,
         uint64_t most, Check check = nullptr);
  Sysctl(Sysctls& all, const boot::RedundantSysctl& redundant);
  Sysctl(const Sysctl&) = delete;
  Sysctl& operator=(const Sysctl&) = delete;

  std::string_view path() const { return path_; }  // below /proc/sys
  uint64_t operator[](size_t index) const { return values_[index]; }
  uint64_t value() const { return values_[0]; }
  const Values& values() const { return values_; }
  void restore(const Values& values) { values_ = values; }
  // As the file shows it, without its newline.
  std::string text() const;
  // Takes what somebody would write to the file. False, and nothing changes: that is no such value.
  bool set(std::string_view text);
  // What set() takes, in words.
  std::string expected() const;

 private:
  const std::string_view path_;
  size_t count_ = 0;
  Values values_{};
  const uint64_t least_, most_;
  const Check check_ = nullptr;
};

class Sysctls {
 public:
  // Those of this process.
  static Sysctls& current();
  Sysctls();
  Sysctls(const Sysctls&) = delete;
  Sysctls& operator=(const Sysctls&) = delete;

  const std::vector<Sysctl*>& all() const { return all_; }
  Sysctl* find(std::string_view path) const;  // null: none of this path

 private:
  friend class Sysctl;
  static constexpr uint64_t kMost = boot::kMostSysctl;
  static bool is_range(const Sysctl::Values& values) { return values[0] <= values[1]; }
  static bool fits_semaphores(const Sysctl::Values& values);
  std::vector<Sysctl*> all_;  // before its elements
  std::deque<Sysctl> redundant_;

 public:
  // mq_overview(7). Beyond the bounds nobody gets, privileged or not.
  Sysctl mqueue_msg_default{*this, "fs/mqueue/msg_default", {10}, 1, 65'536};
  Sysctl mqueue_msg_max{*this, "fs/mqueue/msg_max", {10}, 1, 65'536};
  Sysctl mqueue_msgsize_default{*this, "fs/mqueue/msgsize_default", {8192}, 128, 16 << 20};
  Sysctl mqueue_msgsize_max{*this, "fs/mqueue/msgsize_max", {8192}, 128, 16 << 20};
  Sysctl mqueue_queues_max{*this, "fs/mqueue/queues_max", {256}, 0, 65'536};
  // sysvipc(7). A message is no larger than what all queues of the sandbox may hold.
  Sysctl msgmax{*this, "kernel/msgmax", {8192}, 0, 64 << 20};
  Sysctl msgmnb{*this, "kernel/msgmnb", {16'384}, 0, kMost};
  Sysctl msgmni{*this, "kernel/msgmni", {32'000}, 0, 32'768};
  Sysctl sem{*this, "kernel/sem", {32'000, 1'024'000'000, 500, 32'000}, 0, kMost, fits_semaphores};
  Sysctl shmall{*this, "kernel/shmall", {~uint64_t{0} - (1u << 24)}, 0, ~uint64_t{0}};
  Sysctl shmmax{*this, "kernel/shmmax", {~uint64_t{0} - (1u << 24)}, 0, ~uint64_t{0}};
  Sysctl shmmni{*this, "kernel/shmmni", {4096}, 0, 32'768};
  // proc(5)
  Sysctl pid_max{*this, "kernel/pid_max", {4'194'304}, 301, 4'194'304};
  // listen(2), unix(7) (max_dgram_qlen as systemd sets it; Linux's own default is 10), ip(7), tcp(7), ipv6(7)
  Sysctl somaxconn{*this, "net/core/somaxconn", {4096}, 0, kMost};
  Sysctl max_dgram_qlen{*this, "net/unix/max_dgram_qlen", {512}, 0, kMost};
  Sysctl ip_default_ttl{*this, "net/ipv4/ip_default_ttl", {64}, 1, 255};
  Sysctl ip_local_port_range{*this, "net/ipv4/ip_local_port_range", {32'768, 60'999}, 1, 65'535, is_range};
  Sysctl ip_unprivileged_port_start{*this, "net/ipv4/ip_unprivileged_port_start", {1024}, 0, 65'535};
  Sysctl tcp_fin_timeout{*this, "net/ipv4/tcp_fin_timeout", {60}, 0, kMost / 1000};
  Sysctl tcp_keepalive_intvl{*this, "net/ipv4/tcp_keepalive_intvl", {75}, 0, kMost / 1000};
  Sysctl tcp_keepalive_probes{*this, "net/ipv4/tcp_keepalive_probes", {9}, 0, 255};
  Sysctl tcp_keepalive_time{*this, "net/ipv4/tcp_keepalive_time", {7200}, 0, kMost / 1000};
  Sysctl tcp_syn_retries{*this, "net/ipv4/tcp_syn_retries", {6}, 1, 127};
  Sysctl bindv6only{*this, "net/ipv6/bindv6only", {0}, 0, 1};
};

}  // namespace sentry::kernel
