#include "sim/cli/command.h"

#include <fmt/format.h>

#include <sstream>

#include "sim/base/diagnostics.h"

namespace kvsim {

extern const Command kRunCommand, kCheckCommand, kValidateCommand, kCalibrateCommand;

const std::vector<const Command*>& commands() {
  static const std::vector<const Command*> all{&kRunCommand, &kCheckCommand, &kValidateCommand,
                                               &kCalibrateCommand};
  return all;
}

const Command* find_command(const std::string& name) {
  for (const Command* c : commands())
    if (name == c->name) return c;
  return nullptr;
}

namespace {
void declare(const Command& c, po::options_description& options, po::positional_options_description& positional) {
  options.add_options()("help,h", "this text");
  c.declare(options, positional);
}
}  // namespace

std::string help_text(const Command& c) {
  po::options_description options("options");
  po::positional_options_description positional;
  declare(c, options, positional);
  std::ostringstream out;
  out << fmt::format("kvsim {} {}\n{}\n\n", c.name, c.arguments, c.summary) << options << "\nexamples\n" << c.examples << "\n";
  return out.str();
}

int run_command(const Command& c, const std::vector<std::string>& arguments) {
  po::options_description options("options");
  po::positional_options_description positional;
  declare(c, options, positional);
  po::variables_map values;
  try {
    po::store(po::command_line_parser(arguments).options(options).positional(positional).run(), values);
    po::notify(values);
  } catch (const po::error& e) {
    throw InputError(std::string("kvsim ") + c.name + ": " + e.what(), std::string("kvsim ") + c.name + " --help shows the options");
  }
  if (values.count("help") > 0) {
    fmt::print("{}", help_text(c));
    return 0;
  }
  return c.run(values);
}

}  // namespace kvsim
