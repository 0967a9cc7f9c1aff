#include "sentry/net/rights.h"

#include <map>
#include <set>

#include "sentry/base/event_loop.h"
#include "sentry/net/unix_socket.h"

namespace sentry::net {
namespace {

// Of the sandbox's one thread.
struct InFlight {
  size_t total = 0;
  std::map<uid_t, size_t> by_user;
  std::map<UnixSocket*, size_t> sockets;  // how often each is in flight
  bool collection_is_due = false;
  // Files whose message was dropped. They are closed one after another and not one within another: a chain of
  // sockets that hold each other may be long.
  std::vector<vfs::FileRef> dropped;
  bool dropping = false;
};

InFlight& in_flight() {
  static InFlight& state = *new InFlight;
  return state;
}

}  // namespace

Rights::Rights(std::vector<vfs::FileRef> files, uid_t sender) : files_(std::move(files)), sender_(sender) {
  InFlight& state = in_flight();
  state.total += files_.size();
  state.by_user[sender_] += files_.size();
  for (const vfs::FileRef& file : files_)
    if (auto* socket = dynamic_cast<UnixSocket*>(file.get()); socket != nullptr) ++state.sockets[socket];
}

Result<Rights> Rights::make(std::vector<vfs::FileRef> files, uid_t sender, uint64_t limit) {
  if (files.empty()) return Rights();
  InFlight& state = in_flight();
  const auto mine = state.by_user.find(sender);
  if (state.total + files.size() > kMaximumInFlight || (mine != state.by_user.end() && mine->second > limit))
    return Errno(ETOOMANYREFS);
  return Rights(std::move(files), sender);
}

Rights::Rights(Rights&& other) noexcept : files_(std::exchange(other.files_, {})), sender_(other.sender_) {}

Rights& Rights::operator=(Rights&& other) noexcept {
  if (this != &other) {
    drop();
    files_ = std::exchange(other.files_, {});
    sender_ = other.sender_;
  }
  return *this;
}

void Rights::forget() {
  InFlight& state = in_flight();
  state.total -= files_.size();
  const auto mine = state.by_user.find(sender_);
  mine->second -= files_.size();
  if (mine->second == 0) state.by_user.erase(mine);
  for (const vfs::FileRef& file : files_) {
    auto* socket = dynamic_cast<UnixSocket*>(file.get());
    if (socket == nullptr) continue;
    const auto found = state.sockets.find(socket);
    if (--found->second == 0) state.sockets.erase(found);
  }
}

std::vector<vfs::FileRef> Rights::take() {
  if (!files_.empty()) forget();
  return std::exchange(files_, {});
}

void Rights::drop() {
  if (files_.empty()) return;
  InFlight& state = in_flight();
  for (vfs::FileRef& file : take()) state.dropped.push_back(std::move(file));
  if (state.dropping) return;
  state.dropping = true;
  while (!state.dropped.empty()) {
    const vfs::FileRef file = std::move(state.dropped.back());
    state.dropped.pop_back();
  }
  state.dropping = false;
}

void collect_garbage() {
  InFlight& state = in_flight();
  state.collection_is_due = false;
  if (state.sockets.empty()) return;

  // Candidates: every reference is one in flight.
  std::set<UnixSocket*> candidates;
  for (const auto& [socket, count] : state.sockets)
    if (static_cast<size_t>(socket->weak_from_this().use_count()) == count) candidates.insert(socket);
  const auto for_each_child = [&](UnixSocket* socket, auto action) {
    socket->for_each_right([&](const vfs::FileRef& file) {
      auto* child = dynamic_cast<UnixSocket*>(file.get());
      if (child != nullptr && candidates.contains(child)) action(child);
    });
  };
  // A candidate that is in a queue outside can be received, and with it what its own queue holds.
  std::map<UnixSocket*, size_t> inside;
  for (UnixSocket* socket : candidates) for_each_child(socket, [&](UnixSocket* child) { ++inside[child]; });
  std::vector<UnixSocket*> reachable;
  for (UnixSocket* socket : candidates)
    if (state.sockets[socket] > inside[socket]) reachable.push_back(socket);
  for (UnixSocket* socket : reachable) candidates.erase(socket);
  while (!reachable.empty()) {
    UnixSocket* socket = reachable.back();
    reachable.pop_back();
    for_each_child(socket, [&](UnixSocket* child) {
      candidates.erase(child);
      reachable.push_back(child);
    });
  }
  // The others hold only each other: without what is in their queues they end.
  std::vector<std::shared_ptr<vfs::File>> keep;
  for (UnixSocket* socket : candidates) keep.push_back(socket->shared_from_this());
  for (UnixSocket* socket : candidates) socket->discard_messages();
}

void collect_garbage_later() {
  InFlight& state = in_flight();
  if (state.sockets.empty() || state.collection_is_due) return;
  state.collection_is_due = true;
  EventLoop::current().post(collect_garbage);
}

}  // namespace sentry::net
