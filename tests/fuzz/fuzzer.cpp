// libFuzzer's entry: one program, the environment variable KVSIM_FUZZ_TARGET names the target;
// --list prints all.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/targets.h"

namespace {
const kvsim::test::FuzzTarget* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const char* name = std::getenv("KVSIM_FUZZ_TARGET");
  const bool is_list = *argc > 1 && std::strcmp((*argv)[1], "--list") == 0;
  for (const auto& target : kvsim::test::fuzz_targets()) {
    if (is_list) std::puts(target.name.c_str());
    if (name != nullptr && target.name == name) chosen = &target;
  }
  if (is_list) std::exit(0);
  if (chosen == nullptr) {
    std::fputs("set KVSIM_FUZZ_TARGET to one of the names that --list prints\n", stderr);
    std::exit(2);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
