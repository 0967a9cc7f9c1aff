// Opening, reading, writing and sizing regular files: open(2), read(2), lseek(2), ftruncate(2), fallocate(2),
// copy_file_range(2), sendfile(2).
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

std::string text_of(const char* path) { return READ_FILE(path); }

TEST(open_missing_file) {
  FAILS(ENOENT, open("missing", O_RDONLY));
  FAILS(ENOENT, open("missing/below", O_RDONLY | O_CREAT, 0644));
  FAILS(ENOENT, open("", O_RDONLY));
}

TEST(open_gives_the_lowest_descriptor) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  Fd b(OK(open("a", O_RDONLY)));
  int low = a;
  a.close();
  Fd c(OK(open("a", O_RDONLY)));
  CHECK_EQ(int(c), low);
}

TEST(create_honours_mode_and_umask) {
  umask(027);
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0777)));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_mode, S_IFREG | 0750);
  CHECK_EQ(st.st_uid, geteuid());
  CHECK_EQ(st.st_size, 0);
  CHECK_EQ(st.st_nlink, 1u);
  // The mode limits later opens, not this one.
  Fd none(OK(open("b", O_RDWR | O_CREAT, 0)));
  CHECK_EQ(OK(write(none, "x", 1)), 1);
}

TEST(create_excl) {
  Fd fd(OK(open("a", O_WRONLY | O_CREAT | O_EXCL, 0600)));
  FAILS(EEXIST, open("a", O_WRONLY | O_CREAT | O_EXCL, 0600));
  OK(symlink("nowhere", "link"));
  FAILS(EEXIST, open("link", O_WRONLY | O_CREAT | O_EXCL, 0600));
  // Without O_EXCL the file is made where the link points.
  Fd through(OK(open("link", O_WRONLY | O_CREAT, 0600)));
  OK(access("nowhere", F_OK));
}

TEST(truncate_on_open) {
  WRITE_FILE("a", "hello");
  Fd fd(OK(open("a", O_WRONLY | O_TRUNC)));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 0);
}

TEST(access_mode_is_enforced) {
  WRITE_FILE("a", "hello");
  char byte;
  Fd reader(OK(open("a", O_RDONLY)));
  FAILS(EBADF, write(reader, "x", 1));
  FAILS(EINVAL, ftruncate(reader, 0));
  Fd writer(OK(open("a", O_WRONLY)));
  FAILS(EBADF, read(writer, &byte, 1));
  CHECK_EQ(OK(fcntl(reader, F_GETFL)) & O_ACCMODE, O_RDONLY);
  CHECK_EQ(OK(fcntl(writer, F_GETFL)) & O_ACCMODE, O_WRONLY);
}

TEST(append_writes_at_the_end_whatever_the_offset) {
  WRITE_FILE("a", "one");
  Fd fd(OK(open("a", O_WRONLY | O_APPEND)));
  OK(lseek(fd, 0, SEEK_SET));
  CHECK_EQ(OK(write(fd, "two", 3)), 3);
  CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 6);
  // pwrite(2), BUGS: on Linux O_APPEND wins over the offset.
  CHECK_EQ(OK(pwrite(fd, "!", 1, 0)), 1);
  CHECK_EQ(text_of("a"), "onetwo!");
  CHECK(OK(fcntl(fd, F_GETFL)) & O_APPEND);
  OK(fcntl(fd, F_SETFL, 0));
  OK(lseek(fd, 0, SEEK_SET));
  OK(write(fd, "ONE", 3));
  CHECK_EQ(text_of("a"), "ONEtwo!");
}

TEST(append_from_two_processes_loses_nothing) {
  WRITE_FILE("a", "");
  auto writer = [](char letter) {
    Fd fd(OK(open("a", O_WRONLY | O_APPEND)));
    std::string line(15, letter);
    line += '\n';
    for (int i = 0; i < 200; ++i) CHECK_EQ(OK(write(fd, line.data(), line.size())), 16);
  };
  pid_t a = check::fork_child([&] { writer('a'); });
  pid_t b = check::fork_child([&] { writer('b'); });
  JOIN(a);
  JOIN(b);
  std::string content = text_of("a");
  CHECK_EQ(content.size(), 400u * 16);
  for (size_t i = 0; i < content.size(); i += 16) {
    CHECK_EQ(content.substr(i, 15), std::string(15, content[i]));
  }
}

