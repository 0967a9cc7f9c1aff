// From a started process to a confined one: descriptors, capabilities, limits, the surface list.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gofer/ring.h"
#include "gofer/server.h"

namespace gofer {

// What the command line says (protocol.h, process contract).
struct Inherited {
  struct Attach {
    int fd = -1;
    bool read_only = false;
  };
  int socket = -1;
  std::vector<Attach> attach;
  int proc = -1;  // or: open it ourselves
  int log = 2;
  bool uring = true;
};

// What serving needs, in its final place.
struct Jail {
  std::vector<AttachPoint> attach_points;
  std::unique_ptr<Ring> ring;
  uint32_t max_ids = 0;
};

// Confines the process for good: afterwards it holds the descriptors named in `inherited` and no others,
// works in /proc/self/fd, has of its capabilities those that the attach points need and is under surface().
// An empty message means success; otherwise it says what was wrong and what to do.
std::string confine(const Inherited& inherited, Jail& jail);

}  // namespace gofer
