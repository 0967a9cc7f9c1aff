#include "runtime/accounts.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace runtime {
namespace {

// login.defs(5): UID_MIN and UID_MAX of Debian.
constexpr uid_t kFirstPerson = 1000;
constexpr uid_t kLastPerson = 60000;

}  // namespace

Accounts Accounts::read(const std::string& passwd_path) {
  Accounts accounts;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(passwd_path.c_str(), "re"), std::fclose);
  if (!file) return accounts;
  while (const passwd* entry = ::fgetpwent(file.get()))
    accounts.accounts_.push_back({entry->pw_name, entry->pw_dir, entry->pw_uid});
  return accounts;
}

Account Accounts::caller() const {
  const uid_t uid = ::geteuid();
  for (const Account& account : accounts_)
    if (account.uid == uid) return account;
  const char* user = std::getenv("USER");
  const char* home = std::getenv("HOME");
  return {user ? user : std::to_string(uid), home && *home == '/' ? home : "/", uid};
}

std::vector<std::string> Accounts::homes() const {
  std::vector<std::string> homes;
  for (const Account& account : accounts_) {
    if (account.uid < kFirstPerson || account.uid > kLastPerson) continue;
    if (account.home.size() < 2 || account.home[0] != '/') continue;
    if (std::find(homes.begin(), homes.end(), account.home) == homes.end()) homes.push_back(account.home);
  }
  return homes;
}

}  // namespace runtime
