// The verbs of the `bulkhead` command, one file each. Each gets its arguments without the verb and answers
// the exit status. Those of containers get the options that stood before the verb, too.
#pragma once

#include <string>
#include <vector>

#include "runtime/global_options.h"

namespace runtime {

int do_verb(const std::vector<std::string>& arguments);
int run_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int create_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int start_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int state_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int kill_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int delete_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int list_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int exec_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int ps_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int pause_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int resume_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int update_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int events_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int spec_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int features_verb(GlobalOptions globals, const std::vector<std::string>& arguments);
int check_verb(const std::vector<std::string>& arguments);
int surface_verb(const std::vector<std::string>& arguments);
int syscalls_verb(const std::vector<std::string>& arguments);

struct Verb {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& arguments);
  int (*run_container)(GlobalOptions globals, const std::vector<std::string>& arguments);  // one of the two
};

}  // namespace runtime
