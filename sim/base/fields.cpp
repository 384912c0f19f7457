#include "sim/base/fields.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsim {

TypeInfo::TypeInfo() = default;
TypeInfo::~TypeInfo() = default;
TypeInfo::TypeInfo(const TypeInfo&) = default;
TypeInfo::TypeInfo(TypeInfo&&) noexcept = default;
TypeInfo& TypeInfo::operator=(const TypeInfo&) = default;
TypeInfo& TypeInfo::operator=(TypeInfo&&) noexcept = default;
FieldInfo::FieldInfo() = default;
FieldInfo::~FieldInfo() = default;
FieldInfo::FieldInfo(const FieldInfo&) = default;
FieldInfo::FieldInfo(FieldInfo&&) noexcept = default;
FieldInfo& FieldInfo::operator=(const FieldInfo&) = default;
FieldInfo& FieldInfo::operator=(FieldInfo&&) noexcept = default;

void Reader::error(const Tree& at, std::string message, std::string hint) {
  diagnostics_.add(at.place(), path_, std::move(message), std::move(hint));
}

void Reader::error_at(Place place, const std::string& key, std::string message, std::string hint) {
  diagnostics_.add(std::move(place), path_.empty() ? key : path_ + "." + key, std::move(message),
                   std::move(hint));
}

Reader::Scope::Scope(Reader& r, std::string_view key) : reader_(r), length_(r.path_.size()) {
  if (!r.path_.empty()) r.path_ += '.';
  r.path_ += key;
}

Reader::Scope::~Scope() { reader_.path_.resize(length_); }

namespace detail {

bool expect_scalar(const Tree& t, Reader& r, const std::string& expected) {
  if (t.is_scalar()) return true;
  const char* read = t.is_list() ? "a list" : t.is_map() ? "a map" : "nothing";
  r.error(t, fmt::format("read {}, expected {}", read, expected));
  return false;
}

std::optional<std::size_t> read_name(const Tree& t, const std::vector<std::string>& names,
                                     Reader& r) {
  if (!expect_scalar(t, r, "a name")) return std::nullopt;
  const auto found = std::find(names.begin(), names.end(), t.text());
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  r.error(t, "unknown value '" + t.text() + "'", name_hint(t.text(), names));
  return std::nullopt;
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

TypeInfo scalar_type(std::string_view name, std::string_view json_type) {
  TypeInfo i;
  i.name = name;
  i.json_type = json_type;
  return i;
}

TypeInfo list_type(TypeInfo element) {
  TypeInfo i;
  i.shape = TypeInfo::Shape::list;
  i.name = "list of " + element.name;
  i.element.push_back(std::move(element));
  return i;
}

TypeInfo open_map_type(const TypeInfo& value) {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "map of name: " + value.name;
  i.is_open = true;
  return i;
}

TypeInfo map_type(std::vector<FieldInfo> fields) {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "map";
  i.fields = std::move(fields);
  return i;
}

TypeInfo enum_type(std::vector<std::string> names) {
  TypeInfo i = scalar_type("one of");
  i.names = std::move(names);
  for (const std::string& n : i.names) i.name += (&n == &i.names.front() ? " " : " | ") + n;
  return i;
}

void report_range(const Tree& t, const std::string& low, const std::string& high, Reader& r) {
  r.error(t, fmt::format("'{}' is out of bounds: {} to {}", t.text(), low, high));
}

void report_bounds(const Tree& t, const std::string& bounds, Reader& r) {
  r.error(t,
          fmt::format("'{}' is out of bounds: {}", t.is_scalar() ? t.text() : to_json(t), bounds));
}

bool expect_list(const Tree& t, Reader& r) {
  constexpr std::size_t kMost = 1'000'000;
  if (!t.is_list()) return r.error(t, "expected a list, such as [a, b]"), false;
  if (t.items().size() > kMost) return r.error(t, "the list has more than 1000000 items"), false;
  return true;
}

bool expect_map(const Tree& t, Reader& r) {
  if (t.is_map()) return true;
  r.error(t, "expected a map of key: value");
  return false;
}

std::string bounds_words(const Tree* low, const Tree* high, bool is_one_value) {
  if (low != nullptr && high != nullptr)
    return is_one_value ? "only " + low->text() : low->text() + " to " + high->text();
  if (low != nullptr) return "at least " + low->text();
  if (high != nullptr) return "at most " + high->text();
  return {};
}

void add_row(std::vector<FieldInfo>& all, const char* name, const char* text, std::string bounds,
             TypeInfo type, const Tree& default_value) {
  FieldInfo& row = all.emplace_back();
  row.name = name;
  row.text = text;
  row.bounds_text = std::move(bounds);
  row.type = std::move(type);
  if (default_value.is_scalar())
    row.default_text = default_value.text();
  else if (default_value.is_list())
    row.default_text = to_json(default_value);
}

bool read_rows(std::span<const RowView> rows, const Tree& t, Reader& r,
               std::vector<std::string> also_valid) {
  if (t.is_null()) return true;
  if (!expect_map(t, r)) return false;
  bool good = true;
  for (const RowView& row : rows) {
    also_valid.emplace_back(row.name);
    const Tree* value = t.find(row.name);
    if (value == nullptr) continue;
    const Reader::Scope scope(r, row.name);
    good = row.acts->read(row.member, row.bounds, *value, r) && good;
  }
  const std::size_t before = r.diagnostics().all().size();
  report_unknown_keys(t, also_valid, r);
  return good && r.diagnostics().all().size() == before;
}

Tree write_rows(std::span<const RowView> rows) {
  Tree t = Tree::map();
  for (const RowView& row : rows) {
    Tree value = row.acts->write(row.member);
    if (!value.is_null()) t.set(row.name, std::move(value));
  }
  return t;
}

std::vector<FieldInfo> describe_rows(std::span<const RowView> rows) {
  std::vector<FieldInfo> all;
  for (const RowView& row : rows)
    add_row(all, row.name, row.text, row.acts->bounds_text(row.bounds), row.acts->info(),
            row.acts->write(row.member));
  return all;
}

KVSIM_PLAIN_ROWS()

}  // namespace detail

template struct Codec<int>;
template struct Codec<std::int64_t>;
Tree Codec<bool>::write(bool v) { return Tree::scalar(v ? "true" : "false"); }
TypeInfo Codec<bool>::info() { return detail::scalar_type("true or false", "boolean"); }
Tree Codec<double>::write(double v) { return Tree::scalar(print_quantity(Dimension::none, v)); }
TypeInfo Codec<double>::info() { return detail::scalar_type("number", "number"); }
bool Codec<std::string>::read(const Tree& t, std::string& out, Reader& r) {
  if (!detail::expect_scalar(t, r, "text")) return false;
  out = t.text();
  return true;
}
Tree Codec<std::string>::write(const std::string& v) { return Tree::scalar(v); }
TypeInfo Codec<std::string>::info() { return detail::scalar_type("text", ""); }
TypeInfo Codec<Tree>::info() { return detail::scalar_type("anything", ""); }

}  // namespace kvsim
