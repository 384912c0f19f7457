#pragma once
// Structs that know their own fields. A struct S lists rows in `static constexpr Rows
// kFields{field(...)...}`; from the rows come YAML keys and checks, defaults, bounds, printing, the
// JSON Schema and the docs. Nested structs, vectors, optionals, enums (through enum_names) and
// plug-in choices (registry.h) are field types too.
#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// The rows of a struct: a tuple without std::tuple's constructors, whose overloads are most of what
// a header full of fields takes to parse.
template <class... F>
class Rows {
 public:
  constexpr explicit Rows(F... rows) : rows_(std::index_sequence_for<F...>{}, rows...) {}
  static constexpr std::size_t kCount = sizeof...(F);
  template <class Do>
  constexpr void each(Do&& act) const {
    rows_.each(act);
  }

 private:
  template <std::size_t I, class Row>
  struct Leaf {
    Row row;
  };
  template <class Indices>
  struct Leaves;
  template <std::size_t... I>
  struct Leaves<std::index_sequence<I...>> : Leaf<I, F>... {
    constexpr explicit Leaves(std::index_sequence<I...>, const F&... rows) : Leaf<I, F>{rows}... {}
    template <class Do>
    constexpr void each(Do& act) const {
      (act(static_cast<const Leaf<I, F>&>(*this).row), ...);
    }
  };
  Leaves<std::index_sequence_for<F...>> rows_;
};

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

  // In the .cpp, as FieldInfo's: every plug-in would compile them again.
  TypeInfo();
  ~TypeInfo();
  TypeInfo(const TypeInfo&);
  TypeInfo(TypeInfo&&) noexcept;
  TypeInfo& operator=(const TypeInfo&);
  TypeInfo& operator=(TypeInfo&&) noexcept;
};
struct FieldInfo {
  std::string name, text, default_text, bounds_text;
  TypeInfo type;

  FieldInfo();
  ~FieldInfo();
  FieldInfo(const FieldInfo&);
  FieldInfo(FieldInfo&&) noexcept;
  FieldInfo& operator=(const FieldInfo&);
  FieldInfo& operator=(FieldInfo&&) noexcept;
};

// Collects mistakes while a tree is read; `path` names the value being read.
class Reader {
 public:
  explicit Reader(Diagnostics& d) : diagnostics_(d) {}
  void error(const Tree& at, std::string message, std::string hint = {});
  void error_at(Place place, const std::string& key, std::string message, std::string hint = {});
  class Scope {
   public:
    Scope(Reader& r, std::string_view key);
    ~Scope();
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

// Cold: what runs once a program is compiled for size, in half the time.
template <HasFields S>
[[gnu::cold]] std::vector<FieldInfo> describe_fields();
template <HasFields S>
[[gnu::cold]] bool read_fields(S&, const Tree&, Reader&, std::vector<std::string> also_valid = {});
template <HasFields S>
[[gnu::cold]] Tree write_fields(const S&);

namespace detail {

bool expect_scalar(const Tree&, Reader&, const std::string& expected);
bool read_int(const Tree&, std::int64_t&, Reader&);
bool read_double(const Tree&, double&, Reader&);
bool read_bool(const Tree&, bool&, Reader&);
bool read_count(Dimension, const Tree&, std::int64_t&, Reader&);
bool read_quantity(Dimension, const Tree&, double&, Reader&);
// Which of the names.
std::optional<std::size_t> read_name(const Tree&, const std::vector<std::string>& names, Reader&);
// Reports a map's keys that are not in `known`.
void report_unknown_keys(const Tree&, const std::vector<std::string>& known, Reader&);
TypeInfo scalar_type(std::string_view name, std::string_view json_type = "string");
TypeInfo list_type(TypeInfo element);
TypeInfo open_map_type(const TypeInfo& value);
TypeInfo map_type(std::vector<FieldInfo>);
TypeInfo enum_type(std::vector<std::string> names);
void report_range(const Tree&, const std::string& low, const std::string& high, Reader&);
void report_bounds(const Tree&, const std::string& bounds, Reader&);
// Whether it is a list of at most a million items, or a map; reported when not.
bool expect_list(const Tree&, Reader&);
bool expect_map(const Tree&, Reader&);
// "1 to 5", "at least 1", ...; a text that is not given is no bound.
std::string bounds_words(const Tree* low, const Tree* high, bool is_one_value);
void add_row(std::vector<FieldInfo>&, const char* name, const char* text, std::string bounds,
             TypeInfo, const Tree& default_value);

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
  static Tree write(bool);
  static TypeInfo info();
};
template <std::integral I>
struct Codec<I> {
  static bool read(const Tree& t, I& out, Reader& r) {
    std::int64_t n = 0;
    if (!detail::read_int(t, n, r)) return false;
    if (!std::in_range<I>(n)) {
      detail::report_range(t, std::to_string(std::numeric_limits<I>::min()),
                           std::to_string(std::numeric_limits<I>::max()), r);
      return false;
    }
    out = static_cast<I>(n);
    return true;
  }
  static Tree write(I v) { return Tree::scalar(std::to_string(v)); }
  static TypeInfo info() { return detail::scalar_type("whole number", "integer"); }
};
extern template struct Codec<int>;
extern template struct Codec<std::int64_t>;
template <>
struct Codec<double> {
  static bool read(const Tree& t, double& out, Reader& r) { return detail::read_double(t, out, r); }
  static Tree write(double);
  static TypeInfo info();
};
template <>
struct Codec<std::string> {
  static bool read(const Tree&, std::string&, Reader&);
  static Tree write(const std::string&);
  static TypeInfo info();
};
template <>
struct Codec<Tree> {  // anything: checked later by whoever knows
  static bool read(const Tree& t, Tree& out, Reader&) { return out = t, true; }
  static Tree write(const Tree& v) { return v; }
  static TypeInfo info();
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
  [[gnu::cold]] static std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& [v, name] : enum_names(E{})) all.emplace_back(name);
    return all;
  }
  static bool read(const Tree& t, E& out, Reader& r) {
    const auto at = detail::read_name(t, names(), r);
    if (at) out = enum_names(E{})[*at].first;
    return at.has_value();
  }
  static Tree write(E v) { return Tree::scalar(std::string(name_of(v))); }
  static TypeInfo info() { return detail::enum_type(names()); }
};

