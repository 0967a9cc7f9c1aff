#include "runtime/hidden_places.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

namespace runtime {
namespace {

using enum PlaceKind;

constexpr auto kPlaces = std::to_array<HiddenPlace>({
    {"/proc", kReplaced, "the sandbox's own processes instead of the host's"},
    {"/sys", kReplaced, "the host's kernel, devices and cgroups"},
    {"/dev", kReplaced, "the host's devices, /dev/shm and terminals"},
    {"/tmp", kReplaced, "other programs' temporary files"},
    {"/var/tmp", kPrivate, "other programs' temporary files"},
    {"/home", kHome, "people's files, their keys and browser profiles among them"},
    {"/root", kHome, "root's own files"},
    {"/run", kPrivate, "sockets and state of the host's services and login sessions"},
    {"/var/run", kPrivate, "the same, where it is not a link to /run"},
    {"/var/mail", kPrivate, "people's mail"},
    {"/var/spool/mail", kPrivate, "the same, where it is not a link to /var/mail"},
    {"/var/spool/cron", kPrivate, "people's crontabs"},
    {"/var/spool/at", kPrivate, "people's at jobs"},
    {"/var/spool/cups", kPrivate, "people's print jobs"},
    {"/var/spool/postfix", kPrivate, "mail in transit"},
    {"/var/spool/exim4", kPrivate, "mail in transit"},
    {"/etc/shadow", kSecret, "password hashes"},
    {"/etc/shadow-", kSecret, "password hashes"},
    {"/etc/gshadow", kSecret, "password hashes"},
    {"/etc/gshadow-", kSecret, "password hashes"},
    {"/etc/security/opasswd", kSecret, "old password hashes"},
    {"/etc/ssl/private", kSecret, "private keys"},
    {"/etc/ssh/ssh_host_rsa_key", kSecret, "the host's identity"},
    {"/etc/ssh/ssh_host_ecdsa_key", kSecret, "the host's identity"},
    {"/etc/ssh/ssh_host_ed25519_key", kSecret, "the host's identity"},
    {"/etc/krb5.keytab", kSecret, "the host's identity"},
    {"/etc/wireguard", kSecret, "private keys"},
    {"/etc/NetworkManager/system-connections", kSecret, "network passwords"},
    {"/etc/kubernetes", kSecret, "cluster credentials"},
    {"/var/backups", kSecret, "copies of the above"},
    {"/var/lib/systemd/credential.secret", kSecret, "the host's key"},
    {"/var/lib/private", kSecret, "services' private state"},
    {"/var/lib/sss", kSecret, "cached credentials"},
    {"/var/lib/docker", kSecret, "other containers"},
    {"/var/lib/containerd", kSecret, "other containers"},
    {"/var/lib/containers", kSecret, "other containers"},
    {"/var/lib/kubelet", kSecret, "other containers and their secrets"},
    {"/var/lib/mysql", kSecret, "other users' databases"},
    {"/var/lib/postgresql", kSecret, "other users' databases"},
});

constexpr auto kSystemFolders = std::to_array<std::string_view>(
    {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/var", "/opt", "/boot"});

}  // namespace

std::span<const HiddenPlace> hidden_places() { return kPlaces; }

namespace {

// The path without symlinks, or nothing if it is not there for this user.
std::optional<std::string> resolved(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return std::nullopt;
  return std::string(real.get());
}

// A home directory that holds the system (an account's home can be anything) is not hidden.
bool holds_system(const std::string& path) {
  return std::any_of(kSystemFolders.begin(), kSystemFolders.end(),
                     [&](std::string_view folder) { return is_within(folder, path); });
}

void add_cover(std::vector<std::string>& covers, const std::string& path) {
  const std::optional<std::string> real = resolved(path);
  if (!real || *real == "/") return;
  if (std::none_of(covers.begin(), covers.end(),
                   [&](const std::string& cover) { return is_within(*real, cover); }))
    covers.push_back(*real);
}

}  // namespace

std::vector<std::string> covers_for_host_root(const Accounts& accounts, bool open_homes, bool as_root) {
  std::vector<std::string> covers;
  for (const HiddenPlace& place : kPlaces) {
    if (place.kind == kHome && open_homes) continue;
    // An ordinary user's gofer is that user to the host, which keeps root's secrets from it already.
    if (place.kind == kSecret && !as_root) continue;
    add_cover(covers, std::string(place.path));
  }
  if (!open_homes)
    for (const std::string& home : accounts.homes())
      if (!holds_system(home)) add_cover(covers, home);
  return covers;
}

bool is_within(std::string_view path, std::string_view place) {
  if (place == "/") return path.starts_with("/");
  return path.starts_with(place) && (path.size() == place.size() || path[place.size()] == '/');
}

}  // namespace runtime
