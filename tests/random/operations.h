#pragma once
// The families of what a random program does.
#include <span>
#include <vector>

#include "trace.h"

namespace random_program {

struct Operation {
  const char* name;
  size_t weight;
  void (*run)(Random& random);
};

std::span<const Operation> operations();
// Those that this program is made of.
std::span<const Operation> chosen();
void choose(std::vector<Operation> some);

// This program's path, to run it again.
void set_program(const char* path);
const char* program();
// Where a process begins: how deep it is below the first, its fault handlers and limits. Deep ones make no
// more.
void start(int depth);
int depth();

// What a family of a file of its own has to offer.
void registers_operation(Random& random);
void alignment_operation(Random& random);
void calls_in_thread(Random& random);  // a few of the first family's
void steps_operation(Random& random);
void signals_operation(Random& random);
void faults_operation(Random& random);
void signal_steps(Random& random, bool doomed);  // `doomed`: one of them may end the process
void timers_operation(Random& random);
void memory_operation(Random& random);
void truncation_operation(Random& random);
void threads_operation(Random& random);
void processes_operation(Random& random);

}  // namespace random_program
