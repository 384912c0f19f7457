#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <system_error>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/run/simulate.h"

namespace kvsim {

extern const Command kRunCommand, kCheckCommand, kPlanCommand, kCompareCommand, kStudyCommand,
    kGalleryCommand, kReportCommand, kListCommand, kShowCommand, kSchemaCommand, kQueryCommand,
    kTraceCommand, kCacheCommand, kQualityCommand, kValidateCommand, kCalibrateCommand,
    kKernelsCommand, kDocCommand;

const std::vector<const Command*>& commands() {
  static const std::vector<const Command*> all{
      &kRunCommand,     &kCheckCommand,   &kPlanCommand,  &kCompareCommand,  &kStudyCommand,
      &kGalleryCommand, &kReportCommand,  &kListCommand,  &kShowCommand,     &kSchemaCommand,
      &kQueryCommand,   &kTraceCommand,   &kCacheCommand, &kValidateCommand, &kCalibrateCommand,
      &kQualityCommand, &kKernelsCommand, &kDocCommand};
  return all;
}

const Command* find_command(const std::string& name) {
  for (const Command* c : commands())
    if (name == c->name) return c;
  return nullptr;
}

namespace {

void declare(const Command& c, po::options_description& options,
             po::positional_options_description& positional) {
  options.add_options()("help,h", "this text");
  c.declare(options, positional);
}

[[noreturn]] void wrong(const Command& c, const std::string& message,
                        const std::string& hint = {}) {
  const std::string where = std::string("kvsim ") + c.name;
  throw InputError(where + ": " + message,
                   hint.empty() ? where + " --help shows the options" : hint);
}

po::variables_map parse(const Command& c, const std::vector<std::string>& arguments) {
  po::options_description options("options");
  po::positional_options_description positional;
  declare(c, options, positional);
  po::variables_map values;
  namespace style = po::command_line_style;
  try {  // no guessing: an abbreviation that is unique today is ambiguous tomorrow
    po::store(po::command_line_parser(arguments)
                  .options(options)
                  .positional(positional)
                  .style(style::default_style & ~style::allow_guessing)
                  .run(),
              values);
    po::notify(values);
  } catch (const po::unknown_option& e) {
    std::vector<std::string> names;
    for (const auto& o : options.options()) names.push_back("--" + o->long_name());
    wrong(c, "unknown option '" + e.get_option_name() + "'", name_hint(e.get_option_name(), names));
  } catch (const po::too_many_positional_options_error&) {
    wrong(c, std::string("too many arguments; expected ") + c.arguments);
  } catch (const po::error& e) {
    wrong(c, e.what());
  }
  return values;
}

const Command& command_of(const std::string& name) {
  if (const Command* c = find_command(name)) return *c;
  std::vector<std::string> names{"help"};
  for (const Command* c : commands()) names.emplace_back(c->name);
  throw InputError("unknown verb '" + name + "'", name_hint(name, names));
}

int dispatch(const std::vector<std::string>& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments[0];
  if (verb.empty()) {
    fmt::print(stderr, "{}", help_text());
    return 2;
  }
  if (verb == "--help" || verb == "-h" || verb == "help") {
    fmt::print("{}", arguments.size() > 1 ? help_text(command_of(arguments[1])) : help_text());
    return 0;
  }
  if (verb == "--version") {
    fmt::print("kvsim {}\n", kVersion);
    return 0;
  }
  return run_command(command_of(verb), {arguments.begin() + 1, arguments.end()});
}

}  // namespace

std::string help_text() {
  std::string out = fmt::format(
      "kvsim {}: simulates KV caches of large-language-model serving\n\nusage: kvsim VERB "
      "[arguments]\n\n",
      kVersion);
  for (const Command* c : commands()) out += fmt::format("  {:<10}{}\n", c->name, c->summary);
  return out +
         "\nkvsim help VERB shows a verb's options and examples; begin with\n  kvsim run "
         "scenarios/quickstart.yaml\n"
         "exit codes: 0 good, 1 a bug of kvsim, 2 the input is wrong, 3 ran but a check failed\n";
}

std::string help_text(const Command& c) {
  po::options_description options("options", 100, 60);
  po::positional_options_description positional;
  declare(c, options, positional);
  std::ostringstream out;
  out << fmt::format("usage: kvsim {} {}\n{}\n\n", c.name, c.arguments, c.summary) << options
      << "\nexamples\n"
      << c.examples << "\n";
  return out.str();
}

int run_command(const Command& c, const std::vector<std::string>& arguments) {
  const po::variables_map values = parse(c, arguments);
  if (values.count("help") > 0) {
    fmt::print("{}", help_text(c));
    return 0;
  }
  return c.run(values);
}

int run_program(const std::vector<std::string>& arguments) {
  try {
    const int code = dispatch(arguments);
    if (std::fflush(stdout) != 0)  // a full disk shows only here
      throw InputError(std::string("cannot write the result: ") + std::strerror(errno));
    return code;
  } catch (const InputError& e) {
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  } catch (const std::system_error& e) {  // fmt's way to say that stdout cannot be written
    fmt::print(stderr, "error: cannot write the result: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fflush(stdout);
    fmt::print(stderr, "kvsim: internal error: {}\n", e.what());
    return 1;
  }
}

}  // namespace kvsim
