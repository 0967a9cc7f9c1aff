#include "sentry/fs/gofer/client.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "sentry/base/log.h"
#include "sentry/base/packet.h"

namespace sentry::fs::gofer {

namespace protocol = ::gofer;

namespace {
constexpr size_t kForgetBatch = 128;
}

Client::Client(EventLoop& loop, Fd socket, std::function<void()> lost)
    : loop_(loop), socket_(std::move(socket)), lost_(std::move(lost)), receive_(protocol::kMaxMessage) {
  auto watch = HostWatch::create(loop_, socket_.get(), EPOLLIN, [this](uint32_t events) {
    if ((events & EPOLLOUT) != 0) writable();
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) readable();
  });
  BULKHEAD_CHECK(watch.ok(), "the gofer's socket cannot be watched: error {}", watch.error().value());
  watch_ = std::move(*watch);
}

Client::~Client() = default;

Result<uint32_t> Client::hello() {
  const Reply reply = TRY(call(protocol::Op::kHello, protocol::kNoId,
                               [](protocol::Writer& w) { w.put(protocol::HelloRequest{}); }));
  protocol::Reader reader(reply.body);
  const auto answer = TRY(take<protocol::HelloReply>(reader));
  if (answer.version != protocol::kProtocolVersion) return Errno(EPROTO);
  greeted_ = true;
  return answer.attach_count;
}

Result<Client::Reply> Client::exchange(std::vector<uint8_t> packet, protocol::Op op) {
  if (dead_) return Errno(EIO);
  const uint32_t tag = next_tag_++;
  Pending pending{Fiber::current(), op};
  pending_.emplace(tag, &pending);
  send(std::move(packet));
  while (!pending.done) Fiber::park();
  if (pending.error != 0) return Errno(pending.error);
  return std::move(pending.reply);
}

void Client::send(std::vector<uint8_t> packet) {
  if (!unsent_.empty()) {
    unsent_.push_back(std::move(packet));
    return;
  }
  const ssize_t sent = send_now(socket_.get(), packet.data(), packet.size());
  if (sent >= 0) return;
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
    unsent_.push_back(std::move(packet));
    (void)watch_->set_events(EPOLLIN | EPOLLOUT);
    return;
  }
  fail("does not take requests");
}

void Client::writable() {
  while (!unsent_.empty()) {
    const auto& packet = unsent_.front();
    if (send_now(socket_.get(), packet.data(), packet.size()) < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) fail("does not take requests");
      return;
    }
    unsent_.pop_front();
  }
  (void)watch_->set_events(EPOLLIN);
}

void Client::readable() {
  while (!dead_) {
    iovec vec{receive_.data(), receive_.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(protocol::kMaxOpen * sizeof(int))];
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return;
      return fail("is not readable");
    }
    if (size == 0) return fail("has gone");
    std::vector<Fd> fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(c) + at, sizeof number);
        fds.emplace_back(number);
      }
    }
    protocol::Reader reader(std::span(receive_.data(), static_cast<size_t>(size)));
    const auto header = reader.take<protocol::ReplyHeader>();
    if (!header || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return fail("sent a malformed reply");
    const auto found = pending_.find(header->tag);
    if (found == pending_.end() || static_cast<uint16_t>(found->second->op) != header->op)
      return fail("answered what was not asked");
    Pending& pending = *found->second;
    pending_.erase(found);
    // An errno that Linux does not have would pass for something else above.
    pending.error = header->error < 0 || header->error >= 4096 ? EIO : header->error;
    pending.reply.body.assign(reader.rest().begin(), reader.rest().end());
    pending.reply.fds = std::move(fds);
    pending.done = true;
    pending.fiber->wake();
  }
}

void Client::fail(const char* why) {
  if (dead_) return;
  dead_ = true;
  if (greeted_) log("the gofer {}: files cannot be reached any more", why);  // else hello() says so
  for (auto& [tag, pending] : pending_) {
    pending->done = true;
    pending->error = EIO;
    pending->fiber->wake();
  }
  pending_.clear();
  unsent_.clear();
  (void)watch_->set_events(0);
  loop_.post([this] {
    watch_.reset();
    if (lost_) lost_();
  });
}

void Client::forget(protocol::Id id) {
  if (dead_ || id == protocol::kNoId) return;
  forgotten_.push_back(id);
  if (forgotten_.size() >= kForgetBatch) flush();
}

void Client::flush_soon() {
  if (flush_posted_) return;
  flush_posted_ = true;
  loop_.post([this] {
    flush_posted_ = false;
    flush();
  });
}

void Client::flush() {
  if (dead_ || forgotten_.empty()) return;
  std::vector<uint8_t> packet(sizeof(protocol::RequestHeader) + sizeof(protocol::ForgetRequest) +
                              forgotten_.size() * sizeof(protocol::Id));
  protocol::Writer writer(packet);
  writer.put(
      protocol::RequestHeader{next_tag_++, static_cast<uint16_t>(protocol::Op::kForget), 0, protocol::kNoId});
  writer.put(protocol::ForgetRequest{static_cast<uint32_t>(forgotten_.size()), 0});
  writer.bytes(forgotten_.data(), forgotten_.size() * sizeof(protocol::Id));
  forgotten_.clear();
  send(std::move(packet));
}

}  // namespace sentry::fs::gofer
