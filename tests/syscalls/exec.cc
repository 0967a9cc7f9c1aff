// execve(2): images, scripts, arguments, what survives.
#include <elf.h>
#include <linux/auxvec.h>
#include <linux/capability.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>

#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

extern char** environ;

namespace {

// Runs `body` (which should exec) in a child with its output caught; the wait status by reference.
std::string output_of(const std::function<void()>& body, int* status) {
  int fds[2];
  OK(pipe(fds));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[1], 1));
    OK(close(fds[0]));
    OK(close(fds[1]));
    body();
    _exit(127);
  });
  OK(close(fds[1]));
  std::string output;
  char block[4096];
  ssize_t n;
  while ((n = OK(read(fds[0], block, sizeof block))) > 0) output.append(block, size_t(n));
  OK(close(fds[0]));
  *status = WAIT_STATUS(pid);
  return output;
}

std::string run(const std::function<void()>& body) {
  int status;
  std::string output = output_of(body, &status);
  CHECK_EXITED(status, 0);
  return output;
}

int exec(const char* path, std::vector<const char*> args, std::vector<const char*> env = {}) {
  args.push_back(nullptr);
  env.push_back(nullptr);
  return execve(path, const_cast<char**>(args.data()), const_cast<char**>(env.data()));
}

CHILD(print_args) {
  for (int i = 0; i < argc; ++i) dprintf(1, "[%s]", argv[i]);
  for (char** entry = environ; *entry != nullptr; ++entry) dprintf(1, "{%s}", *entry);
  return 0;
}

// Makes an executable file of this content.
void make_program(const char* path, const std::string& content) {
  WRITE_FILE(path, content);
  OK(chmod(path, 0755));
}

TEST(execveat_below_what_is_no_directory) {
  int ends[2];
  OK(pipe(ends));
  const int files[] = {ends[0],
                       static_cast<int>(OK(eventfd(0, 0))),
                       static_cast<int>(OK(epoll_create1(0))),
                       static_cast<int>(OK(timerfd_create(CLOCK_MONOTONIC, 0))),
                       static_cast<int>(OK(socket(AF_UNIX, SOCK_STREAM, 0))),
                       static_cast<int>(OK(inotify_init1(0))),
                       static_cast<int>(OK(open("/dev/null", O_RDONLY)))};
  char name[] = "program";
  char* const args[] = {name, nullptr};
  for (const int file : files) {
    FAILS(ENOTDIR, execveat(file, "program", args, environ, 0));
    FAILS(EACCES, execveat(file, "", args, environ, AT_EMPTY_PATH));
    FAILS(ENOENT, execveat(file, "", args, environ, 0));
  }
  FAILS(EBADF, execveat(1000, "program", args, environ, 0));
  FAILS(ENOENT, execveat(1000, "/absent", args, environ, 0));
}

TEST(arguments_and_environment_arrive) {
  CHECK_EQ(run([] {
             exec(check::self(), {"name", "--child", "print_args", "a", "", "c d"}, {"K=V", "E="});
           }),
           "[a][][c d]{K=V}{E=}");
}

TEST(errors) {
  FAILS(ENOENT, exec("missing", {"x"}));
  FAILS(ENOENT, exec("", {"x"}));
  FAILS(EACCES, exec(".", {"x"}));
  WRITE_FILE("plain", "#!/bin/sh\n");
  FAILS(EACCES, exec("plain", {"x"}));
  FAILS(ENOTDIR, exec("plain/x", {"x"}));
  make_program("empty", "");
  FAILS(ENOEXEC, exec("empty", {"x"}));
  make_program("text", "echo not a script\n");
  FAILS(ENOEXEC, exec("text", {"x"}));
  make_program("nointerp", "#!/does/not/exist\n");
  FAILS(ENOENT, exec("nointerp", {"x"}));
  make_program("dirinterp", "#!/tmp\n");
  FAILS(EACCES, exec("dirinterp", {"x"}));
  make_program("noname", "#!\n");
  FAILS(ENOEXEC, exec("noname", {"x"}));
  OK(symlink("loop", "loop"));
  FAILS(ELOOP, exec("loop", {"x"}));
  FAILS(EACCES, exec("/dev/null", {"x"}));
}

