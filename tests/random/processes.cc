// Processes: how they begin, what they send each other, how they end.
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include "call_site.h"
#include "child.h"
#include "guard.h"
#include "operations.h"

extern char** environ;

namespace random_program {

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) broken("waitpid");
  }
  return status;
}

void say_status(const char* what, int status) {
  if (WIFEXITED(status)) {
    say("%s exited %d", what, WEXITSTATUS(status));
  } else if (WIFSIGNALED(status)) {
    say("%s killed by %d%s", what, WTERMSIG(status), WCOREDUMP(status) ? ", core dumped" : "");
  } else if (WIFSTOPPED(status)) {
    say("%s stopped by %d, event %d", what, WSTOPSIG(status), status >> 16);
  } else {
    say("%s %s", what, WIFCONTINUED(status) ? "continued" : "in an odd state");
  }
}

namespace {

struct Pipe {
  int reader, writer;
  Pipe() {
    int ends[2];
    must(pipe2(ends, O_CLOEXEC), "pipe2");
    reader = ends[0], writer = ends[1];
  }
};

// This program again, as a new one.
struct Again {
  char seed[24], length[24];
  std::vector<char*> words;
  explicit Again(Random& random) {
    snprintf(seed, sizeof seed, "%" PRIu64, random.below(1000000));
    snprintf(length, sizeof length, "%" PRIu64, 1 + random.below(4));
    words = {const_cast<char*>(program()), seed, length};
    for (const Operation& operation : chosen()) {
      if (strcmp(operation.name, "processes") != 0) words.push_back(const_cast<char*>(operation.name));
    }
    // Programs that start programs would have no end.
    if (words.size() == 3) words.push_back(const_cast<char*>("registers"));
    words.push_back(nullptr);
  }
};

void copy_to_trace(int fd) {
  char bytes[4096];
  for (;;) {
    ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (must(got, "read") == 0) return;
    trace().append(bytes, static_cast<size_t>(got));
  }
}

void nested(Random& random) {
  Random child_random = random.split();
  say_child([&] {
    for (uint64_t left = 1 + child_random.below(3); left > 0; left--) {
      const Operation& operation = chosen()[child_random.below(chosen().size())];
      if (depth() > 1 && strcmp(operation.name, "processes") == 0) continue;
      say("%s", operation.name);
      operation.run(child_random);
    }
    return static_cast<int>(child_random.below(256));
  });
}

void again_by_vfork(Random& random) {
  Again again(random);
  Pipe output;
  // The child has its own copy of nothing: it only makes calls.
  pid_t child = vfork();
  if (child == 0) {
    dup2(output.writer, STDOUT_FILENO);
    execv(program(), again.words.data());
    _exit(127);
  }
  must(child, "vfork");
  must(close(output.writer), "close");
  copy_to_trace(output.reader);
  must(close(output.reader), "close");
  say_status("  vforked", wait_for(child));
}

void again_by_spawn(Random& random) {
  Again again(random);
  Pipe output;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, output.writer, STDOUT_FILENO);
  if (random.one_in(2)) {
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  const char* path = random.one_in(6) ? "/none/here" : program();
  pid_t child = 0;
  int error = posix_spawn(&child, path, &actions, &attributes, again.words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  must(close(output.writer), "close");
  if (error != 0) {
    say("  posix_spawn: %s", strerrorname_np(error));
  } else {
    copy_to_trace(output.reader);
    say_status("  spawned", wait_for(child));
  }
  must(close(output.reader), "close");
}

void* sleep_for_ever(void*) {
  for (;;) pause();
}

void die(Random& random) {
  int how = static_cast<int>(random.below(8));
  int signal =
      random.of({SIGKILL, SIGTERM, SIGABRT, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE, SIGRTMIN + 3, SIGQUIT});
  Random child_random = random.split();
  say_child([&]() -> int {
    pthread_t thread{};
    for (uint64_t left = child_random.below(3); left > 0; left--) {
      if (pthread_create(&thread, nullptr, sleep_for_ever, nullptr) != 0) broken("pthread_create");
    }
    for (int fault : {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS}) ::signal(fault, SIG_DFL);
    say("  way %d", how);
    switch (how) {
      case 0:
        asm volatile("mov 16, %%rax" ::: "rax");
        break;
      case 1:
        asm volatile("ud2");
        break;
      case 2:
        asm volatile("int3");
        break;
      case 3:
        syscall(SYS_exit_group, 1000 + child_random.below(1000));
        break;
      case 4:
        asm volatile("xor %%rsp, %%rsp; push %%rax" ::: "memory");
        break;
      default:
        kill(getpid(), signal);
        pause();
    }
    return 1;
  });
}

void stop_and_go(Random& random) {
  Trace its_trace;
  int signal = random.of({SIGSTOP, SIGTSTP, SIGTTIN});
  bool kills = random.one_in(3);
  pid_t child = fork_child(its_trace, [&] {
    must(setpgid(0, 0), "setpgid");  // not of a group that has lost its session, whatever the parent's is
    raise(signal);
    return 7;
  });
  int status = 0;
  must(waitpid(child, &status, WUNTRACED), "waitpid");
  say_status("  first", status);
  if (WIFSTOPPED(status)) {
    if (kills) {
      must(kill(child, SIGKILL), "kill");
    } else {
      must(kill(child, SIGCONT), "kill");
    }
    status = wait_for(child);
    say_status("  then", status);
  }
}

void through_pipe(Random& random) {
  Pipe data;
  Trace its_trace;
  Random child_random = random.split();
  uint64_t total = random.below(300000);
  bool breaks = random.one_in(4);
  pid_t child = fork_child(its_trace, [&] {
    must(close(data.reader), "close");
    static char bytes[70000];
    if (child_random.one_in(2)) ::signal(SIGPIPE, SIG_IGN);
    for (uint64_t sent = 0; sent < total;) {
      uint64_t size = std::min(total - sent, 1 + child_random.below(sizeof bytes));
      for (uint64_t i = 0; i < size; i++) bytes[i] = static_cast<char>((sent + i) * 31 >> 3);
      // How much fits before the reader has gone is a race; that it gets to know of that is none.
      ssize_t wrote = write(data.writer, bytes, size);
      if (wrote < 0) return 9;
      sent += static_cast<uint64_t>(wrote);
    }
    return 0;
  });
  must(close(data.writer), "close");
  static char bytes[70000];
  Random sizes = random.split();  // how many it takes is a race
  uint64_t sum = 0, received = 0;
  if (!breaks) {
    for (;;) {
      ssize_t got = read(data.reader, bytes, 1 + sizes.below(sizeof bytes));
      if (must(got, "read") == 0) break;
      for (ssize_t i = 0; i < got; i++) sum = sum * 31 + static_cast<unsigned char>(bytes[i]);
      received += static_cast<uint64_t>(got);
    }
  }
  must(close(data.reader), "close");
  int status = wait_for(child);
  say("  %" PRIu64 " bytes, sum %#" PRIx64, received, sum);
  // A writer that was done before the pipe broke is none of this test's: 64 KiB fit into it.
  if (!breaks || total > 65536) say_status("  writer", status);
}

void say_child_info(const char* what, const siginfo_t& info, pid_t child) {
  say("  %s signal %d code %d status %d%s", what, info.si_signo, info.si_code, info.si_status,
      info.si_pid == child ? "" : " of another");
}

void wait_in_ways(Random& random) {
  Trace its_trace;
  int code = static_cast<int>(random.below(256));
  int signal = random.one_in(3) ? SIGKILL : 0;
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  must(sigprocmask(SIG_BLOCK, &set, &before), "sigprocmask");
  pid_t child = fork_child(its_trace, [&] {
    if (signal != 0) kill(getpid(), signal);
    return code;
  });
  siginfo_t info{};
  must(sigwaitinfo(&set, &info), "sigwaitinfo");
  say_child_info("SIGCHLD:", info, child);
  for (uint64_t left = random.below(3); left > 0; left--) {
    info = {};
    must(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), "waitid");
    say_child_info("waitid:", info, child);
  }
  info = {};
  say("  waitid of the stopped: %s",
      outcome(waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED | WNOHANG)));
  say_status("  child", wait_for(child));
  say("  once more: %s", outcome(waitpid(child, nullptr, 0)));
  say("  kill: %s", outcome(kill(child, 0)));
  must(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask");
}

void orphan(Random& random) {
  int code = static_cast<int>(random.below(100));
  Pipe wait;
  Trace its_trace;
  must(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
  pid_t child = fork_child(its_trace, [&] {
    Trace trace_of_its;
    fork_child(trace_of_its, [&] {
      must(close(wait.writer), "close");
      char byte = 0;
      must(read(wait.reader, &byte, 1), "read");
      return code;
    });
    return code + 100;
  });
  say_status("  child", wait_for(child));
  must(close(wait.writer), "close");
  int status = 0;
  must(waitpid(-1, &status, 0), "waitpid");
  say_status("  grandchild", status);
  must(close(wait.reader), "close");
  must(prctl(PR_SET_CHILD_SUBREAPER, 0), "prctl");
  say("  more: %s", outcome(waitpid(-1, nullptr, 0)));
}

struct ExecInThread {
  Again* again;
};

void exec_in_thread(Random& random) {
  Again again(random);
  Pipe output;
  Trace its_trace;
  uint64_t threads = 1 + random.below(3);
  bool leader = random.one_in(3);
  pid_t child = fork_child(its_trace, [&] {
    dup2(output.writer, STDOUT_FILENO);
    auto exec = [](void* words) -> void* {
      execv(program(), static_cast<char**>(words));
      broken("execv");
    };
    pthread_t thread{};
    for (uint64_t i = 0; i < threads; i++) {
      if (pthread_create(&thread, nullptr, sleep_for_ever, nullptr) != 0) broken("pthread_create");
    }
    if (leader) exec(again.words.data());
    if (pthread_create(&thread, nullptr, exec, again.words.data()) != 0) broken("pthread_create");
    sleep_for_ever(nullptr);
    return 1;
  });
  must(close(output.writer), "close");
  copy_to_trace(output.reader);
  must(close(output.reader), "close");
  say_status("  child", wait_for(child));
}

// A debugger that looks at each call of its child's, and changes some.
void debug(Random& random) {
  Trace its_trace;
  Random child_random = random.split();
  pid_t child = fork_child(its_trace, [&] {
    must(ptrace(PTRACE_TRACEME, 0, 0, 0), "ptrace");
    must(syscall(SYS_kill, getpid(), SIGSTOP), "kill");
    for (uint64_t left = 1 + child_random.below(4); left > 0; left--) calls_in_thread(child_random);
    return 3;
  });
  int status = 0;
  must(waitpid(child, &status, 0), "waitpid");
  say_status("  tracee", status);
  must(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD), "ptrace");
  bool entry = true;
  uint64_t stops = random.below(60);
  while (WIFSTOPPED(status)) {
    bool steps = stops > 0 && stops < 30 && random.one_in(4);
    // A step stops before the call that the next stop would be at the end of.
    must(ptrace(stops == 0       ? PTRACE_CONT
                : steps && entry ? PTRACE_SINGLESTEP
                                 : PTRACE_SYSCALL,
                child, 0, 0),
         "ptrace");
    status = wait_for(child);
    if (stops > 0) stops--;
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) {
      if (WIFSTOPPED(status)) say("  stop by %d", WSTOPSIG(status));
      continue;
    }
    user_regs_struct registers{};
    must(ptrace(PTRACE_GETREGS, child, 0, &registers), "ptrace");
    auto number = static_cast<long>(registers.orig_rax);
    // Which process it is does not show, nor where the memory lies.
    if (entry) {
      say("  enters %ld%s", number, static_cast<long>(registers.rax) == -ENOSYS ? "" : " with an odd rax");
    } else {
      bool own = static_cast<long>(registers.rax) == child;
      say("  leaves %ld: %ld", number,
          own                                    ? -1
          : static_cast<long>(registers.rax) < 0 ? static_cast<long>(registers.rax)
                                                 : 0);
    }
    entry = !entry;
  }
  trace().append(its_trace);
  say_status("  tracee", status);
}

void doomed(Random& random) {
  Random child_random = random.split();
  say_child([&] {
    signal_steps(child_random, true);
    return 0;
  });
}

}  // namespace

void processes_operation(Random& random) {
  void (*const kinds[])(Random&) = {nested, nested,         again_by_vfork, again_by_spawn,
                                    die,    stop_and_go,    through_pipe,   wait_in_ways,
                                    orphan, exec_in_thread, debug,          doomed};
  const char* names[] = {"nested", "nested", "vfork",  "posix_spawn",      "death",    "stop",
                         "pipe",   "waits",  "orphan", "exec in a thread", "debugger", "doomed"};
  size_t which = random.below(std::size(kinds));
  say("  %s", names[which]);
  kinds[which](random);
}

}  // namespace random_program
