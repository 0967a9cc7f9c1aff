// Files in memory: mmap(2) of files, msync(2), coherence with read and write, memfd_create(2).
#include <setjmp.h>

#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

constexpr size_t kPage = 4096;

char* map(int fd, size_t bytes, int protection = PROT_READ | PROT_WRITE, int flags = MAP_SHARED,
          off_t offset = 0) {
  return static_cast<char*>(OK(mmap(nullptr, bytes, protection, flags, fd, offset)));
}

sigjmp_buf escape;
int fault_signal;

bool can_read(const char* at) {
  struct sigaction action = {};
  action.sa_handler = [](int number) {
    fault_signal = number;
    siglongjmp(escape, 1);
  };
  OK(sigaction(SIGSEGV, &action, nullptr));
  OK(sigaction(SIGBUS, &action, nullptr));
  fault_signal = 0;
  if (sigsetjmp(escape, 1) != 0) return false;
  (void)*static_cast<const volatile char*>(at);
  return true;
}

bool can_write(char* at) {
  if (!can_read(at) || sigsetjmp(escape, 1) != 0) return false;
  volatile char* const place = at;
  *place = *place;
  return true;
}

TEST(private_mapping_reads_the_file_and_keeps_writes) {
  WRITE_FILE("a", std::string(6000, 'f'));
  Fd fd(OK(open("a", O_RDONLY)));
  char* p = map(fd, 6000, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  CHECK_EQ(p[5999], 'f');
  CHECK_EQ(p[6000], 0);
  p[0] = 'x';
  CHECK_EQ(READ_FILE("a")[0], 'f');
  JOIN(check::fork_child([&] {
    CHECK_EQ(p[0], 'x');
    p[1] = 'y';
  }));
  CHECK_EQ(p[1], 'f');
  fd.close();
  CHECK_EQ(p[5000], 'f');
}

TEST(private_mapping_without_own_writes_shows_later_file_content) {
  // mmap(2) leaves this open; Linux shows it, and linkers and editors live with it.
  WRITE_FILE("a", std::string(kPage, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, kPage, PROT_READ, MAP_PRIVATE);
  CHECK_EQ(p[0], 'f');
  OK(pwrite(fd, "g", 1, 0));
  if (p[0] != 'g') SKIP_OPTIONAL("private mappings are snapshots here");
}

TEST(shared_mapping_and_the_file_are_one) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(ftruncate(fd, 2 * kPage));
  char* p = map(fd, 2 * kPage);
  p[100] = 'm';
  char byte = 0;
  OK(pread(fd, &byte, 1, 100));
  CHECK_EQ(byte, 'm');
  OK(pwrite(fd, "w", 1, 5000));
  CHECK_EQ(p[5000], 'w');
  Fd other(OK(open("a", O_RDONLY)));
  OK(pread(other, &byte, 1, 100));
  CHECK_EQ(byte, 'm');
  char* q = map(other, kPage, PROT_READ, MAP_SHARED, kPage);
  CHECK_EQ(q[5000 - kPage], 'w');
  p[kPage + 1] = 'z';
  CHECK_EQ(q[1], 'z');
}

TEST(shared_mapping_between_processes) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(ftruncate(fd, kPage));
  volatile char* p = map(fd, kPage);
  pid_t child = check::fork_child([] {
    // Its own mapping, by name.
    Fd own(OK(open("a", O_RDWR)));
    volatile char* q = map(own, kPage);
    WAIT_UNTIL(q[0] == '1');
    q[1] = '2';
  });
  p[0] = '1';
  WAIT_UNTIL(p[1] == '2');
  JOIN(child);
}

TEST(written_pages_reach_the_file) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(ftruncate(fd, 3 * kPage));
  char* p = map(fd, 3 * kPage);
  for (size_t i = 0; i < 3 * kPage; ++i) p[i] = static_cast<char>('a' + i % 26);
  OK(msync(p, 3 * kPage, MS_SYNC));
  OK(munmap(p, 3 * kPage));
  fd.close();
  std::string content = READ_FILE("a");
  CHECK_EQ(content.size(), 3 * kPage);
  for (size_t i = 0; i < content.size(); ++i) CHECK_EQ(content[i], static_cast<char>('a' + i % 26));
}

