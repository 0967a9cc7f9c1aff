#include "gofer/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sentry/base/fd.h"

namespace gofer {
namespace {

constexpr int kAt = 90;

std::unique_ptr<Ring> make_ring() {
  auto ring = Ring::create(kAt);
  if (!ring.ok()) return nullptr;
  return std::move(*ring);
}

// What the host answers to a submission that the gofer would never make.
int answer_to(Ring& ring, void (*prepare)(io_uring_sqe*)) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring.host_ring());
  prepare(entry);
  EXPECT_EQ(io_uring_submit(&ring.host_ring()), 1);
  io_uring_cqe* completion = nullptr;
  EXPECT_EQ(io_uring_wait_cqe(&ring.host_ring(), &completion), 0);
  const int result = completion->res;
  io_uring_cqe_seen(&ring.host_ring(), completion);
  return result;
}

TEST(Ring, RefusesAllButItsFourOperations) {
  const auto ring = make_ring();
  if (!ring) GTEST_SKIP() << "no io_uring on this host";
  EXPECT_EQ(ring->fd(), kAt);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_nop(e); }), -EACCES);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_openat(e, AT_FDCWD, "/", O_PATH, 0); }),
            -EACCES);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_socket(e, 1, 1, 0, 0); }), -EACCES);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_poll_add(e, 0, 1); }), -EACCES);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_close(e, 0); }), -EACCES);
  // The four, on a descriptor that does not exist: let through to the file.
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_read(e, 999, nullptr, 0, 0); }), -EBADF);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_write(e, 999, nullptr, 0, 0); }), -EBADF);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_fsync(e, 999, 0); }), -EBADF);
  EXPECT_EQ(answer_to(*ring, [](io_uring_sqe* e) { io_uring_prep_fallocate(e, 999, 0, 0, 1); }), -EBADF);
  // Nor registered buffers, files or personalities, nor an entry with flags (linked, asynchronous).
  const sentry::Fd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(io_uring_register_eventfd(&ring->host_ring(), event.get()), -EACCES);
  EXPECT_EQ(io_uring_register_personality(&ring->host_ring()), -EACCES);
  EXPECT_EQ(answer_to(*ring,
                      [](io_uring_sqe* e) {
                        io_uring_prep_read(e, 999, nullptr, 0, 0);
                        io_uring_sqe_set_flags(e, IOSQE_ASYNC);
                      }),
            -EACCES);
}

TEST(Ring, DoesTransfersAtOnce) {
  const auto ring = make_ring();
  if (!ring) GTEST_SKIP() << "no io_uring on this host";
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const sentry::Fd reader(ends[0]), writer(ends[1]);
  const sentry::Fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  char from_pipe = 0, from_file[4] = {};
  Transfer& slow = ring->claim();
  ring->read(slow, reader.get(), &from_pipe, 1, 0);
  EXPECT_FALSE(ring->reap());
  Transfer& fast = ring->claim();
  ring->read(fast, file.get(), from_file, sizeof(from_file), 0);
  ring->wait();
  auto finished = ring->reap();
  ASSERT_TRUE(finished);
  EXPECT_EQ(finished->transfer, &fast);  // the slow one does not hold it up
  EXPECT_EQ(finished->result, 4);
  EXPECT_EQ(std::string_view(from_file + 1, 3), "ELF");
  ring->release(fast);
  EXPECT_EQ(ring->in_flight(), 1u);
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  ring->wait();
  finished = ring->reap();
  ASSERT_TRUE(finished);
  EXPECT_EQ(finished->transfer, &slow);
  EXPECT_EQ(from_pipe, 'x');
  ring->release(slow);

  for (unsigned i = 0; i < Ring::kTransfers; ++i) {
    EXPECT_FALSE(ring->full());
    ring->read(ring->claim(), file.get(), from_file, 1, i);
  }
  EXPECT_TRUE(ring->full());
  while (ring->in_flight() > 0) {
    ring->wait();
    while ((finished = ring->reap())) {
      EXPECT_EQ(finished->result, 1);
      ring->release(*finished->transfer);
    }
  }
}

}  // namespace
}  // namespace gofer