TEST(directory_flag) {
  WRITE_FILE("a", "");
  OK(mkdir("d", 0755));
  FAILS(ENOTDIR, open("a", O_RDONLY | O_DIRECTORY));
  Fd dir(OK(open("d", O_RDONLY | O_DIRECTORY)));
  char byte;
  FAILS(EISDIR, read(dir, &byte, 1));
  FAILS(EISDIR, open("d", O_RDWR));
  FAILS(EISDIR, open("d", O_WRONLY));
  FAILS(EISDIR, open("d", O_RDONLY | O_CREAT, 0644));
}

TEST(nofollow_flag) {
  WRITE_FILE("a", "");
  OK(symlink("a", "link"));
  FAILS(ELOOP, open("link", O_RDONLY | O_NOFOLLOW));
  Fd path(OK(open("link", O_PATH | O_NOFOLLOW)));
  struct stat st;
  OK(fstat(path, &st));
  CHECK(S_ISLNK(st.st_mode));
  char target[8];
  CHECK_EQ(OK(readlinkat(path, "", target, sizeof target)), 1);
  OK(mkdir("d", 0755));
  WRITE_FILE("d/b", "");
  OK(symlink("d", "dlink"));
  // Only the last component counts.
  Fd below(OK(open("dlink/b", O_RDONLY | O_NOFOLLOW)));
  FAILS(ENOTDIR, open("dlink", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
}

TEST(path_descriptors) {
  WRITE_FILE("a", "text");
  Fd path(OK(open("a", O_PATH)));
  char byte;
  FAILS(EBADF, read(path, &byte, 1));
  FAILS(EBADF, write(path, "x", 1));
  FAILS(EBADF, lseek(path, 0, SEEK_SET));
  FAILS(EBADF, fchmod(path, 0600));
  FAILS(EBADF, ftruncate(path, 0));
  FAILS(EBADF, mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, path, 0));
  struct stat st;
  OK(fstat(path, &st));
  CHECK_EQ(st.st_size, 4);
  CHECK(OK(fcntl(path, F_GETFL)) & O_PATH);
  Fd copy(OK(dup(path)));
  OK(mkdir("d", 0755));
  WRITE_FILE("d/b", "");
  Fd dir(OK(open("d", O_PATH | O_DIRECTORY)));
  Fd below(OK(openat(dir, "b", O_RDONLY)));
  OK(fchdir(dir));
  OK(access("b", F_OK));
  // A path descriptor opens again through /proc.
  std::string again = "/proc/self/fd/" + std::to_string(int(path));
  Fd reopened(OK(open(again.c_str(), O_RDONLY)));
  CHECK_EQ(OK(read(reopened, &byte, 1)), 1);
}

TEST(bad_descriptors) {
  char byte;
  FAILS(EBADF, read(-1, &byte, 1));
  FAILS(EBADF, read(9999, &byte, 1));
  FAILS(EBADF, write(-1, &byte, 1));
  FAILS(EBADF, close(9999));
  FAILS(EBADF, lseek(9999, 0, SEEK_SET));
  FAILS(EBADF, fsync(9999));
  FAILS(EBADF, ftruncate(9999, 0));
  FAILS(EBADF, openat(9999, "a", O_RDONLY));
  // An absolute path does not look at the directory descriptor.
  Fd fd(OK(openat(9999, "/dev/null", O_RDONLY)));
  FAILS(ENOTDIR, openat(fd, "a", O_RDONLY));
}

TEST(openat_below_a_directory) {
  OK(mkdir("d", 0755));
  Fd dir(OK(open("d", O_RDONLY | O_DIRECTORY)));
  Fd made(OK(openat(dir, "x", O_CREAT | O_WRONLY, 0644)));
  OK(access("d/x", F_OK));
  Fd up(OK(openat(dir, "../d/x", O_RDONLY)));
  Fd here(OK(openat(AT_FDCWD, "d/x", O_RDONLY)));
}

TEST(sequential_and_positioned_io) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(OK(write(fd, "0123456789", 10)), 10);
  char text[16] = {};
  CHECK_EQ(OK(read(fd, text, 4)), 0);
  CHECK_EQ(OK(pread(fd, text, 4, 3)), 4);
  CHECK_EQ(std::string(text, 4), "3456");
  CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 10);
  CHECK_EQ(OK(pwrite(fd, "AB", 2, 1)), 2);
  CHECK_EQ(OK(lseek(fd, -9, SEEK_END)), 1);
  CHECK_EQ(OK(read(fd, text, 3)), 3);
  CHECK_EQ(std::string(text, 3), "AB3");
  CHECK_EQ(OK(pread(fd, text, 16, 8)), 2);
  CHECK_EQ(OK(pread(fd, text, 16, 10)), 0);
  CHECK_EQ(OK(pread(fd, text, 16, 100)), 0);
  FAILS(EINVAL, pread(fd, text, 1, -1));
  FAILS(EINVAL, pwrite(fd, text, 1, -1));
  CHECK_EQ(OK(read(fd, text, 0)), 0);
  CHECK_EQ(OK(write(fd, text, 0)), 0);
}

