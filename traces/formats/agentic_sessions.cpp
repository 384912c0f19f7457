// Recorded sessions of a coding agent, replayed as a closed loop: every request waits for the
// answer before it and then for the recorded thinking or tool time; sub-agents run side by side
// while their parent waits.
#include <fmt/format.h>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"
#include "traces/session_source.h"

namespace kvsim {
namespace {

struct Entry {   // a request, or a sub-agent with requests of its own
  double t = 0;  // s from the start of the session (or of the sub-agent); of a sub-agent's entry:
                 // see `end`
  std::optional<double> duration, api_time, think_time;
  std::int64_t input = 0, output = 0;
  bool is_agent = false;
  std::vector<Segment>
      runs;  // {first id, count}: a request has thousands of ids, its turn keeps them in this form
  std::vector<Entry> children;

  // A sub-agent's entry carries the time of its end if it has a duration, else of its begin. (In
  // the published traces t - duration falls 0.1 to 1.1 s after the parent's last answer, for each
  // of the 47 that have one.)
  [[nodiscard]] double begin() const { return duration ? t - *duration : t; }
  [[nodiscard]] double end() const {
    if (duration || children.empty()) return t;
    return t + children.back().t + children.back().api_time.value_or(0);
  }
};

class AgenticSessions final : public SessionSource {
 public:
  struct Params {
    Rate session_rate{1.0 / 60};
    int concurrency = 0;
    static constexpr Rows kFields{
        field("session_rate", &Params::session_rate, between(Rate{1e-9}, Rate{1e9}),
              "Poisson rate at which sessions begin"),
        field("concurrency", &Params::concurrency, between(0, 1'000'000),
              "above 0: this many sessions at a time instead")};
  };

  AgenticSessions(Params params, const Context& context)
      : SessionSource(context.limit, static_cast<std::uint64_t>(params.concurrency)),
        file_(std::make_unique<LineReader>(context.path), context),
        starts_(params.session_rate, context.rate_scale, context.seed,
                "traces/agentic-sessions/starts") {}

  [[nodiscard]] Skipped skipped() const override { return file_.skipped(); }

 private:
  static constexpr int kMaxDepth = 4;  // agents that start agents

  void read_runs(JsonValue& list, Entry& e) {
    list.items([&](JsonValue& pair) {
      pair.ids(ids_);
      if (ids_.size() != 2 || ids_[1] == 0 || ids_[1] > static_cast<std::uint64_t>(kMaxTokens) ||
          ids_[0] > UINT64_MAX - ids_[1])
        throw BadRecord{"", "expected [first id, count] with a count of 1 or more"};
      e.runs.push_back({ids_[0], static_cast<std::int64_t>(ids_[1])});
    });
  }

  void read_hash_ids(JsonValue& list, Entry& e) {  // the publisher's own form
    list.ids(ids_);
    for (const std::uint64_t id : ids_) {
      if (!e.runs.empty() &&
          e.runs.back().key + static_cast<std::uint64_t>(e.runs.back().tokens) == id)
        ++e.runs.back().tokens;
      else
        e.runs.push_back({id, 1});
    }
  }

  void read_entries(JsonValue& list, std::vector<Entry>& out, int depth) {
    if (depth > kMaxDepth)
      throw BadRecord{"", fmt::format("sub-agents are nested deeper than {}", kMaxDepth)};
    list.items([&](JsonValue& item) {
      Entry e;
      bool has_t = false;
      item.fields([&](std::string_view key, JsonValue& v) {
        if (key == "t")
          e.t = v.number(0, kMaxSeconds), has_t = true;
        else if (key == "in")
          e.input = v.tokens();
        else if (key == "out")
          e.output = v.tokens(0);
        else if (key == "type")
          e.is_agent = v.text() == "subagent";
        else if (key == "api_time" && !v.is_null())
          e.api_time = v.number(0, kMaxSeconds);
        else if (key == "think_time" && !v.is_null())
          e.think_time = v.number(0, kMaxSeconds);
        else if (key == "duration_ms" && !v.is_null())
          e.duration = v.number(0, kMaxSeconds * 1e3) * 1e-3;
        else if (key == "runs")
          read_runs(v, e);
        else if (key == "hash_ids")
          read_hash_ids(v, e);
        else if (key == "requests")
          read_entries(v, e.children, depth + 1);
      });
      if (!has_t) missing_field("t");
      if (!e.is_agent && e.input == 0) missing_field("in");
      out.push_back(std::move(e));
    });
  }

