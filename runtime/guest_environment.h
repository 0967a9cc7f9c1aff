// The environment that a program of `bulkhead do` starts with: a short clean list, since the caller's own is
// full of names, paths and tokens.
#pragma once

#include <string>
#include <vector>

#include "runtime/accounts.h"
#include "runtime/failure.h"

namespace runtime {

// As "NAME=value". `settings` are --env's: NAME=value sets, NAME alone takes the caller's value if there is
// one; later ones win. TERM comes along if the program has a terminal.
Outcome<std::vector<std::string>> guest_environment(const Account& account, bool terminal,
                                                    const std::vector<std::string>& settings);

}  // namespace runtime
