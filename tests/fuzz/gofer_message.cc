// Fuzzes the gofer with whole connections: the input is a sequence of requests, each behind its length (16
// bits), which a Server takes in this process, on a scratch tree. Checked besides crashes: each request is
// answered once, with its tag, or ends the connection with a complaint; a read-only tree and what lies beside
// the trees stay as they are; no descriptor is lost.
//
// Built with clang's -fsanitize=fuzzer it is a libFuzzer target; gofer_message_driver.cc makes it a
// deterministic test.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "gofer/server.h"
#include "sentry/base/log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using sentry::Fd;

// Where the ring's descriptor goes; the trees and the socket are far below.
constexpr int kRingFd = 100;

#define REQUIRE(condition)                                                               \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (0)

class Scratch {
 public:
  Scratch() {
    const char* directory = std::getenv("TMPDIR");
    std::string name = std::string(directory != nullptr ? directory : "/tmp") + "/gofer-fuzz-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    std::filesystem::create_directories(path_ + "/read-only/dir");
    write("read-only/file", "content");
    write("beside", "beside");
    // Nothing large is ever made, whatever an input asks for.
    const rlimit limit{1 << 20, 1 << 20};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    ::signal(SIGXFSZ, SIG_IGN);
    // What FdPath wants.
    REQUIRE(::chdir("/proc/self/fd") == 0);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }

  void rebuild() const {
    const std::string tree = path_ + "/tree";
    std::filesystem::remove_all(tree);
    std::filesystem::create_directories(tree + "/dir/sub");
    write("tree/file", "content");
    write("tree/dir/inner", "inner");
    std::filesystem::create_symlink("../../beside", tree + "/link");
    std::filesystem::create_symlink("dir", tree + "/dirlink");
    REQUIRE(::mkfifo((tree + "/fifo").c_str(), 0600) == 0);
  }
  void check() const {
    REQUIRE(read("beside") == "beside");
    REQUIRE(read("read-only/file") == "content");
    size_t entries = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::recursive_directory_iterator(path_ + "/read-only"))
      ++entries;
    REQUIRE(entries == 2);
    entries = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++entries;
    REQUIRE(entries == 3);
  }
  gofer::AttachPoint attach(const char* name, bool read_only) const {
    gofer::AttachPoint point{Fd(::open((path_ + "/" + name).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
                             read_only};
    REQUIRE(point.fd);
    return point;
  }

 private:
  void write(const char* name, const char* content) const { std::ofstream(path_ + "/" + name) << content; }
  std::string read(const char* name) const {
    std::ostringstream content;
    content << std::ifstream(path_ + "/" + name).rdbuf();
    return content.str();
  }
  std::string path_;
};

size_t count_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

// Takes all replies that wait: how many. `tag` is what each must have.
size_t drain(int socket, uint32_t tag) {
  size_t replies = 0;
  for (;;) {
    static uint8_t packet[gofer::kMaxMessage + 1];
    iovec vec{packet, sizeof(packet)};
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t size = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return replies;
    gofer::ReplyHeader header;
    REQUIRE(size >= static_cast<ssize_t>(sizeof(header)));
    REQUIRE(size <= static_cast<ssize_t>(gofer::kMaxMessage));
    std::memcpy(&header, packet, sizeof(header));
    REQUIRE(header.tag == tag);
    REQUIRE(header.error >= 0 && header.error < 4096);
    REQUIRE(header.error == 0 || (size == sizeof(header) && header.fds == 0));
    size_t fds = 0;
    for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(one), sizeof(fd));
      struct stat status;
      REQUIRE(::fstat(fd, &status) == 0 && S_ISREG(status.st_mode));  // nothing else is donated
      ::close(fd);
      ++fds;
    }
    REQUIRE(fds == header.fds && fds <= 1);
    ++replies;
  }
}

void run(const Scratch& scratch, bool with_ring, std::span<const uint8_t> input) {
  int sockets[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
  const Fd client(sockets[0]), own(sockets[1]);
  std::vector<gofer::AttachPoint> attach_points;
  attach_points.push_back(scratch.attach("tree", false));
  attach_points.push_back(scratch.attach("read-only", true));
  std::unique_ptr<gofer::Ring> ring;
  if (with_ring) {
    auto made = gofer::Ring::create(kRingFd);
    if (made.ok()) ring = std::move(*made);
  }
  const auto server =
      std::make_unique<gofer::Server>(own.get(), std::move(attach_points), 40, std::move(ring));

  const gofer::RequestHeader greeting_header{.tag = 1, .op = static_cast<uint16_t>(gofer::Op::kHello)};
  uint8_t greeting[64];
  gofer::Writer writer(greeting);
  writer.put(greeting_header).put(gofer::HelloRequest{});
  REQUIRE(server->handle(writer.packet()));
  REQUIRE(drain(client.get(), 1) == 1);

  gofer::Reader reader(input);
  while (const auto length = reader.take<uint16_t>()) {
    const auto packet = reader.bytes(std::min<size_t>(*length, reader.rest().size()));
    const bool well_formed = server->handle(*packet);
    server->finish_transfers();
    gofer::RequestHeader header;
    if (packet->size() >= sizeof(header)) std::memcpy(&header, packet->data(), sizeof(header));
    const size_t replies = drain(client.get(), header.tag);
    if (!well_formed) {
      REQUIRE(!server->complaint().empty());
      REQUIRE(replies == 0);
      break;
    }
    REQUIRE(replies == (header.op == static_cast<uint16_t>(gofer::Op::kForget) ? 0 : 1));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch scratch;
  if (size == 0) return 0;
  scratch.rebuild();
  const size_t before = count_descriptors();
  run(scratch, (data[0] & 1) != 0, std::span(data + 1, size - 1));
  REQUIRE(count_descriptors() == before);
  scratch.check();
  return 0;
}