  // Appends a chain of entries that begins once the turns `tails` are over; `tails` become the
  // chain's last turns.
  void add_chain(std::vector<Entry>& entries, std::vector<std::uint32_t>& tails, double pause,
                 Session& out) const {
    for (std::size_t i = 0; i < entries.size();) {
      const Entry* before = i > 0 ? &entries[i - 1] : nullptr;
      if (entries[i].is_agent) {
        i = add_agents(entries, i, tails, pause, out);
        continue;
      }
      Entry& e = entries[i];
      if (before != nullptr) pause = pause_before(e, *before);
      Turn turn;
      turn.prompt_tokens = e.input;
      turn.output_tokens = std::max<std::int64_t>(1, e.output);
      turn.pause = duration_of_seconds(pause);
      turn.segments = std::move(e.runs);
      out.turns.push_back(std::move(turn));
      const auto n = static_cast<std::uint32_t>(out.turns.size() - 1);
      for (const std::uint32_t t : tails) out.link(t, n);
      tails.assign(1, n);
      ++i;
    }
  }

  // Between the end of `before` and the request: the recorded think time, or what the two times
  // leave. After sub-agents think_time includes them.
  static double pause_before(const Entry& e, const Entry& before) {
    if (before.is_agent) return std::max(0.0, e.t - before.end());
    if (e.think_time) return *e.think_time;
    return before.api_time ? std::max(0.0, e.t - before.t - *before.api_time) : 0.0;
  }

  // Sub-agents in a row begin side by side after their parent's last answer; the parent goes on
  // after the last of them.
  std::size_t add_agents(std::vector<Entry>& entries, std::size_t i,
                         std::vector<std::uint32_t>& tails, double pause, Session& out) const {
    const Entry* parent = i > 0 && !entries[i - 1].is_agent ? &entries[i - 1] : nullptr;
    std::vector<std::uint32_t> all;
    for (; i < entries.size() && entries[i].is_agent; ++i) {
      Entry& e = entries[i];
      double wait = pause;
      if (parent != nullptr)
        wait = parent->api_time ? std::max(0.0, e.begin() - parent->t - *parent->api_time) : 0.0;
      std::vector<std::uint32_t> own = tails;
      add_chain(e.children, own, wait, out);
      if (!e.children.empty()) all.insert(all.end(), own.begin(), own.end());
    }
    if (!all.empty()) tails = std::move(all);
    return i;
  }

  static std::size_t check_ids(const std::vector<Entry>& entries, std::int64_t block,
                               const std::string& path) {
    std::size_t requests = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Entry& e = entries[i];
      const std::string here = fmt::format("{}[{}]", path, i);
      if (e.is_agent) {
        requests += check_ids(e.children, block, here + ".requests");
        continue;
      }
      ++requests;
      std::int64_t ids = 0;
      for (const Segment& run : e.runs) {
        ids += run.tokens;
        if (ids > kMaxTokens) break;
      }
      if (ids != e.input / block)
        throw BadRecord{
            here,
            fmt::format("read {} block ids, expected {} for {} prompt tokens in full blocks of {}",
                        ids, e.input / block, e.input, block)};
    }
    return requests;
  }

  bool parse(std::string_view line, Session& out) {
    out.clear();
    std::vector<Entry> entries;
    std::int64_t block = 0;
    std::optional<std::uint64_t> id;
    parser_.parse(line, [&](std::string_view key, JsonValue& v) {
      if (key == "id")
        id = session_of_name(v.text());
      else if (key == "block_size")
        block = v.whole(1, 1 << 20);
      else if (key == "requests")
        read_entries(v, entries, 1);
    });
    if (!id) missing_field("id");
    if (block == 0) missing_field("block_size");
    if (check_ids(entries, block, "requests") == 0) throw BadRecord{"requests", "holds no request"};
    if (block_ == 0) block_ = block;
    if (block != block_)
      throw BadRecord{"block_size",
                      fmt::format("read {}, expected {} as in the sessions before", block, block_)};
    out.id = *id;
    std::vector<std::uint32_t> tails;
    add_chain(entries, tails, 0.0, out);
    return true;
  }

  bool next_session(Session& out) override {
    if (!file_.next([&](std::string_view line) { return parse(line, out); })) return false;
    out.start = starts_.next();
    return true;
  }

  // Ids mean something inside one session only.
  void fill_segments(const Session& session, std::uint32_t turn, Request& out) override {
    const std::uint64_t salt = hash_combine(hash_text("agentic-sessions"), session.id);
    std::int64_t left = out.prompt_tokens;
    out.segments.reserve(static_cast<std::size_t>(left / block_ + 1));
    for (const Segment& run : session.turns[turn].segments) {
      for (std::int64_t i = 0; i < run.tokens; ++i)
        out.segments.push_back(
            {hash_combine(salt, run.key + static_cast<std::uint64_t>(i)), block_});
      left -= run.tokens * block_;
    }
    if (left > 0) out.segments.push_back({unique_key(salt, turn), left});
  }

  RecordFile file_;
  PoissonStarts starts_;
  JsonParser parser_;
  std::vector<std::uint64_t> ids_;
  std::int64_t block_ = 0;
};

const Register<AgenticSessions> kSelf{
    "agentic-sessions",
    "JSON lines, one agent session each: closed loop with think times and sub-agents",
    "github.com/callanjfox/kv-cache-tester (WEKA), re-encoded with runs of ids"};

}  // namespace
}  // namespace kvsim
