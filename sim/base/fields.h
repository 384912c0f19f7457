#pragma once
// Structs that know their own fields. A struct S lists rows in `static constexpr std::tuple
// kFields{field(...)...}`; from the rows come YAML keys and checks, defaults, bounds, printing, the
// JSON Schema and the docs. Nested structs, vectors, optionals, enums (through enum_names) and
// plug-in choices (registry.h) are field types too.
#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/base/quantity.h"
#include "sim/base/tree.h"
#include "sim/base/units.h"

namespace kvsim {

template <class T>
struct Bounds {
  std::optional<T> low, high;
};
template <class T>
constexpr Bounds<T> between(T low, T high) {
  return {low, high};
}
template <class T>
constexpr Bounds<T> at_least(T low) {
  return {low, std::nullopt};
}
struct Unbounded {};
inline constexpr Unbounded any;

template <class S, class T, class B>
struct Field {
  const char* name;
  T S::*member;
  B bounds;
  const char* text;
};
template <class S, class T, class B>
constexpr Field<S, T, B> field(const char* name, T S::*member, B bounds, const char* text) {
  return {name, member, bounds, text};
}

// What a type accepts, for listings and the schema.
struct FieldInfo;
struct TypeInfo {
  enum class Shape { scalar, list, map, choice };
  Shape shape = Shape::scalar;
  std::string name;                  // "duration", "int", "one of a | b", "list of size"
  std::string json_type = "string";  // "integer", "number", "boolean", "string", or "" for anything
  std::vector<std::string> names;    // enum values
  std::vector<FieldInfo> fields;     // of a map; of a list's element (then shape = list)
  std::vector<TypeInfo> element;     // of a list: one entry
  std::string plugin_kind, plugin_key;
  bool is_open = false;  // a map that takes further keys
};
struct FieldInfo {
  std::string name, text, default_text, bounds_text;
  TypeInfo type;
};

// Collects mistakes while a tree is read; `path` names the value being read.
class Reader {
 public:
  explicit Reader(Diagnostics& d) : diagnostics_(d) {}
  void error(const Tree& at, std::string message, std::string hint = {}) {
    diagnostics_.add(at.place(), path_, std::move(message), std::move(hint));
  }
  void error_at(Place place, const std::string& key, std::string message, std::string hint = {}) {
    diagnostics_.add(std::move(place), path_.empty() ? key : path_ + "." + key, std::move(message),
                     std::move(hint));
  }
  class Scope {
   public:
    Scope(Reader& r, const std::string& key) : reader_(r), length_(r.path_.size()) {
      if (!r.path_.empty()) r.path_ += '.';
      r.path_ += key;
    }
    ~Scope() { reader_.path_.resize(length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Reader& reader_;
    std::size_t length_;
  };
  [[nodiscard]] const std::string& path() const { return path_; }
  Diagnostics& diagnostics() { return diagnostics_; }

 private:
  Diagnostics& diagnostics_;
  std::string path_;
};

template <class T>
concept HasFields = requires {
  T::kFields;
};

// Codec<T>: read (false after reporting an error), write, info.
template <class T>
struct Codec;

template <HasFields S>
std::vector<FieldInfo> describe_fields();
template <HasFields S>
bool read_fields(S&, const Tree&, Reader&, std::vector<std::string> also_valid = {});
template <HasFields S>
Tree write_fields(const S&);

namespace detail {

bool expect_scalar(const Tree&, Reader&, const std::string& expected);
bool read_int(const Tree&, std::int64_t&, Reader&);
bool read_double(const Tree&, double&, Reader&);
bool read_bool(const Tree&, bool&, Reader&);
bool read_count(Dimension, const Tree&, std::int64_t&, Reader&);
bool read_quantity(Dimension, const Tree&, double&, Reader&);
// Reports a map's keys that are not in `known`.
void report_unknown_keys(const Tree&, const std::vector<std::string>& known, Reader&);
TypeInfo scalar_type(std::string name, std::string json_type = "string");

template <Dimension D, class T>
struct CountCodec {
  static bool read(const Tree& t, T& out, Reader& r) {
    std::int64_t n = 0;
    if (!read_count(D, t, n, r)) return false;
    out = T{n};
    return true;
  }
  static Tree write(const T& v) { return Tree::scalar(print_count(D, v.count())); }
  static TypeInfo info() { return scalar_type(describe(D)); }
};
template <Dimension D, class T>
struct RealCodec {
  static bool read(const Tree& t, T& out, Reader& r) { return read_quantity(D, t, out.value, r); }
  static Tree write(const T& v) { return Tree::scalar(print_quantity(D, v.value)); }
  static TypeInfo info() { return scalar_type(describe(D), D == Dimension::ratio ? "" : "string"); }
};

// Counts the members of an aggregate by trying initialisers, so that a forgotten row does not
// compile.
struct AnyInit {
  template <class T>
  operator T() const;  // NOLINT: implicit by purpose, never defined
};
template <class S, class... Tries>
consteval std::size_t count_members() {
  if constexpr (requires { S{Tries{}..., AnyInit{}}; })
    return count_members<S, Tries..., AnyInit>();
  else
    return sizeof...(Tries);
}

}  // namespace detail

template <>
struct Codec<bool> {
  static bool read(const Tree& t, bool& out, Reader& r) { return detail::read_bool(t, out, r); }
  static Tree write(bool v) { return Tree::scalar(v ? "true" : "false"); }
  static TypeInfo info() { return detail::scalar_type("true or false", "boolean"); }
};
template <std::integral I>
struct Codec<I> {
  static bool read(const Tree& t, I& out, Reader& r) {
    std::int64_t n = 0;
    if (!detail::read_int(t, n, r)) return false;
    if (!std::in_range<I>(n)) {
      r.error(t, "'" + t.text() +
                     "' is out of bounds: " + std::to_string(std::numeric_limits<I>::min()) +
                     " to " + std::to_string(std::numeric_limits<I>::max()));
      return false;
    }
    out = static_cast<I>(n);
    return true;
  }
  static Tree write(I v) { return Tree::scalar(std::to_string(v)); }
  static TypeInfo info() { return detail::scalar_type("whole number", "integer"); }
};
template <>
struct Codec<double> {
  static bool read(const Tree& t, double& out, Reader& r) { return detail::read_double(t, out, r); }
  static Tree write(double v) { return Tree::scalar(print_quantity(Dimension::none, v)); }
  static TypeInfo info() { return detail::scalar_type("number", "number"); }
};
template <>
struct Codec<std::string> {
  static bool read(const Tree& t, std::string& out, Reader& r) {
    if (!detail::expect_scalar(t, r, "text")) return false;
    out = t.text();
    return true;
  }
  static Tree write(const std::string& v) { return Tree::scalar(v); }
  static TypeInfo info() { return detail::scalar_type("text", ""); }
};
template <>
struct Codec<Tree> {  // anything: checked later by whoever knows
  static bool read(const Tree& t, Tree& out, Reader&) { return out = t, true; }
  static Tree write(const Tree& v) { return v; }
  static TypeInfo info() { return detail::scalar_type("anything", ""); }
};
template <>
struct Codec<Duration> : detail::CountCodec<Dimension::time, Duration> {};
template <>
struct Codec<Bytes> : detail::CountCodec<Dimension::bytes, Bytes> {};
template <>
struct Codec<Bandwidth> : detail::RealCodec<Dimension::bandwidth, Bandwidth> {};
template <>
struct Codec<FlopRate> : detail::RealCodec<Dimension::flop_rate, FlopRate> {};
template <>
struct Codec<Power> : detail::RealCodec<Dimension::power, Power> {};
template <>
struct Codec<Price> : detail::RealCodec<Dimension::price, Price> {};
template <>
struct Codec<Ratio> : detail::RealCodec<Dimension::ratio, Ratio> {};
template <>
struct Codec<Rate> : detail::RealCodec<Dimension::rate, Rate> {};

template <class T>
struct CountedIntCodec {  // Tokens, Blocks: counts that need no unit
  static bool read(const Tree& t, T& out, Reader& r) {
    std::int64_t n = 0;
    if (!detail::read_int(t, n, r)) return false;
    return out = T{n}, true;
  }
  static Tree write(T v) { return Tree::scalar(std::to_string(v.count())); }
  static TypeInfo info() { return detail::scalar_type("whole number", "integer"); }
};
template <>
struct Codec<Tokens> : CountedIntCodec<Tokens> {};
template <>
struct Codec<Blocks> : CountedIntCodec<Blocks> {};

// An enum E is a field type when `constexpr auto enum_names(E)` (found by ADL) gives a std::array
// of {value, "name"} pairs.
template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E e) {
  enum_names(e);
};

template <NamedEnum E>
std::string_view name_of(E value) {
  for (const auto& [v, name] : enum_names(E{}))
    if (v == value) return name;
  return "?";
}

template <NamedEnum E>
struct Codec<E> {
  static std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& [v, name] : enum_names(E{})) all.emplace_back(name);
    return all;
  }
  static bool read(const Tree& t, E& out, Reader& r) {
    if (!detail::expect_scalar(t, r, "a name")) return false;
    for (const auto& [v, name] : enum_names(E{}))
      if (t.text() == name) return out = v, true;
    r.error(t, "unknown value '" + t.text() + "'", name_hint(t.text(), names()));
    return false;
  }
  static Tree write(E v) { return Tree::scalar(std::string(name_of(v))); }
  static TypeInfo info() {
    TypeInfo i = detail::scalar_type("one of");
    i.names = names();
    for (const std::string& n : i.names) i.name += (&n == &i.names.front() ? " " : " | ") + n;
    return i;
  }
};

template <class T>
struct Codec<std::vector<T>> {
  static bool read(const Tree& t, std::vector<T>& out, Reader& r) {
    constexpr std::size_t kMost = 1'000'000;
    if (!t.is_list()) return r.error(t, "expected a list, such as [a, b]"), false;
    if (t.items().size() > kMost) return r.error(t, "the list has more than 1000000 items"), false;
    out.clear();
    bool good = true;
    for (std::size_t i = 0; i < t.items().size(); ++i) {
      const Reader::Scope scope(r, std::to_string(i));
      T item{};
      good = Codec<T>::read(t.items()[i], item, r) && good;
      out.push_back(std::move(item));
    }
    return good;
  }
  static Tree write(const std::vector<T>& v) {
    Tree t = Tree::list();
    for (const auto& item : v) t.push(Codec<T>::write(item));
    return t;
  }
  static TypeInfo info() {
    TypeInfo i;
    i.shape = TypeInfo::Shape::list;
    i.element.push_back(Codec<T>::info());
    i.name = "list of " + i.element[0].name;
    return i;
  }
};

template <class T>
struct Codec<std::optional<T>> {  // null or absent = not given
  static bool read(const Tree& t, std::optional<T>& out, Reader& r) {
    if (t.is_null()) return out.reset(), true;
    return Codec<T>::read(t, out.emplace(), r);
  }
  static Tree write(const std::optional<T>& v) { return v ? Codec<T>::write(*v) : Tree{}; }
  static TypeInfo info() { return Codec<T>::info(); }
};