TEST(access_modes_and_protections) {
  WRITE_FILE("a", std::string(kPage, 'f'));
  Fd reader(OK(open("a", O_RDONLY)));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
  char* p = map(reader, kPage, PROT_READ, MAP_SHARED);
  FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE));
  char* q = map(reader, kPage, PROT_READ, MAP_PRIVATE);
  OK(mprotect(q, kPage, PROT_READ | PROT_WRITE));
  q[0] = 'x';
  Fd writer(OK(open("a", O_WRONLY)));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, writer, 0));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_WRITE, MAP_SHARED, writer, 0));
  Fd dir(OK(open(".", O_RDONLY)));
  FAILS(ENODEV, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, dir, 0));
  FAILS(EINVAL, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, reader, 100));
}

// As linkers do it: the whole file first, and then parts of it over that, otherwise protected.
TEST(mappings_of_a_file_over_one_another) {
  constexpr size_t kPages = 8;
  std::string content;
  for (size_t i = 0; i < kPages; ++i) content += std::string(kPage, static_cast<char>('0' + i));
  WRITE_FILE("a", content);
  Fd fd(OK(open("a", O_RDWR)));
  char* const p = map(fd, kPages * kPage, PROT_READ, MAP_PRIVATE);
  const auto over = [&](size_t page, size_t pages, int protection, size_t from) {
    CHECK_EQ(mmap(p + page * kPage, pages * kPage, protection, MAP_PRIVATE | MAP_FIXED, fd,
                  static_cast<off_t>(from * kPage)),
             static_cast<void*>(p + page * kPage));
  };
  const auto shown = [&] {
    std::string pages;
    for (size_t i = 0; i < kPages; ++i) pages += p[i * kPage + 17];
    return pages;
  };
  const auto protections = [&] {
    std::string all;
    for (size_t i = 0; i < kPages; ++i) all += can_write(p + i * kPage) ? 'w' : 'r';
    return all;
  };
  over(2, 2, PROT_READ | PROT_EXEC, 2);
  over(5, 2, PROT_READ | PROT_WRITE, 5);
  over(7, 1, PROT_READ, 7);
  CHECK_EQ(shown(), "01234567");
  CHECK_EQ(protections(), "rrrrrwwr");
  over(1, 1, PROT_READ, 0);
  CHECK_EQ(shown(), "00234567");
  // What has been written is gone with the mapping.
  p[5 * kPage + 17] = 'x';
  CHECK_EQ(READ_FILE("a"), content);
  over(6, 1, PROT_READ, 6);
  CHECK_EQ(shown(), "00234x67");
  over(5, 2, PROT_READ, 5);
  CHECK_EQ(shown(), "00234567");
  CHECK_EQ(protections(), "rrrrrrrr");
  // Also where it cannot be written any more.
  OK(mprotect(p + 3 * kPage, 2 * kPage, PROT_READ | PROT_WRITE));
  p[3 * kPage + 17] = p[4 * kPage + 17] = 'y';
  OK(mprotect(p, kPages * kPage, PROT_READ));
  CHECK_EQ(shown(), "002yy567");
  over(4, 1, PROT_READ, 4);
  CHECK_EQ(shown(), "002y4567");
  over(0, 4, PROT_READ | PROT_WRITE, 0);
  CHECK_EQ(shown(), "01234567");
  over(0, kPages, PROT_READ, 0);
  // By /proc/self/mem, too, as debuggers write.
  Fd memory(OK(open("/proc/self/mem", O_RDWR)));
  CHECK_EQ(OK(pwrite(memory, "z", 1, reinterpret_cast<off_t>(p + kPage + 17))), 1);
  CHECK_EQ(shown(), "0z234567");
  over(1, 2, PROT_READ | PROT_EXEC, 1);
  CHECK_EQ(shown(), "01234567");
  // A child has its own.
  JOIN(check::fork_child([&] {
    over(1, 2, PROT_READ | PROT_WRITE, 1);
    p[kPage + 17] = 'c';
    CHECK_EQ(shown(), "0c234567");
    over(0, kPages, PROT_READ, 0);
    CHECK_EQ(shown(), "01234567");
  }));
  CHECK_EQ(protections(), "rrrrrrrr");
  // Of a shorter file only what there is.
  OK(ftruncate(fd, kPage));
  CHECK(can_read(p));
  CHECK(!can_read(p + 2 * kPage));
  CHECK_EQ(fault_signal, SIGBUS);
  over(2, 2, PROT_READ | PROT_WRITE, 2);
  CHECK(!can_read(p + 2 * kPage));
  CHECK_EQ(fault_signal, SIGBUS);
  OK(pwrite(fd, content.data(), content.size(), 0));
  over(2, 2, PROT_READ, 2);
  CHECK_EQ(shown(), "01234567");
}

