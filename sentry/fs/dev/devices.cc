#include "sentry/fs/dev/devices.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

namespace sentry::fs::dev {
namespace {

constexpr unsigned kMemoryMajor = 1;
// Long transfers let other tasks run after this many bytes.
constexpr size_t kSlice = 256 * 1024;

// Repeats `step`, which moves up to its argument's bytes, until `total` are moved, a signal waits, or it
// stops early.
template <typename Step>
Result<size_t> in_slices(uint64_t total, Step step) {
  size_t done = 0;
  while (done < total) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(total - done, kSlice));
    const Result<size_t> moved = step(want);
    if (!moved.ok()) {
      if (done > 0) break;
      return moved.error();
    }
    done += *moved;
    if (*moved < want || done == total) break;
    if (Fiber::current() == nullptr) continue;
    Fiber::yield();
    if (Fiber::current()->interrupted()) break;
  }
  return done;
}

// Takes what is written and forgets it.
Result<size_t> swallow(mm::Source& source) {
  std::array<std::byte, 4096> buffer;
  return in_slices(source.remaining(), [&](size_t want) -> Result<size_t> {
    size_t done = 0;
    while (done < want) {
      const Result<size_t> got = source.get(buffer.data(), std::min(want - done, buffer.size()));
      if (!got.ok()) {
        if (done > 0) break;
        return got.error();
      }
      done += *got;
      if (*got < buffer.size()) break;
    }
    return done;
  });
}

// null_lseek of Linux: the position is always the beginning.
class MemoryDevice : public vfs::File {
 public:
  using File::File;
  bool seekable() const override { return true; }
  Result<uint64_t> seek(int64_t, int) override { return uint64_t{0}; }
  bool pollable() override { return false; }
};

class NullFile final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> read(mm::Sink&, const IoOptions&) override { return size_t{0}; }
  // What is dropped need not be fetched: Linux's write_null does not touch the buffer either.
  Result<size_t> write(mm::Source& source, const IoOptions&) override {
    return static_cast<size_t>(source.remaining());
  }
};

Result<size_t> read_zeros(mm::Sink& sink) {
  return in_slices(sink.remaining(), [&](size_t want) { return sink.put_zeros(want); });
}

// A mapping of /dev/zero is anonymous memory. Shared ones are shared by fork, and by nobody who maps it anew;
// they end where they ended when they were made, wherever mremap(2) takes them.
class ZeroMapping final : public mm::Mappable {
 public:
  ZeroMapping(mm::MemoryFile& memory, const vfs::Attributes& attributes, bool shared)
      : memory_(memory), attributes_(attributes), shared_(shared) {}

  Result<Backing> backing(uint64_t offset, uint64_t length, bool) override {
    // The slice is address room only; pages come with the first touch.
    constexpr uint64_t kRoom = uint64_t{1} << 40;
    if (slice_ == nullptr) {
      first_ = offset;
      size_ = shared_ ? length : kRoom;
      slice_ = TRY(shared_ ? memory_.allocate_shared(size_) : memory_.allocate(size_));
    }
    if (offset < first_) return Errno(ENOMEM);
    const uint64_t at = offset - first_;
    if (at >= size_) {
      if (shared_) return Backing{-1, 0, length};
      return Errno(ENOMEM);
    }
    return Backing{slice_->host_fd(), slice_->host_offset(at), std::min(length, size_ - at)};
  }
  Result<> punch(uint64_t offset, uint64_t length) override {
    if (offset < first_ || offset - first_ >= size_) return {};
    return slice_->discard(offset - first_, std::min(length, size_ - (offset - first_)));
  }
  Identity identity() const override { return {"/dev/zero", 0, 5, attributes_.ino}; }

 private:
  mm::MemoryFile& memory_;
  vfs::Attributes attributes_;
  bool shared_;
  uint64_t first_ = 0, size_ = 0;
  std::unique_ptr<mm::MemorySlice> slice_;
};

class ZeroFile final : public MemoryDevice {
 public:
  ZeroFile(const vfs::Path& path, const vfs::InodeRef& inode, int flags, mm::MemoryFile& memory)
      : MemoryDevice(path, inode, flags), memory_(memory) {}
  Result<size_t> read(mm::Sink& sink, const IoOptions&) override { return read_zeros(sink); }
  Result<size_t> write(mm::Source& source, const IoOptions&) override {
    return static_cast<size_t>(source.remaining());
  }
  Result<std::shared_ptr<mm::Mappable>> mmap(int, int flags) override {
    const bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
    return std::shared_ptr<mm::Mappable>(
        std::make_shared<ZeroMapping>(memory_, TRY(inode()->getattr()), shared));
  }

 private:
  mm::MemoryFile& memory_;
};

class FullFile final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> read(mm::Sink& sink, const IoOptions&) override { return read_zeros(sink); }
  Result<size_t> write(mm::Source&, const IoOptions&) override { return Errno(ENOSPC); }
};

