// The user database as far as the runtime needs it: /etc/passwd, read directly, since a static program has no
// name service switch. Users from elsewhere (LDAP) are taken from the environment.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace runtime {

struct Account {
  std::string name, home;
  uid_t uid = 0;
};

class Accounts {
 public:
  static Accounts read(const std::string& passwd_path = "/etc/passwd");

  // The caller: from the database, else from $USER and $HOME.
  Account caller() const;
  // Home directories of people (uid 1000 and up), wherever they are; absolute, no duplicates.
  std::vector<std::string> homes() const;

 private:
  std::vector<Account> accounts_;
};

}  // namespace runtime
