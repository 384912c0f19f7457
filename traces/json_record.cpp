#include "traces/json_record.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <string>

#include "traces/line_reader.h"
#include "traces/record_check.h"

namespace kvsim {

static_assert(kRecordPadding >= simdjson::SIMDJSON_PADDING);

struct JsonAccess {
  static simdjson::ondemand::value& of(JsonValue& v) {
    return *static_cast<simdjson::ondemand::value*>(v.value_);
  }
  static JsonValue wrap(simdjson::ondemand::value& v) { return JsonValue(&v); }
};

namespace {

namespace od = simdjson::ondemand;

[[noreturn]] void malformed(simdjson::error_code e) {
  throw BadRecord{"", fmt::format("malformed JSON: {}", simdjson::error_message(e))};
}

// The value as written, for messages.
std::string raw_text(od::value& v) {
  std::string_view raw = v.raw_json_token();
  while (!raw.empty() && (raw.back() == ' ' || raw.back() == '\n' || raw.back() == '\t'))
    raw.remove_suffix(1);
  return std::string(raw);
}

// A type error is the field's; anything else means the text is no JSON.
[[noreturn]] void wrong(od::value& v, simdjson::error_code e, std::string_view expected) {
  switch (e) {
    case simdjson::INCORRECT_TYPE:
    case simdjson::NUMBER_ERROR:
    case simdjson::NUMBER_OUT_OF_RANGE:
      bad_value("", raw_text(v), expected);
    default:
      malformed(e);
  }
}

// Puts `part` before the field named by a BadRecord that passes through.
template <class Call>
void inside(std::string_view part, Call call) {
  try {
    call();
  } catch (BadRecord& bad) {
    if (bad.message.rfind("malformed JSON", 0) == 0) throw;
    const bool joined = bad.field.empty() || bad.field.front() == '[';
    bad.field = fmt::format("{}{}{}", part, joined ? "" : ".", bad.field);
    throw;
  }
}

void each_field(od::object object, JsonValue::OnField on_field) {
  for (auto item : object) {
    std::string_view key;
    od::value value;
    od::field field;
    if (const auto e = std::move(item).get(field)) malformed(e);
    if (const auto e = field.unescaped_key().get(key)) malformed(e);
    value = field.value();
    JsonValue v = JsonAccess::wrap(value);
    inside(key, [&] { on_field(key, v); });
  }
}

}  // namespace

std::int64_t JsonValue::whole(std::int64_t low, std::int64_t high) {
  od::value& v = JsonAccess::of(*this);
  std::int64_t n = 0;
  const auto expected = [&] { return fmt::format("a whole number from {} to {}", low, high); };
  if (const auto e = v.get_int64().get(n)) wrong(v, e, expected());
  if (n < low || n > high) bad_value("", fmt::to_string(n), expected());
  return n;
}

std::int64_t JsonValue::tokens(std::int64_t low) {
  od::value& v = JsonAccess::of(*this);
  std::int64_t n = 0;
  const auto expected = [&] {
    return fmt::format("a whole number of tokens from {} to {}", low, kMaxTokens);
  };
  if (const auto e = v.get_int64().get(n)) wrong(v, e, expected());
  if (n < low || n > kMaxTokens) bad_value("", fmt::to_string(n), expected());
  return n;
}

double JsonValue::number(double low, double high) {
  od::value& v = JsonAccess::of(*this);
  double n = 0;
  const auto expected = [&] { return fmt::format("a number from {} to {}", low, high); };
  if (const auto e = v.get_double().get(n)) wrong(v, e, expected());
  if (!(n >= low && n <= high)) bad_value("", fmt::to_string(n), expected());
  return n;
}

std::string_view JsonValue::text() {
  od::value& v = JsonAccess::of(*this);
  std::string_view s;
  if (const auto e = v.get_string().get(s)) wrong(v, e, "text");
  return s;
}

bool JsonValue::is_null() {
  od::json_type type{};
  if (const auto e = JsonAccess::of(*this).type().get(type)) malformed(e);
  return type == od::json_type::null;
}

bool JsonValue::is_text() {
  od::json_type type{};
  if (const auto e = JsonAccess::of(*this).type().get(type)) malformed(e);
  return type == od::json_type::string;
}

void JsonValue::ids(std::vector<std::uint64_t>& out) {
  od::value& v = JsonAccess::of(*this);
  od::array list;
  if (const auto e = v.get_array().get(list)) wrong(v, e, "a list of whole numbers");
  out.clear();
  for (auto item : list) {
    std::uint64_t n = 0;
    od::value one;
    if (const auto e = std::move(item).get(one)) malformed(e);
    if (const auto e = one.get_uint64().get(n))
      inside(fmt::format("[{}]", out.size()), [&] { wrong(one, e, "a whole number, 0 or more"); });
    out.push_back(n);
  }
}

void JsonValue::fields(OnField on_field) {
  od::value& v = JsonAccess::of(*this);
  od::object object;
  if (const auto e = v.get_object().get(object)) wrong(v, e, "an object");
  each_field(object, on_field);
}

void JsonValue::items(OnItem on_item) {
  od::value& v = JsonAccess::of(*this);
  od::array list;
  if (const auto e = v.get_array().get(list)) wrong(v, e, "a list");
  std::size_t index = 0;
  for (auto item : list) {
    od::value one;
    if (const auto e = std::move(item).get(one)) malformed(e);
    JsonValue value = JsonAccess::wrap(one);
    inside(fmt::format("[{}]", index), [&] { on_item(value); });
    ++index;
  }
}

struct JsonParser::Impl {
  od::parser parser{kMaxRecord};
};

JsonParser::JsonParser() : impl_(std::make_unique<Impl>()) {}
JsonParser::~JsonParser() = default;

void JsonParser::parse(std::string_view record, JsonValue::OnField on_field) {
  od::document document;
  const simdjson::padded_string_view padded(record.data(), record.size(),
                                            record.size() + kRecordPadding);
  if (const auto e = impl_->parser.iterate(padded).get(document)) malformed(e);
  od::object object;
  if (const auto e = document.get_object().get(object)) {
    if (e != simdjson::INCORRECT_TYPE) malformed(e);
    bad_value("", record, "a JSON object");
  }
  each_field(object, on_field);
  const char* behind = nullptr;
  if (document.current_location().get(behind) == simdjson::SUCCESS)
    throw BadRecord{"", "malformed JSON: text after the end of the object"};
}

}  // namespace kvsim
