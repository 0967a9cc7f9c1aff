// A guest that works through what makes and ends things in the sentry, on command, and leaves nothing of its
// own behind: whatever stays then is the sentry's leak. Reads lines from standard input, answers each with
// "done".
//   processes N     N short processes: fork, fork and exec, vfork and exec, threads
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace {

[[noreturn]] void fail(const char* what) {
  perror(what);
  _exit(2);
}

// ---- short processes

void reap(pid_t pid) {
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) fail("a short process");
}

void short_process(long i, char** again) {
  switch (i % 4) {
    case 0: {
      const pid_t pid = fork();
      if (pid == 0) _exit(0);
      reap(pid);
      return;
    }
    case 1: {
      const pid_t pid = fork();
      if (pid == 0) execv(again[0], again);
      reap(pid);
      return;
    }
    case 2: {
      const pid_t pid = vfork();
      if (pid == 0) {
        execv(again[0], again);
        _exit(3);
      }
      reap(pid);
      return;
    }
    default: {
      pthread_t thread;
      if (pthread_create(
              &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr) != 0)
        fail("pthread_create");
      pthread_join(thread, nullptr);
      return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "nothing") == 0) return 0;
  char nothing[] = "nothing";
  char* again[] = {argv[0], nothing, nullptr};
  char line[128];
  while (fgets(line, sizeof line, stdin) != nullptr) {
    long count = 0;
    if (sscanf(line, "processes %ld", &count) == 1) {
      for (long i = 0; i < count; ++i) short_process(i, again);
    } else {
      fprintf(stderr, "churn: what is %s", line);
      return 2;
    }
    puts("done");
    fflush(stdout);
  }
  return 0;
}
