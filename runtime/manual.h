// Help as man pages have it (man-pages(7)): the same sections in the same order for every verb, the options
// taken from the parser itself.
#pragma once

// App.hpp alone leaves clang without the vtables of the other two.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/failure.h"

namespace runtime {

struct Manual {
  const char* name;     // "bulkhead-do"
  const char* summary;  // after the dash of NAME
  const char* synopsis;
  const char* description;
  const char* exit_status;
  const char* environment = nullptr;
  const char* files = nullptr;
  const char* notes = nullptr;
  const char* examples = nullptr;
  const char* see_also = nullptr;
};

// The page, with OPTIONS from the parser.
std::string manual_page(const Manual& manual, const CLI::App& parser);

// Parses. An exit status if that was all: 0 after --help or --version, or what `refuse` returns, which says
// what was wrong.
std::optional<int> parse(CLI::App& parser, const Manual& manual, const std::vector<std::string>& arguments,
                         const std::function<int(const Failure&)>& refuse = report);

// Breaks text into lines of at most `width` columns, each led by `indent` spaces. Lines of the text that
// start with a space are kept as they are.
std::string wrap(const std::string& text, size_t indent, size_t width = 79);

}  // namespace runtime
