#pragma once
// What every reader checks of a record, and how it says no.
#include <cstdint>
#include <string>
#include <string_view>

#include "sim/base/time.h"
#include "sim/base/tree.h"

namespace kvsim {

// One record is broken. Thrown by readers, turned into an InputError with file and line (strict) or
// counted (lenient).
struct BadRecord {
  std::string field;    // "hash_ids[3]", "ContextTokens"; empty when the record as a whole is meant
  std::string message;  // what was read, what was expected
};

inline constexpr std::int64_t kMaxTokens = 100'000'000;  // of one request; more is a unit mistake
inline constexpr double kMaxSeconds =
    100.0 * 366 * 86400;  // of an arrival after the start of the trace

// Throws InputError with one diagnostic: the file or a place in it is unusable, in lenient mode
// too.
[[noreturn]] void fail_at(Place, std::string field, std::string message, std::string hint = {});

// Text of a file as it may stand in a message: control characters as \x1b, cut after `most` bytes.
std::string shown(std::string_view text, std::size_t most);
// "read 'x', expected y"; long text is cut.
[[noreturn]] void bad_value(std::string field, std::string_view read, std::string_view expected);
[[noreturn]] void missing_field(std::string field);

// Whole text as a token count from `low` (0 or 1) to kMaxTokens.
std::int64_t parse_tokens(const char* field, std::string_view text, std::int64_t low = 1);
// Whole text as seconds from 0 to kMaxSeconds.
double parse_seconds(const char* field, std::string_view text);

// Nanoseconds, rounded to the nearest. Requires 0 <= seconds <= kMaxSeconds.
Duration duration_of_seconds(double seconds);

// A key that no other record of any trace format has.
std::uint64_t unique_key(std::uint64_t salt, std::uint64_t record);
// A session number, never 0, from the name a trace gives it.
std::uint64_t session_of_name(std::string_view name);

}  // namespace kvsim
