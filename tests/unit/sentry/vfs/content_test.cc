// The bytes of tmpfs files: heap and slices, holes, limits, mappings' backing, seals.
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

class Content : public OnEachFilesystem {
 protected:
  FileRef make(std::string_view path = "/f") { return tree.open(path, O_CREAT | O_RDWR).value(); }
  uint64_t blocks(vfs::File& file) { return file.inode()->getattr()->blocks; }
  uint64_t size(vfs::File& file) { return file.inode()->getattr()->size; }
};

TEST_P(Content, MatchesAModelUnderRandomChanges) {
  std::mt19937 random(20250107);
  for (const uint64_t span : {3'000u, 60'000u, 300'000u, 3'000'000u}) {
    const FileRef file = tree.open("/random", O_CREAT | O_TRUNC | O_RDWR).value();
    std::string model;
    for (int step = 0; step < 400; ++step) {
      const uint64_t offset = random() % span;
      const uint64_t length = random() % (span / 10) + 1;
      switch (random() % 6) {
        case 0:
        case 1: {
          std::string text(length, static_cast<char>('a' + step % 26));
          if (model.size() < offset + length) model.resize(offset + length);
          model.replace(offset, length, text);
          ASSERT_EQ(put(*file, text, offset).value(), length);
          break;
        }
        case 2:
          model.resize(offset);
          ASSERT_EQ(code(file->truncate(offset, vfs::SetId::kDropped)), 0);
          break;
        case 3: {
          const std::string expected = offset < model.size() ? model.substr(offset, length) : std::string();
          ASSERT_EQ(get(*file, length, offset).value(), expected);
          break;
        }
        case 4:
          for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, model.size()); ++i)
            model[i] = '\0';
          ASSERT_EQ(code(file->fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length,
                                         vfs::SetId::kDropped)),
                    0);
          break;
        case 5:
          ASSERT_EQ(code(file->fallocate(FALLOC_FL_KEEP_SIZE, offset, length, vfs::SetId::kDropped)), 0);
          break;
      }
      ASSERT_EQ(size(*file), model.size());
    }
    EXPECT_EQ(get(*file, span * 2, 0).value(), model);
  }
}

