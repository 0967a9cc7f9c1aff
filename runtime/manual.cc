#include "runtime/manual.h"

#include <algorithm>
#include <cstdio>

#include "runtime/failure.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

constexpr size_t kIndent = 7;  // as man(1) shows sections

std::string section(const char* title, const char* text) {
  return text ? fmt::format("{}\n{}\n", title, wrap(text, kIndent)) : "";
}

std::string option_text(const CLI::Option& option) {
  std::string head = option.get_name(false, true);
  std::replace(head.begin(), head.end(), ',', ' ');
  if (option.get_expected_max() > 0 && option.get_type_size() > 0) head += " " + option.get_type_name();
  return fmt::format("{}{}\n{}\n", std::string(kIndent, ' '), head,
                     wrap(option.get_description(), kIndent * 2));
}

// An option as "--root=": CLI11 would take the next word for its value, be it "--".
std::optional<std::string> empty_value(const CLI::App& parser, const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--" || !word.starts_with('-')) break;  // what follows is not ours
    const size_t equals = word.find('=');
    if (equals != std::string::npos && equals + 1 == word.size()) return word.substr(0, equals);
    const CLI::Option* option = parser.get_option_no_throw(word);
    if (option != nullptr && option->get_expected_max() > 0 && option->get_type_size() > 0) ++i;
  }
  return std::nullopt;
}

// What is wrong, in our words where CLI11's are about itself.
std::string parse_failure(const CLI::App& parser, const CLI::ParseError& error) {
  const std::string text = error.what();
  const std::string name = text.substr(0, text.find(':'));
  const CLI::Option* option = parser.get_option_no_throw(name);
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) == nullptr || option == nullptr) return text;
  if (option->results().size() > 1) return name + ": given more than once";
  return fmt::format("{}: give a value, {}", name, option->get_type_name());
}

}  // namespace

std::string wrap(const std::string& text, size_t indent, size_t width) {
  const std::string margin(indent, ' ');
  std::string page;
  size_t at = 0;
  while (at <= text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    while (!line.starts_with(' ') && indent + line.size() > width) {
      size_t cut = line.rfind(' ', width - indent);
      if (cut == std::string::npos) cut = line.find(' ');
      if (cut == std::string::npos) break;
      page += margin + line.substr(0, cut) + "\n";
      line.erase(0, cut + 1);
    }
    page += line.empty() ? "\n" : margin + line + "\n";
  }
  return page;
}

std::string manual_page(const Manual& manual, const CLI::App& parser) {
  std::string options;
  for (const CLI::Option* option :
       parser.get_options([](const CLI::Option* each) { return each->nonpositional(); }))
    if (!option->get_group().empty()) options += option_text(*option);
  std::string page = section("NAME", fmt::format("{} - {}", manual.name, manual.summary).c_str());
  page += section("SYNOPSIS", manual.synopsis);
  page += section("DESCRIPTION", manual.description);
  if (!options.empty()) page += "OPTIONS\n" + options;
  page += section("EXIT STATUS", manual.exit_status);
  page += section("ENVIRONMENT", manual.environment);
  page += section("FILES", manual.files);
  page += section("NOTES", manual.notes);
  page += section("EXAMPLES", manual.examples);
  page += section("SEE ALSO", manual.see_also);
  page.pop_back();  // the empty line behind the last section
  return page;
}

std::optional<int> parse(CLI::App& parser, const Manual& manual, const std::vector<std::string>& arguments,
                         const std::function<int(const Failure&)>& refuse) {
  if (const std::optional<std::string> option = empty_value(parser, arguments))
    return refuse(failure("{}: give a value", *option));
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
  try {
    parser.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    std::fputs(manual_page(manual, parser).c_str(), stdout);
    return finish_output();
  } catch (const CLI::ParseError& error) {
    std::string verb(manual.name);
    std::replace(verb.begin(), verb.end(), '-', ' ');
    return refuse(failure("{} (`{} --help` shows the options)", parse_failure(parser, error), verb));
  }
  return std::nullopt;
}

}  // namespace runtime
