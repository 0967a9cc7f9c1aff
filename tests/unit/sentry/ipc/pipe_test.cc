#include <sys/epoll.h>

#include <string>

#include "sentry/fs/pipe/pipe_file.h"
#include "tests/unit/sentry/ipc/fibers.h"

namespace sentry::fs::pipe {
namespace {

using fiber_test::let_others_block;
using fiber_test::read;
using fiber_test::write;

constexpr size_t kPage = Pipe::kPage;
constexpr Events kIn = EPOLLIN | EPOLLRDNORM, kOut = EPOLLOUT | EPOLLWRNORM;

Ends make(int flags = 0) { return make_pipe(flags, fiber_test::root()); }

// Delivers so many bytes and then faults, as a reader whose buffer ends at an unmapped page.
class FaultingSink final : public mm::Sink {
 public:
  FaultingSink(uint64_t size, size_t good) : Sink(size), good_(good) {}
  Result<size_t> put(const void* data, size_t size) override {
    const size_t count = std::min({size, good_, static_cast<size_t>(remaining_)});
    if (count == 0) return Errno(EFAULT);
    text.append(static_cast<const char*>(data), count);
    good_ -= count;
    remaining_ -= count;
    return count;
  }
  std::string text;

 private:
  size_t good_;
};

TEST(Pipe, PassesBytesInOrder) {
  Ends ends = make();
  EXPECT_EQ(write(*ends.writer, "hello ").value(), 6u);
  EXPECT_EQ(write(*ends.writer, "world").value(), 5u);
  EXPECT_EQ(read(*ends.reader, 4).value(), "hell");
  EXPECT_EQ(read(*ends.reader, 100).value(), "o world");
  EXPECT_TRUE(read(*ends.reader, 1).is(EAGAIN));
}

TEST(Pipe, EndOfFileAndBrokenPipe) {
  Ends ends = make();
  write(*ends.writer, "x").value();
  ends.writer.reset();
  EXPECT_EQ(ends.reader->poll(), kIn | EPOLLHUP);
  EXPECT_EQ(read(*ends.reader, 10).value(), "x");
  EXPECT_EQ(read(*ends.reader, 10).value(), "");
  EXPECT_EQ(ends.reader->poll(), Events{EPOLLHUP});

  Ends other = make();
  other.reader.reset();
  EXPECT_TRUE(write(*other.writer, "x").is(EPIPE));
  EXPECT_EQ(other.writer->poll(), kOut | EPOLLERR);
}

TEST(Pipe, SmallWritesShareAPage) {
  Ends ends = make();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(write(*ends.writer, "abcd").value(), 4u);
  Pipe* pipe = pipe_of(*ends.writer);
  EXPECT_EQ(pipe->size(), 4000u);
  // 15 more pages fit, then nothing: the first one has 96 bytes left, which a larger write must not use.
  EXPECT_EQ(write(*ends.writer, std::string(15 * kPage, 'x')).value(), 15 * kPage);
  EXPECT_TRUE(pipe->full());
  EXPECT_TRUE(write(*ends.writer, std::string(97, 'y')).is(EAGAIN));
  EXPECT_EQ(ends.writer->poll(), Events{0});
}

TEST(Pipe, LongNonblockingWriteIsPartial) {
  Ends ends = make(O_NONBLOCK);
  EXPECT_EQ(write(*ends.writer, std::string(100000, 'x')).value(), 65536u);
  EXPECT_EQ(read(*ends.reader, kPage - 1).value().size(), kPage - 1);
  EXPECT_TRUE(write(*ends.writer, "y").is(EAGAIN)) << "a page that is not all read makes no room";
  EXPECT_EQ(read(*ends.reader, 1).value().size(), 1u);
  EXPECT_EQ(write(*ends.writer, std::string(5000, 'y')).value(), kPage);
}

TEST(Pipe, BlockingWriterAndReaderMoveEverything) {
  std::string sent;
  for (int i = 0; i < 300000; ++i) sent += static_cast<char>('a' + i % 26);
  std::string received;
  Ends ends = make();
  fiber_test::run({[&] {
                     EXPECT_EQ(write(*ends.writer, sent, false).value(), sent.size());
                     ends.writer.reset();
                   },
                   [&] {
                     for (;;) {
                       const std::string part = read(*ends.reader, 7777, false).value();
                       if (part.empty()) break;
                       received += part;
                     }
                   }});
  EXPECT_EQ(received, sent);
}

TEST(Pipe, WriterWakesWhenTheReaderLeaves) {
  Ends ends = make();
  Result<size_t> result = size_t{0};
  fiber_test::run({[&] { result = write(*ends.writer, std::string(100000, 'x'), false); },
                   [&] {
                     let_others_block();
                     ends.reader.reset();
                   }});
  EXPECT_EQ(result.value(), 65536u);
}

TEST(Pipe, PacketsKeepTheirBounds) {
  Ends ends = make(O_DIRECT);
  write(*ends.writer, "first").value();
  write(*ends.writer, "second").value();
  EXPECT_EQ(read(*ends.reader, 3).value(), "fir");  // the rest of a packet is lost
  EXPECT_EQ(read(*ends.reader, 100).value(), "second");
  EXPECT_EQ(write(*ends.writer, std::string(kPage + 10, 'x')).value(), kPage + 10);
  EXPECT_EQ(read(*ends.reader, 10000).value().size(), kPage);
  EXPECT_EQ(read(*ends.reader, 10000).value().size(), 10u);
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(write(*ends.writer, "x").ok());
  EXPECT_TRUE(write(*ends.writer, "x").is(EAGAIN)) << "a packet takes a slot, however short";
}

TEST(Pipe, AFaultLosesNothing) {
  Ends ends = make();
  const std::string sent = std::string(kPage, 'a') + std::string(kPage, 'b') + std::string(100, 'c');
  write(*ends.writer, sent).value();
  FaultingSink sink(3 * kPage, kPage + 50);
  EXPECT_EQ(ends.reader->read(sink, {}).value(), kPage + 50);
  EXPECT_EQ(pipe_of(*ends.reader)->size(), kPage + 50);
  FaultingSink none(10, 0);
  EXPECT_TRUE(ends.reader->read(none, {}).is(EFAULT));
  EXPECT_EQ(sink.text + read(*ends.reader, 3 * kPage).value(), sent);
}

TEST(Pipe, CapacityCanBeSet) {
  Ends ends = make();
  Pipe& pipe = *pipe_of(*ends.reader);
  EXPECT_EQ(pipe.capacity(), 65536u);
  EXPECT_EQ(pipe.set_capacity(5000, false).value(), 8192u);
  EXPECT_EQ(write(*ends.writer, std::string(10000, 'x')).value(), 8192u);
  EXPECT_TRUE(pipe.set_capacity(4096, false).is(EBUSY));
  EXPECT_EQ(pipe.set_capacity(1 << 20, false).value(), size_t{1} << 20);
  EXPECT_TRUE(pipe.set_capacity((1 << 20) + 1, false).is(EPERM));
  EXPECT_EQ(pipe.set_capacity((1 << 20) + 1, true).value(), size_t{2} << 20);
  EXPECT_TRUE(pipe.set_capacity((uint64_t{1} << 31) + 1, true).is(EINVAL));
}

TEST(Pipe, TakenBytesCanBePutBack) {
  Ends ends = make();
  Pipe& pipe = *pipe_of(*ends.reader);
  std::string sent(3 * kPage, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7);
  pipe.append(sent.data(), sent.size());
  std::string taken(2 * kPage + 17, '\0');
  EXPECT_EQ(pipe.take(taken.data(), taken.size()), taken.size());
  pipe.put_back(taken.data() + 5, taken.size() - 5);
  EXPECT_EQ(taken.substr(0, 5) + read(*ends.reader, 4 * kPage).value(), sent);
}

TEST(Pipe, CanBeOpenedAgain) {
  Ends ends = make();
  write(*ends.writer, "left").value();
  ends.writer.reset();
  const vfs::FileRef again = open_fifo({}, ends.reader->inode(), O_RDONLY).value();
  ends.reader.reset();
  EXPECT_EQ(read(*again, 10).value(), "left");
  EXPECT_EQ(read(*again, 10).value(), "");
  EXPECT_NE(again->poll() & EPOLLHUP, 0u);
}

// A FIFO's node: like a file system's, it has no name of the anonymous kind.
class FifoNode final : public vfs::Inode {
 public:
  explicit FifoNode(vfs::Superblock& superblock) : Inode(superblock) {}
  Result<vfs::Attributes> getattr() override { return vfs::Attributes{}; }
  uint32_t type() const override { return S_IFIFO; }
};
vfs::InodeRef make_node() {
  // The superblock of some anonymous inode serves: nothing asks it.
  static const vfs::InodeRef neighbour = vfs::make_anonymous_inode(S_IFIFO, "fifo", fiber_test::root());
  return std::make_shared<FifoNode>(neighbour->superblock());
}

TEST(Fifo, OpenWaitsForThePartner) {
  const auto inode = make_node();
  vfs::FileRef reader, writer;
  bool reader_waited = false;
  fiber_test::run({[&] { reader = open_fifo({}, inode, O_RDONLY).value(); },
                   [&] {
                     let_others_block();
                     reader_waited = reader == nullptr;
                     writer = open_fifo({}, inode, O_WRONLY).value();
                   }});
  EXPECT_TRUE(reader_waited);
  write(*writer, "through").value();
  EXPECT_EQ(read(*reader, 10).value(), "through");
  write(*writer, "lost").value();
  reader = writer = nullptr;
  EXPECT_EQ(inode->attachment, nullptr) << "the contents go with the last descriptor";
}

TEST(Fifo, NonblockingOpen) {
  const auto inode = make_node();
  EXPECT_TRUE(open_fifo({}, inode, O_WRONLY | O_NONBLOCK).is(ENXIO));
  EXPECT_EQ(inode->attachment, nullptr);
  vfs::FileRef reader = open_fifo({}, inode, O_RDONLY | O_NONBLOCK).value();
  EXPECT_EQ(reader->poll(), Events{0}) << "no hangup before the first writer";
  EXPECT_EQ(read(*reader, 1).value(), "");
  vfs::FileRef writer = open_fifo({}, inode, O_WRONLY | O_NONBLOCK).value();
  EXPECT_TRUE(read(*reader, 1).is(EAGAIN));
  writer.reset();
  EXPECT_EQ(reader->poll(), Events{EPOLLHUP});
  vfs::FileRef both = open_fifo({}, inode, O_RDWR).value();
  EXPECT_EQ(both->poll(), kOut);
}

}  // namespace
}  // namespace sentry::fs::pipe