// random and urandom have been the same since Linux 5.6, once the pool is initialised.
class RandomFile final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;

  Result<size_t> read(mm::Sink& sink, const IoOptions&) override {
    std::array<std::byte, 4096> buffer;
    return in_slices(sink.remaining(), [&](size_t want) -> Result<size_t> {
      size_t done = 0;
      while (done < want) {
        const ssize_t got = ::getrandom(buffer.data(), std::min(want - done, buffer.size()), 0);
        if (got < 0) {
          if (errno == EINTR) continue;
          if (done > 0) break;
          return Errno(errno);
        }
        const Result<size_t> put = sink.put(buffer.data(), static_cast<size_t>(got));
        if (!put.ok()) {
          if (done > 0) break;
          return put.error();
        }
        done += *put;
        if (*put < static_cast<size_t>(got) || !sink.catch_up().ok()) break;
      }
      return done;
    });
  }

  // Written entropy is taken and not used: the pool is the host's.
  Result<size_t> write(mm::Source& source, const IoOptions&) override { return swallow(source); }

  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override {
    switch (request) {
      case RNDGETENTCNT: {
        const int bits = 256;
        TRY(memory.write(argument, &bits, sizeof bits));
        return uint64_t{0};
      }
      case RNDADDTOENTCNT:
      case RNDADDENTROPY:
      case RNDZAPENTCNT:
      case RNDCLEARPOOL:
      case RNDRESEEDCRNG:
        return Errno(EPERM);
      default:
        return Errno(ENOTTY);
    }
  }
};

template <typename Device>
vfs::SpecialOpener opener() {
  return [](const vfs::Path& path, const vfs::InodeRef& inode, int flags) -> Result<vfs::FileRef> {
    return vfs::FileRef(std::make_shared<Device>(path, inode, flags));
  };
}

struct StandardNode {
  const char* name;
  unsigned major, minor;
};
constexpr StandardNode kNodes[] = {{"null", 1, 3},    {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8},
                                   {"urandom", 1, 9}, {"tty", 5, 0},  {"ptmx", 5, 2}};

struct StandardLink {
  const char* name;
  const char* target;
};
constexpr StandardLink kLinks[] = {{"fd", "/proc/self/fd"},
                                   {"stdin", "/proc/self/fd/0"},
                                   {"stdout", "/proc/self/fd/1"},
                                   {"stderr", "/proc/self/fd/2"}};

// The operator's device, with the directories that lead to it.
Result<> add_device(vfs::InodeRef directory, std::string_view path, const boot::Device& device) {
  for (;;) {
    while (path.starts_with('/')) path.remove_prefix(1);
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == "..") return Errno(EINVAL);
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash);
    Result<vfs::InodeRef> next = directory->lookup(name);
    if (next.is(ENOENT)) next = directory->mkdir(name, {.mode = S_IFDIR | 0755});
    directory = TRY(std::move(next));
  }
  uint32_t type = 0;
  switch (device.type) {
    case 'c':
    case 'u':
      type = S_IFCHR;
      break;
    case 'b':
      type = S_IFBLK;
      break;
    case 'p':
      type = S_IFIFO;
      break;
    default:
      return Errno(EINVAL);
  }
  // A device of ours by that name gives way, as the runtime specification lets the operator's own replace it.
  const Result<vfs::InodeRef> old = directory->lookup(path);
  if (old.ok() && *old != nullptr) TRY(directory->unlink(path, **old));
  const vfs::NewNode node{.mode = type | (device.mode & 07777),
                          .uid = device.uid,
                          .gid = device.gid,
                          .rdev = type == S_IFIFO ? 0 : makedev(device.major, device.minor)};
  TRY(directory->create(path, node));
  return {};
}

}  // namespace

void register_memory_devices(vfs::DeviceRegistry& registry, kernel::Kernel& kernel) {
  registry.add(S_IFCHR, kMemoryMajor, 3, opener<NullFile>());
  registry.add(S_IFCHR, kMemoryMajor, 7, opener<FullFile>());
  registry.add(S_IFCHR, kMemoryMajor, 8, opener<RandomFile>());
  registry.add(S_IFCHR, kMemoryMajor, 9, opener<RandomFile>());
  registry.add(
      S_IFCHR, kMemoryMajor, 5,
      [&kernel](const vfs::Path& path, const vfs::InodeRef& inode, int flags) -> Result<vfs::FileRef> {
        return vfs::FileRef(std::make_shared<ZeroFile>(path, inode, flags, kernel.memory_file));
      });
}

Result<> populate(vfs::Superblock& superblock, bool console, const std::vector<boot::Device>& devices) {
  const vfs::InodeRef root = superblock.root();
  for (const StandardNode& node : kNodes)
    TRY(root->create(node.name, {.mode = S_IFCHR | 0666, .rdev = makedev(node.major, node.minor)}));
  if (console) TRY(root->create("console", {.mode = S_IFCHR | 0620, .gid = 5, .rdev = makedev(5, 1)}));
  for (const StandardLink& link : kLinks)
    TRY(root->symlink(link.name, {.mode = S_IFLNK | 0777}, link.target));
  TRY(root->mkdir("pts", {.mode = S_IFDIR | 0755}));
  TRY(root->mkdir("shm", {.mode = S_IFDIR | 01777}));
  TRY(root->mkdir("mqueue", {.mode = S_IFDIR | 01777}));
  constexpr std::string_view kPrefix = "/dev/";
  for (const boot::Device& device : devices)
    if (std::string_view(device.path).starts_with(kPrefix))
      TRY(add_device(root, std::string_view(device.path).substr(kPrefix.size()), device));
  return {};
}

}  // namespace sentry::fs::dev
