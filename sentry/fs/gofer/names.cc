// Names: walking down, looking ahead, listing.
#include <dirent.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/fs/gofer/tree.h"

namespace sentry::fs::gofer {
namespace {

// Names are the gofer's word: none may lead anywhere else.
bool is_component(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

int host_error(int error) { return error > 0 && error < 4096 ? error : EIO; }

constexpr uint32_t kEntrySize = sizeof(protocol::DirEntry) + sizeof(protocol::Attr) + 24;  // about

}  // namespace

Result<protocol::Id> GoferInode::node() {
  if (id_ == protocol::kNoId) TRY(walk({}, std::nullopt));
  return id_;
}

Result<> GoferInode::become(const protocol::Node& node) {
  if (id_ == node.id) return {};
  if ((node.attr.mode & S_IFMT) != type()) {
    tree().client->forget(node.id);
    return Errno(ESTALE);
  }
  if (id_ != protocol::kNoId) {
    tree().client->forget(node.id);
    update(node.attr);
    return {};
  }
  // Whoever else changes the tree after all may have put another file there: then that one is meant.
  tree().remove(*this);
  id_ = node.id;
  update(node.attr);
  if (tree().living(attr_) == nullptr) tree().add(*this);
  parent_.reset();
  name_.clear();
  return {};
}

Result<GoferInode::Way> GoferInode::walk(std::span<const std::string_view> names,
                                         std::optional<int> open_flags) {
  // Without a node the way begins above.
  const std::shared_ptr<GoferInode> above = id_ == protocol::kNoId ? parent_ : nullptr;
  const protocol::Id start = above != nullptr ? TRY(above->node()) : id_;
  const std::string own = name_;
  const size_t count = std::min<size_t>(names.size() + (above != nullptr ? 1 : 0), protocol::kMaxWalk);
  Client::Reply reply = TRY(tree().call(protocol::Op::kWalk, start, [&](protocol::Writer& w) {
    const bool all = count >= names.size();
    w.put(protocol::WalkRequest{static_cast<uint16_t>(count),
                                open_flags && all ? protocol::kWalkOpen : uint16_t{0},
                                static_cast<uint32_t>(open_flags.value_or(0))});
    if (above != nullptr) w.string(own);
    for (const std::string_view name : names.first(count - (above != nullptr ? 1 : 0))) w.string(name);
  }));
  protocol::Reader reader(reply.body);
  const auto answer = TRY(take<protocol::WalkReply>(reader));
  if (answer.count > count) return Errno(EIO);
  std::vector<protocol::Node> nodes;
  for (size_t i = 0; i < answer.count; ++i) nodes.push_back(TRY(take<protocol::Node>(reader)));
  const auto target = reader.text(answer.link_length);
  if (!target) return Errno(EIO);

  Way way;
  way.error = answer.count < count ? host_error(answer.error) : 0;
  way.open_error = answer.open_error == 0 ? 0 : host_error(answer.open_error);
  std::shared_ptr<GoferInode> at = above != nullptr ? above : self();
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (above != nullptr && i == 0) {
      const Result<> became = become(nodes[0]);
      if (!became.ok()) {
        for (size_t rest = 1; rest < nodes.size(); ++rest) tree().client->forget(nodes[rest].id);
        return became.error();
      }
      at = self();
      continue;
    }
    const std::string_view name = names[i - (above != nullptr ? 1 : 0)];
    if (at->ahead_ != nullptr) at->ahead_->forget(name);
    at = tree().adopt(nodes[i]);
    way.found.push_back(at);
  }
  if (!nodes.empty() && answer.link_length != 0 && at->is_symlink()) at->link_target_ = std::string(*target);
  if (answer.opened != 0) {
    const auto opened = TRY(take<protocol::Opened>(reader));
    const bool write = open_flags && (*open_flags & O_ACCMODE) != O_RDONLY;
    if (S_ISREG(at->type()) && !reply.fds.empty())
      at->set_handle(write, opened, reply.take_fd());
    else
      tree().client->forget(opened.handle);
  }
  if (above != nullptr && nodes.empty()) return Errno(host_error(answer.error));
  return way;
}

Result<vfs::InodeRef> GoferInode::lookup(std::string_view name) {
  if (auto ahead = tree().take_prefetched(*this, name)) {
    return vfs::InodeRef(TRY(std::move(*ahead)));
  }
  if (knows_ahead(name)) {
    if (auto inode = take_ahead(name)) return vfs::InodeRef(inode);
  }
  const Way way = TRY(walk({{name}}, std::nullopt));
  if (way.found.empty()) return Errno(way.error);
  return vfs::InodeRef(way.found.front());
}

void GoferInode::expect(std::string_view name, std::string_view rest, bool open) {
  if (tree().has_prefetched(*this, name) || (ahead_ != nullptr && ahead_->has(name))) return;
  std::vector<std::string_view> components{name};
  while (!rest.empty() && components.size() < protocol::kMaxWalk) {
    const size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
    if (component.empty()) continue;
    if (component == "." || component == ".." || component.size() > protocol::kMaxName) {
      open = false;
      break;
    }
    components.push_back(component);
  }
  // Where names are asked for each time, a handle that is open already would be opened again.
  if (!rest.empty() || !tree().exclusive()) open = false;
  if (components.size() < 2 && (!open || knows_ahead(name))) return;
  tree().drop_prefetched();
  const Result<Way> way = walk(components, open ? std::optional(O_RDONLY) : std::nullopt);
  if (!way.ok()) return;  // the lookups will say why
  std::shared_ptr<GoferInode> parent = self();
  size_t known = 0;
  for (const auto& inode : way->found) {
    tree().prefetch({parent, std::string(components[known++]), inode});
    parent = inode;
  }
  if (way->error == ENOENT) tree().prefetch({parent, std::string(components[known]), Errno(ENOENT)});
}

NamesAhead& GoferInode::names_ahead() {
  if (ahead_ == nullptr) ahead_ = std::make_unique<NamesAhead>();
  return *ahead_;
}

// Whether the attributes of this name are here, or come with others' now since much is looked up here.
bool GoferInode::knows_ahead(std::string_view name) {
  if (ahead_ != nullptr && ahead_->has(name)) return true;
  if (!tree().exclusive()) return false;
  const uint32_t count = names_ahead().missed();
  if (count == 0) return false;
  look_ahead(count);
  return ahead_->has(name);
}

std::shared_ptr<GoferInode> GoferInode::take_ahead(std::string_view name) {
  const auto attr = ahead_ == nullptr ? std::nullopt : ahead_->take(name);
  return attr ? tree().adopt(self(), name, *attr) : nullptr;
}

void GoferInode::drop_ahead() {
  if (ahead_ == nullptr) return;
  if (listing_ != nullptr && ahead_->size() != 0 && !ahead_->used()) tree().listing_used(false);
  ahead_->clear();
}

std::shared_ptr<GoferInode> GoferInode::unopened(const DirectoryEntry& entry) {
  if (entry.type != DT_REG) return nullptr;
  std::shared_ptr<GoferInode> inode;
  if (const protocol::Attr* const attr = ahead_->look_at(entry.name))
    inode = tree().adopt(self(), entry.name, *attr);
  else
    inode = tree().living(makedev(attr_.dev_major, attr_.dev_minor), entry.ino);
  const bool here = inode != nullptr && inode->id_ == protocol::kNoId && inode->parent_.get() == this;
  return here && inode->name_ == entry.name && S_ISREG(inode->type()) ? inode : nullptr;
}

Result<> GoferInode::open_files(const std::shared_ptr<GoferInode>& first) {
  NamesAhead& ahead = names_ahead();
  std::vector<std::shared_ptr<GoferInode>> files{first};
  const uint32_t count = ahead.opened();
  if (const Listing listing = listing_; count > 1 && listing != nullptr && tree().opens_ahead()) {
    const size_t size = listing->size();
    size_t looked = 0, at = std::min(ahead.place, size);
    const auto name_at = [&](size_t place) -> const std::string& { return (*listing)[place % size].name; };
    while (looked < size && name_at(at) != first->name_) ++looked, ++at;
    ahead.place = looked < size ? at % size : 0;
    for (size_t i = ahead.place + 1; i < size && i < ahead.place + 4 * count && files.size() < count; ++i)
      if (auto next = unopened((*listing)[i])) files.push_back(std::move(next));
  }
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file->name_);
  Client::Reply reply = TRY(call(protocol::Op::kOpenFiles, [&](protocol::Writer& w) {
    w.put(protocol::OpenFilesRequest{static_cast<uint32_t>(names.size()), 0});
    for (const std::string& name : names) w.string(name);
  }));
  protocol::Reader reader(reply.body);
  size_t fds = 0;
  for (const auto& file : files) {
    const auto opened = TRY(take<protocol::OpenedFile>(reader));
    if (opened.error != 0) {
      if (file == first) return Errno(host_error(opened.error));
      continue;
    }
    if (fds == reply.fds.size()) return Errno(EIO);
    Fd fd = std::move(reply.fds[fds++]);
    if (const Result<> became = file->become(opened.node); !became.ok()) {
      tree().client->forget(opened.opened.handle);
      if (file == first) return became;
      continue;
    }
    file->set_handle(false, opened.opened, std::move(fd));
    if (file == first) continue;
    file->opened_ahead_ = true;
    tree().opened_ahead(file);
  }
  return {};
}

