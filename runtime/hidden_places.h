// What of the host's tree a sandbox does not get to see when it is given the host's root: people's files,
// other programs' state, secrets. A short list with reasons; SECURITY.md prints it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/accounts.h"

namespace runtime {

enum class PlaceKind {
  kReplaced,  // the sandbox has its own there: /proc, /tmp…
  kHome,      // people's files; --home opens it
  kPrivate,   // other users' and services' data
  kSecret,    // keys and password hashes, which only root could read
};

struct HiddenPlace {
  std::string_view path;
  PlaceKind kind;
  std::string_view reason;
};

// The list, for the host's root.
std::span<const HiddenPlace> hidden_places();

// The paths to cover in the host's root for this caller: those of the list that are there, without symlinks,
// and people's homes wherever the user database says they are.
std::vector<std::string> covers_for_host_root(const Accounts& accounts, bool open_homes, bool as_root);

// True if `path` is `place` or lies below it.
bool is_within(std::string_view path, std::string_view place);

}  // namespace runtime