std::string elf_header(unsigned char elf_class, unsigned char data, uint16_t type, uint16_t machine) {
  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf_class;
  header.e_ident[EI_DATA] = data;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = type;
  header.e_machine = machine;
  header.e_version = EV_CURRENT;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  return std::string(reinterpret_cast<char*>(&header), sizeof header);
}

TEST(malformed_images) {
  make_program("short",
               "\x7f"
               "ELF");
  FAILS(ENOEXEC, exec("short", {"x"}));
  make_program("arm", elf_header(ELFCLASS64, ELFDATA2LSB, ET_EXEC, EM_AARCH64));
  FAILS(ENOEXEC, exec("arm", {"x"}));
  make_program("object", elf_header(ELFCLASS64, ELFDATA2LSB, ET_REL, EM_X86_64));
  FAILS(ENOEXEC, exec("object", {"x"}));
  make_program("nosegments", elf_header(ELFCLASS64, ELFDATA2LSB, ET_EXEC, EM_X86_64));
  FAILS(ENOEXEC, exec("nosegments", {"x"}));
}

TEST(truncated_image_of_a_real_program) {
  std::string image = READ_FILE(check::self());
  make_program("cut", image.substr(0, 64 + 100));
  // The program headers are cut: refused, or killed while it is set up. It never runs.
  int status;
  std::string output = output_of(
      [] {
        exec("./cut", {"x", "--child", "print_args", "ran"});
        CHECK(errno == ENOEXEC || errno == EIO);
        _exit(55);
      },
      &status);
  CHECK_EQ(output, "");
  CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 55);
}

// Cut before the page that holds the end of the data and the start of the bss: it is too late to refuse it,
// and the process is killed while it is set up.
TEST(image_that_is_cut_in_its_data) {
  const std::string image = READ_FILE("/bin/true");
  Elf64_Ehdr header;
  memcpy(&header, image.data(), sizeof header);
  size_t data = 0;
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    memcpy(&segment, image.data() + header.e_phoff + static_cast<size_t>(i) * sizeof segment, sizeof segment);
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0)
      data = segment.p_offset + segment.p_filesz;
  }
  CHECK(data > 8192);
  for (const size_t size : {size_t{4096}, size_t{5000}, data - data % 4096}) {
    make_program("cut", image.substr(0, size));
    int status;
    output_of(
        [] {
          exec("./cut", {"x"});
          _exit(55);
        },
        &status);
    CHECK_KILLED(status, SIGSEGV);
  }
}

TEST(scripts) {
  make_program("script", "#!/bin/sh\necho \"$0 $# $1\"\n");
  CHECK_EQ(run([] {
             exec("./script", {"ignored", "one", "two"}, {"PATH=/usr/bin:/bin"});
           }),
           "./script 2 one\n");
  make_program("spaces", "#!  /bin/sh  -e  \nfalse\necho not reached\n");
  int status;
  CHECK_EQ(output_of([] { exec("./spaces", {"x"}, {"PATH=/usr/bin:/bin"}); }, &status), "");
  CHECK_EXITED(status, 1);
}

TEST(script_interpreter_gets_one_argument) {
  make_program("script", "#!" + std::string(check::self()) + " --child print_args with spaces\n");
  // Everything after the interpreter is one argument, so this program sees an unknown option and prints its
  // usage.
  int status;
  std::string output = output_of([] { exec("./script", {"zero", "arg"}); }, &status);
  CHECK(output.starts_with("usage: "));
  OK(symlink(check::self(), "interp"));
}

TEST(nested_scripts) {
  make_program("inner", "#!/bin/sh\necho inner \"$@\"\n");
  make_program("middle", "#!./inner\n");
  make_program("outer", "#!./middle extra\n");
  CHECK_EQ(run([] {
             exec("./outer", {"x", "arg"}, {"PATH=/usr/bin:/bin"});
           }),
           "inner ./middle extra ./outer arg\n");
  make_program("self", "#!./self\n");
  FAILS(ELOOP, exec("./self", {"x"}));
}

