#include "sim/base/fields.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsim::detail {

bool expect_scalar(const Tree& t, Reader& r, const std::string& expected) {
  if (t.is_scalar()) return true;
  const char* read = t.is_list() ? "a list" : t.is_map() ? "a map" : "nothing";
  r.error(t, fmt::format("read {}, expected {}", read, expected));
  return false;
}

bool read_int(const Tree& t, std::int64_t& out, Reader& r) {
  if (!expect_scalar(t, r, "a whole number")) return false;
  if (const auto n = parse_int(t.text())) return out = *n, true;
  const std::string& text = t.text();
  const std::size_t sign = text.starts_with('-') ? 1 : 0;
  const bool is_whole =
      text.size() > sign && text.find_first_not_of("0123456789", sign) == std::string::npos;
  r.error(
      t, is_whole
             ? fmt::format(
                   "'{}' is too large a number, expected at most 9223372036854775807 in size", text)
             : fmt::format("read '{}', expected a whole number", text));
  return false;
}

bool read_double(const Tree& t, double& out, Reader& r) {
  if (!expect_scalar(t, r, "a number")) return false;
  if (const auto n = parse_double(t.text())) return out = *n, true;
  r.error(t, fmt::format("read '{}', expected a number", t.text()));
  return false;
}

bool read_bool(const Tree& t, bool& out, Reader& r) {
  if (!expect_scalar(t, r, "true or false")) return false;
  if (t.text() == "true" || t.text() == "false") return out = t.text() == "true", true;
  r.error(t, fmt::format("read '{}', expected true or false", t.text()));
  return false;
}

bool read_count(Dimension d, const Tree& t, std::int64_t& out, Reader& r) {
  if (!expect_scalar(t, r, describe(d))) return false;
  std::string error;
  const auto n = parse_count(d, t.text(), error);
  if (!n) return r.error(t, error), false;
  if (*n < 0) return r.error(t, fmt::format("'{}' is negative", t.text())), false;
  out = *n;
  return true;
}

bool read_quantity(Dimension d, const Tree& t, double& out, Reader& r) {
  if (!expect_scalar(t, r, describe(d))) return false;
  std::string error;
  const auto n = parse_quantity(d, t.text(), error);
  if (!n) return r.error(t, error), false;
  if (*n < 0) return r.error(t, fmt::format("'{}' is negative", t.text())), false;
  out = *n;
  return true;
}

void report_unknown_keys(const Tree& t, const std::vector<std::string>& known, Reader& r) {
  for (const Tree::Entry& e : t.entries()) {
    if (std::find(known.begin(), known.end(), e.key) != known.end()) continue;
    r.error_at(e.key_place, e.key, "unknown key", name_hint(e.key, known));
  }
}

TypeInfo scalar_type(std::string name, std::string json_type) {
  TypeInfo i;
  i.name = std::move(name);
  i.json_type = std::move(json_type);
  return i;
}

}  // namespace kvsim::detail
