// The verbs of the `bulkhead` command, one file each. Each gets its arguments without the verb and answers
// the exit status.
#pragma once

#include <string>
#include <vector>

namespace runtime {

int do_verb(const std::vector<std::string>& arguments);
int run_verb(const std::vector<std::string>& arguments);
int check_verb(const std::vector<std::string>& arguments);
int surface_verb(const std::vector<std::string>& arguments);
int syscalls_verb(const std::vector<std::string>& arguments);

struct Verb {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& arguments);
};

}  // namespace runtime
