#include "traces/record_check.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/diagnostics.h"
#include "sim/base/hash.h"
#include "sim/base/units.h"

namespace kvsim {

void fail_at(Place place, std::string field, std::string message, std::string hint) {
  std::vector<Diagnostic> one(1);
  one[0].place = std::move(place);
  one[0].path = std::move(field);
  one[0].message = std::move(message);
  one[0].hint = std::move(hint);
  throw InputError(std::move(one));
}

std::string shown(std::string_view text, std::size_t most) {
  std::string out;
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  if (text.size() > most) out += "...";
  return out;
}

void bad_value(std::string field, std::string_view read, std::string_view expected) {
  throw BadRecord{std::move(field),
                  fmt::format("read '{}', expected {}", shown(read, 60), expected)};
}

void missing_field(std::string field) { throw BadRecord{std::move(field), "is missing"}; }

std::int64_t parse_tokens(const char* field, std::string_view text, std::int64_t low) {
  const auto n = parse_int(text);
  if (!n || *n < low || *n > kMaxTokens)
    bad_value(field, text, fmt::format("a whole number of tokens from {} to {}", low, kMaxTokens));
  return *n;
}

double parse_seconds(const char* field, std::string_view text) {
  const auto s = parse_double(text);
  if (!s || !(*s >= 0) || *s > kMaxSeconds)
    bad_value(field, text, "a number of seconds, 0 or more (at most 100 years)");
  return *s;
}

Duration duration_of_seconds(double seconds) { return Duration{std::llround(seconds * 1e9)}; }

std::uint64_t unique_key(std::uint64_t salt, std::uint64_t record) {
  return hash_combine(hash_combine(hash_text("unique"), salt), record);
}

std::uint64_t session_of_name(std::string_view name) {
  const std::uint64_t h = hash_text(name);
  return h == 0 ? 1 : h;
}

}  // namespace kvsim
