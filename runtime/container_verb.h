// The frame of a verb that is about one container: options, log, the container, and the failure's report.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/container_folder.h"
#include "runtime/global_options.h"
#include "runtime/manual.h"

namespace runtime {

struct ContainerVerb {
  GlobalOptions globals;
  CLI::App parser;  // of the verb's own options; the rest is added
  std::string id;

  ContainerVerb(const Manual& manual, GlobalOptions given) : globals(std::move(given)), manual_(manual) {
    parser.set_help_flag("--help", "Show this page.");
    add_global_options(parser, globals);
  }
  // Parses, and acts with the log at hand.
  int run(const std::vector<std::string>& arguments,
          const std::function<Outcome<int>(const CommandLog& log)>& act);
  // The same for a container that must be there.
  int run_known(const std::vector<std::string>& arguments,
                const std::function<Outcome<int>(const KnownContainer&, const CommandLog& log)>& act);

 private:
  const Manual& manual_;
};

}  // namespace runtime
