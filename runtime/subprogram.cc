#include "runtime/subprogram.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "runtime/programs.h"

namespace runtime {

Outcome<> run_subprogram(const char* name, std::vector<std::string> arguments) {
  const Program program = TRY(find_program(name));
  std::vector<char*> argv{const_cast<char*>(name)};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure(errno, "cannot start {}", name);
  if (pid == 0) {
    ::execve(program.path.c_str(), argv.data(), environ);
    ::_exit(kStatusNotExecutable);
  }
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid)
    return system_failure(errno, "cannot wait for {}", name);
  // Nobody reads on (`bulkhead surface | head -1`): this program ends by it, as any would.
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) {
    std::signal(SIGPIPE, SIG_DFL);
    ::raise(SIGPIPE);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return failure("{} {} failed (wait status {:#x})", program.path, arguments.empty() ? "" : arguments[0],
                   status);
  return {};
}

}  // namespace runtime