TEST(seeking) {
  WRITE_FILE("a", "0123456789");
  Fd fd(OK(open("a", O_RDWR)));
  CHECK_EQ(OK(lseek(fd, 4, SEEK_SET)), 4);
  CHECK_EQ(OK(lseek(fd, 3, SEEK_CUR)), 7);
  CHECK_EQ(OK(lseek(fd, 5, SEEK_END)), 15);
  FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
  FAILS(EINVAL, lseek(fd, -16, SEEK_CUR));
  FAILS(EINVAL, lseek(fd, 0, 99));
  CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 15);
  char byte;
  CHECK_EQ(OK(read(fd, &byte, 1)), 0);
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  FAILS(ESPIPE, lseek(pipe_fds[0], 0, SEEK_CUR));
  FAILS(ESPIPE, pread(pipe_fds[0], &byte, 1, 0));
}

TEST(writing_past_the_end_leaves_zeros) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(write(fd, "ab", 2));
  OK(lseek(fd, 10'000, SEEK_SET));
  OK(write(fd, "z", 1));
  std::string content = text_of("a");
  CHECK_EQ(content.size(), 10'001u);
  CHECK_EQ(content.substr(0, 2), "ab");
  CHECK_EQ(content.find_first_not_of('\0', 2), 10'000u);
  CHECK_EQ(content[10'000], 'z');
}

TEST(sparse_files) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  constexpr off_t kGiB = 1 << 30;
  OK(ftruncate(fd, 4 * kGiB));
  OK(pwrite(fd, "end", 3, 3 * kGiB));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 4 * kGiB);
  CHECK(st.st_blocks * 512 < kGiB);
  char text[4] = {1, 1, 1, 1};
  CHECK_EQ(OK(pread(fd, text, 4, kGiB)), 4);
  CHECK_EQ(memcmp(text, "\0\0\0\0", 4), 0);
  CHECK_EQ(OK(pread(fd, text, 3, 3 * kGiB)), 3);
  CHECK_EQ(std::string(text, 3), "end");
}

TEST(reads_go_on_from_data_into_what_is_only_allocated) {
  // Pages that have been written are in the cache, those that have only been allocated are not all: no reason
  // to stop there.
  Fd fd(OK(open("f", O_RDWR | O_CREAT, 0600)));
  for (const off_t size : {12288, 20000, 28192, 40000}) {
    OK(ftruncate(fd, 0));
    std::vector<char> bytes(60000, 'x');
    CHECK_EQ(OK(pwrite(fd, bytes.data(), 8192, 0)), 8192);
    OK(fallocate(fd, 0, 8192, size - 8192));
    CHECK_EQ(OK(pread(fd, bytes.data(), bytes.size(), 6136)), size - 6136);
    CHECK_EQ(bytes[2055], 'x');
    CHECK_EQ(bytes[2056], 0);
  }
}

TEST(seek_data_and_hole) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(pwrite(fd, "data", 4, 1 << 20));
  OK(ftruncate(fd, 2 << 20));
  // lseek(2) lets a file system report no holes at all, so only what must hold is checked.
  off_t data = OK(lseek(fd, 0, SEEK_DATA));
  CHECK(data >= 0 && data <= 1 << 20);
  off_t hole = OK(lseek(fd, 1 << 20, SEEK_HOLE));
  CHECK(hole > 1 << 20 && hole <= 2 << 20);
  FAILS(ENXIO, lseek(fd, 2 << 20, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, 3 << 20, SEEK_HOLE));
  Fd full(OK(open("b", O_RDWR | O_CREAT, 0600)));
  OK(write(full, "abc", 3));
  CHECK_EQ(OK(lseek(full, 0, SEEK_HOLE)), 3);
  CHECK_EQ(OK(lseek(full, 1, SEEK_DATA)), 1);
}

TEST(vectors) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  char one[] = "one", two[] = "twotwo";
  iovec out[] = {{one, 3}, {nullptr, 0}, {two, 6}};
  CHECK_EQ(OK(writev(fd, out, 3)), 9);
  OK(lseek(fd, 0, SEEK_SET));
  char a[2], b[20];
  iovec in[] = {{a, 2}, {b, sizeof b}};
  CHECK_EQ(OK(readv(fd, in, 2)), 9);
  CHECK_EQ(std::string(a, 2) + std::string(b, 7), "onetwotwo");
  CHECK_EQ(OK(preadv(fd, in, 2, 3)), 6);
  CHECK_EQ(std::string(a, 2) + std::string(b, 4), "twotwo");
  CHECK_EQ(OK(pwritev(fd, out, 1, 6)), 3);
  CHECK_EQ(text_of("a"), "onetwoone");
  CHECK_EQ(OK(preadv2(fd, in, 2, -1, 0)), 0);
  CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 9);
  CHECK_EQ(OK(writev(fd, out, 0)), 0);
  FAILS(EINVAL, writev(fd, out, -1));
  FAILS(EINVAL, writev(fd, out, 1025));
  iovec huge[] = {{one, SIZE_MAX}};
  FAILS(EINVAL, writev(fd, huge, 1));
  FAILS(EOPNOTSUPP, preadv2(fd, in, 2, 0, 0x4000'0000));
  // Hints, and writes that wait for the storage.
  CHECK_EQ(OK(preadv2(fd, in, 1, 0, RWF_HIPRI)), static_cast<ssize_t>(in[0].iov_len));
  CHECK_EQ(OK(pwritev2(fd, out, 1, 0, RWF_HIPRI)), static_cast<ssize_t>(out[0].iov_len));
  for (const int flags : {RWF_DSYNC, RWF_SYNC, RWF_DSYNC | RWF_SYNC | RWF_APPEND})
    CHECK_EQ(OK(pwritev2(fd, out, 1, 0, flags)), static_cast<ssize_t>(out[0].iov_len));
}

TEST(read_is_cut_at_the_end_of_the_file) {
  WRITE_FILE("a", std::string(5000, 'x'));
  Fd fd(OK(open("a", O_RDONLY)));
  std::string block(100'000, 0);
  CHECK_EQ(OK(read(fd, block.data(), block.size())), 5000);
  CHECK_EQ(OK(read(fd, block.data(), block.size())), 0);
}

TEST(large_transfers_arrive_whole) {
  std::string content(8 << 20, 0);
  uint32_t seed = 1;
  for (char& byte : content) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(OK(write(fd, content.data(), content.size())), ssize_t(content.size()));
  std::string back(content.size(), 0);
  CHECK_EQ(OK(pread(fd, back.data(), back.size(), 0)), ssize_t(back.size()));
  CHECK(back == content);
  CHECK_EQ(OK(pread(fd, back.data(), 4096, (4 << 20) - 1234)), 4096);
  CHECK(back.compare(0, 4096, content, (4 << 20) - 1234, 4096) == 0);
}

TEST(large_transfers_stop_at_bad_memory) {
  constexpr size_t kSize = 1 << 20, kGood = kSize / 2;
  std::string content(kSize, ' ');
  for (size_t i = 0; i < kSize; ++i) content[i] = static_cast<char>(i * 7 + i / 4096);
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(OK(write(fd, content.data(), kSize)), static_cast<ssize_t>(kSize));
  auto* memory =
      static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(memory != MAP_FAILED);
  OK(mprotect(memory + kGood, kSize - kGood, PROT_NONE));
  CHECK_EQ(OK(pread(fd, memory, kSize, 0)), static_cast<ssize_t>(kGood));
  CHECK(memcmp(memory, content.data(), kGood) == 0);
  FAILS(EFAULT, pread(fd, memory + kGood, kSize - kGood, 0));
  // Into memory that may only be read; and from it, half of it into another file.
  OK(mprotect(memory, kGood, PROT_READ));
  FAILS(EFAULT, pread(fd, memory, kGood, 0));
  Fd other(OK(open("b", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(OK(write(other, memory, kSize)), static_cast<ssize_t>(kGood));
  FAILS(EFAULT, write(other, memory + kGood, kSize - kGood));
  struct stat status;
  OK(fstat(other, &status));
  CHECK_EQ(status.st_size, static_cast<off_t>(kGood));
  OK(mprotect(memory, kSize, PROT_READ | PROT_WRITE));
  memset(memory, 0, kSize);
  CHECK_EQ(OK(pread(other, memory, kSize, 0)), static_cast<ssize_t>(kGood));
  CHECK(memcmp(memory, content.data(), kGood) == 0);
  CHECK_EQ(memory[kGood], 0);
}

TEST(large_transfers_race_with_truncation_and_unmapping) {
  constexpr size_t kSize = 1 << 20;
  const std::string content(kSize, 'x');
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    while (!stop) {
      OK(ftruncate(fd, 0));
      OK(pwrite(fd, content.data(), kSize, 0));
    }
  });
  std::thread unmapper([&] {
    while (!stop) {
      void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      CHECK(memory != MAP_FAILED);
      std::thread reader([&] {
        const ssize_t got = pread(fd, memory, kSize, 0);
        CHECK(got >= 0 || errno == EFAULT);
      });
      OK(munmap(memory, kSize));
      reader.join();
    }
  });
  std::string seen(kSize, ' ');
  for (int i = 0; i < 100; ++i) {
    const auto got = static_cast<size_t>(OK(pread(fd, seen.data(), kSize, 0)));
    // What was there, or zeros where the file has just been cut and is growing: nobody else's bytes.
    CHECK_EQ(seen.substr(0, got).find_first_not_of(std::string_view("x\0", 2)), std::string::npos);
  }
  stop = true;
  changer.join();
  unmapper.join();
}

TEST(truncate_and_ftruncate) {
  WRITE_FILE("a", "0123456789");
  OK(truncate("a", 4));
  CHECK_EQ(text_of("a"), "0123");
  Fd fd(OK(open("a", O_RDWR)));
  OK(ftruncate(fd, 6));
  CHECK_EQ(text_of("a"), std::string("0123\0\0", 6));
  OK(lseek(fd, 5, SEEK_SET));
  OK(ftruncate(fd, 0));
  CHECK_EQ(OK(lseek(fd, 0, SEEK_CUR)), 5);
  OK(write(fd, "x", 1));
  CHECK_EQ(text_of("a"), std::string("\0\0\0\0\0x", 6));
  FAILS(EINVAL, ftruncate(fd, -1));
  FAILS(EINVAL, truncate("a", -1));
  FAILS(ENOENT, truncate("missing", 0));
  FAILS(EISDIR, truncate(".", 0));
  FAILS(ENOENT, truncate("", 0));
}

TEST(shrinking_then_growing_reads_zeros) {
  WRITE_FILE("a", std::string(9000, 'x'));
  Fd fd(OK(open("a", O_RDWR)));
  OK(ftruncate(fd, 4100));
  OK(ftruncate(fd, 9000));
  std::string content = text_of("a");
  CHECK_EQ(content.substr(0, 4100), std::string(4100, 'x'));
  CHECK_EQ(content.substr(4100), std::string(4900, '\0'));
}

TEST(two_descriptions_have_two_offsets_and_a_dup_shares_one) {
  WRITE_FILE("a", "0123456789");
  Fd a(OK(open("a", O_RDONLY)));
  Fd b(OK(open("a", O_RDONLY)));
  Fd c(OK(dup(a)));
  char text[4];
  CHECK_EQ(OK(read(a, text, 4)), 4);
  CHECK_EQ(OK(lseek(b, 0, SEEK_CUR)), 0);
  CHECK_EQ(OK(lseek(c, 0, SEEK_CUR)), 4);
  JOIN(check::fork_child([&] { OK(lseek(a, 7, SEEK_SET)); }));
  CHECK_EQ(OK(lseek(a, 0, SEEK_CUR)), 7);
}

TEST(unlinked_file_lives_while_open) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(write(fd, "text", 4));
  Fd other(OK(open("a", O_RDONLY)));
  OK(unlink("a"));
  FAILS(ENOENT, open("a", O_RDONLY));
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 0u);
  char text[4];
  CHECK_EQ(OK(read(other, text, 4)), 4);
  OK(write(fd, "more", 4));
  OK(ftruncate(fd, 6));
  CHECK_EQ(OK(pread(other, text, 4, 4)), 2);
  // A new file of that name is another file.
  WRITE_FILE("a", "new");
  CHECK_EQ(OK(pread(fd, text, 4, 0)), 4);
  CHECK_EQ(std::string(text, 4), "text");
  std::string name(256, 0);
  ssize_t n = OK(readlink(("/proc/self/fd/" + std::to_string(int(fd))).c_str(), name.data(), name.size()));
  name.resize(size_t(n));
  CHECK(name.ends_with("/a (deleted)"));
}

TEST(tmpfile_flag) {
  int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) SKIP_OPTIONAL("no O_TMPFILE on this file system");
  OK(fd);
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 0u);
  CHECK_EQ(OK(fcntl(fd, F_GETFL)) & (O_TMPFILE | O_ACCMODE), O_TMPFILE | O_RDWR);
  OK(write(fd, "text", 4));
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  OK(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "kept", AT_SYMLINK_FOLLOW));
  CHECK_EQ(text_of("kept"), "text");
}

