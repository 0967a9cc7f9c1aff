#include "gofer/decoder.h"

#include <gtest/gtest.h>

#include <vector>

#include "gofer/id_table.h"

namespace gofer {
namespace {

using namespace std::string_view_literals;

TEST(Component, StaysInItsDirectory) {
  EXPECT_TRUE(check_component("a").ok());
  EXPECT_TRUE(check_component("...").ok());
  EXPECT_TRUE(check_component(" \n\xff").ok());
  EXPECT_TRUE(check_component(std::string(kMaxName, 'x')).ok());
  for (const auto name : {""sv, "."sv, ".."sv, "/"sv, "a/b"sv, "../a"sv, "a\0b"sv, "\0"sv, "a/"sv})
    EXPECT_TRUE(check_component(name).is(EINVAL)) << name;
  EXPECT_TRUE(check_component(std::string(kMaxName + 1, 'x')).is(ENAMETOOLONG));
}

TEST(Decoder, TellsFormFromContent) {
  std::vector<uint8_t> packet(64);
  Writer writer(packet);
  writer.string("a/b");
  Decoder content(writer.packet());
  EXPECT_TRUE(content.name().is(EINVAL));
  EXPECT_EQ(content.complaint(), nullptr);

  Decoder cut(writer.packet().first(3));
  EXPECT_FALSE(cut.name().ok());
  EXPECT_NE(cut.complaint(), nullptr);

  Decoder trailing(writer.packet());
  EXPECT_FALSE(trailing.end().ok());
  EXPECT_NE(trailing.complaint(), nullptr);

  Decoder body(writer.packet());
  EXPECT_FALSE(body.body<WalkRequest>().ok());
  EXPECT_NE(body.complaint(), nullptr);
}

TEST(Decoder, TakesWhatAWriterPut) {
  std::vector<uint8_t> packet(64);
  Writer writer(packet);
  writer.put(WalkRequest{.count = 2}).string("one").string("two");
  Decoder in(writer.packet());
  EXPECT_EQ(in.body<WalkRequest>()->count, 2);
  EXPECT_STREQ(in.name()->c_str(), "one");
  EXPECT_EQ(*in.component(), "two");
  EXPECT_TRUE(in.end().ok());
}

TEST(Writer, RefusesWhatDoesNotFit) {
  std::vector<uint8_t> packet(4);
  Writer writer(packet);
  writer.put(uint32_t{1}).put(uint8_t{2});
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.size(), 4u);
}

Entry open_null() {
  Entry entry;
  entry.fd = Fd(::dup(0));
  return entry;
}

TEST(IdTable, ReleasedIdsAreStaleForever) {
  IdTable table(8);
  std::vector<Id> old;
  for (int round = 0; round < 100; ++round) {
    const Id id = table.insert(open_null());
    EXPECT_NE(id, kNoId);
    EXPECT_TRUE(table.find(id).ok());
    for (const Id earlier : old) EXPECT_TRUE(table.find(earlier).is(ESTALE));
    table.release(id);
    EXPECT_TRUE(table.find(id).is(ESTALE));
    table.release(id);
    old.push_back(id);
  }
  EXPECT_EQ(table.held(), 0u);
}

TEST(IdTable, NeverIssuedIdsAreBad) {
  IdTable table(8);
  const Id id = table.insert(open_null());
  EXPECT_TRUE(table.find(0).is(EBADF));
  EXPECT_TRUE(table.find(id + 1).is(EBADF));
  EXPECT_TRUE(table.find(id + (Id{1} << 32)).is(EBADF));
  EXPECT_TRUE(table.find(id & 0xffffffff).is(EBADF));
  EXPECT_TRUE(table.find(~Id{0}).is(EBADF));
  EXPECT_TRUE(table.handle(id).is(EBADF));
  EXPECT_TRUE(table.node(id).ok());
}

TEST(IdTable, CountsDescriptorsAndKeepsRoots) {
  IdTable table(3);
  Entry root = open_null();
  root.pinned = true;
  const Id root_id = table.insert(std::move(root));
  const Id id = table.insert(open_null());
  table.hold_directory(**table.find(id), Fd(::dup(0)));
  EXPECT_TRUE(table.require(1).is(ENFILE));
  table.release(root_id);
  EXPECT_TRUE(table.find(root_id).ok());
  EXPECT_TRUE(table.require(1).is(ENFILE));
  table.release(id);
  EXPECT_TRUE(table.require(2).ok());
  EXPECT_TRUE(table.require(3).is(ENFILE));
}

}  // namespace
}  // namespace gofer