// A map with free keys.
template <class T>
struct Codec<std::map<std::string, T>> {
  static bool read(const Tree& t, std::map<std::string, T>& out, Reader& r) {
    if (!t.is_map()) return r.error(t, "expected a map of name: value"), false;
    bool good = true;
    for (const Tree::Entry& e : t.entries()) {
      const Reader::Scope scope(r, e.key);
      good = Codec<T>::read(e.value, out[e.key], r) && good;
    }
    return good;
  }
  static Tree write(const std::map<std::string, T>& v) {
    Tree t = Tree::map();
    for (const auto& [key, value] : v) t.set(key, Codec<T>::write(value));
    return t;
  }
  static TypeInfo info() {
    TypeInfo i;
    i.shape = TypeInfo::Shape::map;
    i.name = "map of name: " + Codec<T>::info().name;
    i.is_open = true;
    return i;
  }
};

template <HasFields S>
struct Codec<S> {
  static bool read(const Tree& t, S& out, Reader& r) { return read_fields(out, t, r); }
  static Tree write(const S& v) { return write_fields(v); }
  static TypeInfo info() {
    TypeInfo i;
    i.shape = TypeInfo::Shape::map;
    i.name = "map";
    i.fields = describe_fields<S>();
    return i;
  }
};

namespace detail {

template <class T>
std::string bounds_text(const Bounds<T>& b) {
  const auto show = [](const T& v) { return Codec<T>::write(v).text(); };
  if (b.low && b.high)
    return *b.low < *b.high ? show(*b.low) + " to " + show(*b.high) : "only " + show(*b.low);
  if (b.low) return "at least " + show(*b.low);
  if (b.high) return "at most " + show(*b.high);
  return {};
}
inline std::string bounds_text(const Unbounded&) { return {}; }

template <class T>
bool in_bounds(const Bounds<T>& b, const T& v) {
  return (!b.low || !(v < *b.low)) && (!b.high || !(*b.high < v));
}
template <class T>
bool in_bounds(const Unbounded&, const T&) {
  return true;
}
template <class T>
bool in_bounds(const Bounds<T>& b, const std::optional<T>& v) {
  return !v || in_bounds(b, *v);
}
template <class T>
bool in_bounds(const Bounds<T>& b, const std::vector<T>& v) {
  for (const T& item : v)
    if (!in_bounds(b, item)) return false;
  return true;
}

template <class S, class T, class B>
bool read_one(S& out, const Field<S, T, B>& f, const Tree& parent, Reader& r) {
  const Tree* t = parent.find(f.name);
  if (t == nullptr) return true;
  const Reader::Scope scope(r, f.name);
  T value = out.*(f.member);
  if (!Codec<T>::read(*t, value, r)) {
    // What could be read of a broken mapping counts, so that later checks find further mistakes.
    if constexpr (HasFields<T>) out.*(f.member) = std::move(value);
    return false;
  }
  if (!in_bounds(f.bounds, value)) {
    r.error(*t, "'" + (t->is_scalar() ? t->text() : to_json(*t)) +
                    "' is out of bounds: " + bounds_text(f.bounds));
    return false;
  }
  out.*(f.member) = std::move(value);
  return true;
}

template <class S>
constexpr std::size_t row_count() {
  return std::tuple_size_v<std::remove_cvref_t<decltype(S::kFields)>>;
}

}  // namespace detail

