#pragma once
// Reading one JSON object forward, field by field (the parser itself is hidden in the .cpp file).
// Anything of the wrong type or out of range throws BadRecord with the path of the field.
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace kvsim {

// A callable for the time of one call.
template <class Signature>
class FunctionRef;
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT: implicit by purpose
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* o, A... a) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(a...);
        }) {}
  R operator()(A... a) const { return call_(object_, a...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

// The value of a field or item; consumed once, inside the handler that received it.
class JsonValue {
 public:
  using OnField = FunctionRef<void(std::string_view key, JsonValue& value)>;
  using OnItem = FunctionRef<void(JsonValue& value)>;
  [[nodiscard]] std::int64_t whole(std::int64_t low, std::int64_t high);
  [[nodiscard]] std::int64_t tokens(std::int64_t low = 1);
  [[nodiscard]] double number(double low, double high);
  [[nodiscard]] std::string_view text();  // valid until the record is left
  [[nodiscard]] bool is_null();
  [[nodiscard]] bool is_text();
  void ids(std::vector<std::uint64_t>& out);  // a list of whole numbers from 0 to 2^64 - 1
  void fields(OnField);
  void items(OnItem);

 private:
  friend class JsonParser;
  friend struct JsonAccess;
  explicit JsonValue(void* value) : value_(value) {}
  void* value_;
};

class JsonParser {
 public:
  JsonParser();
  ~JsonParser();
  // Requires kRecordPadding readable bytes behind the record. Unknown fields may be left unread in
  // the handler.
  void parse(std::string_view record, JsonValue::OnField);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsim
