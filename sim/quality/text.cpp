#include "sim/quality/text.h"

#include <algorithm>
#include <cmath>

namespace kvsim::quality {

namespace {

// -ln of the softmax of `logits` at `id`, in double: a sum of thousands is compared.
double surprise(std::span<const float> logits, std::int32_t id) {
  const double most = double{*std::max_element(logits.begin(), logits.end())};
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x} - most);
  return most + std::log(sum) - double{logits[static_cast<std::size_t>(id)]};
}

std::int32_t likeliest(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void score(TextResult& r, const TextModel& model, std::span<const std::int32_t> ids,
           std::int32_t position, std::span<const float> logits) {
  const std::int32_t next = ids[static_cast<std::size_t>(position) + 1];
  if (next == model.begin_token()) return;
  r.nll += surprise(logits, next);
  ++r.scored;
}

void seal(token::TokenCache& cache, const Sequence& s) {
  cache.begin(s.prompt, s.classes);
  for (std::int64_t l = 0; l < s.shape.layers; ++l)
    cache.prompt(static_cast<std::int32_t>(l), s.prompt_tensors(l));
  cache.seal();
}

}  // namespace

TextResult read_in_full(const TextModel& model, std::int32_t index, const Sequence& s,
                        const Compute& compute) {
  TextResult r;
  const auto ids = model.tokens(index);
  const auto width = static_cast<std::size_t>(model.vocabulary());
  const std::vector<float> logits =
      model.logits(ids.first(static_cast<std::size_t>(s.tokens())), compute);
  for (std::int32_t t = s.prompt; t + 1 < s.tokens(); ++t)
    score(r, model, ids, t, std::span(logits).subspan(static_cast<std::size_t>(t) * width, width));
  return r;
}

TextResult read_under(const TextModel& model, std::int32_t index, const Sequence& s,
                      const token::TokenPolicies& policies, bool likelihood, std::int64_t generate,
                      std::uint64_t seed, const Compute& compute) {
  TextResult r;
  const auto ids = model.tokens(index);
  token::TokenCache::Options options = s.options(seed);
  options.vulkan = compute.device();
  token::TokenCache cache(policies, options, compute.threads());
  const TextModel::Attend attend = [&](std::int32_t layer, const token::StepTensors& t,
                                       std::span<float> out) { cache.attend(layer, t, out); };
  if (likelihood) {
    seal(cache, s);
    for (std::int32_t t = s.prompt; t + 1 < s.tokens(); ++t)
      score(r, model, ids, t, model.next(ids[static_cast<std::size_t>(t)], t, attend, compute));
  }
  if (generate > 0) {
    seal(cache, s);
    // The text's own next token begins, so that every policy has the same start.
    std::int32_t id = ids[static_cast<std::size_t>(s.prompt)];
    const auto last = std::min<std::int64_t>(s.prompt + generate, model.context());
    for (std::int32_t t = s.prompt; t < last; ++t) {
      id = likeliest(model.next(id, t, attend, compute));
      r.generated.push_back(id);
    }
  }
  return r;
}

}  // namespace kvsim::quality
