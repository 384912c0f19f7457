#pragma once
// The scenario file as a JSON Schema (draft 2020-12, json-schema.org/draft/2020-12), from the same
// rows that read it.
#include "sim/base/tree.h"

namespace kvsim {

// Scalars that YAML would read as numbers keep their own type in the schema: text takes any of
// them. What only the program can check (units of a quantity, a split that fits the model, files)
// is in the descriptions.
Tree scenario_schema();

}  // namespace kvsim