TEST(fallocate_modes) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  if (fallocate(fd, 0, 0, 8192) != 0 && errno == EOPNOTSUPP) SKIP_OPTIONAL("no fallocate here");
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 8192);
  OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 8192);
  OK(posix_fallocate(fd, 0, 12288));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 12288);
  OK(pwrite(fd, std::string(12288, 'x').data(), 12288, 0));
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
  std::string content = text_of("a");
  CHECK_EQ(content, std::string(4096, 'x') + std::string(4096, '\0') + std::string(4096, 'x'));
  FAILS(EINVAL, fallocate(fd, 0, -1, 10));
  FAILS(EINVAL, fallocate(fd, 0, 0, 0));
  FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
  Fd reader(OK(open("a", O_RDONLY)));
  FAILS(EBADF, fallocate(reader, 0, 0, 10));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  FAILS(ESPIPE, fallocate(pipe_fds[1], 0, 0, 10));
}

TEST(copy_file_range_between_files) {
  std::string content;
  for (int i = 0; content.size() < 300'000; ++i) content += std::to_string(i);
  WRITE_FILE("a", content);
  Fd in(OK(open("a", O_RDONLY)));
  Fd out(OK(open("b", O_RDWR | O_CREAT, 0600)));
  size_t done = 0;
  while (done < content.size()) {
    ssize_t n = OK(copy_file_range(in, nullptr, out, nullptr, content.size() - done, 0));
    CHECK(n > 0);
    done += size_t(n);
  }
  CHECK(text_of("b") == content);
  CHECK_EQ(OK(copy_file_range(in, nullptr, out, nullptr, 10, 0)), 0);
  off_t from = 5, to = 0;
  CHECK_EQ(OK(copy_file_range(in, &from, out, &to, 5, 0)), 5);
  CHECK_EQ(from, 10);
  CHECK_EQ(to, 5);
  CHECK_EQ(OK(lseek(in, 0, SEEK_CUR)), off_t(content.size()));
  CHECK_EQ(text_of("b").substr(0, 5), content.substr(5, 5));
  FAILS(EINVAL, copy_file_range(in, nullptr, out, nullptr, 10, 1));
  FAILS(EBADF, copy_file_range(out, nullptr, in, nullptr, 10, 0));
}

// Offsets count as unsigned until the file system is to use them.
TEST(copy_file_range_from_strange_places) {
  WRITE_FILE("a", "hello");
  Fd in(OK(open("a", O_RDONLY))), out(OK(open("b", O_RDWR | O_CREAT, 0600)));
  off_t start = 0, before = -1, far_before = -100, lowest = INT64_MIN, last = INT64_MAX;
  FAILS(EOVERFLOW, copy_file_range(in, &before, out, nullptr, 5, 0));
  FAILS(EOVERFLOW, copy_file_range(in, &start, out, &before, 5, 0));
  FAILS(EINVAL, copy_file_range(in, &before, out, nullptr, 0, 0));
  FAILS(EINVAL, copy_file_range(in, &far_before, out, nullptr, 5, 0));
  FAILS(EINVAL, copy_file_range(in, &start, out, &far_before, 5, 0));
  FAILS(EINVAL, copy_file_range(in, &lowest, out, nullptr, 5, 0));
  FAILS(EINVAL, copy_file_range(in, &start, out, &lowest, 5, 0));
  CHECK_EQ(OK(copy_file_range(in, &last, out, nullptr, 5, 0)), 0);
  CHECK_EQ(start, 0);
  FAILS(EINVAL, sendfile(out, in, &before, 5));
  CHECK_EQ(text_of("b"), "");
}

// No copying from one file system to another; of files without a size, as /proc's, it would copy nothing.
TEST(copy_file_range_between_file_systems) {
  Fd version(OK(open("/proc/version", O_RDONLY))), memory(OK(memfd_create("memory", 0)));
  Fd name(OK(open("/proc/self/comm", O_RDWR))), out(OK(open("b", O_RDWR | O_CREAT, 0600)));
  FAILS(EXDEV, copy_file_range(version, nullptr, out, nullptr, 100, 0));
  FAILS(EXDEV, copy_file_range(version, nullptr, out, nullptr, 0, 0));
  FAILS(EXDEV, copy_file_range(out, nullptr, name, nullptr, 100, 0));
  FAILS(EXDEV, copy_file_range(version, nullptr, memory, nullptr, 100, 0));
  CHECK_EQ(OK(copy_file_range(version, nullptr, name, nullptr, 100, 0)), 0);
}

TEST(sendfile_to_file_and_pipe) {
  std::string content(100'000, 'q');
  content[77'777] = '!';
  WRITE_FILE("a", content);
  Fd in(OK(open("a", O_RDONLY)));
  Fd out(OK(open("b", O_RDWR | O_CREAT, 0600)));
  size_t done = 0;
  while (done < content.size()) {
    ssize_t n = OK(sendfile(out, in, nullptr, content.size() - done));
    CHECK(n > 0);
    done += size_t(n);
  }
  CHECK_EQ(OK(sendfile(out, in, nullptr, 10)), 0);
  CHECK(text_of("b") == content);
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  off_t offset = 77'770;
  CHECK_EQ(OK(sendfile(pipe_fds[1], in, &offset, 10)), 10);
  CHECK_EQ(offset, 77'780);
  char text[10];
  CHECK_EQ(OK(read(pipe_fds[0], text, 10)), 10);
  CHECK_EQ(std::string(text, 10), "qqqqqqq!qq");
  CHECK_EQ(OK(lseek(in, 0, SEEK_CUR)), off_t(content.size()));
  Fd appending(OK(open("b", O_WRONLY | O_APPEND)));
  FAILS(EINVAL, sendfile(appending, in, nullptr, 10));
}

TEST(sync_calls) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(write(fd, "x", 1));
  OK(fsync(fd));
  OK(fdatasync(fd));
  OK(syncfs(fd));
  Fd dir(OK(open(".", O_RDONLY)));
  OK(fsync(dir));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  FAILS(EINVAL, fsync(pipe_fds[0]));
}

TEST(advice) {
  WRITE_FILE("a", "text");
  Fd fd(OK(open("a", O_RDONLY)));
  CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
  CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  CHECK_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
  OK(readahead(fd, 0, 4));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  CHECK_EQ(posix_fadvise(pipe_fds[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
}

TEST(advice_is_checked) {
  Fd writer(OK(open("a", O_WRONLY | O_CREAT, 0600)));
  FAILS(EBADF, readahead(writer, 0, 4));
  FAILS(EBADF, readahead(999, 0, 4));
  CHECK_EQ(posix_fadvise(writer, 0, -1, POSIX_FADV_NORMAL), EINVAL);
  CHECK_EQ(posix_fadvise(999, 0, 0, POSIX_FADV_NORMAL), EBADF);
}

TEST(parts_are_synchronized) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(write(fd, "text", 4));
  OK(sync_file_range(fd, 0, 2, SYNC_FILE_RANGE_WRITE));
  OK(sync_file_range(fd, 0, 0,
                     SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  OK(sync_file_range(fd, 1 << 20, 4096, 0));
  FAILS(EINVAL, sync_file_range(fd, 0, 0, 8));
  FAILS(EINVAL, sync_file_range(fd, -1, 0, SYNC_FILE_RANGE_WRITE));
  FAILS(EINVAL, sync_file_range(fd, 0, -1, SYNC_FILE_RANGE_WRITE));
  FAILS(EBADF, sync_file_range(999, 0, 0, SYNC_FILE_RANGE_WRITE));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  FAILS(ESPIPE, sync_file_range(pipe_fds[0], 0, 0, SYNC_FILE_RANGE_WRITE));
}

TEST(status_flags_change_by_fcntl) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
  CHECK_EQ(OK(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
  // The access mode and creation flags are not changed.
  OK(fcntl(fd, F_SETFL, O_WRONLY | O_TRUNC));
  CHECK_EQ(OK(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_TRUNC), O_RDWR);
}

TEST(file_size_limit) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit = {1000, 1000};
  OK(setrlimit(RLIMIT_FSIZE, &limit));
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  std::string block(1500, 'x');
  CHECK_EQ(OK(write(fd, block.data(), block.size())), 1000);
  FAILS(EFBIG, write(fd, "x", 1));
  FAILS(EFBIG, ftruncate(fd, 1001));
  pid_t pid = check::fork_child([&] {
    signal(SIGXFSZ, SIG_DFL);
    (void)!write(fd, "x", 1);
  });
  CHECK_KILLED(WAIT_STATUS(pid), SIGXFSZ);
}

TEST(devices) {
  Fd null(OK(open("/dev/null", O_RDWR)));
  char text[64];
  CHECK_EQ(OK(write(null, text, sizeof text)), ssize_t(sizeof text));
  CHECK_EQ(OK(read(null, text, sizeof text)), 0);
  Fd zero(OK(open("/dev/zero", O_RDWR)));
  memset(text, 1, sizeof text);
  CHECK_EQ(OK(read(zero, text, sizeof text)), ssize_t(sizeof text));
  for (char byte : text) CHECK_EQ(byte, 0);
  Fd full(OK(open("/dev/full", O_RDWR)));
  FAILS(ENOSPC, write(full, "x", 1));
  CHECK_EQ(OK(read(full, text, 4)), 4);
  for (const char* name : {"/dev/random", "/dev/urandom"}) {
    Fd random(OK(open(name, O_RDONLY)));
    char a[32] = {}, b[32] = {};
    CHECK_EQ(OK(read(random, a, sizeof a)), 32);
    CHECK_EQ(OK(read(random, b, sizeof b)), 32);
    CHECK(memcmp(a, b, sizeof a) != 0);
  }
  struct stat st;
  OK(stat("/dev/null", &st));
  CHECK(S_ISCHR(st.st_mode));
  CHECK_EQ(st.st_rdev, 0x103u);
  for (const char* name : {"/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"}) {
    OK(lstat(name, &st));
    CHECK(S_ISLNK(st.st_mode));
  }
}

TEST(openat2_resolve) {
  struct OpenHow {
    uint64_t flags, mode, resolve;
  };
  OK(mkdir("d", 0755));
  WRITE_FILE("d/a", "");
  OK(symlink("a", "d/link"));
  OK(symlink("/", "d/root"));
  Fd dir(OK(open("d", O_RDONLY | O_DIRECTORY)));
  auto open_how = [&](const char* path, uint64_t resolve) {
    OpenHow how = {O_RDONLY, 0, resolve};
    return static_cast<int>(syscall(SYS_openat2, int(dir), path, &how, sizeof how));
  };
  if (open_how("a", 0) < 0 && errno == ENOSYS) SKIP_OPTIONAL("no openat2");
  constexpr uint64_t kNoXdev = 1, kNoMagic = 2, kNoSymlinks = 4, kBeneath = 8, kInRoot = 16;
  Fd plain(OK(open_how("a", 0)));
  Fd same_device(OK(open_how("a", kNoXdev)));
  FAILS(EXDEV, open_how("../d/a", kBeneath));
  FAILS(EXDEV, open_how("/etc", kBeneath));
  FAILS(EXDEV, open_how("root", kBeneath));
  Fd link(OK(open_how("link", kBeneath)));
  FAILS(ELOOP, open_how("link", kNoSymlinks));
  Fd in_root(OK(open_how("/../../a", kInRoot)));
  Fd absolute_link(OK(open_how("root/a", kInRoot)));
  Fd proc(OK(open("/proc/self", O_RDONLY | O_DIRECTORY)));
  OpenHow how = {O_RDONLY, 0, kNoMagic};
  FAILS(ELOOP, syscall(SYS_openat2, int(proc), "cwd", &how, sizeof how));
  FAILS(EINVAL, open_how("a", 0x1000));
}

}  // namespace