TEST(script_without_newline_and_long_lines) {
  make_program("script", "#!/bin/true");
  run([] { exec("./script", {"x"}); });
  // execve(2): the first line is cut at 255 characters.
  make_program("long", "#!/" + std::string(300, 'x') + "\n");
  int result = exec("./long", {"x"});
  CHECK(result == -1 && (errno == ENOENT || errno == ENOEXEC));
}

TEST(many_arguments) {
  std::vector<std::string> texts;
  for (int i = 0; i < 5000; ++i) texts.push_back("argument-" + std::to_string(i));
  std::vector<const char*> args = {"x", "--child", "print_args"};
  std::string expected;
  for (const std::string& text : texts) {
    args.push_back(text.c_str());
    expected += "[" + text + "]";
  }
  CHECK(run([&] { exec(check::self(), args); }) == expected);
}

TEST(argument_limits) {
  // MAX_ARG_STRLEN: 32 pages with the terminating zero.
  std::string longest(131'071, 'x');
  CHECK_EQ(run([&] {
             exec(check::self(), {"x", "--child", "print_args", longest.c_str()});
           }),
           "[" + longest + "]");
  longest += 'x';
  FAILS(E2BIG, exec(check::self(), {"x", "--child", "print_args", longest.c_str()}));
  rlimit limit;
  OK(getrlimit(RLIMIT_STACK, &limit));
  if (limit.rlim_cur != 8u << 20) SKIP("the stack limit is not 8 MiB");
  // A quarter of the stack limit for all of them.
  longest.resize(100'000);
  std::vector<const char*> args(30, longest.c_str());
  FAILS(E2BIG, exec(check::self(), args));
}

TEST(empty_argument_list) {
  // execve(2): since Linux 5.18 an empty argv becomes one empty string.
  pid_t pid = check::fork_child([] {
    execve("/bin/true", nullptr, nullptr);
    _exit(errno == EINVAL ? 0 : 1);
  });
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

CHILD(print_state) {
  // Dispositions, mask and pending signals as exec left them.
  struct sigaction usr1, usr2;
  sigaction(SIGUSR1, nullptr, &usr1);
  sigaction(SIGUSR2, nullptr, &usr2);
  sigset_t mask, pending;
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  sigpending(&pending);
  stack_t stack;
  sigaltstack(nullptr, &stack);
  char name[16];
  prctl(PR_GET_NAME, name);
  dprintf(1, "%d %d %d %d %d %s\n", usr1.sa_handler == SIG_DFL, usr2.sa_handler == SIG_IGN,
          sigismember(&mask, SIGHUP), sigismember(&pending, SIGHUP), stack.ss_flags == SS_DISABLE, name);
  return 0;
}

TEST(what_exec_keeps_and_resets) {
  OK(symlink(check::self(), "another-long-program-name"));
  std::string output = run([] {
    signal(SIGUSR1, [](int) {});
    signal(SIGUSR2, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    OK(raise(SIGHUP));
    stack_t stack = {};
    stack.ss_size = 65536;
    stack.ss_sp = malloc(stack.ss_size);
    OK(sigaltstack(&stack, nullptr));
    OK(prctl(PR_SET_NAME, "before"));
    exec("./another-long-program-name", {"x", "--child", "print_state"});
  });
  CHECK_EQ(output, "1 1 1 1 1 another-long-pr\n");
}

CHILD(print_ids) {
  dprintf(1, "%d %d %d %d", getpid(), getppid(), getpgrp(), getsid(0));
  return 0;
}

TEST(ids_stay) {
  int fds[2];
  OK(pipe(fds));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[1], 1));
    exec(check::self(), {"x", "--child", "print_ids"});
  });
  JOIN(pid);
  char text[100] = {};
  OK(read(fds[0], text, sizeof text - 1));
  char expected[100];
  snprintf(expected, sizeof expected, "%d %d %d %d", pid, getpid(), getpgrp(), getsid(0));
  CHECK_EQ(std::string(text), std::string(expected));
}

