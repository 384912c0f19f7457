// ShareGPT conversations: text, whose tokens are estimated, and no times, which are drawn.
#include <fmt/format.h>

#include <cmath>
#include <deque>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"
#include "traces/session_source.h"

namespace kvsim {
namespace {

class ShareGpt final : public SessionSource {
 public:
  struct Params {
    double bytes_per_token = 4;
    Rate session_rate{1.0};
    int concurrency = 0;
    Duration think_time{0};
    bool independent = false;
    static constexpr Rows kFields{
        field("bytes_per_token", &Params::bytes_per_token, between(0.25, 64.0),
              "tokens of a message = UTF-8 bytes / this, rounded up, at least 1; 4 is common for "
              "English"),
        field("session_rate", &Params::session_rate, between(Rate{1e-9}, Rate{1e9}),
              "Poisson rate of conversations"),
        field("concurrency", &Params::concurrency, between(0, 1'000'000),
              "above 0: this many conversations at a time instead"),
        field("think_time", &Params::think_time, any,
              "mean of the exponential pause between an answer and the next message"),
        field("independent", &Params::independent, any,
              "open loop: every message with its history is a request of its own at session_rate, "
              "none waits")};
  };

  ShareGpt(Params params, const Context& context)
      : SessionSource(context.limit,
                      params.independent ? 0 : static_cast<std::uint64_t>(params.concurrency)),
        params_(params),
        file_(std::make_unique<JsonListReader>(context.path), context),
        starts_(params.session_rate, context.rate_scale, context.seed, "traces/sharegpt/starts"),
        thinking_(context.seed, "traces/sharegpt/thinking") {}

  [[nodiscard]] Skipped skipped() const override { return file_.skipped(); }

 private:
  struct Message {
    bool answer = false;
    Segment segment;
  };

  static bool is_answer(std::string_view from) {
    if (from == "gpt" || from == "assistant" || from == "chatgpt" || from == "bing" ||
        from == "bard")
      return true;
    if (from == "human" || from == "user" || from == "system" || from == "tool" ||
        from == "function")
      return false;
    bad_value("", from,
              "human, gpt, system, user, assistant, chatgpt, bing, bard, tool or function");
  }

  void read_messages(JsonValue& list) {
    std::uint64_t key = hash_text("sharegpt");
    list.items([&](JsonValue& item) {
      std::optional<bool> answer;
      std::optional<std::uint64_t> content;
      Message m;
      item.fields([&](std::string_view name, JsonValue& v) {
        if (name == "from") answer = is_answer(v.text());
        if (name != "value") return;
        const std::string_view text = v.text();
        content = hash_text(text);
        m.segment.tokens = std::max<std::int64_t>(
            1, std::llround(std::ceil(static_cast<double>(text.size()) / params_.bytes_per_token)));
      });
      if (!answer) missing_field("from");
      if (!content) missing_field("value");
      if (m.segment.tokens > kMaxTokens)
        throw BadRecord{"value", fmt::format("is longer than {} tokens", kMaxTokens)};
      m.answer = *answer;
      key = hash_combine(key, *content);
      m.segment.key = key;
      messages_.push_back(m);
    });
  }

  // Each answer that follows a message is a turn: its prompt is everything before it.
  bool parse(std::string_view element, Session& out) {
    messages_.clear();
    bool has_list = false;
    parser_.parse(element, [&](std::string_view key, JsonValue& v) {
      if (key == "conversations" || key == "messages") has_list = true, read_messages(v);
    });
    if (!has_list) missing_field("conversations");
    out.clear();
    ++conversations_;
    out.id = hash_combine(hash_text("sharegpt session"), conversations_) | 1;
    std::int64_t history = 0;
    std::vector<Segment> before;
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const Message& m = messages_[i];
      before.push_back(m.segment);
      if (m.answer && history > 0) {
        Turn turn;
        turn.prompt_tokens = history;
        turn.output_tokens = m.segment.tokens;
        turn.segments = before;
        add(std::move(turn), out);
      }
      history += m.segment.tokens;
      if (history > kMaxTokens)
        throw BadRecord{"conversations", fmt::format("is longer than {} tokens", kMaxTokens)};
    }
    if (!out.turns.empty()) return true;
    file_.left_out("conversations", "has no message followed by an answer");
    return false;
  }

  void add(Turn turn, Session& out) {
    constexpr std::size_t kMaxTurns =
        2'000;  // prompts grow with every turn: bounds the memory of one conversation
    const auto n = static_cast<std::uint32_t>(out.turns.size());
    if (n == kMaxTurns)
      throw BadRecord{"conversations", fmt::format("has more than {} answers", kMaxTurns)};
    if (n > 0 && params_.think_time.count() > 0) {
      const double seconds =
          thinking_.at(conversations_).at(n).exponential(to_seconds(params_.think_time));
      turn.pause = duration_of_seconds(std::min(seconds, kMaxSeconds));
    }
    out.turns.push_back(std::move(turn));
    if (n > 0) out.link(n - 1, n);
  }

  bool next_session(Session& out) override {
    if (params_.independent) return next_independent(out);
    if (!file_.next([&](std::string_view element) { return parse(element, out); })) return false;
    out.start = starts_.next();
    return true;
  }

  bool next_independent(Session& out) {
    if (place_ == whole_.turns.size()) {
      place_ = 0;
      whole_.clear();
      if (!file_.next([&](std::string_view element) { return parse(element, whole_); }))
        return false;
    }
    out.id = whole_.id;
    out.start = starts_.next();
    out.turns.push_back(std::move(whole_.turns[place_++]));
    out.turns[0].pause = Duration{0};
    out.turns[0].waits_for = 0;
    out.turns[0].then.clear();
    return true;
  }

  Params params_;
  RecordFile file_;
  PoissonStarts starts_;
  Rng thinking_;
  JsonParser parser_;
  std::vector<Message> messages_;
  std::uint64_t conversations_ = 0;
  Session whole_;  // conversation whose turns are given out one by one
  std::size_t place_ = 0;
};

const Register<ShareGpt> kSelf{
    "sharegpt", "JSON list of conversations; tokens estimated from bytes, closed loop",
    "the ShareGPT_V3 layout used by vLLM's benchmarks"};

}  // namespace
}  // namespace kvsim