// Who has a file for reading only sees what others write, and cannot write itself.
TEST(shared_for_reading_only) {
  WRITE_FILE("a", std::string(3 * kPage, 'f'));
  Fd fd(OK(open("a", O_RDWR))), reader(OK(open("a", O_RDONLY)));
  char* const mine = map(fd, 3 * kPage);
  char* p = map(reader, 3 * kPage, PROT_READ, MAP_SHARED);
  CHECK_EQ(p[kPage], 'f');
  mine[kPage] = 'm';
  CHECK_EQ(p[kPage], 'm');
  OK(pwrite(fd, "w", 1, kPage));
  CHECK_EQ(p[kPage], 'w');
  CHECK(!can_write(p + kPage));
  OK(madvise(p, 3 * kPage, MADV_DONTNEED));
  CHECK_EQ(p[kPage], 'w');
  JOIN(check::fork_child([&] { mine[2 * kPage] = 'c'; }));
  CHECK_EQ(p[2 * kPage], 'c');
  OK(mprotect(p, kPage, PROT_NONE));
  OK(mprotect(p, kPage, PROT_READ));
  FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE));
  p = static_cast<char*>(OK(mremap(p, 3 * kPage, 5 * kPage, MREMAP_MAYMOVE)));
  OK(ftruncate(fd, 5 * kPage));
  OK(pwrite(fd, "g", 1, 4 * kPage));
  CHECK_EQ(p[4 * kPage], 'g');
  OK(ftruncate(fd, kPage));
  CHECK(!can_read(p + kPage));
  CHECK_EQ(fault_signal, SIGBUS);
  OK(ftruncate(fd, 2 * kPage));
  mine[kPage] = 'n';
  CHECK_EQ(p[kPage], 'n');
}

