#include "sim/engine/speculation.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

Speculation::Speculation(SpeculationRules rules)
    : rules_(std::move(rules)), rng_(rules_.seed, "speculation") {
  KVSIM_CHECK(!rules_.acceptance.empty(), "speculation without an acceptance");
}

Speculation::Speculation(SpeculationRules rules, std::unique_ptr<ModelWork> model,
                         std::unique_ptr<CostModel> cost)
    : Speculation(std::move(rules)) {
  model_ = std::move(model);
  cost_ = std::move(cost);
}

Speculation::~Speculation() = default;

double Speculation::acceptance(std::int64_t position) const {
  const auto i = static_cast<std::size_t>(position);
  return i < rules_.acceptance.size() ? rules_.acceptance[i] : rules_.acceptance.back();
}

std::int64_t Speculation::depth(std::int64_t drafts) const {
  if (rules_.levels.empty()) return drafts;
  std::int64_t levels = 0;
  for (const std::int64_t n : rules_.levels) {
    if ((drafts -= n) < 0) break;
    ++levels;
  }
  return levels;
}

Rng Speculation::luck(std::uint64_t request, std::int64_t sampled) const {
  return rng_.at(request).at(static_cast<std::uint64_t>(sampled));
}

std::int64_t Speculation::drafts(std::uint64_t request, std::int64_t sampled,
                                 std::int64_t running) const {
  if (rules_.most_running > 0 && running > rules_.most_running) return 0;
  if (rules_.proposes >= 1) return rules_.tokens;
  return luck(request, sampled).uniform() < rules_.proposes ? rules_.tokens : 0;
}

std::int64_t Speculation::accepted(std::uint64_t request, std::int64_t sampled,
                                   std::int64_t drafts) const {
  Rng rng = luck(request, sampled);
  rng.next();  // the first draw says whether there is a draft
  const std::int64_t most = depth(drafts);
  std::int64_t n = 0;
  while (n < most && rng.uniform() < acceptance(n)) ++n;
  return n;
}

double Speculation::expected_tokens(std::int64_t drafts) const {
  double sum = 1, chance = 1;
  for (std::int64_t i = 0; i < depth(drafts); ++i) sum += chance *= acceptance(i);
  return sum;
}

// The first step brings the draft model's own KV up to date, with the prompts of the iteration. A
// level of a tree is a step in which the level before it is computed at once.
std::int64_t Speculation::draft_ns(const StepShape& target, std::int64_t drafts) const {
  const std::int64_t steps = depth(drafts);
  if (!cost_) return steps * to_ns(rules_.draft_time);
  StepShape s = target;
  s.draft_tokens = s.decode_shared_sum = s.decode_shared_read = 0;
  s.group_tokens = s.group_tokens_max = 0;
  if (steps == 0) s.decodes = s.decode_context_sum = s.decode_context_max = 0;
  s.padded_decodes = s.decodes;
  s.decode_window_sum = {};
  std::int64_t ns = 0;
  std::int64_t done = 0;
  if (!s.prefills.empty()) {
    ns += to_ns(cost_->mixed_step(s));
    ++done;
  }
  s.prefills = {};
  for (; done < steps; ++done) {
    if (done > 0 && !rules_.levels.empty())
      s.draft_tokens = s.decodes * (rules_.levels[static_cast<std::size_t>(done) - 1] - 1);
    ns += to_ns(cost_->decode_line(s).at(s));
    s.decode_context_sum += s.decodes;
    ++s.decode_context_max;
  }
  return ns;
}

}  // namespace kvsim
