// Our line discipline against the host's: the same settings, the same typing and printing, and what comes out
// at both ends must be the same.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <random>

#include "local_memory.h"
#include "sentry/base/fd.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/fs/tty/terminal_file.h"

namespace sentry::fs::tty {
namespace {

using test::LocalMemory;

// One end of a terminal, ours or the host's: nonblocking.
struct Outcome {
  std::string screen;              // what the master has read
  std::vector<std::string> reads;  // what each read of the slave has returned; "<EOF>" for none
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::string visible(const std::string& text) {
  std::string result;
  for (char each : text) {
    const auto c = static_cast<unsigned char>(each);
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      result += each;
    } else {
      char code[8];
      std::snprintf(code, sizeof code, "\\%02x", c);
      result += code;
    }
  }
  return result;
}

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  out << "\n  screen: " << visible(outcome.screen) << "\n  reads:";
  for (const std::string& read : outcome.reads) out << " [" << visible(read) << "]";
  return out;
}

// A step of a scenario.
struct Step {
  enum class Kind { kType, kPrint, kSettings, kRead } kind;
  std::string text;
  Settings settings{};
  size_t size = 0;
};

class Ours {
 public:
  Ours() {
    master_ = *devpts_->open_master({}, nullptr, O_RDWR);
    const int unlocked = 0;
    EXPECT_TRUE(master_->ioctl(memory_.map, TIOCSPTLCK, LocalMemory::address(&unlocked)).ok());
    slave_ = *open_terminal(devpts_->find(0), {}, devpts_->node(0), O_RDWR);
  }
  void apply(const Step& step) {
    switch (step.kind) {
      case Step::Kind::kType:
        write(*master_, step.text);
        break;
      case Step::Kind::kPrint:
        write(*slave_, step.text);
        break;
      case Step::Kind::kSettings:
        EXPECT_TRUE(slave_->ioctl(memory_.map, TCSETS2, LocalMemory::address(&step.settings)).ok());
        break;
      case Step::Kind::kRead: {
        const Result<std::string> text = read(*slave_, step.size);
        if (text.ok()) outcome.reads.push_back(text->empty() ? "<EOF>" : *text);
        break;
      }
    }
    for (;;) {
      const Result<std::string> text = read(*master_, 4096);
      if (!text.ok()) break;
      outcome.screen += *text;
    }
  }
  Outcome outcome;

 private:
  static Result<std::string> read(vfs::File& file, size_t size) {
    std::string text(size, '\0');
    mm::BufferSink sink(text.data(), size);
    text.resize(TRY(file.read(sink, {.nonblocking = true})));
    return text;
  }
  static void write(vfs::File& file, std::string_view text) {
    mm::BufferSource source(text.data(), text.size());
    EXPECT_EQ(file.write(source, {.nonblocking = true}).value_or(0), text.size());
  }
  EventLoop loop_;
  LocalMemory memory_;
  std::shared_ptr<Devpts> devpts_ = Devpts::create();
  vfs::FileRef master_, slave_;
};

class Hosts {
 public:
  Hosts() {
    master_ = Fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (!master_) return;
    const int unlocked = 0;
    EXPECT_EQ(::ioctl(master_.get(), TIOCSPTLCK, &unlocked), 0);
    slave_ = Fd(::ioctl(master_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  }
  bool usable() const { return static_cast<bool>(slave_); }
  // `expected` is what ours has come to: the host's kernel works in the background, and is waited for until
  // it agrees or has had ample time to.
  void apply(const Step& step, const Outcome& expected) {
    switch (step.kind) {
      case Step::Kind::kType:
        EXPECT_EQ(::write(master_.get(), step.text.data(), step.text.size()),
                  static_cast<ssize_t>(step.text.size()));
        break;
      case Step::Kind::kPrint:
        EXPECT_EQ(::write(slave_.get(), step.text.data(), step.text.size()),
                  static_cast<ssize_t>(step.text.size()));
        break;
      case Step::Kind::kSettings:
        EXPECT_EQ(::ioctl(slave_.get(), TCSETS2, &step.settings), 0);
        break;
      case Step::Kind::kRead: {
        char buffer[8192];
        const bool something = expected.reads.size() > outcome.reads.size();
        for (const Nanoseconds start = monotonic_now();;) {
          const ssize_t count = ::read(slave_.get(), buffer, step.size);
          if (count >= 0) {
            outcome.reads.push_back(count == 0 ? "<EOF>" : std::string(buffer, static_cast<size_t>(count)));
            break;
          }
          if (!something || monotonic_now() - start > kPatience) break;
          pollfd entry{slave_.get(), POLLIN, 0};
          ::poll(&entry, 1, 1);
        }
        break;
      }
    }
    for (const Nanoseconds start = monotonic_now();;) {
      char buffer[8192];
      const ssize_t count = ::read(master_.get(), buffer, sizeof buffer);
      if (count > 0) {
        outcome.screen.append(buffer, static_cast<size_t>(count));
        continue;
      }
      if (outcome.screen.size() >= expected.screen.size() || monotonic_now() - start > kPatience) break;
      pollfd entry{master_.get(), POLLIN, 0};
      ::poll(&entry, 1, 1);
    }
  }
  Outcome outcome;

 private:
  static constexpr Nanoseconds kPatience = 10 * kSecond;  // a starved host flushes late
  Fd master_, slave_;
};

class Scenario {
 public:
  // Echo is how we know that the host has dealt with what was typed. Every fifth scenario goes without, and
  // then only types and reads lines.
  explicit Scenario(unsigned seed) : random_(seed), quiet_(seed % 5 == 0) {}

  Settings settings() {
    Settings made = default_settings();
    const auto flip = [&](tcflag_t& flags, std::initializer_list<tcflag_t> which, unsigned one_in) {
      for (tcflag_t flag : which)
        if (pick(one_in) == 0) flags ^= flag;
    };
    flip(made.c_iflag, {ICRNL, INLCR, IGNCR, ISTRIP, IUTF8, IXANY, IUCLC, PARMRK}, 5);
    flip(made.c_oflag, {ONLCR, OCRNL, ONOCR, ONLRET, OLCUC, OPOST, XTABS}, 5);
    flip(made.c_lflag, {ECHOE, ECHOK, ECHOKE, ECHOCTL, ECHOPRT, ECHONL, IEXTEN, NOFLSH}, 4);
    if (quiet_)
      made.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    else if (pick(6) == 0)
      made.c_lflag ^= ICANON;
    // Linux (6.18) shows a screenful of NULs when VLNEXT ends an erasure of ECHOPRT and shows nothing itself.
    if ((made.c_lflag & ECHOPRT) != 0) made.c_lflag |= ECHOCTL;
    if (pick(4) == 0) made.c_cc[VEOL] = ';';
    if (pick(8) == 0) made.c_cc[VEOL2] = ':';
    if (pick(8) == 0) made.c_cc[VERASE] = '\b';
    if (pick(8) == 0) made.c_cc[VINTR] = 0;
    return made;
  }

  std::string typing() {
    static const std::vector<std::string> kPieces = {"a",
                                                     "b",
                                                     "Z",
                                                     "7",
                                                     "_",
                                                     " ",
                                                     " ",
                                                     "word",
                                                     "two words",
                                                     "\t",
                                                     "\t",
                                                     "\n",
                                                     "\r",
                                                     "\x7f",
                                                     "\x7f",
                                                     "\x7f",
                                                     "\b",
                                                     "\x15",
                                                     "\x17",
                                                     "\x17",
                                                     "\x16",
                                                     "\x12",
                                                     "\x04",
                                                     ";",
                                                     ":",
                                                     "\x01",
                                                     "\x1b",
                                                     "\xc3\xa9",
                                                     "\xe2\x82\xac",
                                                     "\xf0\x9f\x98\x80",
                                                     "\xff",
                                                     "\x80",
                                                     "~!",
                                                     "\x0f",
                                                     std::string(1, '\0')};
    std::string text;
    for (unsigned i = pick(12) + 1; i > 0; --i) text += kPieces[pick(static_cast<unsigned>(kPieces.size()))];
    return text;
  }
  std::string printing() {
    static const std::vector<std::string> kPieces = {"x",  "Hello", "\n",       "\r", "\r\n",   "\t",
                                                     "\b", "\x07",  "\xc3\xa9", "  ", "\x1b[1m"};
    std::string text;
    for (unsigned i = pick(8) + 1; i > 0; --i) text += kPieces[pick(static_cast<unsigned>(kPieces.size()))];
    return text;
  }
  Step next() {
    switch (quiet_ ? 3 + pick(6) * 2 : pick(12)) {
      case 0:
        return {Step::Kind::kSettings, "", settings()};
      case 1:
      case 2:
        return {Step::Kind::kPrint, printing()};
      case 3:
      case 4:
      case 5:
        return {Step::Kind::kRead, "", {}, pick(3) == 0 ? pick(6) + 1 : 4096};
      case 6: {
        // Alone: Linux (6.18) repeats old echo when a signal drops some that it has not shown yet.
        static const char kSignals[] = {'\x03', '\x1c', '\x1a'};
        return {Step::Kind::kType, std::string(1, kSignals[pick(3)])};
      }
      default:
        return {Step::Kind::kType, typing()};
    }
  }

 private:
  unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  std::mt19937 random_;
  const bool quiet_;
};

std::string describe(const std::vector<Step>& steps) {
  std::string text;
  for (const Step& step : steps) {
    char line[160];
    switch (step.kind) {
      case Step::Kind::kType:
        text += "\n  type " + visible(step.text);
        break;
      case Step::Kind::kPrint:
        text += "\n  print " + visible(step.text);
        break;
      case Step::Kind::kRead:
        text += "\n  read " + std::to_string(step.size);
        break;
      case Step::Kind::kSettings:
        std::snprintf(line, sizeof line, "\n  settings i=%o o=%o l=%o eol=%d eol2=%d erase=%d intr=%d",
                      step.settings.c_iflag, step.settings.c_oflag, step.settings.c_lflag,
                      step.settings.c_cc[VEOL], step.settings.c_cc[VEOL2], step.settings.c_cc[VERASE],
                      step.settings.c_cc[VINTR]);
        text += line;
        break;
    }
  }
  return text;
}

class DifferentialTest : public testing::TestWithParam<unsigned> {};

TEST_P(DifferentialTest, SameAsTheHost) {
  constexpr unsigned kScenarios = 40, kSteps = 12;
  for (unsigned i = 0; i < kScenarios; ++i) {
    Ours ours;
    Hosts hosts;
    if (!hosts.usable()) GTEST_SKIP() << "no /dev/ptmx here";
    Scenario scenario(GetParam() * 1000 + i);
    std::vector<Step> steps{{Step::Kind::kSettings, "", scenario.settings()}};
    for (unsigned n = 0; n < kSteps; ++n) {
      Step step = scenario.next();
      // Typing that shows nothing may still be under way in the host; a letter that echoes is behind it.
      if (step.kind == Step::Kind::kSettings) steps.push_back({Step::Kind::kType, "q"});
      steps.push_back(std::move(step));
    }
    for (size_t n = 0; n < steps.size(); ++n) {
      ours.apply(steps[n]);
      hosts.apply(steps[n], ours.outcome);
      ASSERT_EQ(ours.outcome, hosts.outcome)
          << "seed " << GetParam() * 1000 + i
          << describe({steps.begin(), steps.begin() + static_cast<long>(n) + 1});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, DifferentialTest, testing::Range(1u, 100u));

}  // namespace
}  // namespace sentry::fs::tty
