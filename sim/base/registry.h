#pragma once
// Every plug-in of the program, by kind and name. A plug-in is a class T that derives from a
// contract `Kind` and has `struct Params` with kFields; one line registers it:
//
//   const Register<RoundRobin> kSelf{"round-robin", "each instance in turn", "textbook"};
//
// A contract declares `static constexpr const char* kKind = "router"` and `struct Context` (what
// the engine hands over); T is constructed as T(Params, const Context&). Registration happens
// before main; order never matters because lookups are by name.
#include <any>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

struct PluginInfo {
  std::string kind, name, text, source;
  std::vector<FieldInfo> fields;
  // Reads parameters from a map (keys in `also_valid` belong to others); reports mistakes; gives
  // the resolved map back.
  std::function<Tree(const Tree&, Reader&, std::vector<std::string> also_valid)> resolve;
  std::any make;  // MakePlugin<Kind>; empty where resolve() gives all that there is

  // In the .cpp: every plug-in would compile them again.
  PluginInfo();
  ~PluginInfo();
  PluginInfo(const PluginInfo&) = delete;
  PluginInfo(PluginInfo&&) noexcept;
  PluginInfo& operator=(const PluginInfo&) = delete;
  PluginInfo& operator=(PluginInfo&&) noexcept;
};

template <class Kind>
using MakePlugin = std::unique_ptr<Kind> (*)(const Tree&, const typename Kind::Context&);

class Registry {
 public:
  static Registry& instance();
  // A second plug-in of the same kind and name stops the program.
  void add(PluginInfo);
  [[nodiscard]] const PluginInfo* find(std::string_view kind, std::string_view name) const;
  [[nodiscard]] std::vector<const PluginInfo*> of_kind(
      std::string_view kind) const;                                           // sorted by name
  [[nodiscard]] std::vector<std::string> names(std::string_view kind) const;  // sorted
  [[nodiscard]] std::vector<std::string> kinds() const;                       // sorted
  // Requires that `params` passed resolve().
  template <class Kind>
  std::unique_ptr<Kind> make(std::string_view name, const Tree& params,
                             const typename Kind::Context& context) const {
    return std::any_cast<MakePlugin<Kind>>(get(Kind::kKind, name).make)(params, context);
  }

 private:
  // As find(), but throws InputError where there is none.
  [[nodiscard]] const PluginInfo& get(std::string_view kind, std::string_view name) const;
  std::vector<PluginInfo> all_;
};

namespace detail {

// Reads Params that are known to be right.
template <HasFields Params>
[[gnu::cold]] Params resolved_params(const Tree& t) {
  Diagnostics d;
  Reader r(d);
  Params p;
  read_fields(p, t, r);
  d.throw_if_any();
  return p;
}

template <HasFields Params>
[[gnu::cold]] Tree resolve_params(const Tree& t, Reader& r, std::vector<std::string> also_valid) {
  Params p;
  read_fields(p, t, r, std::move(also_valid));
  return write_fields(p);
}

void add_plugin(const char* kind, const char* name, const char* text, const char* source,
                std::vector<FieldInfo>,
                Tree (*resolve)(const Tree&, Reader&, std::vector<std::string>), std::any make);

}  // namespace detail

template <class T>
class Register {
 public:
  [[gnu::cold]] Register(const char* name, const char* text, const char* source) {
    using Kind = typename T::Contract;
    using Params = typename T::Params;
    const MakePlugin<Kind> make =
        [](const Tree& t, const typename Kind::Context& context) -> std::unique_ptr<Kind> {
      return std::make_unique<T>(detail::resolved_params<Params>(t), context);
    };
    detail::add_plugin(Kind::kKind, name, text, source, describe_fields<Params>(),
                       detail::resolve_params<Params>, make);
  }
};

// A string usable as a template argument.
template <std::size_t N>
struct FixedString {
  char text[N]{};
  constexpr FixedString(const char (&s)[N]) {  // NOLINT: implicit by purpose
    for (std::size_t i = 0; i < N; ++i) text[i] = s[i];
  }
};

// A choice of plug-in in a file: `{policy: s3fifo, small: 5 %}` or just `s3fifo`. Key is the word
// that holds the name.
template <FixedString Kind, FixedString Key>
struct Choice {
  std::string name;
  Tree params = Tree::map();
  bool operator==(const Choice&) const = delete;
};

bool read_choice(const char* kind, const char* key, const Tree&, std::string& name, Tree& params,
                 Reader&);
TypeInfo choice_info(const char* kind, const char* key);

template <FixedString Kind, FixedString Key>
struct Codec<Choice<Kind, Key>> {
  using T = Choice<Kind, Key>;
  static bool read(const Tree& t, T& out, Reader& r) {
    return read_choice(Kind.text, Key.text, t, out.name, out.params, r);
  }
  static Tree write(const T& v) {
    Tree t = Tree::map();
    t.set(Key.text, Tree::scalar(v.name));
    return Tree::merged(std::move(t), v.params);
  }
  static TypeInfo info() { return choice_info(Kind.text, Key.text); }
};

}  // namespace kvsim
