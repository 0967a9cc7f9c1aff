// Running a jailed program for what it prints about itself, outside any sandbox.
#pragma once

#include <string>
#include <vector>

#include "runtime/failure.h"

namespace runtime {

// Runs `name` with the arguments and our standard output; a failure unless it exits 0.
Outcome<> run_subprogram(const char* name, std::vector<std::string> arguments);

}  // namespace runtime
