// Options of ip(7), ipv6(7), tcp(7) and udp(7) that are numbers, which the socket keeps and answers. Many
// matter to hardware networks only.
#pragma once

#include "sentry/base/result.h"
#include "sentry/kernel/sysctl.h"

namespace sentry::net {

struct NumberOption {
  enum class Sockets { kAll, kStreams, kDatagrams, kNone };  // kNone: it can be read, but not set
  int level, option;
  int initial, least, most;  // values beyond them: EINVAL
  // What is kept of a value that was given, and what is answered for it; null: the value itself.
  int (*kept)(int value, bool stream) = nullptr;
  Sockets settable = Sockets::kAll;
  int elsewhere = 0;  // the error for other sockets
  // What it is at first, in place of `initial`.
  kernel::Sysctl kernel::Sysctls::*sysctl = nullptr;
};

// Null for an option that is no number, or unknown.
const NumberOption* find_number_option(int level, int option);

}  // namespace sentry::net
