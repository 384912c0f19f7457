#include "traces/generator.h"

#include <algorithm>
#include <cmath>

#include "sim/base/hash.h"
#include "traces/record_check.h"
#include "traces/session_source.h"

namespace kvsim {

KVSIM_FIELDS_HERE(GeneratorParams)
namespace {

constexpr std::int64_t kMaxTurns = 100'000;  // requests of one session

class Generator final : public SessionSource {
 public:
  Generator(const GeneratorParams& p, const Context& c)
      : SessionSource(c.limit > 0 ? std::min(c.limit, p.requests) : p.requests,
                      static_cast<std::uint64_t>(p.sessions.concurrency)),
        params_(p),
        total_(c.limit > 0 ? std::min(c.limit, p.requests) : p.requests),
        arrivals_(p.arrivals, c.rate_scale, c.seed),
        prompt_(p.prompt, "generate.prompt", c.path, TraceLength::prompt),
        output_(p.output, "generate.output", c.path, TraceLength::output),
        message_(p.sessions.message.value_or(p.prompt), "generate.sessions.message", c.path,
                 TraceLength::prompt),
        turns_(p.sessions.turns, "generate.sessions.turns", c.path, TraceLength::prompt),
        steps_(p.agent.steps, "generate.agent.steps", c.path, TraceLength::prompt),
        result_(p.agent.result, "generate.agent.result", c.path, TraceLength::prompt),
        step_output_(p.agent.output.value_or(p.output), "generate.agent.output", c.path,
                     TraceLength::output),
        calls_(p.tools.calls.value_or(SessionParams::constant(1)), "generate.tools.calls", c.path,
               TraceLength::prompt),
        call_after_(p.tools.after, "generate.tools.after", c.path, TraceLength::output),
        call_result_(p.tools.result, "generate.tools.result", c.path, TraceLength::prompt),
        image_count_(p.images.count.value_or(SessionParams::constant(1)), "generate.images.count",
                     c.path, TraceLength::prompt),
        image_tokens_(p.images.tokens, "generate.images.tokens", c.path, TraceLength::prompt),
        image_ranks_(static_cast<std::size_t>(std::max(1, p.images.distinct)), p.images.zipf),
        prefix_tokens_(p.prefixes.tokens, "generate.prefixes.tokens", c.path, TraceLength::prompt),
        prefix_ranks_(static_cast<std::size_t>(std::max(1, p.prefixes.count)), p.prefixes.zipf),
        tenant_ranks_(static_cast<std::size_t>(p.tenants.count), p.tenants.zipf),
        salt_(hash_combine(hash_text("generate"), c.seed)),
        rows_(c.seed, "generate/rows"),
        prompts_(c.seed, "generate/prompt"),
        outputs_(c.seed, "generate/output"),
        shapes_(c.seed, "generate/session"),
        pauses_(c.seed, "generate/pause"),
        prefixes_(c.seed, "generate/prefix"),
        tenants_(c.seed, "generate/tenant"),
        tools_(c.seed, "generate/tools"),
        images_(c.seed, "generate/images") {}

  [[nodiscard]] std::optional<std::uint64_t> total() const override {
    return static_cast<std::uint64_t>(total_);
  }

 private:
  // Mean and deviation / mean of a gamma law; 0 s stays 0.
  static Duration draw_pause(Duration mean, double cv, Rng rng) {
    if (mean.count() == 0) return mean;
    const double m = to_seconds(mean);
    double s = m;
    if (cv == 1.0)
      s = rng.exponential(m);
    else if (cv > 0)
      s = rng.gamma(1.0 / (cv * cv), m * cv * cv);
    return duration_of_seconds(std::min(s, kMaxSeconds));
  }

  // The shared content a session begins with, if any.
  std::optional<Segment> draw_prefix(std::uint64_t session) const {
    Rng rng = prefixes_.at(session);
    if (params_.prefixes.count == 0 || rng.uniform() >= params_.prefixes.share.value)
      return std::nullopt;
    const std::size_t rank = prefix_ranks_.draw(rng);
    const Rng length = shapes_.at(UINT64_MAX).at(rank);
    const std::int64_t most = std::max<std::int64_t>(1, params_.sessions.max_context.count() - 2);
    return Segment{hash_combine(hash_combine(salt_, 1), rank),
                   std::min(prefix_tokens_.draw(length, length), most)};
  }