TEST_P(Content, HolesTakeNoMemory) {
  const FileRef file = make();
  ASSERT_EQ(code(file->truncate(1 << 30, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(blocks(*file), 0u);
  put(*file, "x", 1 << 20).value();
  EXPECT_EQ(blocks(*file), 8u);
  EXPECT_EQ(file->seek(0, SEEK_DATA).value(), uint64_t{1} << 20);
  EXPECT_EQ(file->seek(1 << 20, SEEK_HOLE).value(), (uint64_t{1} << 20) + 4096);
  EXPECT_EQ(file->seek(0, SEEK_HOLE).value(), 0u);
  EXPECT_EQ(code(file->seek((1 << 20) + 4096, SEEK_DATA)), ENXIO);
  EXPECT_EQ(code(file->seek(1 << 30, SEEK_DATA)), ENXIO);
  EXPECT_EQ(file->seek((1 << 30) - 1, SEEK_HOLE).value(), uint64_t{(1 << 30) - 1});
  EXPECT_EQ(get(*file, 3, (1 << 20) - 1).value(), std::string("\0x\0", 3));
  ASSERT_EQ(
      code(file->fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096, vfs::SetId::kDropped)),
      0);
  EXPECT_EQ(blocks(*file), 0u);

  const FileRef small = make("/small");
  put(*small, "abc").value();
  EXPECT_EQ(blocks(*small), 8u);
  EXPECT_EQ(small->seek(0, SEEK_DATA).value(), 0u);
  EXPECT_EQ(small->seek(0, SEEK_HOLE).value(), 3u);
  ASSERT_EQ(code(small->truncate(50'000, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(blocks(*small), 8u);
  EXPECT_EQ(small->seek(0, SEEK_HOLE).value(), 4096u);
}

TEST_P(Content, WhatWasCutOffDoesNotComeBack) {
  for (const uint64_t length : {1'000u, 100'000u}) {
    const FileRef file = tree.open("/cut", O_CREAT | O_TRUNC | O_RDWR).value();
    put(*file, std::string(length, 'x')).value();
    ASSERT_EQ(code(file->truncate(10, vfs::SetId::kDropped)), 0);
    ASSERT_EQ(code(file->truncate(length, vfs::SetId::kDropped)), 0);
    EXPECT_EQ(get(*file, length, 0).value(), std::string(10, 'x') + std::string(length - 10, '\0'));
    ASSERT_EQ(code(file->truncate(0, vfs::SetId::kDropped)), 0);
    EXPECT_EQ(blocks(*file), 0u);
  }
}

TEST_P(Content, TheMountsLimitHolds) {
  fs::tmpfs::Options options;
  options.size_bytes = 20 * 4096;
  Tree small(fs::tmpfs::make_tmpfs(memory(), options));
  const FileRef file = small.open("/f", O_CREAT | O_RDWR).value();
  const std::string block(4096, 'x');
  int written = 0;
  while (written < 100 && put(*file, block).ok()) ++written;
  EXPECT_EQ(written, 20);
  EXPECT_EQ(code(put(*file, block)), ENOSPC);
  EXPECT_EQ(put(*file, block, 0).value(), 4096u);  // what has memory can be written
  const struct statfs facts = file->inode()->superblock().statfs().value();
  EXPECT_EQ(facts.f_blocks, 20u);
  EXPECT_EQ(facts.f_bfree, 0u);
  EXPECT_EQ(code(file->truncate(4096, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(put(*file, std::string(30 * 4096, 'y'), 4096).value(), size_t{19 * 4096});  // as much as fits
  EXPECT_EQ(code(file->fallocate(0, 0, 21 * 4096, vfs::SetId::kDropped)), ENOSPC);
  EXPECT_EQ(small.unlink("/f"), 0);
  const_cast<FileRef&>(file).reset();
  EXPECT_EQ(small.write("/g", std::string(20 * 4096, 'z')), 0);
}

TEST_P(Content, TheSandboxesBudgetHolds) {
  auto budget = std::make_shared<fs::tmpfs::Budget>();
  budget->limit_bytes = 64 * 4096;
  fs::tmpfs::Options options;
  options.budget = budget;
  {
    Tree one(fs::tmpfs::make_tmpfs(memory(), options)), other(fs::tmpfs::make_tmpfs(memory(), options));
    EXPECT_EQ(one.write("/f", std::string(40 * 4096, 'x')), 0);
    const FileRef file = other.open("/f", O_CREAT | O_WRONLY).value();
    EXPECT_LT(put(*file, std::string(40 * 4096, 'x')).value(), size_t{40 * 4096});
    EXPECT_EQ(code(put(*file, "more", 60 * 4096)), ENOSPC);
    EXPECT_EQ(one.unlink("/f"), 0);
    EXPECT_EQ(put(*file, "more", 60 * 4096).value(), 4u);
  }
  EXPECT_EQ(budget->used_bytes, 0u);
}

TEST_P(Content, SizesAreLimited) {
  const FileRef file = make();
  EXPECT_EQ(code(file->truncate(uint64_t{1} << 43, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(code(file->truncate((uint64_t{1} << 43) + 1, vfs::SetId::kDropped)), EFBIG);
  EXPECT_EQ(put(*file, "ab", (uint64_t{1} << 43) - 1).value(), 1u);
  EXPECT_EQ(code(put(*file, "a", uint64_t{1} << 43)), EFBIG);
  EXPECT_EQ(code(put(*file, "a", uint64_t{1} << 62)), EFBIG);
  EXPECT_EQ(code(file->fallocate(0, uint64_t{1} << 62, 1, vfs::SetId::kDropped)), EFBIG);
}

TEST_P(Content, MappingsSeeTheFile) {
  const FileRef file = make();
  put(*file, "hello").value();
  const auto mappable = file->mmap(PROT_READ | PROT_WRITE, MAP_SHARED).value();
  const auto backing = mappable->backing(0, 1 << 20, true).value();
  ASSERT_GE(backing.host_fd, 0);
  EXPECT_EQ(backing.length, 4096u);
  EXPECT_EQ(mappable->backing(4096, 8192, true)->host_fd, -1);  // SIGBUS
  EXPECT_EQ(mappable->backing(4096, 8192, true)->length, 8192u);
  char* memory = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, backing.host_fd,
                                           static_cast<off_t>(backing.host_offset)));
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_STREQ(memory, "hello");
  memory[0] = 'J';
  EXPECT_EQ(get(*file, 5, 0).value(), "Jello");
  put(*file, "y", 4).value();
  EXPECT_STREQ(memory, "Jelly");

  // It grows; what was mapped stays where it is.
  put(*file, std::string(1 << 20, 'g'), 5).value();
  EXPECT_EQ(mappable->backing(0, 4096, true)->host_offset, backing.host_offset);
  EXPECT_EQ(memory[5], 'g');
  uint64_t covered = 0;
  while (covered < (1 << 20)) {
    const auto piece = mappable->backing(covered, (1 << 20) - covered, true).value();
    ASSERT_GE(piece.host_fd, 0);
    ASSERT_EQ(piece.length % 4096, 0u);
    char probe = 0;
    ASSERT_EQ(::pread(piece.host_fd, &probe, 1, static_cast<off_t>(piece.host_offset + 4095)), 1);
    EXPECT_EQ(probe, 'g');
    covered += piece.length;
  }
  ::munmap(memory, 4096);
}

TEST_P(Content, PagesTouchedThroughMappingsAreCounted) {
  const FileRef file = make();
  ASSERT_EQ(code(file->truncate(1 << 20, vfs::SetId::kDropped)), 0);
  const auto mappable = file->mmap(PROT_READ | PROT_WRITE, MAP_SHARED).value();
  const auto backing = mappable->backing(0, 1 << 20, true).value();
  ASSERT_EQ(backing.length, 1u << 20);  // the size was known: one piece
  ASSERT_EQ(::pwrite(backing.host_fd, "x", 1, static_cast<off_t>(backing.host_offset + 5 * 4096)), 1);
  EXPECT_EQ(blocks(*file), 8u);
  EXPECT_EQ(file->seek(0, SEEK_DATA).value(), 5u * 4096);
}

TEST_P(Content, Appends) {
  const FileRef one = tree.open("/log", O_CREAT | O_WRONLY | O_APPEND).value();
  const FileRef other = tree.open("/log", O_WRONLY | O_APPEND).value();
  put(*one, "a").value();
  put(*other, "b").value();
  put(*one, "c", 0).value();  // pwrite(2): O_APPEND wins
  EXPECT_EQ(tree.read("/log"), "abc");
  EXPECT_EQ(one->position, 1u);
}

TEST_P(Content, AFaultingSourceLeavesWhatCameBefore) {
  class Faulting final : public mm::Source {
   public:
    Faulting(size_t size, size_t good) : Source(size), good_(good) {}
    Result<size_t> get(void* buffer, size_t size) override {
      const size_t count = std::min(size, good_);
      if (count == 0) return Errno(EFAULT);
      std::memset(buffer, 'f', count);
      good_ -= count;
      remaining_ -= count;
      return count;
    }
    void unget(size_t size) override { good_ += size, remaining_ += size; }

   private:
    size_t good_;
  };
  for (const size_t total : {1'000u, 200'000u}) {
    const FileRef file = tree.open("/fault", O_CREAT | O_TRUNC | O_RDWR).value();
    Faulting none(total, 0), some(total, total / 2);
    EXPECT_EQ(code(file->write(none, {})), EFAULT);
    EXPECT_EQ(size(*file), 0u);
    EXPECT_EQ(file->write(some, {}).value(), total / 2);
    EXPECT_EQ(size(*file), total / 2);
    EXPECT_EQ(file->position, total / 2);
  }
}

TEST_P(Content, SealsOfMemfds) {
  const auto owner = root_user();
  const FileRef plain = fs::tmpfs::make_memfd(memory(), {.name = "plain"}, owner).value();
  EXPECT_EQ(plain->seals().value(), F_SEAL_SEAL);
  EXPECT_EQ(code(plain->add_seals(F_SEAL_WRITE)), EPERM);
  EXPECT_EQ(plain->description(), "/memfd:plain (deleted)");
  EXPECT_EQ(vfs::full_path(vfs::place_of(*plain)), "/memfd:plain (deleted)");
  EXPECT_EQ(plain->inode()->getattr()->mode, uint32_t{S_IFREG | 0777});

  const FileRef file = fs::tmpfs::make_memfd(memory(), {.name = "m", .sealable = true}, owner).value();
  EXPECT_EQ(file->seals().value(), 0);
  put(*file, "12345678").value();
  EXPECT_EQ(code(file->add_seals(F_SEAL_GROW | F_SEAL_SHRINK)), 0);
  EXPECT_EQ(code(file->truncate(4, vfs::SetId::kDropped)), EPERM);
  EXPECT_EQ(code(file->truncate(40, vfs::SetId::kDropped)), EPERM);
  EXPECT_EQ(code(put(*file, "x", 8)), EPERM);
  EXPECT_EQ(put(*file, "x", 7).value(), 1u);
  EXPECT_EQ(code(file->add_seals(F_SEAL_WRITE | F_SEAL_SEAL)), 0);
  EXPECT_EQ(code(put(*file, "x", 0)), EPERM);
  EXPECT_EQ(code(file->mmap(PROT_READ | PROT_WRITE, MAP_SHARED)), EPERM);
  EXPECT_EQ(code(file->mmap(PROT_READ | PROT_WRITE, MAP_PRIVATE)), 0);
  EXPECT_EQ(code(file->add_seals(0)), EPERM);
}

TEST_P(Content, NonblockingDescriptorsOfFilesWaitAllTheSame) {
  // open(2): O_NONBLOCK has no effect on regular files; tar(1) opens everything so.
  class Distant final : public vfs::SeekableFile {
   public:
    using SeekableFile::SeekableFile;

   protected:
    Result<size_t> read_at(mm::Sink& sink, uint64_t, bool nowait) override {
      if (nowait) return Errno(EAGAIN);
      return sink.put("x", 1);
    }
    Result<uint64_t> size() override { return uint64_t{1}; }
  };
  const FileRef file = make();
  Distant distant(file->path(), file->inode(), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(get(distant, 1).value(), "x");
  char byte;
  mm::BufferSink sink(&byte, 1);
  vfs::File::IoOptions options;
  options.nowait = true;
  EXPECT_EQ(code(distant.read(sink, options)), EAGAIN);
}

TEST_P(Content, SmallFilesCostNoSlice) {
  // Not a promise to guests, but what keeps the host out of the creation of most files.
  const FileRef file = make();
  struct stat before {
  }, after{};
  ASSERT_EQ(::fstat(memory().host_fd(), &before), 0);
  put(*file, std::string(60'000, 'x')).value();
  ASSERT_EQ(::fstat(memory().host_fd(), &after), 0);
  EXPECT_EQ(before.st_blocks, after.st_blocks);
}

INSTANTIATE_TEST_SUITE_P(, Content, testing::ValuesIn(kFilesystems),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sentry::vfs_test