CHILD(count_threads) {
  std::string status = READ_FILE("/proc/self/status");
  size_t at = status.find("\nThreads:");
  dprintf(1, "%d %d", atoi(status.c_str() + at + 9), getpid() == check::gettid());
  return 0;
}

TEST(exec_from_a_thread_ends_the_others) {
  int fds[2];
  OK(pipe(fds));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[1], 1));
    std::thread([] {
      for (;;) pause();
    }).detach();
    std::thread([] { exec(check::self(), {"x", "--child", "count_threads"}); }).join();
  });
  JOIN(pid);
  char text[32] = {};
  OK(read(fds[0], text, sizeof text - 1));
  // The thread that called exec has become the leader, with the process's id.
  CHECK_EQ(std::string(text), "1 1");
}

TEST(exec_from_the_leader_ends_the_others) {
  CHECK_EQ(run([] {
             for (int i = 0; i < 5; ++i) {
               std::thread([] {
                 for (;;) asm volatile("");
               }).detach();
             }
             exec(check::self(), {"x", "--child", "count_threads"});
           }),
           "1 1");
}

TEST(memory_is_new) {
  void* mark = OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(mark, 'x', 4096);
  std::string maps = run([] { exec("/bin/cat", {"cat", "/proc/self/maps"}); });
  char address[32];
  snprintf(address, sizeof address, "%lx-", reinterpret_cast<unsigned long>(mark));
  CHECK(maps.find("[stack]") != std::string::npos);
  CHECK(maps.find("cat") != std::string::npos);
  CHECK(maps.find(std::string("/") + "exec\n") == std::string::npos);
}

TEST(execveat_by_descriptor) {
  Fd fd(OK(open(check::self(), O_RDONLY | O_CLOEXEC)));
  CHECK_EQ(run([&] {
             const char* args[] = {"x", "--child", "print_args", "byfd", nullptr};
             const char* env[] = {nullptr};
             syscall(SYS_execveat, int(fd), "", args, env, AT_EMPTY_PATH);
           }),
           "[byfd]");
  const char* args[] = {"x", nullptr};
  FAILS(ENOENT, syscall(SYS_execveat, int(fd), "", args, args + 1, 0));
  OK(symlink(check::self(), "link"));
  FAILS(ELOOP, syscall(SYS_execveat, AT_FDCWD, "link", args, args + 1, AT_SYMLINK_NOFOLLOW));
}

TEST(text_busy) {
  std::string image = READ_FILE("/bin/true");
  make_program("program", image);
  Fd fd(OK(open("program", O_RDWR)));
  FAILS(ETXTBSY, exec("./program", {"x"}));
  fd.close();
  run([] { exec("./program", {"x"}); });
}

CHILD(wait_for_input) {
  char byte;
  return read(0, &byte, 1) == 1 ? 0 : 1;
}

TEST(running_program_cannot_be_written) {
  make_program("program", READ_FILE(check::self()));
  int fds[2];
  OK(pipe2(fds, O_CLOEXEC));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[0], 0));
    exec("./program", {"x", "--child", "wait_for_input"});
  });
  WAIT_UNTIL([&] {
    char target[4096];
    ssize_t n = readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), target, sizeof target);
    return n > 0 && std::string(target, size_t(n)).ends_with("/program");
  }());
  int writer = open("program", O_WRONLY);
  int error = writer < 0 ? errno : 0;
  OK(write(fds[1], "x", 1));
  JOIN(pid);
  CHECK_EQ(error, ETXTBSY);
  Fd later(OK(open("program", O_WRONLY)));
}

TEST(deleted_program_goes_on) {
  make_program("program", READ_FILE(check::self()));
  int fds[2];
  OK(pipe2(fds, O_CLOEXEC));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[0], 0));
    exec("./program", {"x", "--child", "wait_for_input"});
  });
  std::string exe = "/proc/" + std::to_string(pid) + "/exe";
  auto target = [&] {
    char text[4096];
    ssize_t n = readlink(exe.c_str(), text, sizeof text);
    return n > 0 ? std::string(text, size_t(n)) : std::string();
  };
  WAIT_UNTIL(target().ends_with("/program"));
  OK(unlink("program"));
  CHECK(target().ends_with("/program (deleted)"));
  OK(write(fds[1], "x", 1));
  JOIN(pid);
}