TEST(offsets) {
  std::string content(3 * kPage, 'a');
  content[kPage] = 'b';
  content[2 * kPage] = 'c';
  WRITE_FILE("a", content);
  Fd fd(OK(open("a", O_RDWR)));
  CHECK_EQ(map(fd, kPage, PROT_READ, MAP_SHARED, kPage)[0], 'b');
  CHECK_EQ(map(fd, kPage, PROT_READ, MAP_PRIVATE, 2 * kPage)[0], 'c');
  FAILS(EOVERFLOW, mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0x7fff'ffff'ffff'f000));
}

TEST(beyond_the_end_of_the_file) {
  WRITE_FILE("a", std::string(100, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, 3 * kPage);
  CHECK(can_read(p + 4095));
  CHECK_EQ(p[100], 0);
  CHECK(!can_read(p + kPage));
  CHECK_EQ(fault_signal, SIGBUS);
  // The file grows under the mapping.
  OK(ftruncate(fd, 2 * kPage));
  CHECK(can_read(p + kPage));
  p[kPage] = 'g';
  CHECK_EQ(READ_FILE("a")[kPage], 'g');
  // And shrinks.
  OK(ftruncate(fd, 50));
  CHECK(!can_read(p + kPage));
  CHECK_EQ(fault_signal, SIGBUS);
  CHECK(can_read(p));
}

TEST(kernel_copy_to_a_page_beyond_the_end) {
  WRITE_FILE("a", std::string(100, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, 2 * kPage);
  Fd zero(OK(open("/dev/zero", O_RDONLY)));
  FAILS(EFAULT, read(zero, p + kPage, 10));
  int fds[2];
  OK(pipe(fds));
  FAILS(EFAULT, write(fds[1], p + kPage, 10));
}

TEST(bytes_past_the_end_do_not_reach_the_file) {
  WRITE_FILE("a", std::string(100, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, kPage);
  memset(p + 100, 'x', 200);
  OK(msync(p, kPage, MS_SYNC));
  CHECK_EQ(READ_FILE("a").size(), 100u);
}

TEST(deleted_file_stays_mapped) {
  WRITE_FILE("a", std::string(kPage, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, kPage);
  fd.close();
  OK(unlink("a"));
  CHECK_EQ(p[0], 'f');
  p[0] = 'x';
  JOIN(check::fork_child([&] { CHECK_EQ(p[0], 'x'); }));
  std::string maps = READ_FILE("/proc/self/maps");
  CHECK(maps.find("/a (deleted)\n") != std::string::npos);
}

TEST(maps_names_the_file) {
  WRITE_FILE("a", std::string(3 * kPage, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, kPage, PROT_READ, MAP_SHARED, kPage);
  char cwd[4096], address[64];
  OK(getcwd(cwd, sizeof cwd));
  struct stat st;
  OK(fstat(fd, &st));
  snprintf(address, sizeof address, "%lx-", reinterpret_cast<unsigned long>(p));
  std::string maps = READ_FILE("/proc/self/maps");
  size_t at = maps.find(address);
  CHECK(at != std::string::npos);
  std::string line = maps.substr(at, maps.find('\n', at) - at);
  CHECK(line.find(" r--s 00001000 ") != std::string::npos);
  CHECK(line.ends_with(std::string(cwd) + "/a"));
  CHECK(line.find(" " + std::to_string(st.st_ino) + " ") != std::string::npos);
}

TEST(sync_errors) {
  WRITE_FILE("a", std::string(kPage, 'f'));
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, kPage);
  OK(msync(p, kPage, MS_ASYNC));
  OK(msync(p, kPage, MS_SYNC | MS_INVALIDATE));
  FAILS(EINVAL, msync(p, kPage, MS_SYNC | MS_ASYNC));
  FAILS(EINVAL, msync(p + 1, kPage, MS_SYNC));
  OK(munmap(p, kPage));
  FAILS(ENOMEM, msync(p, kPage, MS_SYNC));
}

TEST(writes_from_a_mapping_of_the_same_file) {
  std::string content(2 * kPage, 'a');
  WRITE_FILE("a", content);
  Fd fd(OK(open("a", O_RDWR)));
  char* p = map(fd, 2 * kPage);
  memset(p, 'b', kPage);
  OK(pwrite(fd, p, kPage, kPage));
  CHECK_EQ(READ_FILE("a"), std::string(2 * kPage, 'b'));
  OK(pread(fd, p + 10, 10, 0));
}

TEST(grow_a_mapped_file_as_databases_do) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(ftruncate(fd, kPage));
  char* p = map(fd, kPage);
  for (size_t size = 1; size < 32; ++size) {
    p[(size - 1) * kPage] = static_cast<char>(size);
    OK(ftruncate(fd, off_t((size + 1) * kPage)));
    p = static_cast<char*>(OK(mremap(p, size * kPage, (size + 1) * kPage, MREMAP_MAYMOVE)));
  }
  std::string content = READ_FILE("a");
  for (size_t size = 1; size < 32; ++size) CHECK_EQ(content[(size - 1) * kPage], static_cast<char>(size));
}

TEST(executable_mapping_of_a_file) {
  std::string code("\xb8\x07\0\0\0\xc3", 6);  // mov $7, %eax; ret
  code.resize(kPage);
  WRITE_FILE("code", code);
  Fd fd(OK(open("code", O_RDONLY)));
  auto* function = reinterpret_cast<int (*)()>(map(fd, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE));
  CHECK_EQ(function(), 7);
}

TEST(dev_zero) {
  Fd fd(OK(open("/dev/zero", O_RDWR)));
  char* p = map(fd, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  CHECK_EQ(p[kPage], 0);
  p[0] = 'x';
  char* shared = map(fd, kPage);
  JOIN(check::fork_child([&] { shared[0] = 's'; }));
  CHECK_EQ(shared[0], 's');
}

TEST(memory_files) {
  Fd fd(OK(memfd_create("name", MFD_CLOEXEC)));
  CHECK_EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
  OK(write(fd, "text", 4));
  OK(ftruncate(fd, 2 * kPage));
  char* p = map(fd, 2 * kPage);
  CHECK_EQ(memcmp(p, "text", 4), 0);
  p[kPage] = 'x';
  char byte;
  OK(pread(fd, &byte, 1, kPage));
  CHECK_EQ(byte, 'x');
  char target[100];
  ssize_t n = OK(readlink(("/proc/self/fd/" + std::to_string(int(fd))).c_str(), target, sizeof target));
  CHECK_EQ(std::string(target, size_t(n)), "/memfd:name (deleted)");
  struct stat st;
  OK(fstat(fd, &st));
  CHECK(S_ISREG(st.st_mode));
  FAILS(EINVAL, memfd_create("x", 0x100));
  FAILS(EINVAL, memfd_create(std::string(300, 'n').c_str(), 0));
}

TEST(seals) {
  Fd fd(OK(memfd_create("sealed", MFD_ALLOW_SEALING)));
  OK(ftruncate(fd, kPage));
  CHECK_EQ(OK(fcntl(fd, F_GET_SEALS)), 0);
  char* p = map(fd, kPage);
  FAILS(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  OK(munmap(p, kPage));
  OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  FAILS(EPERM, ftruncate(fd, 0));
  FAILS(EPERM, ftruncate(fd, 2 * kPage));
  FAILS(EPERM, write(fd, "x", 1));
  FAILS(EPERM, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  map(fd, kPage, PROT_READ, MAP_SHARED);
  OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
  FAILS(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
  Fd plain(OK(memfd_create("plain", 0)));
  CHECK_EQ(OK(fcntl(plain, F_GET_SEALS)), F_SEAL_SEAL);
}

// What is mapped after the seal stays as it is: no mprotect(2), in no copy of the mapping, and no force.
TEST(a_sealed_file_is_mapped_for_reading_only) {
  for (const int seal : {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
    Fd fd(OK(memfd_create("sealed", MFD_ALLOW_SEALING)));
    OK(ftruncate(fd, 2 * kPage));
    OK(pwrite(fd, "old", 3, 0));
    OK(fcntl(fd, F_ADD_SEALS, seal));
    FAILS(EPERM, mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    FAILS(EPERM, mmap(nullptr, kPage, PROT_WRITE, MAP_SHARED, fd, 0));
    void* const mapped = mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0);
    // Before Linux 6.7 what F_SEAL_WRITE seals is not mapped as shared at all.
    if (mapped == MAP_FAILED && errno == EPERM && seal == F_SEAL_WRITE) continue;
    char* p = static_cast<char*>(OK(mapped));
    FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE));
    FAILS(EACCES, mprotect(p + kPage, kPage, PROT_WRITE));
    OK(mprotect(p, kPage, PROT_NONE));
    FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE));
    OK(mprotect(p, kPage, PROT_READ));
    JOIN(check::fork_child([&] { FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE)); }));
    char* const room =
        static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    char* const copy = static_cast<char*>(OK(mremap(p, 0, 2 * kPage, MREMAP_MAYMOVE)));
    FAILS(EACCES, mprotect(copy, kPage, PROT_READ | PROT_WRITE));
    p = static_cast<char*>(OK(mremap(p, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, room)));
    FAILS(EACCES, mprotect(p, kPage, PROT_READ | PROT_WRITE));
    p = static_cast<char*>(OK(mremap(p, 2 * kPage, 4 * kPage, MREMAP_MAYMOVE)));
    FAILS(EACCES, mprotect(p, 4 * kPage, PROT_READ | PROT_WRITE));
    Fd memory(OK(open("/proc/self/mem", O_RDWR)));
    FAILS(EIO, pwrite(memory, "new", 3, reinterpret_cast<off_t>(p)));
    CHECK_EQ(std::string(p, 3), "old");
    // A private mapping is the process's own.
    char* const own = map(fd, kPage, PROT_READ, MAP_PRIVATE);
    OK(mprotect(own, kPage, PROT_READ | PROT_WRITE));
    own[0] = 'x';
    CHECK_EQ(std::string(p, 3), "old");
  }
}

// F_SEAL_FUTURE_WRITE leaves alone what is mapped already, to the last mprotect(2).
TEST(a_mapping_from_before_the_seal_can_be_written) {
  Fd fd(OK(memfd_create("sealed", MFD_ALLOW_SEALING)));
  OK(ftruncate(fd, kPage));
  char* const p = map(fd, kPage);
  OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
  OK(mprotect(p, kPage, PROT_READ));
  OK(mprotect(p, kPage, PROT_READ | PROT_WRITE));
  p[0] = 'n';
  char seen = 0;
  OK(pread(fd, &seen, 1, 0));
  CHECK_EQ(seen, 'n');
}

TEST(a_program_in_memory_runs) {
  Fd fd(OK(memfd_create("program", MFD_CLOEXEC)));
  std::string image = READ_FILE("/bin/true");
  CHECK_EQ(OK(write(fd, image.data(), image.size())), ssize_t(image.size()));
  JOIN(check::fork_child([&] {
    const char* args[] = {"true", nullptr};
    OK(fexecve(fd, const_cast<char**>(args), environ));
  }));
}

TEST(sixteen_threads_fault_one_file) {
  std::string content(64 * kPage, 0);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i / kPage);
  WRITE_FILE("a", content);
  Fd fd(OK(open("a", O_RDONLY)));
  char* p = map(fd, 64 * kPage, PROT_READ, MAP_PRIVATE);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 64; ++i) {
        size_t page = (i + 4 * t) % 64;
        CHECK_EQ(p[page * kPage + 17], static_cast<char>(page));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
