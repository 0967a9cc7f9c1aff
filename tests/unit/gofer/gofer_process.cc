#include "tests/unit/gofer/gofer_process.h"

#include <linux/mount.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace gofer_test {

using namespace gofer;

TemporaryTree::TemporaryTree() {
  std::string name = testing::TempDir() + "gofer-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
  path_ = name;
}

TemporaryTree::~TemporaryTree() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TemporaryTree::write(std::string_view name, std::string_view content) const {
  std::ofstream file(at(name), std::ios::binary);
  file << content;
  ASSERT_TRUE(file.good()) << at(name);
}

std::string TemporaryTree::read(std::string_view name) const {
  std::ifstream file(at(name), std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

bool TemporaryTree::exists(std::string_view name) const {
  struct stat status;
  return ::lstat(at(name).c_str(), &status) == 0;
}

namespace {

bool write_file(const char* path, std::string_view content) {
  const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
  return ::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size());
}

// In the child: what the runtime would do, then exec. Reports by exit status, as nothing else is left.
[[noreturn]] void become_gofer(const Launch& setup, int socket, int log, const std::vector<int>& attach_fds) {
  std::vector<std::string> words = {"bulkhead-gofer", "--socket", std::to_string(socket), "--log",
                                    std::to_string(log)};
  const int program = ::open(BULKHEAD_GOFER_PATH, O_PATH | O_CLOEXEC);
  if (setup.confinement == Confinement::kNamespaces) {
    const long proc = ::syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE);
    if (proc < 0) ::_exit(101);
    words.insert(words.end(), {"--proc", std::to_string(proc)});
    if (::mount("none", "/tmp", "tmpfs", 0, "size=64k") != 0 || ::chdir("/tmp") != 0 ||
        ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0)
      ::_exit(102);
  }
  for (size_t i = 0; i < attach_fds.size(); ++i)
    words.insert(words.end(),
                 {"--attach", std::to_string(attach_fds[i]) + (setup.attach[i].read_only ? ":ro" : "")});
  if (setup.uring == Uring::kOff) words.push_back("--no-uring");
  if (setup.descriptors != 0) {
    const rlimit limit{setup.descriptors, setup.descriptors};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(103);
  }
  if (setup.file_size != 0) {
    const rlimit limit{setup.file_size, setup.file_size};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(104);
  }
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  ::syscall(SYS_execveat, program, "", argv.data(), environment, AT_EMPTY_PATH);
  ::_exit(105);
}

}  // namespace

GoferProcess::GoferProcess(const Launch& setup) {
  int sockets[2], logs[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    throw std::runtime_error("socketpair");
  if (::pipe2(logs, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("pipe2");
  socket_ = Fd(sockets[0]);
  log_ = Fd(logs[0]);
  Fd their_socket(sockets[1]), their_log(logs[1]);
  buffer_size_ = setup.buffer_size;
  if (buffer_size_ != 0) {
    buffer_fd_ = Fd(::memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::ftruncate(buffer_fd_.get(), static_cast<off_t>(buffer_size_)) != 0 ||
        ::fcntl(buffer_fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0)
      throw std::runtime_error("memfd");
    void* mapped = ::mmap(nullptr, buffer_size_, PROT_READ | PROT_WRITE, MAP_SHARED, buffer_fd_.get(), 0);
    if (mapped == MAP_FAILED) throw std::runtime_error("mmap");
    buffer_ = static_cast<uint8_t*>(mapped);
  }
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ != 0) return;

  // The attach points are opened here: with namespaces, in the mount namespace that they must belong to.
  if (setup.confinement == Confinement::kNamespaces) {
    const std::string uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
    const std::string uid_map = uid + " " + uid + " 1", gid_map = gid + " " + gid + " 1";
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) !=
        0)
      ::_exit(106);
    if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", uid_map) ||
        !write_file("/proc/self/gid_map", gid_map))
      ::_exit(110);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(107);
    // The new pid namespace is the next child's. This process stays as its reaper and passes on the status.
    const pid_t inner = ::fork();
    if (inner < 0) ::_exit(108);
    if (inner != 0) {
      ::close_range(0, ~0u, 0);
      int status = 0;
      ::waitpid(inner, &status, 0);
      ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status));
    }
  }
  std::vector<int> attach_fds;
  for (const auto& attach : setup.attach) {
    attach_fds.push_back(::open(attach.path.c_str(), O_PATH | O_NOFOLLOW));
    if (attach_fds.back() < 0) ::_exit(109);
  }
  ::fcntl(their_socket.get(), F_SETFD, 0);
  ::fcntl(their_log.get(), F_SETFD, 0);
  become_gofer(setup, their_socket.get(), their_log.get(), attach_fds);
}

GoferProcess::~GoferProcess() {
  finish();
  if (buffer_ != nullptr) ::munmap(buffer_, buffer_size_);
}

int GoferProcess::wait() {
  if (!status_) {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }
  return *status_;
}

int GoferProcess::finish() {
  socket_.reset();
  return wait();
}

std::string GoferProcess::log() {
  std::string text;
  char chunk[4096];
  for (;;) {
    const ssize_t got = ::read(log_.get(), chunk, sizeof(chunk));
    if (got <= 0) return text;
    text.append(chunk, static_cast<size_t>(got));
  }
}