// Reads the given keys over the values `out` holds; unknown keys, wrong types and bounds are
// reported. `also_valid` are keys that somebody else reads.
template <HasFields S>
bool read_fields(S& out, const Tree& t, Reader& r, std::vector<std::string> also_valid) {
  static_assert(detail::count_members<S>() == detail::row_count<S>(),
                "a member has no row in kFields, or a row twice");
  if (t.is_null()) return true;
  if (!t.is_map()) {
    r.error(t, "expected a map of key: value");
    return false;
  }
  bool good = true;
  std::apply(
      [&](const auto&... f) {
        (also_valid.emplace_back(f.name), ...);
        ((good = detail::read_one(out, f, t, r) && good), ...);
      },
      S::kFields);
  const std::size_t before = r.diagnostics().all().size();
  detail::report_unknown_keys(t, also_valid, r);
  return good && r.diagnostics().all().size() == before;
}

template <HasFields S>
Tree write_fields(const S& s) {
  Tree t = Tree::map();
  std::apply(
      [&](const auto&... f) {
        [[maybe_unused]] const auto one = [&](const auto& row) {
          Tree value =
              Codec<std::remove_cvref_t<decltype(s.*(row.member))>>::write(s.*(row.member));
          if (!value.is_null()) t.set(row.name, std::move(value));
        };
        (one(f), ...);
      },
      S::kFields);
  return t;
}

template <HasFields S>
std::vector<FieldInfo> describe_fields() {
  static_assert(detail::count_members<S>() == detail::row_count<S>(),
                "a member has no row in kFields, or a row twice");
  const S defaults{};
  std::vector<FieldInfo> all;
  std::apply(
      [&](const auto&... f) {
        [[maybe_unused]] const auto one = [&](const auto& row) {
          using T = std::remove_cvref_t<decltype(defaults.*(row.member))>;
          FieldInfo info{row.name, row.text, {}, detail::bounds_text(row.bounds), Codec<T>::info()};
          const Tree value = Codec<T>::write(defaults.*(row.member));
          if (value.is_scalar())
            info.default_text = value.text();
          else if (value.is_list())
            info.default_text = to_json(value);
          all.push_back(std::move(info));
        };
        (one(f), ...);
      },
      S::kFields);
  return all;
}

// For a large struct: its header says ELSEWHERE, one .cpp says HERE, and the code that reads,
// writes and describes it (seconds of compilation) is made once. In namespace kvsim.
#define KVSIM_FIELDS_ELSEWHERE(S)                                                          \
  extern template bool read_fields<S>(S&, const Tree&, Reader&, std::vector<std::string>); \
  extern template Tree write_fields<S>(const S&);                                          \
  extern template std::vector<FieldInfo> describe_fields<S>();
#define KVSIM_FIELDS_HERE(S)                                                        \
  template bool read_fields<S>(S&, const Tree&, Reader&, std::vector<std::string>); \
  template Tree write_fields<S>(const S&);                                          \
  template std::vector<FieldInfo> describe_fields<S>();

}  // namespace kvsim
