#include "sim/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace kvsim {

void fail_check(const char* file, int line, const char* condition, const std::string& message) {
  fmt::print(stderr, "kvsim: internal error at {}:{}: {} (violated: {})\n", file, line, message,
             condition);
  std::fflush(stderr);
  std::abort();
}

}  // namespace kvsim
