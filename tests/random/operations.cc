#include "operations.h"

#include <sys/resource.h>

#include <utility>

#include "guard.h"

namespace random_program {
namespace {
constexpr Operation kOperations[] = {
    {"registers", 4, registers_operation}, {"alignment", 1, alignment_operation},
    {"steps", 1, steps_operation},         {"signals", 4, signals_operation},
    {"faults", 2, faults_operation},       {"timers", 1, timers_operation},
    {"memory", 5, memory_operation},       {"truncation", 2, truncation_operation},
    {"threads", 2, threads_operation},     {"processes", 3, processes_operation},
};
const char* the_program = nullptr;
int the_depth = 0;
std::vector<Operation> the_chosen;
}  // namespace

std::span<const Operation> operations() { return kOperations; }

std::span<const Operation> chosen() { return the_chosen; }

void choose(std::vector<Operation> some) { the_chosen = std::move(some); }

void set_program(const char* path) { the_program = path; }

const char* program() { return the_program; }

void start(int depth) {
  the_depth = depth;
  rlimit no_cores{0, 0};
  must(setrlimit(RLIMIT_CORE, &no_cores), "setrlimit");
  guard_faults();
}

int depth() { return the_depth; }

}  // namespace random_program