CHILD(print_auxv) {
  dprintf(1, "%d %d %d %d %d %d %s\n", getauxval(AT_PAGESZ) == 4096, getauxval(AT_UID) == getuid(),
          getauxval(AT_EGID) == getegid(), getauxval(AT_SECURE) == 0, getauxval(AT_CLKTCK) == 100,
          getauxval(AT_PHDR) != 0 && getauxval(AT_PHNUM) > 0 && getauxval(AT_ENTRY) != 0,
          reinterpret_cast<const char*>(getauxval(AT_EXECFN)));
  const auto* random = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  dprintf(1, "%02x%02x%02x%02x%02x%02x%02x%02x", random[0], random[1], random[2], random[3], random[4],
          random[5], random[6], random[7]);
  return 0;
}

TEST(auxiliary_vector) {
  OK(symlink(check::self(), "p"));
  auto once = [] { return run([] { exec("./p", {"x", "--child", "print_auxv"}); }); };
  std::string a = once(), b = once();
  CHECK(a.starts_with("1 1 1 1 1 1 ./p\n"));
  CHECK(a != b);
}

CHILD(print_stack) {
  int local;
  dprintf(
      1, "%lx %lx %lx", reinterpret_cast<unsigned long>(&local) & ~0xffful,
      reinterpret_cast<unsigned long>(sbrk(0)),
      reinterpret_cast<unsigned long>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  return 0;
}

TEST(addresses_are_randomised) {
  auto once = [] { return run([] { exec(check::self(), {"x", "--child", "print_stack"}); }); };
  std::string a = once();
  CHECK(a != once());
  // personality(2): ADDR_NO_RANDOMIZE switches it off over exec.
  auto fixed = [] {
    return run([] {
      OK(syscall(SYS_personality, 0x0040000));
      exec(check::self(), {"x", "--child", "print_stack"});
    });
  };
  CHECK_EQ(fixed(), fixed());
}

TEST(exec_in_a_loop) {
  for (int i = 0; i < 30; ++i) run([] { exec("/bin/true", {"true"}); });
}

TEST(pending_alarm_survives) {
  pid_t pid = check::fork_child([] {
    itimerval timer = {{0, 0}, {0, 50'000}};
    OK(setitimer(ITIMER_REAL, &timer, nullptr));
    int fds[2];
    OK(pipe(fds));
    OK(dup2(fds[0], 0));
    exec(check::self(), {"x", "--child", "wait_for_input"});
  });
  CHECK_KILLED(WAIT_STATUS(pid), SIGALRM);
}

TEST(failed_exec_leaves_the_process_whole) {
  Fd cloexec(OK(open("/dev/null", O_RDONLY | O_CLOEXEC)));
  signal(SIGUSR1, [](int) {});
  FAILS(ENOENT, exec("missing", {"x"}));
  OK(fcntl(cloexec, F_GETFD));
  OK(raise(SIGUSR1));
}

TEST(set_user_id_programs) {
  if (!check::is_root()) SKIP("not root");
  make_program("program", READ_FILE(check::self()));
  OK(chown("program", 1234, 5678));
  OK(chmod("program", 06755));
  OK(chmod(".", 0755));
  int status;
  std::string output = output_of(
      [] {
        OK(setresgid(65534, 65534, 65534));
        OK(setresuid(65534, 65534, 65534));
        exec("./program", {"x", "--child", "print_credentials"});
      },
      &status);
  CHECK_EXITED(status, 0);
  if (output == "65534 65534 65534 65534 0") SKIP_OPTIONAL("nosuid here");
  CHECK_EQ(output, "65534 1234 65534 5678 1");
}

CHILD(print_credentials) {
  dprintf(1, "%d %d %d %d %lu", getuid(), geteuid(), getgid(), getegid(), getauxval(AT_SECURE));
  return 0;
}

// Has a program run by nobody that prints what it may: the capabilities in force, those permitted, AT_SECURE.
std::string capabilities_of_program(void (*prepare)()) {
  int status;
  const std::string output = output_of(
      [=] {
        OK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
        OK(setresgid(65534, 65534, 65534));
        OK(setresuid(65534, 65534, 65534));
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct sets[2]{};
        OK(syscall(SYS_capget, &header, sets));
        for (auto& set : sets) set.effective = set.permitted;
        OK(syscall(SYS_capset, &header, sets));
        prepare();
        exec("./program", {"x", "--child", "print_capabilities"});
        dprintf(1, "%s", strerrorname_np(errno));
        _exit(0);
      },
      &status);
  CHECK_EXITED(status, 0);
  return output;
}

CHILD(print_capabilities) {
  const auto field = [status = READ_FILE("/proc/self/status")](const char* name) {
    return strtoul(status.c_str() + status.find(name) + strlen(name), nullptr, 16);
  };
  dprintf(1, "%lx %lx %lu", field("\nCapEff:"), field("\nCapPrm:"), getauxval(AT_SECURE));
  return 0;
}

TEST(capabilities_of_files) {
  if (!check::is_root()) SKIP("not root");
  make_program("program", READ_FILE(check::self()));
  OK(chmod(".", 0755));
  constexpr uint32_t kNetRaw = 1 << CAP_NET_RAW;
  const auto give = [](uint32_t flags, uint32_t permitted, uint32_t high = 0) {
    vfs_cap_data data{};
    data.magic_etc = VFS_CAP_REVISION_2 | flags;
    data.data[0].permitted = permitted;
    data.data[1].permitted = high;
    if (setxattr("program", "security.capability", &data, sizeof data, 0) != 0)
      SKIP_OPTIONAL("no capabilities of files here");
  };
  // KEEPCAPS is for changes of ids: exec starts from the file.
  CHECK_EQ(capabilities_of_program([] {}), "0 0 0");
  give(VFS_CAP_FLAGS_EFFECTIVE, kNetRaw);
  const std::string first = capabilities_of_program([] {});
  if (first == "0 0 0") SKIP_OPTIONAL("nosuid here");
  CHECK_EQ(first, "2000 2000 1");
  give(0, kNetRaw);
  CHECK_EQ(capabilities_of_program([] {}), "0 2000 1");
  // Beyond the bounding set: an error if the program relies on it.
  const auto bound = [] { OK(prctl(PR_CAPBSET_DROP, CAP_NET_RAW, 0, 0, 0)); };
  CHECK_EQ(capabilities_of_program(bound), "0 0 0");
  give(VFS_CAP_FLAGS_EFFECTIVE, kNetRaw);
  CHECK_EQ(capabilities_of_program(bound), "EPERM");
  // With no_new_privs what there was may stay, and nothing is added.
  CHECK_EQ(capabilities_of_program([] { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }), "2000 2000 1");
  CHECK_EQ(capabilities_of_program([] {
             OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
             __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
             __user_cap_data_struct none[2]{};
             OK(syscall(SYS_capset, &header, none));
           }),
           "0 0 1");
}

CHILD(stack_room) {
  const std::string maps = READ_FILE("/proc/self/maps");
  unsigned long stack = 0, below = 0;
  size_t at = 0;
  while (at < maps.size() && stack == 0) {
    const size_t end = maps.find('\n', at);
    const std::string line = maps.substr(at, end - at);
    unsigned long from = 0, to = 0;
    CHECK_EQ(sscanf(line.c_str(), "%lx-%lx", &from, &to), 2);
    if (line.find("[stack]") != std::string::npos)
      stack = from;
    else
      below = to;
    at = end + 1;
  }
  CHECK(stack != 0);
  CHECK(below + (8ul << 20) < stack);
  return 0;
}

// Addresses are random: whatever they are, nothing is in the stack's way.
TEST(the_stack_has_room) {
  for (int i = 0; i < 150; ++i) run([] { exec(check::self(), {"x", "--child", "stack_room"}); });
}

}  // namespace