  // Appends a request that adds `fresh` tokens to the history; false when the context would grow
  // too long.
  bool add_request(Session& out, std::optional<Segment> prefix, std::int64_t fresh,
                   std::int64_t output, Duration pause, std::vector<ToolCall> calls,
                   std::vector<Image> images) {
    std::int64_t of_images = 0;
    for (const Image& image : images) of_images += image.tokens;
    const std::int64_t most = params_.sessions.max_context.count();
    std::int64_t called = 0;
    for (const ToolCall& call : calls) called += call.after;
    const bool is_first = out.turns.empty();
    std::int64_t before = prefix ? prefix->tokens : 0;
    std::uint64_t key = prefix ? prefix->key : hash_combine(salt_, 2);
    if (!is_first && params_.sessions.keep_history) {
      const Turn& last = out.turns.back();
      before = last.prompt_tokens + last.output_tokens + returned_tokens(last.calls);
      key = last.segments.back().key;
    }
    if (!calls.empty() && before + fresh + called + returned_tokens(calls) + output > most) {
      if (!is_first) return false;
      calls.clear();  // the first request is cut to what fits
      called = 0;
    }
    const std::int64_t results = returned_tokens(calls);
    if (is_first && before + of_images + 2 > most) {  // they do not fit at all
      images.clear();
      of_images = 0;
    }
    fresh += of_images;
    if (is_first) {
      fresh = std::max<std::int64_t>(of_images + 1, std::min(fresh, most - before - 1));
      output = std::max<std::int64_t>(1, std::min(output, most - before - fresh));
    } else if (before + fresh + called + results + output > most) {
      return false;
    }
    Turn turn;
    turn.prompt_tokens = before + fresh;
    turn.output_tokens = called + output;
    turn.calls = std::move(calls);
    turn.pause = pause;
    if (prefix && (is_first || !params_.sessions.keep_history)) turn.segments.push_back(*prefix);
    const auto n = static_cast<std::uint32_t>(out.turns.size());
    if (!is_first && params_.sessions.keep_history) turn.images = out.turns.back().images;
    for (Image& image : images) {
      image.first = before;
      before += image.tokens;
      key = hash_combine(key, image.hash);
      turn.segments.push_back({key, image.tokens});
      turn.images.push_back(image);
    }
    turn.segments.push_back({hash_combine(key, hash_combine(out.id, 2ULL * n)), fresh - of_images});
    turn.segments.push_back(
        {hash_combine(turn.segments.back().key, hash_combine(out.id, 2ULL * n + 1)),
         turn.output_tokens + results});
    out.turns.push_back(std::move(turn));
    if (n > 0) out.link(n - 1, n);
    return true;
  }

  // Of request n of a session.
  [[nodiscard]] std::vector<ToolCall> draw_calls(std::uint64_t session, std::uint64_t n) const {
    std::vector<ToolCall> out;
    if (!params_.tools.calls) return out;
    const Rng own = tools_.at(session).at(n);
    if (own.at(0).uniform() >= params_.tools.share.value) return out;
    const std::int64_t count = std::min(calls_.draw(own.at(1), own.at(1)), kMaxTurns);
    for (std::int64_t i = 0; i < count; ++i) {
      const Rng rng = own.at(2 + static_cast<std::uint64_t>(i));
      const Rng row = rng.at(3);
      out.push_back({call_after_.draw(rng.at(0), row),
                     draw_pause(params_.tools.pause, params_.tools.pause_cv, rng.at(1)),
                     call_result_.draw(rng.at(2), row)});
    }
    return out;
  }