template <typename Add>
Result<bool> GoferInode::read_entries(uint64_t& cookie, uint32_t max_bytes, bool attributes, Add add) {
  const Client::Reply reply = TRY(call(protocol::Op::kReaddir, [&](protocol::Writer& w) {
    w.put(protocol::ReaddirRequest{cookie, max_bytes, attributes ? protocol::kReaddirAttr : 0});
  }));
  protocol::Reader reader(reply.body);
  const auto header = TRY(take<protocol::ReaddirReply>(reader));
  for (uint32_t i = 0; i < header.count; ++i) {
    const auto entry = TRY(take<protocol::DirEntry>(reader));
    protocol::Attr attr;
    if (attributes) attr = TRY(take<protocol::Attr>(reader));
    const auto name = reader.text(entry.name_length);
    if (!name || !is_component(*name)) return Errno(EIO);
    add(entry, *name, attributes && entry.has_attr != 0 ? &attr : nullptr);
    cookie = entry.next;
  }
  if (header.end == 0 && header.count == 0) return Errno(EIO);
  return header.end != 0;
}

void GoferInode::look_ahead(uint32_t count) {
  NamesAhead& ahead = names_ahead();
  if (listing_ != nullptr && ahead.cookie == 0) tree().listing_used(true);
  const uint64_t changes = tree().changes();
  uint64_t cookie = ahead.cookie;
  const Result<bool> last =
      read_entries(cookie, count * kEntrySize, true,
                   [&](const protocol::DirEntry&, std::string_view name, const protocol::Attr* attr) {
                     if (attr != nullptr && tree().changes() == changes && tree().living(*attr) == nullptr)
                       ahead.put(name, *attr);
                   });
  ahead.cookie = cookie;
  ahead.complete = !last.ok() || *last;
  tree().have_ahead(self(), count);
}

Result<Listing> GoferInode::listing() {
  if (listing_ != nullptr && tree().exclusive()) return listing_;
  auto entries = std::make_shared<std::vector<DirectoryEntry>>();
  const uint64_t changes_before = tree().changes();
  const bool attributes = tree().exclusive() && tree().lists_attributes() && !names_ahead().complete;
  uint64_t cookie = 0;
  for (;;) {
    const uint64_t changes = tree().changes();
    const bool last = TRY(
        read_entries(cookie, 0, attributes,
                     [&](const protocol::DirEntry& entry, std::string_view name, const protocol::Attr* attr) {
                       entries->push_back({std::string(name), entry.ino, entry.type});
                       if (attr != nullptr && tree().changes() == changes && tree().living(*attr) == nullptr)
                         names_ahead().put(name, *attr);
                     }));
    if (last) break;
  }
  if (attributes) {
    names_ahead().complete = true;
    tree().have_ahead(self(), entries->size());
  }
  if (tree().exclusive() && tree().changes() == changes_before) listing_ = entries;
  return Listing(entries);
}

}  // namespace sentry::fs::gofer
