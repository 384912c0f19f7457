// Traces with token ids: one request a line, or one session a line whose sub-requests wait for each
// other.
#include <fmt/format.h>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"
#include "traces/session_source.h"

namespace kvsim {
namespace {

class TokenIds final : public SessionSource {
 public:
  struct Params {
    bool outputs_known = true;
    bool tools_inside = false;
    static constexpr Rows kFields{
        field("outputs_known", &Params::outputs_known, any,
              "use output_tok_ids, so that answers can be found in the cache by later prompts"),
        field("tools_inside", &Params::tools_inside, any,
              "a session is one request that calls its tools while it is served, not one request "
              "for each sub-request")};
  };

  TokenIds(Params params, const Context& context)
      : SessionSource(context.limit, 0),
        params_(params),
        block_(context.block_tokens),
        file_(std::make_unique<LineReader>(context.path), context),
        scale_(context.rate_scale) {
    if (block_ < 1)
      throw InputError(fmt::format("block_tokens: read {}, expected 1 or more", block_));
  }

  [[nodiscard]] Skipped skipped() const override { return file_.skipped(); }

 private:
  struct Fields {  // of a request or sub-request
    std::int64_t input = 0, output = 0, pause_ns = 0;
    bool has_input_ids = false, has_output_ids = false;
  };
  static constexpr std::int64_t kMaxNs = static_cast<std::int64_t>(kMaxSeconds) * 1'000'000'000;

  bool read_field(Fields& f, std::string_view key, JsonValue& v) {
    if (key == "input_toks")
      f.input = v.tokens();
    else if (key == "output_toks")
      f.output = v.tokens();
    else if (key == "tool_duration_ns")
      f.pause_ns = v.is_null() ? 0 : v.whole(0, kMaxNs);
    else if (key == "input_tok_ids")
      v.ids(input_ids_), f.has_input_ids = true;
    else if (key == "output_tok_ids")
      v.ids(output_ids_), f.has_output_ids = true;
    else
      return false;
    return true;
  }

  static void check_count(const char* name, const std::vector<std::uint64_t>& ids,
                          std::int64_t tokens) {
    if (ids.size() != static_cast<std::uint64_t>(tokens))
      throw BadRecord{name, fmt::format("read {} token ids, expected {}", ids.size(), tokens)};
  }

  Turn make_turn(const Fields& f) {
    if (f.input == 0) missing_field("input_toks");
    if (f.output == 0) missing_field("output_toks");
    Turn turn;
    turn.prompt_tokens = f.input;
    turn.output_tokens = f.output;
    if (f.has_input_ids) check_count("input_tok_ids", input_ids_, f.input);
    if (f.has_output_ids) check_count("output_tok_ids", output_ids_, f.output);
    if (!f.has_input_ids) {
      turn.segments.push_back({unique_key(kSalt, ++unknown_), f.input});
      return turn;
    }
    std::uint64_t key = kSalt;
    std::int64_t in_block = 0;
    const auto add = [&](const std::vector<std::uint64_t>& ids) {
      for (const std::uint64_t id : ids) {
        key = hash_combine(key, id);
        if (++in_block == block_) turn.segments.push_back({key, block_}), in_block = 0;
      }
    };
    turn.segments.reserve(static_cast<std::size_t>((f.input + f.output) / block_ + 1));
    add(input_ids_);
    if (f.has_output_ids && params_.outputs_known) add(output_ids_);
    if (in_block > 0) turn.segments.push_back({key, in_block});
    return turn;
  }

  void read_sub_requests(JsonValue& list, Session& out) {
    Duration pause{};
    list.items([&](JsonValue& item) {
      Fields f;
      item.fields([&](std::string_view key, JsonValue& v) { read_field(f, key, v); });
      out.turns.push_back(make_turn(f));
      out.turns.back().pause = pause;
      pause = Duration{f.pause_ns};
      const auto n = static_cast<std::uint32_t>(out.turns.size());
      if (n > 1) out.link(n - 2, n - 1);
    });
    if (out.turns.empty()) throw BadRecord{"sub_requests", "is an empty list"};
    if (params_.tools_inside) join_turns(out);
  }

  // What the next prompt has beyond the last and its answer is what the tool returned.
  static void join_turns(Session& out) {
    Turn all = std::move(out.turns.back());
    std::int64_t output = 0;
    for (std::size_t i = 0; i + 1 < out.turns.size(); ++i) {
      const Turn& t = out.turns[i];
      const Turn& next = i + 2 < out.turns.size() ? out.turns[i + 1] : all;
      const std::int64_t returned = next.prompt_tokens - t.prompt_tokens - t.output_tokens;
      if (returned < 0)
        throw BadRecord{fmt::format("sub_requests[{}].input_toks", i + 1),
                        fmt::format("read {}, expected at least the {} of the prompt and answer "
                                    "before it, as one request goes on from there",
                                    next.prompt_tokens, t.prompt_tokens + t.output_tokens)};
      all.calls.push_back({t.output_tokens, next.pause, returned});
      output += t.output_tokens;
    }
    if (!all.calls.empty()) all.prompt_tokens = out.turns.front().prompt_tokens;
    all.output_tokens += output;
    all.pause = Duration{};
    all.waits_for = 0;
    out.turns.assign(1, std::move(all));
  }

  bool parse(std::string_view line, Session& out) {
    out.clear();
    Fields f;
    bool flat = false, has_subs = false;
    std::optional<std::int64_t> arrival;
    parser_.parse(line, [&](std::string_view key, JsonValue& v) {
      if (key == "arrival_time_ns")
        arrival = v.whole(0, kMaxNs);
      else if (key == "session_id")
        out.id = session_of_name(v.is_text() ? std::string(v.text())
                                             : fmt::to_string(v.whole(0, INT64_MAX)));
      else if (key == "sub_requests")
        has_subs = true, read_sub_requests(v, out);
      else
        flat = read_field(f, key, v) || flat;
    });
    if (!arrival) missing_field("arrival_time_ns");
    if (has_subs && flat)
      throw BadRecord{"sub_requests",
                      "stands beside fields of a single request; expected one of the two forms"};
    if (!has_subs)
      out.turns.push_back(make_turn(f));
    else if (out.id == 0)
      out.id = unique_key(kSalt, ++unnamed_) | 1;
    out.start = scale_.at(order_.checked(Duration{*arrival}, file_));
    return true;
  }

  bool next_session(Session& out) override {
    return file_.next([&](std::string_view line) { return parse(line, out); });
  }

  static constexpr std::uint64_t kSalt = hash_text("token-ids");
  Params params_;
  std::int64_t block_;
  RecordFile file_;
  ArrivalScale scale_;
  ArrivalOrder order_;
  JsonParser parser_;
  std::vector<std::uint64_t> input_ids_, output_ids_;
  std::uint64_t unknown_ = 0, unnamed_ = 0;
};

const Register<TokenIds> kSelf{
    "token-ids",
    "JSON lines with token ids, single requests or closed-loop sessions (sub_requests)",
    "github.com/casys-kaist/LLMServingSim (workload format)"};

}  // namespace
}  // namespace kvsim
