// Runs gofer_message.cc on inputs made from a fixed seed: mostly sensible requests on few names and ids, so
// that they find each other's results, some of them damaged. Arguments: files to run instead (what libFuzzer
// found).
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "gofer/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using namespace gofer;
using namespace std::string_view_literals;

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  std::vector<uint8_t> input() {
    std::vector<uint8_t> bytes = {static_cast<uint8_t>(random_() % 16 == 0)};  // the ring costs time to make
    // First some files and directories, so that low ids stand for something.
    uint32_t tag = 0;
    for (const auto start : {"file"sv, "dir"sv, "file"sv, "fifo"sv, "link"sv})
      append(bytes, walk(tag++, Id{1} << 32, start));
    append(bytes, walk(tag++, Id{1} << 32 | 1, "file"));
    for (uint32_t i = 0, count = 1 + below(120); i < count; ++i) {
      auto packet = request(tag++);
      if (below(100) == 0) damage(packet);
      append(bytes, packet);
    }
    return bytes;
  }

 private:
  static void append(std::vector<uint8_t>& bytes, const std::vector<uint8_t>& packet) {
    const auto length = static_cast<uint16_t>(packet.size());
    bytes.push_back(static_cast<uint8_t>(length));
    bytes.push_back(static_cast<uint8_t>(length >> 8));
    bytes.insert(bytes.end(), packet.begin(), packet.end());
  }
  std::vector<uint8_t> walk(uint32_t tag, Id from, std::string_view to) {
    std::vector<uint8_t> packet(256);
    Writer out(packet);
    out.put(RequestHeader{.tag = tag, .op = static_cast<uint16_t>(Op::kWalk), .id = from});
    out.put(WalkRequest{.count = 1, .options = kWalkOpen, .open_flags = below(2) * uint32_t{O_RDWR}})
        .string(to);
    packet.resize(out.size());
    return packet;
  }

  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(random_()) % bound; }
  template <typename T, size_t kCount>
  T pick(const T (&from)[kCount]) {
    return from[below(kCount)];
  }
  // The roots, what the first requests made, and ids that were never there.
  Id id() {
    if (below(30) == 0) return random_();
    const Id generation = below(8) == 0 ? 2 : 1;
    return generation << 32 | (below(3) == 0 ? below(2) : below(12));
  }
  std::string_view name() {
    return pick({"file"sv, "dir"sv, "link"sv, "dirlink"sv, "fifo"sv, "new"sv, "c"sv, "d"sv, "e"sv, "inner"sv,
                 "sub"sv, "a"sv, "b"sv, ".."sv, "a/b"sv});
  }
  uint64_t number() {
    return pick<uint64_t>({0, 1, 7, 100, 4096, 65536, 1 << 20, ~0ull, 1ull << 63, 1ull << 40});
  }
  uint32_t small() { return pick<uint32_t>({0, 1, 7, 100, 4096, 60 * 1024}); }
  uint32_t open_flags() {
    return pick<uint32_t>(
        {O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_RDWR | O_APPEND, O_CREAT});
  }
  uint32_t owner() { return pick<uint32_t>({kKeepId, kKeepId, 0, 1000, ~1u}); }

  std::vector<uint8_t> request(uint32_t tag) {
    std::vector<uint8_t> packet(kMaxMessage);
    Writer out(packet);
    const auto op = static_cast<Op>(below(4) == 0 ? 3 : 2 + below(kLastOp - 1));
    out.put(RequestHeader{.tag = tag, .op = static_cast<uint16_t>(op), .id = id()});
    switch (op) {
      case Op::kAttach:
        out.put(AttachRequest{.index = below(3)});
        break;
      case Op::kWalk: {
        const auto count = static_cast<uint16_t>(1 + below(3));
        out.put(WalkRequest{
            .count = count, .options = static_cast<uint16_t>(below(2)), .open_flags = open_flags()});
        for (int i = 0; i < count; ++i) out.string(name());
        break;
      }
      case Op::kOpen:
        out.put(OpenRequest{.flags = open_flags()});
        break;
      case Op::kCreate:
        out.put(CreateRequest{open_flags(), below(010000), owner(), owner()}).string(name());
        break;
      case Op::kMkdir:
        out.put(MakeRequest{below(010000), owner(), owner()}).string(name());
        break;
      case Op::kMknod:
        out.put(MakeRequest{pick<uint32_t>({S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFDIR}) | below(010000),
                            owner(), owner()});
        out.string(name());
        break;
      case Op::kSymlink:
        out.put(MakeRequest{0, owner(), owner()})
            .string(name())
            .string(pick({"file"sv, "/"sv, "../.."sv, ""sv}));
        break;
      case Op::kLink:
        out.put(LinkRequest{id()}).string(name());
        break;
      case Op::kRename:
        out.put(RenameRequest{id(), below(4)}).string(name()).string(name());
        break;
      case Op::kSetattr:
        out.put(SetattrRequest{1u << below(9) | 1u << below(9),
                               below(010000),
                               owner(),
                               owner(),
                               number(),
                               below(2) ? id() : kNoId,
                               {5, below(2'000'000'000)},
                               {6, 7}});
        break;
      case Op::kReaddir:
        out.put(ReaddirRequest{below(2) ? 0 : number(), small(), below(2)});
        break;
      case Op::kGetxattr:
        out.put(XattrRequest{small()}).string(attribute());
        break;
      case Op::kListxattr:
        out.put(XattrRequest{small()});
        break;
      case Op::kSetxattr: {
        const std::string value(below(100), 'v');
        out.put(SetxattrRequest{below(3), static_cast<uint32_t>(value.size())})
            .string(attribute())
            .text(value);
        break;
      }
      case Op::kRemovexattr:
        out.string(attribute());
        break;
      case Op::kUnlink:
      case Op::kRmdir:
        out.string(name());
        break;
      case Op::kRead:
        out.put(ReadRequest{number(), below(8) ? kInPacket : number(), small()});
        break;
      case Op::kWrite: {
        const std::string data(small(), 'd');
        out.put(WriteRequest{number(), kInPacket, static_cast<uint32_t>(data.size()), below(9)}).text(data);
        break;
      }
      case Op::kFsync:
        out.put(FsyncRequest{below(2)});
        break;
      case Op::kFallocate:
        out.put(FallocateRequest{below(128), 0, number(), number()});
        break;
      case Op::kForget:
        out.put(ForgetRequest{2}).put(id()).put(id());
        break;
      default:
        break;  // no body
    }
    packet.resize(out.size());
    return packet;
  }

  std::string_view attribute() {
    return pick({"user.a"sv, "user.b"sv, "security.x"sv, "trusted.x"sv, "user."sv, ""sv});
  }

  void damage(std::vector<uint8_t>& packet) {
    switch (below(4)) {
      case 0:
        packet.resize(below(static_cast<uint32_t>(packet.size())));
        break;
      case 1:
        packet.push_back(static_cast<uint8_t>(random_()));
        break;
      default:
        for (uint32_t i = 0, count = 1 + below(4); i < count; ++i)
          packet[below(static_cast<uint32_t>(packet.size()))] = static_cast<uint8_t>(random_());
    }
  }

  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--runs") {
    const auto runs = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
    for (uint32_t seed = 0; seed < runs; ++seed) {
      const auto input = Generator(seed).input();
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::printf("%u inputs\n", runs);
    return runs > 0 ? 0 : 1;
  }
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s: cannot be read\n", argv[i]);
      return 1;
    }
    const std::vector<uint8_t> input{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  if (argc < 2) std::fprintf(stderr, "usage: %s --runs N | FILE...\n", argv[0]);
  return argc < 2 ? 1 : 0;
}
