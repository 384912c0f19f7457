// kvsim schema: the scenario file for editors
#include <fmt/format.h>

#include "sim/cli/command.h"
#include "sim/cli/json_schema.h"

namespace kvsim {

namespace {

void declare(po::options_description&, po::positional_options_description&) {}

int run(const po::variables_map&) {
  fmt::print("{}\n", to_json(scenario_schema(), true));
  return 0;
}

}  // namespace

extern const Command kSchemaCommand{
    "schema",
    "JSON Schema of the scenario file, for editors that complete and check",
    "",
    "  kvsim schema > kvsim.schema.json\n"
    "  then, on the first line of a scenario, for editors with the YAML language server:\n"
    "  # yaml-language-server: $schema=kvsim.schema.json",
    declare,
    run};

}  // namespace kvsim
