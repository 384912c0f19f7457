// Mooncake traces (FAST 2025) and the dialects of AIPerf and Dynamo that use the same block hashes.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <unordered_map>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"

namespace kvsim {
namespace {

class Mooncake final : public RecordSource {
 public:
  struct Params {
    Tokens hash_block{512};
    ZeroLengths zero_lengths = ZeroLengths::error;
    static constexpr Rows kFields{
        field("hash_block", &Params::hash_block, between(Tokens{1}, Tokens{1 << 20}),
              "tokens of one hashed block (the last of a prompt may be partial)"),
        field("zero_lengths", &Params::zero_lengths, any, kZeroLengthsText)};
  };

  Mooncake(Params params, const Context& context)
      : RecordSource(context),
        zero_lengths_(params.zero_lengths),
        block_(params.hash_block.count()),
        raw_ids_(context.raw_ids),
        salt_(hash_combine(hash_text("mooncake"), static_cast<std::uint64_t>(block_))) {}

 private:
  struct Fields {
    std::optional<double> arrival_ms;
    std::optional<std::int64_t> input, output, priority;
    std::uint64_t session = 0;
    bool has_ids = false, has_delay = false;
    std::string adapter;
    std::vector<std::uint64_t> images;  // as they stand: hash, first token, tokens of each
  };

  template <class T>
  static void once(std::optional<T>& slot, T value) {
    if (slot) throw BadRecord{"", "is given twice (or under two names)"};
    slot = value;
  }

  void read_field(Fields& f, std::string_view key, JsonValue& v) {
    if (key == "hash_ids") {
      if (v.is_null()) return;
      if (f.has_ids) throw BadRecord{"", "is given twice"};
      v.ids(ids_);
      f.has_ids = true;
    } else if (key == "images") {
      if (!v.is_null()) v.ids(f.images);
    } else if (key == "timestamp" || key == "created_time") {
      once(f.arrival_ms, v.number(0, kMaxSeconds * 1e3));
    } else if (key == "input_length" || key == "input_tokens") {
      once(f.input, v.tokens(0));
    } else if (key == "output_length" || key == "output_tokens") {
      once(f.output, v.tokens(0));
    } else if (key == "priority") {
      once(f.priority, v.whole(-1'000'000, 1'000'000));
    } else if (key == "session_id") {
      if (!v.is_null())
        f.session = session_of_name(v.is_text() ? std::string(v.text())
                                                : fmt::to_string(v.whole(0, INT64_MAX)));
    } else if (key == "adapter") {
      if (!v.is_null()) f.adapter = v.text();
    } else if (key == "delay" || key == "delay_ms") {
      f.has_delay = true;
    }
  }

  bool parse(std::string_view record, Request& out) override {
    Fields f;
    parser_.parse(record, [&](std::string_view key, JsonValue& v) { read_field(f, key, v); });
    if (!f.arrival_ms && f.has_delay)
      throw BadRecord{"timestamp",
                      "is missing: rows that follow a 'delay' after another are not supported, "
                      "give each a timestamp"};
    if (!f.arrival_ms) missing_field("timestamp");
    if (!f.input) missing_field("input_length");
    if (!f.output) missing_field("output_length");
    out.arrival = Time{duration_of_seconds(*f.arrival_ms * 1e-3)};
    if (!set_lengths(out, *f.input, *f.output, zero_lengths_, "input_length", "output_length"))
      return false;
    out.priority = static_cast<std::int32_t>(f.priority.value_or(0));
    if (f.has_ids && *f.input > 0)
      set_blocks(out);
    else
      set_unknown_content(out, salt_, ++unknown_);
    set_images(f.images, out);
    set_adapter(f.adapter, out);
    if (f.session != 0) {
      out.session = f.session;
      out.turn = turns_[f.session]++;
    }
    return true;
  }

  static void set_adapter(const std::string& name, Request& out) {
    for (const char c : name)
      if (c < ' ' || c == '"' || c == '\\' || name.size() > 256)
        throw BadRecord{"adapter", "expected a name of at most 256 letters, without quotes"};
    out.adapter = name;
  }

  void set_images(const std::vector<std::uint64_t>& given, Request& out) const {
    out.images.clear();
    if (given.size() % 3 != 0)
      throw BadRecord{"images", fmt::format("read {} numbers, expected three an image: hash, first "
                                            "token, tokens",
                                            given.size())};
    const auto prompt = static_cast<std::uint64_t>(out.prompt_tokens);
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < given.size(); i += 3) {
      const std::uint64_t first = given[i + 1], tokens = given[i + 2];
      if (first < end || tokens < 1 || first > prompt || tokens > prompt - first)
        throw BadRecord{"images",
                        fmt::format("image {} has tokens {} to {} of a prompt of {}: images follow "
                                    "each other within it",
                                    i / 3, first, first + tokens, prompt)};
      end = first + tokens;
      out.images.push_back({hash_combine(salt_, given[i]), static_cast<std::int64_t>(first),
                            static_cast<std::int64_t>(tokens)});
    }
  }

  void set_blocks(Request& out) const {
    const auto expected = static_cast<std::uint64_t>((out.prompt_tokens + block_ - 1) / block_);
    if (ids_.size() != expected)
      throw BadRecord{"hash_ids", fmt::format("read {} ids, expected {} for {} prompt tokens in "
                                              "blocks of {} (parameter hash_block)",
                                              ids_.size(), expected, out.prompt_tokens, block_)};
    out.segments.reserve(ids_.size());
    std::int64_t left = out.prompt_tokens;
    for (const std::uint64_t id : ids_) {  // an id already names everything before it
      out.segments.push_back({raw_ids_ ? id : hash_combine(salt_, id), std::min(left, block_)});
      left -= block_;
    }
  }

  ZeroLengths zero_lengths_;
  std::int64_t block_;
  bool raw_ids_;
  std::uint64_t salt_;
  std::uint64_t unknown_ = 0;
  JsonParser parser_;
  std::vector<std::uint64_t> ids_;
  std::unordered_map<std::uint64_t, std::uint32_t> turns_;
};

const Register<Mooncake> kSelf{
    "mooncake",
    "JSON lines with one hash id per block of 512 prompt tokens; also AIPerf and Dynamo names",
    "Qin et al., Mooncake, FAST 2025; github.com/kvcache-ai/Mooncake"};

}  // namespace
}  // namespace kvsim
