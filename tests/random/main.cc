// A program that does what a seed says, and prints a trace that depends on the seed and on Linux alone: it is
// the same natively and in a sandbox, however that intercepts calls.
//   random_program SEED [LENGTH [FAMILY...]]
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "guard.h"
#include "operations.h"
#include "trace.h"

using namespace random_program;

int main(int count, char** words) {
  if (count < 2) {
    dprintf(STDERR_FILENO, "usage: random_program SEED [LENGTH [FAMILY...]], of:");
    for (const Operation& operation : operations()) dprintf(STDERR_FILENO, " %s", operation.name);
    dprintf(STDERR_FILENO, "\n");
    return 2;
  }
  uint64_t seed = strtoull(words[1], nullptr, 0);
  uint64_t length = count > 2 ? strtoull(words[2], nullptr, 0) : 60;
  std::vector<Operation> some;
  for (const Operation& operation : operations()) {
    bool wanted = count <= 3;
    for (int i = 3; i < count; i++) wanted = wanted || strcmp(words[i], operation.name) == 0;
    if (wanted) some.push_back(operation);
  }
  if (some.empty()) {
    dprintf(STDERR_FILENO, "random_program: no such family\n");
    return 2;
  }
  choose(some);
  std::vector<const Operation*> weighted;
  for (const Operation& operation : chosen()) weighted.insert(weighted.end(), operation.weight, &operation);
  set_program(words[0]);
  Trace trace;
  set_trace(&trace);
  start(0);
  for (uint64_t i = 0; i < length; i++) {
    // Each has numbers of its own, so that fewer families or a shorter program leave the others as they were.
    Random random(seed * 0x10001 + i);
    const Operation& operation = *weighted[random.below(weighted.size())];
    say("%llu %s", static_cast<unsigned long long>(i), operation.name);
    operation.run(random);
    trace.flush(STDOUT_FILENO);
  }
  return 0;
}