bool GoferProcess::send(const void* packet, size_t size, int fd) {
  iovec vec{const_cast<void*>(packet), size};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

Reply GoferProcess::receive() {
  Reply reply;
  std::vector<uint8_t> packet(kMaxMessage + 1);
  iovec vec{packet.data(), packet.size()};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(2 * kMaxOpen * sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (size < static_cast<ssize_t>(sizeof(ReplyHeader))) return reply;
  EXPECT_LE(static_cast<size_t>(size), kMaxMessage);
  ReplyHeader header;
  std::memcpy(&header, packet.data(), sizeof(header));
  reply.error = header.error;
  reply.tag = header.tag;
  reply.body.assign(packet.begin() + sizeof(header), packet.begin() + size);
  size_t fds = 0;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= one->cmsg_len; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof(int), sizeof(fd));
      if (fds++ == 0)
        reply.fd = Fd(fd);
      else
        reply.more_fds.emplace_back(fd);
    }
  }
  EXPECT_EQ(fds, header.fds);
  EXPECT_LE(fds, header.op == static_cast<uint16_t>(Op::kOpenFiles) ? kMaxOpen : 1);
  if (header.error != 0) {
    EXPECT_TRUE(reply.body.empty());
    EXPECT_EQ(fds, 0u);
  }
  return reply;
}

bool GoferProcess::post_packet(Op op, uint32_t tag, Id id, const std::vector<uint8_t>& body, int fd) {
  std::vector<uint8_t> packet(sizeof(RequestHeader) + body.size());
  Writer writer(packet);
  writer.put(RequestHeader{.tag = tag, .op = static_cast<uint16_t>(op), .id = id});
  writer.bytes(body.data(), body.size());
  return send(packet.data(), packet.size(), fd);
}

Reply GoferProcess::call(Op op, Id id, const std::vector<uint8_t>& body, int fd) {
  const uint32_t tag = next_tag_++;
  if (!post_packet(op, tag, id, body, fd)) return {};
  Reply reply = receive();
  if (reply.error >= 0) {
    EXPECT_EQ(reply.tag, tag);
  }
  return reply;
}

HelloReply GoferProcess::hello() {
  const Reply reply = call(Op::kHello, kNoId, pack(HelloRequest{.buffer_size = buffer_size_}),
                           buffer_fd_ ? buffer_fd_.get() : -1);
  if (reply.error != 0)
    ADD_FAILURE() << "hello: " << reply.error << "; the gofer's status " << wait() << ": " << log();
  return reply.as<HelloReply>();
}

Node GoferProcess::attach(uint32_t index) {
  return call(Op::kAttach, kNoId, AttachRequest{.index = index}).as<AttachReply>().node;
}

GoferProcess::Walked GoferProcess::walk(Id from, const std::vector<std::string_view>& names, uint16_t options,
                                        uint32_t flags) {
  Walked walked;
  Reply reply =
      call(Op::kWalk, from,
           WalkRequest{.count = static_cast<uint16_t>(names.size()), .options = options, .open_flags = flags},
           names);
  walked.error = reply.error;
  if (reply.error != 0) return walked;
  Reader reader(reply.body);
  walked.head = reader.take<WalkReply>().value();
  for (size_t i = 0; i < walked.head.count; ++i) walked.nodes.push_back(reader.take<Node>().value());
  walked.link = reader.text(walked.head.link_length).value();
  if (walked.head.opened) walked.opened = reader.take<Opened>().value();
  EXPECT_TRUE(reader.done());
  walked.fd = std::move(reply.fd);
  return walked;
}

Node GoferProcess::find(Id from, const std::vector<std::string_view>& names) {
  const Walked walked = walk(from, names);
  EXPECT_EQ(walked.error, 0);
  EXPECT_EQ(walked.head.stop, static_cast<uint16_t>(WalkStop::kComplete)) << walked.head.error;
  return walked.nodes.empty() ? Node{} : walked.nodes.back();
}

GoferProcess::Entries GoferProcess::readdir(Id directory, uint64_t cookie, uint32_t options,
                                            uint32_t max_bytes) {
  Entries entries;
  const Reply reply = call(Op::kReaddir, directory,
                           ReaddirRequest{.cookie = cookie, .max_bytes = max_bytes, .options = options});
  entries.error = reply.error;
  if (reply.error != 0) return entries;
  Reader reader(reply.body);
  const auto head = reader.take<ReaddirReply>().value();
  entries.end = head.end != 0;
  for (uint32_t i = 0; i < head.count; ++i) {
    Entries::One one;
    one.head = reader.take<DirEntry>().value();
    if (options & kReaddirAttr) one.attr = reader.take<Attr>().value();
    one.name = reader.text(one.head.name_length).value();
    entries.list.push_back(std::move(one));
  }
  EXPECT_TRUE(reader.done());
  return entries;
}

void GoferProcess::forget(const std::vector<Id>& ids) {
  std::vector<uint8_t> body(sizeof(ForgetRequest) + ids.size() * sizeof(Id));
  Writer writer(body);
  writer.put(ForgetRequest{.count = static_cast<uint32_t>(ids.size())});
  for (const Id id : ids) writer.put(id);
  ASSERT_TRUE(post_packet(Op::kForget, 0, kNoId, body));
}

}  // namespace gofer_test
