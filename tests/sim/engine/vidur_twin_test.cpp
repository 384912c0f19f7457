// The two schedulers of Vidur written down once more, request by request and without any of the
// engine's machinery, from the rules beside the runs that scenarios/peers replays: on random loads
// and small memories both give the same iterations.
#include <gtest/gtest.h>

#include <deque>

#include "tests/support/engine_fixture.h"

namespace kvsim {
namespace {

struct Job {
  std::size_t id = 0;
  std::int64_t arrived = 0, prompt = 0, output = 0, processed = 0;
  bool prompt_done = false;
  std::int64_t restarts = 0, scheduled = -1, first = -1, completed = -1;
  [[nodiscard]] bool over() const { return processed == prompt + output; }
};

struct Settings {
  std::int64_t blocks = 0, watermark = 0, block = 16, cap = 8, budget = 64;
  bool sarathi = false;
};

struct Line {
  std::int64_t start = 0, end = 0, requests = 0, tokens = 0, prompt_tokens = 0, held = 0;
  bool operator==(const Line&) const = default;
};

class Twin {
 public:
  Twin(const Settings& s, std::vector<Job> jobs) : s_(s), jobs_(std::move(jobs)) {}

  std::vector<Line> run(const test::LinearCost& cost_law) {
    test::LinearCost cost = cost_law;
    std::size_t next = 0;
    std::int64_t now = 0;
    std::vector<Line> lines;
    for (;;) {
      while (next < jobs_.size() && jobs_[next].arrived <= now) waiting_.push_back(next++);
      batch_.clear();
      s_.sarathi ? form_sarathi() : form_vllm();
      if (batch_.empty()) {
        if (next == jobs_.size()) return lines;
        now = std::max(now, jobs_[next].arrived);
        continue;
      }
      Line l;
      l.start = now;
      StepShape shape;
      std::vector<PrefillPiece> pieces;
      for (const auto& [id, tokens] : batch_) {
        Job& j = jobs_[id];
        if (j.scheduled < 0) j.scheduled = now;
        l.tokens += tokens;
        if (j.prompt_done) {
          ++shape.decodes;
          shape.decode_context_sum += j.processed;
        } else {
          l.prompt_tokens += tokens;
          pieces.push_back({tokens, j.processed, j.processed + tokens == j.prompt});
        }
      }
      shape.padded_decodes = shape.decodes;
      shape.prefills = pieces;
      now += to_ns(cost.mixed_step(shape));
      finish(now);
      l.requests = static_cast<std::int64_t>(batch_.size());
      l.end = now;
      l.held = held_;
      lines.push_back(l);
    }
  }
  [[nodiscard]] const std::vector<Job>& jobs() const { return jobs_; }

 private:
  [[nodiscard]] std::int64_t blocks_of(std::int64_t tokens) const {
    return (tokens + s_.block - 1) / s_.block;
  }
  [[nodiscard]] bool can_take(std::size_t id) {
    if (blocks_[id] == 0) return s_.blocks - held_ - blocks_of(jobs_[id].prompt) >= s_.watermark;
    return s_.blocks - held_ >= 1;
  }
  void take(std::size_t id) {
    const std::int64_t n = blocks_[id] == 0 ? blocks_of(jobs_[id].prompt)
                           : jobs_[id].processed > blocks_[id] * s_.block ? 1
                                                                          : 0;
    if (blocks_[id] == 0) ++holders_;
    blocks_[id] += n;
    held_ += n;
  }
  void release(std::size_t id) {
    held_ -= blocks_[id];
    blocks_[id] = 0;
    --holders_;
  }
  void restart(std::size_t id) {
    Job& j = jobs_[id];
    const std::int64_t all = j.prompt + j.output;
    j.prompt = j.processed;
    j.output = all - j.prompt;
    j.processed = 0;
    j.prompt_done = false;
    ++j.restarts;
    release(id);
    waiting_.push_front(id);
  }
  void sort_running() {
    std::stable_sort(running_.begin(), running_.end(), [this](std::size_t a, std::size_t b) {
      return jobs_[a].arrived < jobs_[b].arrived;
    });
  }
  // A token for one decode; others behind it, at last itself, make way.
  void decode(std::size_t id) {
    while (!can_take(id)) {
      if (running_.empty()) return restart(id);
      const std::size_t victim = running_.back();
      running_.pop_back();
      restart(victim);
    }
    take(id);
    batch_.push_back({id, 1});
  }
  void form_vllm() {
    std::int64_t longest = 0;
    while (!waiting_.empty()) {
      const std::size_t id = waiting_.front();
      const std::int64_t tokens = jobs_[id].prompt;
      if (!can_take(id) ||
          static_cast<std::int64_t>(batch_.size() + 1) * std::max(longest, tokens) > s_.budget ||
          holders_ == s_.cap || static_cast<std::int64_t>(batch_.size()) == s_.cap)
        break;
      waiting_.pop_front();
      take(id);
      longest = std::max(longest, tokens);
      batch_.push_back({id, tokens});
    }
    if (!batch_.empty()) return;
    sort_running();
    while (!running_.empty()) {
      const std::size_t id = running_.front();
      running_.pop_front();
      decode(id);
    }
  }
  [[nodiscard]] std::int64_t chunk(std::size_t id, std::int64_t used) const {
    return std::max<std::int64_t>(
        0, std::min(jobs_[id].prompt - jobs_[id].processed, s_.budget - used));
  }
  void form_sarathi() {
    std::vector<std::size_t> prompts, skipped;
    std::int64_t used = 0;
    while (!running_.empty()) {
      const std::size_t id = running_.front();
      running_.pop_front();
      if (!jobs_[id].prompt_done) {
        prompts.push_back(id);
        continue;
      }
      decode(id);
      used = static_cast<std::int64_t>(batch_.size());
    }
    for (const std::size_t id : prompts) {
      const std::int64_t n = chunk(id, used);
      if (n == 0) {
        skipped.push_back(id);
        continue;
      }
      used += n;
      batch_.push_back({id, n});
    }
    running_.insert(running_.begin(), skipped.begin(), skipped.end());
    sort_running();
    while (!waiting_.empty()) {
      const std::size_t id = waiting_.front();
      if (holders_ == s_.cap || static_cast<std::int64_t>(batch_.size()) == s_.cap ||
          !can_take(id) || chunk(id, used) == 0)
        break;
      waiting_.pop_front();
      take(id);
      batch_.push_back({id, chunk(id, used)});
      used += batch_.back().second;
    }
  }
  void finish(std::int64_t now) {
    for (const auto& [id, tokens] : batch_) {
      Job& j = jobs_[id];
      j.processed += tokens;
      if (!j.prompt_done && j.processed == j.prompt) {
        j.prompt_done = true;
        ++j.processed;
        if (j.first < 0) j.first = now;
      }
      if (j.over()) {
        j.completed = now;
        release(id);
      } else {
        running_.push_back(id);
      }
    }
  }