template <class T>
struct Codec<std::vector<T>> {
  [[gnu::cold]] static bool read(const Tree& t, std::vector<T>& out, Reader& r) {
    if (!detail::expect_list(t, r)) return false;
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
  [[gnu::cold]] static Tree write(const std::vector<T>& v) {
    Tree t = Tree::list();
    for (const auto& item : v) t.push(Codec<T>::write(item));
    return t;
  }
  static TypeInfo info() { return detail::list_type(Codec<T>::info()); }
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
  [[gnu::cold]] static bool read(const Tree& t, std::map<std::string, T>& out, Reader& r) {
    if (!t.is_map()) return r.error(t, "expected a map of name: value"), false;
    bool good = true;
    for (const Tree::Entry& e : t.entries()) {
      const Reader::Scope scope(r, e.key);
      good = Codec<T>::read(e.value, out[e.key], r) && good;
    }
    return good;
  }
  [[gnu::cold]] static Tree write(const std::map<std::string, T>& v) {
    Tree t = Tree::map();
    for (const auto& [key, value] : v) t.set(key, Codec<T>::write(value));
    return t;
  }
  static TypeInfo info() { return detail::open_map_type(Codec<T>::info()); }
};

template <HasFields S>
struct Codec<S> {
  static bool read(const Tree& t, S& out, Reader& r) { return read_fields(out, t, r); }
  static Tree write(const S& v) { return write_fields(v); }
  static TypeInfo info() { return detail::map_type(describe_fields<S>()); }
};

namespace detail {

template <class T>
[[gnu::cold]] std::string bounds_text(const Bounds<T>& b) {
  const Tree low = b.low ? Codec<T>::write(*b.low) : Tree{};
  const Tree high = b.high ? Codec<T>::write(*b.high) : Tree{};
  return bounds_words(b.low ? &low : nullptr, b.high ? &high : nullptr,
                      b.low && b.high && !(*b.low < *b.high));
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

// What is done with a row whose member is a T with bounds B. Made once for each such pair (those of
// plain types in fields.cpp), and all else about rows in functions that know neither: most of what
// a file full of fields costs to compile.
struct RowActs {
  bool (*read)(void* member, const void* bounds, const Tree&, Reader&);
  Tree (*write)(const void* member);
  TypeInfo (*info)();
  std::string (*bounds_text)(const void* bounds);
};
template <class T, class B>
struct RowOf {
  [[gnu::cold]] static bool read(void* member, const void* bounds, const Tree& t, Reader& r) {
    T& out = *static_cast<T*>(member);
    T value = out;
    if (!Codec<T>::read(t, value, r)) {
      // What could be read of a broken mapping counts, so that later checks find further mistakes.
      if constexpr (HasFields<T>) out = std::move(value);
      return false;
    }
    if (!in_bounds(*static_cast<const B*>(bounds), value)) {
      report_bounds(t, RowOf::bounds_text(bounds), r);
      return false;
    }
    out = std::move(value);
    return true;
  }
  [[gnu::cold]] static Tree write(const void* member) {
    return Codec<T>::write(*static_cast<const T*>(member));
  }
  [[gnu::cold]] static TypeInfo info() { return Codec<T>::info(); }
  [[gnu::cold]] static std::string bounds_text(const void* bounds) {
    return detail::bounds_text(*static_cast<const B*>(bounds));
  }
  static constexpr RowActs kActs{&read, &write, &info, &bounds_text};
};
#define KVSIM_ROWS_OF(say, T)              \
  say template struct RowOf<T, Bounds<T>>; \
  say template struct RowOf<T, Unbounded>;
#define KVSIM_PLAIN_ROWS(say)                                     \
  KVSIM_ROWS_OF(say, int)                                         \
  KVSIM_ROWS_OF(say, std::int64_t)                                \
  KVSIM_ROWS_OF(say, double)                                      \
  KVSIM_ROWS_OF(say, Duration)                                    \
  KVSIM_ROWS_OF(say, Bytes)                                       \
  KVSIM_ROWS_OF(say, Bandwidth)                                   \
  KVSIM_ROWS_OF(say, FlopRate)                                    \
  KVSIM_ROWS_OF(say, Ratio)                                       \
  KVSIM_ROWS_OF(say, Rate)                                        \
  KVSIM_ROWS_OF(say, Tokens)                                      \
  KVSIM_ROWS_OF(say, Blocks)                                      \
  say template struct RowOf<bool, Unbounded>;                     \
  say template struct RowOf<std::string, Unbounded>;              \
  say template struct RowOf<std::vector<std::string>, Unbounded>; \
  say template struct RowOf<Tree, Unbounded>;
KVSIM_PLAIN_ROWS(extern)

// A row of one struct: its member's and its bounds' addresses.
struct RowView {
  const char* name;
  const char* text;
  void* member;
  const void* bounds;
  const RowActs* acts;
};
bool read_rows(std::span<const RowView>, const Tree&, Reader&, std::vector<std::string> also_valid);
Tree write_rows(std::span<const RowView>);
std::vector<FieldInfo> describe_rows(std::span<const RowView>);

// Of `s`, whose members only read_rows() writes.
template <HasFields S>
[[gnu::cold]] auto rows_of([[maybe_unused]] S& s) {
  static_assert(count_members<S>() == S::kFields.kCount,
                "a member has no row in kFields, or a row twice");
  std::array<RowView, S::kFields.kCount> rows;
  [[maybe_unused]] RowView* next = rows.data();
  S::kFields.each([&]<class T, class B>(const Field<S, T, B>& f) {
    *next++ = {f.name, f.text, &(s.*f.member), &f.bounds, &RowOf<T, B>::kActs};
  });
  return rows;
}

}  // namespace detail

// Reads the given keys over the values `out` holds; unknown keys, wrong types and bounds are
// reported. `also_valid` are keys that somebody else reads.
template <HasFields S>
bool read_fields(S& out, const Tree& t, Reader& r, std::vector<std::string> also_valid) {
  return detail::read_rows(detail::rows_of(out), t, r, std::move(also_valid));
}

template <HasFields S>
Tree write_fields(const S& s) {
  return detail::write_rows(detail::rows_of(const_cast<S&>(s)));  // NOLINT: only read
}

template <HasFields S>
std::vector<FieldInfo> describe_fields() {
  S defaults{};
  return detail::describe_rows(detail::rows_of(defaults));
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