  // Of request n of a session; their places are not known yet.
  [[nodiscard]] std::vector<Image> draw_images(std::uint64_t session, std::uint64_t n) const {
    std::vector<Image> out;
    const ImageParams& p = params_.images;
    if (!p.count) return out;
    const Rng own = images_.at(session).at(n);
    if (own.at(0).uniform() >= p.share.value) return out;
    const std::int64_t count = std::min(image_count_.draw(own.at(1), own.at(1)), kMaxTurns);
    for (std::int64_t i = 0; i < count; ++i) {
      Rng rng = own.at(2 + static_cast<std::uint64_t>(i));
      if (p.distinct == 0) {
        const std::uint64_t each = hash_combine(session, hash_combine(n, std::uint64_t(i)));
        out.push_back(
            {hash_combine(hash_combine(salt_, 3), each), 0, image_tokens_.draw(rng, rng)});
        continue;
      }
      // The same image has the same size wherever it is shown.
      const std::size_t rank = image_ranks_.draw(rng);
      const Rng size = images_.at(UINT64_MAX).at(rank);
      out.push_back(
          {hash_combine(hash_combine(salt_, 4), rank), 0, image_tokens_.draw(size, size)});
    }
    return out;
  }

  bool next_session(Session& out) override {
    const std::uint64_t number = sessions_++;
    out.id = hash_combine(salt_, number) | 1;
    if (params_.sessions.concurrency == 0) out.start = Time{duration_of_seconds(arrivals_.next())};
    Rng owner = tenants_.at(number);
    const std::size_t tenant = tenant_ranks_.draw(owner);
    out.tenant = static_cast<std::uint32_t>(tenant);
    const auto& priorities = params_.tenants.priorities;
    out.priority = tenant < priorities.size() ? priorities[tenant] : 0;
    const std::optional<Segment> prefix = draw_prefix(number);
    const Rng shape = shapes_.at(number);
    const std::int64_t turns = std::min(turns_.draw(shape.at(0), shape.at(0)), kMaxTurns);
    std::uint64_t n = 0;
    for (std::int64_t turn = 0; turn < turns; ++turn) {
      const Rng step_rng = shape.at(1 + static_cast<std::uint64_t>(turn));
      const std::int64_t steps = std::min(steps_.draw(step_rng, step_rng), kMaxTurns);
      for (std::int64_t step = 0; step < steps && n < kMaxTurns; ++step, ++n) {
        const Rng p = prompts_.at(number).at(n), o = outputs_.at(number).at(n),
                  row = rows_.at(number).at(n);
        const LengthLaw& fresh = step > 0 ? result_ : turn > 0 ? message_ : prompt_;
        const LengthLaw& answer = step + 1 < steps ? step_output_ : output_;
        Duration pause{0};
        if (step > 0)
          pause = draw_pause(params_.agent.pause, params_.agent.pause_cv, pauses_.at(number).at(n));
        else if (turn > 0)
          pause = draw_pause(params_.sessions.think_time, params_.sessions.think_cv,
                             pauses_.at(number).at(n));
        if (!add_request(out, prefix, fresh.draw(p, row), answer.draw(o, row), pause,
                         draw_calls(number, n),
                         step > 0 ? std::vector<Image>{} : draw_images(number, n)))
          return true;
      }
    }
    return true;
  }

  // Each turn holds what it adds; a session of one request is no session.
  void fill_segments(const Session& session, std::uint32_t turn, Request& out) override {
    const std::uint32_t first = params_.sessions.keep_history ? 0 : turn;
    for (std::uint32_t t = first; t <= turn; ++t) {
      const std::vector<Segment>& own = session.turns[t].segments;
      out.segments.insert(out.segments.end(), own.begin(), own.end());
    }
    if (session.turns.size() == 1) out.session = 0, out.turn = 0;
  }

  GeneratorParams params_;
  std::int64_t total_;
  Arrivals arrivals_;
  LengthLaw prompt_, output_, message_, turns_, steps_, result_, step_output_, calls_, call_after_,
      call_result_, image_count_, image_tokens_;
  ZipfRanks image_ranks_;
  LengthLaw prefix_tokens_;
  ZipfRanks prefix_ranks_, tenant_ranks_;
  std::uint64_t salt_;
  Rng rows_, prompts_, outputs_, shapes_, pauses_, prefixes_, tenants_, tools_, images_;
  std::uint64_t sessions_ = 0;
};

}  // namespace

std::unique_ptr<TraceSource> make_generator(const GeneratorParams& params,
                                            const TraceSource::Context& context) {
  return std::make_unique<Generator>(params, context);
}

}  // namespace kvsim