  Settings s_;
  std::vector<Job> jobs_;
  std::vector<std::int64_t> blocks_ = std::vector<std::int64_t>(jobs_.size(), 0);
  std::int64_t held_ = 0, holders_ = 0;
  std::deque<std::size_t> waiting_, running_;
  std::vector<std::pair<std::size_t, std::int64_t>> batch_;
};

EngineConfig engine_of(const Settings& s) {
  EngineConfig e;
  e.block_tokens = s.block;
  e.kv_blocks = s.blocks;
  e.max_running = s.cap;
  e.max_batched_tokens = s.budget;
  e.prefix_caching = false;
  e.async_scheduling = false;
  e.chunked_prefill = s.sarathi;
  // Of a share just above it, so that rounding down gives so many blocks.
  e.watermark = (static_cast<double>(s.watermark) + 0.5) / static_cast<double>(s.blocks);
  e.batch.order = s.sarathi ? BatchOrder::decodes : BatchOrder::prompts;
  e.batch.reserve = s.sarathi ? BatchReserve::prompt : BatchReserve::none;
  e.batch.pads_prompts = !s.sarathi;
  e.batch.restarts_shorter = s.sarathi;
  e.batch.needs_free_block = e.batch.idle_watermark = e.batch.carries_fractions = true;
  return e;
}

void compare(bool sarathi) {
  std::int64_t restarts = 0, within_prompt = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Rng rng(seed, sarathi ? "twin-sarathi" : "twin-vllm");
    Settings s;
    s.sarathi = sarathi;
    s.block = std::int64_t{1} << rng.below(5);
    s.cap = 1 + static_cast<std::int64_t>(rng.below(10));
    s.budget = (sarathi ? s.cap + 1 : 200) + static_cast<std::int64_t>(rng.below(60));
    s.watermark = 1 + static_cast<std::int64_t>(rng.below(4));
    std::vector<Job> jobs(5 + rng.below(60));
    std::vector<Request> requests;
    std::int64_t at = 0, longest = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      at += 1 + static_cast<std::int64_t>(rng.exponential(3000));
      Job& j = jobs[i];
      j.id = i;
      j.arrived = at;
      j.prompt = 1 + static_cast<std::int64_t>(rng.below(100));
      j.output = 1 + static_cast<std::int64_t>(rng.below(100));
      longest = std::max(longest, j.prompt + j.output);
      requests.push_back(test::request(j.arrived, j.prompt, j.output));
    }
    s.blocks = (longest + s.block - 1) / s.block + s.watermark + 1 +
               static_cast<std::int64_t>(rng.below(12));
    test::LinearCost cost(100, 3, 1);
    Twin twin(s, jobs);
    const std::vector<Line> lines = twin.run(cost);
    World::Options options;
    options.record_iterations = true;
    const RunOutcome out = test::simulate(engine_of(s), requests, cost, std::move(options));
    const RunOutcome fast = test::simulate(engine_of(s), requests, cost);
    std::vector<Line> ours;
    for (const IterationRecord& i : out.iterations)
      ours.push_back({to_ns(i.start), to_ns(i.end), i.decodes + i.prompts,
                      i.decodes + i.prefill_tokens, i.prefill_tokens, i.held_blocks_end});
    for (std::size_t i = 0; i < std::min(lines.size(), ours.size()); ++i)
      ASSERT_TRUE(lines[i] == ours[i])
          << "seed " << seed << " iteration " << i << ": start " << lines[i].start << " "
          << ours[i].start << ", tokens " << lines[i].tokens << " " << ours[i].tokens << ", blocks "
          << lines[i].held << " " << ours[i].held;
    ASSERT_EQ(lines.size(), ours.size()) << seed;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const Job& j = twin.jobs()[i];
      ASSERT_EQ(to_ns(out.requests[i].scheduled), j.scheduled);
      ASSERT_EQ(to_ns(out.requests[i].first_token), j.first);
      ASSERT_EQ(to_ns(out.requests[i].last_token), j.completed);
      ASSERT_EQ(out.requests[i].preemptions, j.restarts);
      ASSERT_EQ(to_ns(fast.requests[i].last_token), j.completed);
      restarts += j.restarts;
      within_prompt += j.prompt < jobs[i].prompt ? 1 : 0;
    }
  }
  EXPECT_GT(restarts, 500);
  EXPECT_EQ(within_prompt > 0, sarathi);
}

TEST(VidurTwin, WholePromptsFirst) { compare(false); }
TEST(VidurTwin, DecodesThenPiecesOfPrompts) { compare(true); }

}  // namespace
}  // namespace kvsim
