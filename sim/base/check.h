#pragma once
// Assertions that every build type keeps: they guard against our own mistakes, never against input.
#include <fmt/format.h>

#include <string_view>

namespace kvsim {

// Prints the place and the message to stderr and aborts (exit by SIGABRT; the CLI reports it as our
// bug).
[[noreturn]] void fail_check(const char* file, int line, const char* condition,
                             const std::string& message);

}  // namespace kvsim

// KVSIM_CHECK(condition, "format {}", arguments...): the message should say time, event and ids.
#define KVSIM_CHECK(condition, ...)                                                    \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::kvsim::fail_check(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)
