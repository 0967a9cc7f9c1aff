#include "runtime/guest_environment.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace runtime {
namespace {

void set(std::vector<std::string>& environment, std::string_view name, std::string_view value) {
  std::erase_if(environment, [&](const std::string& entry) {
    return entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=';
  });
  environment.push_back(fmt::format("{}={}", name, value));
}

}  // namespace

Outcome<std::vector<std::string>> guest_environment(const Account& account, bool terminal,
                                                    const std::vector<std::string>& settings) {
  std::vector<std::string> environment;
  set(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  set(environment, "HOME", account.home);
  set(environment, "USER", account.name);
  set(environment, "LOGNAME", account.name);
  set(environment, "SHELL", "/bin/sh");
  const char* lang = std::getenv("LANG");
  set(environment, "LANG", lang ? lang : "C.UTF-8");
  const char* term = std::getenv("TERM");
  if (terminal && term) set(environment, "TERM", term);
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    const std::string name = setting.substr(0, equals);
    if (name.empty()) return failure("--env \"{}\": a variable needs a name, as in NAME=value", setting);
    if (equals != std::string::npos) {
      set(environment, name, std::string_view(setting).substr(equals + 1));
    } else if (const char* value = std::getenv(name.c_str())) {
      set(environment, name, value);
    }
  }
  return environment;
}

}  // namespace runtime
