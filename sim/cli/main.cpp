// kvsim: the door to everything. `kvsim --help` lists the verbs.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/run/simulate.h"

namespace {

void print_help() {
  fmt::print("kvsim {}: simulates KV caches of large-language-model serving\n\nusage: kvsim VERB [arguments]\n\n", kvsim::kVersion);
  for (const kvsim::Command* c : kvsim::commands()) fmt::print("  {:<10} {}\n", c->name, c->summary);
  fmt::print("\nkvsim VERB --help shows a verb's options and examples\n");
}

int run_main(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    print_help();
    return arguments.empty() ? 2 : 0;
  }
  if (arguments[0] == "--version") {
    fmt::print("kvsim {}\n", kvsim::kVersion);
    return 0;
  }
  const kvsim::Command* command = kvsim::find_command(arguments[0]);
  if (command == nullptr) {
    std::vector<std::string> names;
    for (const kvsim::Command* c : kvsim::commands()) names.emplace_back(c->name);
    throw kvsim::InputError("unknown verb '" + arguments[0] + "'", kvsim::name_hint(arguments[0], names));
  }
  return kvsim::run_command(*command, {arguments.begin() + 1, arguments.end()});
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is then an error of the write, which is reported
  try {
    return run_main({argv + 1, argv + argc});
  } catch (const kvsim::InputError& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "kvsim: internal error: {}\n", e.what());
    return 1;
  }
}
