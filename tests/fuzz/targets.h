#pragma once
// Everything that reads what a stranger wrote, as functions of bytes. libFuzzer drives them
// (fuzzer.cpp, ./dev fuzz); replay_test.cpp feeds them the corpus and its mutations in every test
// run.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kvsim::test {

struct FuzzTarget {
  std::string name;  // of the folder in tests/fuzz/corpus too
  // Returns normally whatever the bytes are; a broken promise aborts (KVSIM_CHECK) or throws
  // something else than InputError, which the callers let through.
  std::function<void(std::string_view)> run;
};

// Sorted by name. One target per registered trace format, and: units, yaml, scenario, hf-config,
// csv-attention, csv-skew.
const std::vector<FuzzTarget>& fuzz_targets();

}  // namespace kvsim::test
