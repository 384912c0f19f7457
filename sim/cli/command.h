#pragma once
// The verbs of the program. One file per verb; each defines a `Command` that commands.cpp lists.
// Results go to stdout, progress and errors to stderr. Exit codes: 0 good, 1 our bug, 2 the user's
// input, 3 ran but a check failed.
#include <boost/program_options.hpp>
#include <string>
#include <vector>

namespace kvsim {

namespace po = boost::program_options;

struct Command {
  const char* name;
  const char* summary;    // one line
  const char* arguments;  // "SCENARIO..."
  const char* examples;   // lines of "kvsim verb ...   what it does"
  void (*declare)(po::options_description&, po::positional_options_description&);
  int (*run)(const po::variables_map&);
};

const std::vector<const Command*>& commands();
const Command* find_command(const std::string& name);
// Help of one verb, and of the program.
std::string help_text(const Command&);
std::string help_text();
// Parses `arguments` (without program and verb) and runs; prints help for --help. Throws InputError
// for wrong arguments, with the nearest option for an unknown one.
int run_command(const Command&, const std::vector<std::string>& arguments);
// The program: verb and its arguments. Errors are printed to stderr and become the exit code.
int run_program(const std::vector<std::string>& arguments);

// Helpers for verbs.
template <class T>
T option_or(const po::variables_map& v, const char* name, T otherwise) {
  return v.count(name) > 0 ? v[name].as<T>() : otherwise;
}
inline std::vector<std::string> list_option(const po::variables_map& v, const char* name) {
  return option_or(v, name, std::vector<std::string>{});
}

}  // namespace kvsim
