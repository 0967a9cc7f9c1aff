// System V IPC: shared memory, semaphores, message queues.
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <atomic>

#include "tests/syscalls/check.h"

namespace {

// What a case that fails leaves behind shall go with it: natively as root there is a namespace of its own for
// that.
void isolate() { (void)unshare(CLONE_NEWIPC); }

key_t fresh_key() { return key_t(0x62000000 | (getpid() & 0xffffff)); }

void become_nobody() {
  OK(setgroups(0, nullptr));
  OK(setresgid(65534, 65534, 65534));
  OK(setresuid(65534, 65534, 65534));
}

// ---- shared memory

TEST(shared_memory_between_processes) {
  isolate();
  int id = OK(shmget(IPC_PRIVATE, 10'000, IPC_CREAT | 0600));
  auto* words = static_cast<volatile int*>(OK(shmat(id, nullptr, 0)));
  OK(shmctl(id, IPC_RMID, nullptr));
  CHECK(words[0] == 0);
  words[2000] = 7;
  JOIN(check::fork_child([&] {
    CHECK(words[2000] == 7);
    words[2001] = 8;
  }));
  CHECK(words[2001] == 8);
  OK(shmdt(const_cast<int*>(words)));
  FAILS(EINVAL, shmdt(const_cast<int*>(words)));
  // Removed, and nobody has it any more.
  shmid_ds info;
  FAILS(EINVAL, shmctl(id, IPC_STAT, &info));
}

TEST(shared_memory_is_described) {
  isolate();
  key_t key = fresh_key();
  int id = OK(shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640));
  FAILS(EEXIST, shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640));
  CHECK_EQ(OK(shmget(key, 0, 0)), id);
  CHECK_EQ(OK(shmget(key, 5000, 0)), id);
  FAILS(EINVAL, shmget(key, 5001, 0));
  shmid_ds info;
  OK(shmctl(id, IPC_STAT, &info));
  CHECK_EQ(info.shm_segsz, 5000u);
  CHECK_EQ(info.shm_perm.__key, key);
  CHECK_EQ(info.shm_perm.mode & 0777, 0640);
  CHECK_EQ(info.shm_perm.uid, geteuid());
  CHECK_EQ(info.shm_perm.cgid, getegid());
  CHECK_EQ(info.shm_nattch, 0u);
  CHECK_EQ(info.shm_cpid, getpid());
  CHECK_EQ(info.shm_atime, 0);
  CHECK(info.shm_ctime > 1'600'000'000);
  void* first = OK(shmat(id, nullptr, 0));
  void* second = OK(shmat(id, nullptr, SHM_RDONLY));
  CHECK(first != second);
  check::Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  OK(shmctl(id, IPC_STAT, &info));
  CHECK_EQ(info.shm_nattch, 4u);
  CHECK_EQ(info.shm_lpid, getpid());
  CHECK(info.shm_atime > 1'600'000'000);
  leave.notify();
  JOIN(child);
  OK(shmdt(second));
  OK(shmctl(id, IPC_STAT, &info));
  CHECK_EQ(info.shm_nattch, 1u);
  // The key goes at once, the segment with its last attachment.
  OK(shmctl(id, IPC_RMID, nullptr));
  FAILS(ENOENT, shmget(key, 5000, 0));
  OK(shmctl(id, IPC_STAT, &info));
  CHECK((info.shm_perm.mode & SHM_DEST) != 0);
  static_cast<char*>(first)[0] = 1;
  CHECK(READ_FILE("/proc/self/maps").find("/SYSV") != std::string::npos);
  OK(shmdt(first));
  FAILS(EINVAL, shmctl(id, IPC_STAT, &info));
}

TEST(shared_memory_addresses) {
  isolate();
  int id = OK(shmget(IPC_PRIVATE, 8192, 0600));
  char* base =
      static_cast<char*>(OK(mmap(nullptr, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  FAILS(EINVAL, shmat(id, base, 0));                // taken
  FAILS(EINVAL, shmat(id, base + 100, SHM_REMAP));  // not aligned
  FAILS(EINVAL, shmat(id, nullptr, SHM_REMAP));
  CHECK_EQ(OK(shmat(id, base + 4096, SHM_REMAP)), static_cast<void*>(base + 4096));
  base[4096] = 'x';
  OK(munmap(base + 5 * 4096, 11 * 4096));
  CHECK_EQ(OK(shmat(id, base + 6 * 4096 + 77, SHM_RND)), static_cast<void*>(base + 6 * 4096));
  CHECK_EQ(base[6 * 4096], 'x');
  // A part that was unmapped before does not matter.
  OK(munmap(base + 4096, 4096));
  OK(shmdt(base + 4096));
  FAILS(EINVAL, shmdt(base + 4096));
  FAILS(EINVAL, shmdt(base + 6 * 4096 + 1));
  FAILS(EINVAL, shmdt(base));
  OK(shmdt(base + 6 * 4096));
  OK(shmctl(id, IPC_RMID, nullptr));
  FAILS(EINVAL, shmat(id, nullptr, 0));
  FAILS(EINVAL, shmat(-1, nullptr, 0));
  FAILS(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
}

TEST(shared_memory_read_only) {
  isolate();
  int id = OK(shmget(IPC_PRIVATE, 4096, 0600));
  auto* page = static_cast<volatile char*>(OK(shmat(id, nullptr, SHM_RDONLY)));
  OK(shmctl(id, IPC_RMID, nullptr));
  CHECK(page[0] == 0);
  FAILS(EACCES, mprotect(const_cast<char*>(page), 4096, PROT_READ | PROT_WRITE));
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    page[0] = 1;
    _exit(0);
  }
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

CHILD(does_nothing) { return 0; }

TEST(shared_memory_is_gone_after_exec_and_exit) {
  isolate();
  int id = OK(shmget(IPC_PRIVATE, 4096, 0600));
  JOIN(check::fork_child([&] {
    OK(shmat(id, nullptr, 0));
    OK(execl(check::self(), check::self(), "--child", "does_nothing", nullptr));
  }));
  shmid_ds info;
  OK(shmctl(id, IPC_STAT, &info));
  CHECK_EQ(info.shm_nattch, 0u);
  OK(shmctl(id, IPC_RMID, nullptr));
}

TEST(ipc_permissions) {
  if (!check::is_root()) SKIP("needs to become somebody else");
  isolate();
  int segment = OK(shmget(IPC_PRIVATE, 4096, 0604));
  int set = OK(semget(IPC_PRIVATE, 1, 0600));
  int queue = OK(msgget(IPC_PRIVATE, 0602));
  JOIN(check::fork_child([&] {
    become_nobody();
    FAILS(EACCES, shmat(segment, nullptr, 0));
    OK(shmat(segment, nullptr, SHM_RDONLY));
    FAILS(EPERM, shmctl(segment, IPC_RMID, nullptr));
    shmid_ds info;
    OK(shmctl(segment, IPC_STAT, &info));
    FAILS(EPERM, shmctl(segment, IPC_SET, &info));
    FAILS(EACCES, semctl(set, 0, GETVAL));
    sembuf one = {0, 1, 0};
    FAILS(EACCES, semop(set, &one, 1));
    FAILS(EPERM, semctl(set, 0, IPC_RMID));
    struct {
      long type;
      char text[4];
    } message = {1, "abc"};
    OK(msgsnd(queue, &message, 4, 0));
    FAILS(EACCES, msgrcv(queue, &message, 4, 0, 0));
    FAILS(EPERM, msgctl(queue, IPC_RMID, nullptr));
  }));
  // Given away, and taken.
  shmid_ds info;
  OK(shmctl(segment, IPC_STAT, &info));
  info.shm_perm.uid = 65534;
  info.shm_perm.mode = 0600;
  OK(shmctl(segment, IPC_SET, &info));
  JOIN(check::fork_child([&] {
    become_nobody();
    OK(shmat(segment, nullptr, 0));
    OK(shmctl(segment, IPC_RMID, nullptr));
  }));
  OK(semctl(set, 0, IPC_RMID));
  OK(msgctl(queue, IPC_RMID, nullptr));
}

// ---- semaphores

struct Semaphores {
  explicit Semaphores(int count) : id(OK(semget(IPC_PRIVATE, count, 0600))) {}
  ~Semaphores() { semctl(id, 0, IPC_RMID); }
  int value(int index) const { return OK(semctl(id, index, GETVAL)); }
  void set(int index, int to) const { OK(semctl(id, index, SETVAL, to)); }
  int id;
};

TEST(semaphore_values) {
  isolate();
  Semaphores set(3);
  CHECK_EQ(set.value(0), 0);
  set.set(1, 5);
  CHECK_EQ(set.value(1), 5);
  CHECK_EQ(OK(semctl(set.id, 1, GETPID)), getpid());
  FAILS(ERANGE, semctl(set.id, 1, SETVAL, 32768));
  FAILS(ERANGE, semctl(set.id, 1, SETVAL, -1));
  FAILS(EINVAL, semctl(set.id, 3, GETVAL));
  FAILS(EINVAL, semctl(set.id, -1, GETVAL));
  unsigned short all[3] = {1, 2, 3}, seen[3];
  OK(semctl(set.id, 0, SETALL, all));
  OK(semctl(set.id, 0, GETALL, seen));
  for (int i = 0; i < 3; ++i) CHECK_EQ(seen[i], all[i]);
  all[1] = 40'000;
  FAILS(ERANGE, semctl(set.id, 0, SETALL, all));
  semid_ds info;
  OK(semctl(set.id, 0, IPC_STAT, &info));
  CHECK_EQ(info.sem_nsems, 3u);
  CHECK_EQ(info.sem_otime, 0);
  sembuf add = {0, 1, 0};
  OK(semop(set.id, &add, 1));
  OK(semctl(set.id, 0, IPC_STAT, &info));
  CHECK(info.sem_otime > 0);
  FAILS(EINVAL, semget(IPC_PRIVATE, 0, 0600));
  FAILS(EINVAL, semget(IPC_PRIVATE, -1, 0600));
  FAILS(EINVAL, semget(IPC_PRIVATE, 40'000, 0600));
}

TEST(semaphore_operations_are_all_or_nothing) {
  isolate();
  Semaphores set(2);
  set.set(0, 2);
  sembuf both[] = {{0, -1, 0}, {1, -1, IPC_NOWAIT}};
  FAILS(EAGAIN, semop(set.id, both, 2));
  CHECK_EQ(set.value(0), 2);
  set.set(1, 1);
  OK(semop(set.id, both, 2));
  CHECK_EQ(set.value(0), 1);
  CHECK_EQ(set.value(1), 0);
  sembuf zero = {0, 0, IPC_NOWAIT};
  FAILS(EAGAIN, semop(set.id, &zero, 1));
  // In order, on one semaphore.
  sembuf chain[] = {{0, -1, 0}, {0, 0, 0}, {0, 3, 0}};
  OK(semop(set.id, chain, 3));
  CHECK_EQ(set.value(0), 3);
  sembuf much = {0, 32767, 0};
  FAILS(ERANGE, semop(set.id, &much, 1));
  sembuf beyond = {2, 1, 0};
  FAILS(EFBIG, semop(set.id, &beyond, 1));
  FAILS(EINVAL, semop(set.id, &zero, 0));
  FAILS(EINVAL, semop(-1, &zero, 1));
  FAILS(EFAULT, semop(set.id, reinterpret_cast<sembuf*>(8), 1));
  std::vector<sembuf> many(501, zero);
  FAILS(E2BIG, semop(set.id, many.data(), many.size()));
}

TEST(semaphore_waits) {
  isolate();
  Semaphores set(2);
  sembuf take = {0, -2, 0};
  pid_t child = check::fork_child([&] { OK(semop(set.id, &take, 1)); });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 1);
  CHECK_EQ(OK(semctl(set.id, 0, GETZCNT)), 0);
  sembuf give = {0, 1, 0};
  OK(semop(set.id, &give, 1));
  CHECK_EQ(OK(semctl(set.id, 0, GETNCNT)), 1);
  CHECK_EQ(set.value(0), 1);
  OK(semop(set.id, &give, 1));
  JOIN(child);
  CHECK_EQ(set.value(0), 0);
  CHECK_EQ(OK(semctl(set.id, 0, GETPID)), child);

  set.set(1, 1);
  sembuf for_zero = {1, 0, 0};
  child = check::fork_child([&] { OK(semop(set.id, &for_zero, 1)); });
  WAIT_UNTIL(semctl(set.id, 1, GETZCNT) == 1);
  set.set(1, 0);
  JOIN(child);

  // The oldest comes first.
  pid_t first = check::fork_child([&] {
    sembuf one = {0, -1, 0};
    OK(semop(set.id, &one, 1));
  });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 1);
  pid_t second = check::fork_child([&] {
    sembuf one = {0, -1, 0};
    OK(semop(set.id, &one, 1));
  });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 2);
  OK(semop(set.id, &give, 1));
  JOIN(first);
  CHECK_EQ(OK(semctl(set.id, 0, GETNCNT)), 1);
  OK(semop(set.id, &give, 1));
  JOIN(second);
}

TEST(semaphore_waits_end_otherwise) {
  isolate();
  Semaphores set(1);
  sembuf take = {0, -1, 0};
  timespec timeout = {0, 20'000'000};
  uint64_t start = check::now_ns();
  FAILS(EAGAIN, semtimedop(set.id, &take, 1, &timeout));
  CHECK(check::now_ns() - start >= 20'000'000);
  CHECK_EQ(OK(semctl(set.id, 0, GETNCNT)), 0);
  timeout.tv_nsec = -1;
  FAILS(EINVAL, semtimedop(set.id, &take, 1, &timeout));

  pid_t child = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    OK(sigaction(SIGUSR1, &action, nullptr));
    FAILS(EINTR, semop(set.id, &take, 1));
  });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 1);
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  JOIN(child);

  child = check::fork_child([&] { FAILS(EIDRM, semop(set.id, &take, 1)); });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 1);
  OK(semctl(set.id, 0, IPC_RMID));
  JOIN(child);
  FAILS(EINVAL, semctl(set.id, 0, GETVAL));
}

TEST(semaphore_undo) {
  isolate();
  Semaphores set(2);
  set.set(0, 5);
  JOIN(check::fork_child([&] {
    sembuf operations[] = {{0, -3, SEM_UNDO}, {1, 2, SEM_UNDO}};
    OK(semop(set.id, operations, 2));
    CHECK_EQ(set.value(0), 2);
    CHECK_EQ(set.value(1), 2);
    // Setting a value forgets what it was to give back.
    set.set(1, 9);
    // A child of its own gives nothing back.
    JOIN(check::fork_child([] {}));
    CHECK_EQ(set.value(0), 2);
  }));
  CHECK_EQ(set.value(0), 5);
  CHECK_EQ(set.value(1), 9);
  // unshare(2): what was to be given back is, at once.
  set.set(0, 1);
  JOIN(check::fork_child([&] {
    sembuf take = {0, -1, SEM_UNDO};
    OK(semop(set.id, &take, 1));
    OK(unshare(CLONE_SYSVSEM));
    CHECK_EQ(set.value(0), 1);
  }));
  CHECK_EQ(set.value(0), 1);
  // A killed process's too, and whoever waits gets it.
  set.set(0, 1);
  pid_t holder = check::fork_child([&] {
    sembuf take = {0, -1, SEM_UNDO};
    OK(semop(set.id, &take, 1));
    pause();
  });
  WAIT_UNTIL(set.value(0) == 0);
  pid_t waiter = check::fork_child([&] {
    sembuf take = {0, -1, 0};
    OK(semop(set.id, &take, 1));
  });
  WAIT_UNTIL(semctl(set.id, 0, GETNCNT) == 1);
  OK(kill(holder, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(holder), SIGKILL);
  JOIN(waiter);
  CHECK_EQ(set.value(0), 0);
}

TEST(semaphore_sets_by_key) {
  isolate();
  key_t key = fresh_key();
  FAILS(ENOENT, semget(key, 1, 0600));
  int id = OK(semget(key, 2, IPC_CREAT | 0600));
  CHECK_EQ(OK(semget(key, 0, 0600)), id);
  FAILS(EINVAL, semget(key, 3, 0600));
  FAILS(EEXIST, semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
  OK(semctl(id, 0, IPC_RMID));
  int next = OK(semget(key, 2, IPC_CREAT | 0600));
  CHECK(next != id);
  FAILS(EINVAL, semctl(id, 0, GETVAL));
  OK(semctl(next, 0, IPC_RMID));
}

// ---- message queues

struct Text {
  long type;
  char text[64];
};

struct Messages {
  Messages() : id(OK(msgget(IPC_PRIVATE, 0600))) {}
  ~Messages() { msgctl(id, IPC_RMID, nullptr); }
  void send(long type, const std::string& text) const {
    Text message = {type, {}};
    text.copy(message.text, sizeof message.text);
    OK(msgsnd(id, &message, text.size(), 0));
  }
  std::string receive(long type, int flags = 0) const {
    Text message;
    auto size = OK(msgrcv(id, &message, sizeof message.text, type, flags));
    return std::to_string(message.type) + std::string(message.text, size_t(size));
  }
  int id;
};

TEST(messages_by_type) {
  isolate();
  Messages queue;
  queue.send(3, "c");
  queue.send(1, "a");
  queue.send(2, "b");
  queue.send(1, "aa");
  CHECK_EQ(queue.receive(2), "2b");
  CHECK_EQ(queue.receive(-2), "1a");
  CHECK_EQ(queue.receive(3, MSG_EXCEPT), "1aa");
  CHECK_EQ(queue.receive(0), "3c");
  Text message = {1, {}};
  FAILS(ENOMSG, msgrcv(queue.id, &message, sizeof message.text, 0, IPC_NOWAIT));
  queue.send(1, "");
  CHECK_EQ(queue.receive(0), "1");
  message.type = 0;
  FAILS(EINVAL, msgsnd(queue.id, &message, 1, 0));
  message.type = 1;
  FAILS(EINVAL, msgsnd(queue.id, &message, 8193, 0));
  FAILS(EINVAL, msgsnd(-1, &message, 1, 0));
  FAILS(EFAULT, msgsnd(queue.id, reinterpret_cast<void*>(8), 1, 0));
}

TEST(messages_that_are_too_long) {
  isolate();
  Messages queue;
  queue.send(1, "0123456789");
  Text message = {};
  FAILS(E2BIG, msgrcv(queue.id, &message, 4, 0, 0));
  CHECK_EQ(OK(msgrcv(queue.id, &message, 4, 0, MSG_NOERROR)), 4);
  CHECK_EQ(std::string(message.text), "0123");
  FAILS(ENOMSG, msgrcv(queue.id, &message, 4, 0, IPC_NOWAIT));
}

TEST(a_queue_fills_up) {
  isolate();
  Messages queue;
  struct {
    long type;
    char text[8192];
  } large = {1, {}};
  OK(msgsnd(queue.id, &large, 8192, IPC_NOWAIT));
  OK(msgsnd(queue.id, &large, 8192, IPC_NOWAIT));
  FAILS(EAGAIN, msgsnd(queue.id, &large, 1, IPC_NOWAIT));
  msqid_ds info;
  OK(msgctl(queue.id, IPC_STAT, &info));
  CHECK_EQ(info.msg_qnum, 2u);
  CHECK_EQ(info.__msg_cbytes, 16384u);
  CHECK_EQ(info.msg_qbytes, 16384u);
  CHECK_EQ(info.msg_lspid, getpid());
  pid_t child = check::fork_child([&] { queue.send(2, "late"); });
  WAIT_BLOCKED(child);
  OK(msgrcv(queue.id, &large, 8192, 0, 0));
  JOIN(child);
  CHECK_EQ(queue.receive(2), "2late");
}

TEST(receivers_wait) {
  isolate();
  Messages queue;
  pid_t child = check::fork_child([&] { CHECK_EQ(queue.receive(7), "7x"); });
  WAIT_BLOCKED(child);
  queue.send(6, "y");
  CHECK_EQ(check::process_state(child), 'S');
  queue.send(7, "x");
  JOIN(child);
  CHECK_EQ(queue.receive(0), "6y");

  child = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    OK(sigaction(SIGUSR1, &action, nullptr));
    Text message;
    FAILS(EINTR, msgrcv(queue.id, &message, sizeof message.text, 0, 0));
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  JOIN(child);

  child = check::fork_child([&] {
    Text message;
    FAILS(EIDRM, msgrcv(queue.id, &message, sizeof message.text, 0, 0));
  });
  WAIT_BLOCKED(child);
  OK(msgctl(queue.id, IPC_RMID, nullptr));
  JOIN(child);
  msqid_ds info;
  FAILS(EINVAL, msgctl(queue.id, IPC_STAT, &info));
}

TEST(what_ipc_is_there) {
  isolate();
  Semaphores set(4);
  seminfo limits;
  OK(semctl(0, 0, IPC_INFO, &limits));
  CHECK(limits.semmsl >= 250 && limits.semopm >= 100 && limits.semvmx == 32767);
  semid_ds info;
  bool found = false;
  int highest = OK(semctl(0, 0, SEM_INFO, &limits));
  CHECK(limits.semusz >= 1 && limits.semaem >= 4);
  for (int index = 0; index <= highest; ++index) found |= semctl(index, 0, SEM_STAT, &info) == set.id;
  CHECK(found);
  shminfo memory;
  OK(shmctl(0, IPC_INFO, reinterpret_cast<shmid_ds*>(&memory)));
  CHECK(memory.shmmax >= 1u << 25 && memory.shmmin == 1 && memory.shmmni >= 128);
  msginfo messages;
  OK(msgctl(0, IPC_INFO, reinterpret_cast<msqid_ds*>(&messages)));
  CHECK_EQ(messages.msgmax, 8192);
  CHECK_EQ(messages.msgmnb, 16384);
  FAILS(EINVAL, semctl(set.id, 0, 99));
  FAILS(EINVAL, shmctl(0, 99, nullptr));
  FAILS(EINVAL, msgctl(0, 99, nullptr));
}

// The columns of the line of proc_sysvipc(5) about an object.
std::vector<long> columns(const char* file, int id) {
  const std::string text = READ_FILE(file);
  for (size_t at = text.find('\n') + 1; at < text.size(); at = text.find('\n', at) + 1) {
    std::vector<long> values;
    const char* next = text.c_str() + at;
    while (*next != '\n') {
      char* end = nullptr;
      values.push_back(strtol(next, &end, 10));
      if (end == next) break;
      next = end;
    }
    if (values.size() > 1 && values[1] == id) return values;
  }
  return {};
}

TEST(objects_are_listed) {
  const int segment = OK(shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0640));
  void* const place = OK(shmat(segment, nullptr, 0));
  std::vector<long> row = columns("/proc/sysvipc/shm", segment);
  CHECK_EQ(row.size(), 16);
  CHECK_EQ(row[2], 640);
  CHECK_EQ(row[3], 5000);
  CHECK_EQ(row[4], getpid());
  CHECK_EQ(row[6], 1);
  OK(shmdt(place));
  OK(shmctl(segment, IPC_RMID, nullptr));
  CHECK(columns("/proc/sysvipc/shm", segment).empty());

  const int set = OK(semget(IPC_PRIVATE, 3, IPC_CREAT | 0600));
  row = columns("/proc/sysvipc/sem", set);
  CHECK_EQ(row.size(), 10);
  CHECK_EQ(row[3], 3);
  OK(semctl(set, 0, IPC_RMID));

  const int queue = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
  const struct {
    long type;
    char text[4];
  } message = {1, "abc"};
  OK(msgsnd(queue, &message, 4, 0));
  row = columns("/proc/sysvipc/msg", queue);
  CHECK_EQ(row.size(), 14);
  CHECK_EQ(row[3], 4);
  CHECK_EQ(row[4], 1);
  CHECK_EQ(row[5], getpid());
  OK(msgctl(queue, IPC_RMID, nullptr));
}

}  // namespace
