#include "policies/token/cache.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "policies/token/cache_body.h"
#include "sim/base/check.h"

namespace kvsim::token {

namespace {
constexpr std::int32_t kChunk = 64;  // queries whose attention is held at once

std::span<const float> slice(std::span<const float> all, std::size_t at, std::size_t n) {
  return all.empty() ? all : all.subspan(at, n);
}
HeadView view_of(const Head& h) {
  return {h.positions, h.keys, h.values, h.counts, h.read, h.gone, h.gone_key, h.gone_value, {}};
}
}  // namespace

TokenCache::Body::Body(TokenPolicies p, Options o, kernels::Threads& t)
    : policies(std::move(p)), options(o), threads(t), form(policies, options.shape) {
  const KvShape& s = options.shape;
  scale = options.scale > 0 ? options.scale
                            : static_cast<float>(1 / std::sqrt(static_cast<double>(s.k_dim)));
  budget = make_budget(policies);
  if (merges(MergeTarget::layer)) pairs = layer_pairs(*policies.merge, s.layers);
}

void TokenCache::Body::begin(std::int32_t n, std::span<const TokenClass> given) {
  const KvShape& s = options.shape;
  const auto count = static_cast<std::size_t>(s.heads());
  prompt = tokens = n;
  generated = 0;
  classes.assign(given.begin(), given.end());
  classes.resize(static_cast<std::size_t>(n), TokenClass::plain);
  heads.assign(count, Head{});
  for (Head& h : heads) {
    h.k_dim = static_cast<std::size_t>(s.k_dim);
    h.v_dim = static_cast<std::size_t>(s.v_dim);
  }
  attention.assign(count, {});
  queries.assign(count, {});
  gates.assign(count, -2.0);
  angles.assign(count, {});
  sources.clear();
  scores.clear();
  importance.clear();
  indices.clear();
  encoders.clear();
  const bool salient = policies.quantize && policies.quantize->salient.value < 1;
  for (std::size_t h = 0; h < count; ++h) {
    TokenScore::Context c;
    c.rng = rng("score", h);
    c.k_dim = static_cast<std::int32_t>(s.k_dim);
    c.scale = scale;
    c.threads = &threads;
    scores.push_back(policies.select ? make_score(*policies.select, c) : nullptr);
    SelectSpec by;
    if (salient) by.score = policies.quantize->importance;
    importance.push_back(salient ? make_score(by, c) : nullptr);
    TokenIndex::Context i;
    i.rng = rng("index", h);
    i.k_dim = c.k_dim;
    i.scale = scale;
    i.threads = &threads;
    indices.push_back(policies.retrieve ? make_index(*policies.retrieve, i) : nullptr);
  }
}

// Newest queries of the prompt that somebody looks at.
std::int64_t TokenCache::Body::rows_wanted() const {
  std::int64_t most = 0;
  const auto want = [&](std::int64_t n) {
    most = std::max<std::int64_t>(most, n < 0 ? prompt : n);
  };
  if (scores[0]) want(scores[0]->needs().prompt_queries);
  if (importance[0]) want(importance[0]->needs().prompt_queries);
  if (policies.select) want(budget->rows());
  if (indices[0]) want(indices[0]->rows());
  if (policies.quantize && policies.quantize->transform == Transform::smooth) want(256);
  return std::min<std::int64_t>(most, prompt);
}

void TokenCache::Body::take_prompt(std::int32_t layer, const PromptTensors& t) {
  const KvShape& s = options.shape;
  const auto kd = static_cast<std::size_t>(s.k_dim), vd = static_cast<std::size_t>(s.v_dim);
  const auto g = static_cast<std::size_t>(s.kv_heads);
  for (std::size_t h = 0; h < g; ++h) {
    Head& head = heads[at(layer, static_cast<std::int64_t>(h))];
    for (std::size_t i = 0; i < static_cast<std::size_t>(prompt); ++i)
      head.append(static_cast<std::int32_t>(i), t.keys.subspan((i * g + h) * kd, kd),
                  t.values.subspan((i * g + h) * vd, vd), classes[i]);
  }
  observe_prompt(layer, t);
}

void TokenCache::Body::observe_prompt(std::int32_t layer, const PromptTensors& t) {
  const KvShape& s = options.shape;
  const auto row = static_cast<std::size_t>(s.q_heads * s.k_dim);
  const auto given = static_cast<std::int32_t>(t.queries.size() / row);
  const std::int32_t wanted =
      std::min(static_cast<std::int32_t>(rows_wanted()), std::min(given, prompt));
  if (wanted == 0) return;
  const bool needs_rows = (scores[0] && scores[0]->needs().attention) ||
                          (importance[0] && importance[0]->needs().attention) ||
                          (policies.select && budget->rows() != 0) ||
                          (indices[0] && indices[0]->rows() != 0);
  const auto kd = static_cast<std::size_t>(s.k_dim), vd = static_cast<std::size_t>(s.v_dim);
  StagedHeads staged(s.group(), kd, vd, scale);
  for (std::int64_t h = 0; h < s.kv_heads && needs_rows; ++h) {
    Head& head = heads[at(layer, h)];
    staged.add_head();
    for (std::size_t i = 0; i < head.slots(); ++i) staged.add(head.key(i), head.value(i));
  }
  const auto group = static_cast<std::size_t>(s.group()) * kd;
  for (std::int32_t first = prompt - wanted; first < prompt; first += kChunk) {
    const std::int32_t count = std::min(kChunk, prompt - first);
    std::vector<float> q;  // [head][query][group][k_dim]
    for (std::int64_t h = 0; h < s.kv_heads; ++h)
      for (std::int32_t i = 0; i < count; ++i) {
        const auto from = static_cast<std::size_t>(first + i - (prompt - given)) * row +
                          static_cast<std::size_t>(h) * group;
        const auto part = t.queries.subspan(from, group);
        q.insert(q.end(), part.begin(), part.end());
      }
    if (needs_rows) {
      const StagedHeads::Rows rows = staged.prompt_rows(q, first, count, threads);
      feed(layer, &rows, q, first, count);
    } else {
      feed(layer, nullptr, q, first, count);
    }
  }
}

// Each consumer gets the queries that it asked for, and no others.
void TokenCache::Body::feed(std::int32_t layer, const StagedHeads::Rows* rows,
                            std::span<const float> q, std::int32_t first, std::int32_t count) {
  const KvShape& s = options.shape;
  const auto group = static_cast<std::size_t>(s.group());
  const std::size_t q_row = group * static_cast<std::size_t>(s.k_dim);
  for (std::int64_t h = 0; h < s.kv_heads; ++h) {
    const std::size_t i = at(layer, h);
    const auto part = [&](std::int64_t last) {
      const std::int64_t asked = last < 0 ? prompt : std::min<std::int64_t>(last, prompt);
      const auto skip =
          static_cast<std::size_t>(std::clamp<std::int64_t>(prompt - asked - first, 0, count));
      HeadRows r;
      r.queries = count - static_cast<std::int32_t>(skip);
      r.heads = static_cast<std::int32_t>(group);
      r.slots = prompt;
      r.first = first + static_cast<std::int32_t>(skip);
      const std::size_t from = static_cast<std::size_t>(h) * static_cast<std::size_t>(count) + skip;
      const auto n = static_cast<std::size_t>(r.queries);
      r.query = q.subspan(from * q_row, n * q_row);
      if (rows != nullptr) {
        const std::size_t size = group * static_cast<std::size_t>(rows->columns);
        r.logits = slice(rows->logits, from * size, n * size);
        r.weights = slice(rows->weights, from * size, n * size);
      }
      return r;
    };
    const auto give = [&](TokenScore* score) {
      if (score == nullptr || score->needs().prompt_queries == 0) return;
      const HeadRows r = part(score->needs().prompt_queries);
      if (r.queries > 0) score->observe(r);
    };
    give(scores[i].get());
    give(importance[i].get());
    if (policies.select && budget->rows() != 0) {
      const HeadRows r = part(budget->rows());
      attention[i].resize(static_cast<std::size_t>(prompt), 0.0F);
      for (std::size_t k = 0; k < r.weights.size(); ++k)
        attention[i][k % attention[i].size()] += r.weights[k];
    }
    // Kept for what is built when the prompt is sealed.
    const HeadRows r = part(std::max<std::int64_t>(indices[i] ? indices[i]->rows() : 0, 256));
    queries[i].insert(queries[i].end(), r.query.begin(), r.query.end());
  }
}

std::vector<float> TokenCache::Body::turned(std::span<const float> rows, std::size_t dim,
                                            std::span<const std::int32_t> by) {
  std::vector<float> out(rows.begin(), rows.end());
  kernels::Rope r;
  r.rows = static_cast<std::int32_t>(by.size());
  r.heads = static_cast<std::int32_t>(rows.size() / dim / std::max<std::size_t>(1, by.size()));
  r.dim = static_cast<std::int32_t>(dim);
  r.pairs = options.rope->pairs;
  r.theta = options.rope->theta;
  r.positions = by;
  r.x = out;
  kernels::cpu::rope(r, threads);
  return out;
}

void TokenCache::Body::stage_head(StagedHeads& staged, const Head& head,
                                  std::span<const std::int32_t> slots) {
  staged.add_head();
  std::vector<float> keys = head.keys;
  if (policies.select && policies.select->reindex && options.rope) {
    std::vector<std::int32_t> by;
    for (std::size_t t = 0; t < head.slots(); ++t)
      by.push_back(static_cast<std::int32_t>(t) - head.positions[t]);
    keys = turned(keys, head.k_dim, by);
  }
  for (const std::int32_t slot : slots) {
    const auto t = static_cast<std::size_t>(slot);
    staged.add(std::span(keys).subspan(t * head.k_dim, head.k_dim),
               std::span(head.values).subspan(t * head.v_dim, head.v_dim), head.counts[t]);
  }
  if (head.gone > 0) staged.add(head.gone_key, head.gone_value, static_cast<float>(head.gone));
}

void TokenCache::Body::add_token(std::int32_t layer, const StepTensors& t) {
  const KvShape& s = options.shape;
  const auto kd = static_cast<std::size_t>(s.k_dim), vd = static_cast<std::size_t>(s.v_dim);
  const std::int32_t position = prompt + static_cast<std::int32_t>(generated);
  for (std::int64_t h = 0; h < s.kv_heads; ++h) {
    Head& head = heads[at(layer, h)];
    auto key = t.key.subspan(static_cast<std::size_t>(h) * kd, kd);
    auto value = t.value.subspan(static_cast<std::size_t>(h) * vd, vd);
    if (!sources.empty() && sources[static_cast<std::size_t>(layer)] != layer) {
      const Head& from = heads[at(sources[static_cast<std::size_t>(layer)], h)];
      key = std::span(from.keys).last(kd);
      value = std::span(from.values).last(vd);
    }
    if (merges(MergeTarget::previous))
      append_to_run(*policies.merge, head, position, key, value);
    else
      head.append(position, key, value, TokenClass::plain);
    if (indices[at(layer, h)]) indices[at(layer, h)]->append(head.tokens());
  }
}

std::vector<std::vector<std::int32_t>> TokenCache::Body::slots_to_read(std::int32_t layer,
                                                                       const StepTensors& t) {
  const KvShape& s = options.shape;
  std::vector<std::vector<std::int32_t>> all;
  for (std::int64_t h = 0; h < s.kv_heads; ++h) {
    Head& head = heads[at(layer, h)];
    std::vector<std::int32_t> slots;
    if (retrieves(layer)) {
      const auto group = static_cast<std::size_t>(s.group() * s.k_dim);
      const auto q = (t.speculated.empty() ? t.query : t.speculated)
                         .subspan(static_cast<std::size_t>(h) * group, group);
      // The new token itself is read besides the budget.
      const std::int64_t limit =
          policies.budget ? std::min(policies.budget->size.of(prompt), kNoLimit) + 1 : kNoLimit;
      slots = pick_read(*policies.retrieve, *indices[at(layer, h)], head, q, limit, threads);
    } else {
      for (std::size_t i = 0; i < head.slots(); ++i) slots.push_back(static_cast<std::int32_t>(i));
    }
    std::fill(head.read.begin(), head.read.end(), std::uint8_t{0});
    for (const std::int32_t slot : slots) head.read[static_cast<std::size_t>(slot)] = 1;
    all.push_back(std::move(slots));
  }
  return all;
}

// Logits and weights [group][slots] of a head; slots that were not read saw no attention.
TokenCache::Body::HeadStep TokenCache::Body::head_step(std::int64_t h, const Head& head,
                                                       std::span<const std::int32_t> read,
                                                       const StagedHeads::Rows& rows) const {
  const auto group = static_cast<std::size_t>(options.shape.group());
  const std::size_t n = head.slots(), width = static_cast<std::size_t>(rows.columns);
  HeadStep step;
  step.logits.assign(group * n, -std::numeric_limits<float>::infinity());
  step.weights.assign(group * n, 0.0F);
  for (std::size_t i = 0; i < group; ++i) {
    const std::size_t from = (static_cast<std::size_t>(h) * group + i) * width;
    for (std::size_t c = 0; c < read.size(); ++c) {
      step.logits[i * n + static_cast<std::size_t>(read[c])] = rows.logits[from + c];
      step.weights[i * n + static_cast<std::size_t>(read[c])] = rows.weights[from + c];
    }
  }
  return step;
}

void TokenCache::Body::score_step(std::int32_t layer, const StepTensors& t,
                                  const std::vector<std::vector<std::int32_t>>& slots,
                                  const StagedHeads::Rows& rows) {
  const KvShape& s = options.shape;
  const auto group = static_cast<std::size_t>(s.group() * s.k_dim);
  for (std::int64_t h = 0; h < s.kv_heads; ++h) {
    const Head& head = heads[at(layer, h)];
    const HeadStep step = head_step(h, head, slots[static_cast<std::size_t>(h)], rows);
    HeadRows r;
    r.queries = 1;
    r.heads = static_cast<std::int32_t>(s.group());
    r.slots = static_cast<std::int32_t>(head.slots());
    r.first = head.positions.back();
    r.logits = step.logits;
    r.weights = step.weights;
    r.query = t.query.subspan(static_cast<std::size_t>(h) * group, group);
    for (TokenScore* score : {scores[at(layer, h)].get(), importance[at(layer, h)].get()})
      if (score != nullptr && score->needs().steps) score->observe(r);
  }
}

void TokenCache::Body::show_step(std::int32_t layer,
                                 const std::vector<std::vector<std::int32_t>>& slots,
                                 const StagedHeads::Rows& rows) const {
  for (std::int64_t h = 0; h < options.shape.kv_heads; ++h) {
    const Head& head = heads[at(layer, h)];
    HeadView view = view_of(head);
    HeadStep step;
    if (options.weights) step = head_step(h, head, slots[static_cast<std::size_t>(h)], rows);
    view.weights = step.weights;
    options.observe(layer, static_cast<std::int32_t>(h), view);
  }
}

void TokenCache::Body::attend(std::int32_t layer, const StepTensors& t, std::span<float> out) {
  const KvShape& s = options.shape;
  KVSIM_CHECK(!plans.empty(), "attend() before seal()");
  add_token(layer, t);
  const auto slots = slots_to_read(layer, t);
  const auto kd = static_cast<std::size_t>(s.k_dim), vd = static_cast<std::size_t>(s.v_dim);
  StagedHeads staged(s.group(), kd, vd, scale);
  std::vector<float> q(t.query.begin(), t.query.end());
  for (std::int64_t h = 0; h < s.kv_heads; ++h) {
    const Head& head = heads[at(layer, h)];
    stage_head(staged, head, slots[static_cast<std::size_t>(h)]);
    if (policies.select && policies.select->reindex && options.rope) {
      const auto group = static_cast<std::size_t>(s.group()) * kd;
      const std::int32_t by = static_cast<std::int32_t>(head.slots()) - 1 - head.positions.back();
      const auto own = std::span(q).subspan(static_cast<std::size_t>(h) * group, group);
      const std::vector<float> moved = turned(own, kd, std::vector<std::int32_t>{by});
      std::copy(moved.begin(), moved.end(), own.begin());
    }
  }
  staged.attend(q, out, threads, options.vulkan);
  const bool steps =
      (scores[0] && scores[0]->needs().steps) || (importance[0] && importance[0]->needs().steps);
  if (steps) score_step(layer, t, slots, staged.rows(q, 1, threads));
  if (options.observe) {
    StagedHeads::Rows rows;
    if (options.weights) rows = staged.rows(q, 1, threads, options.vulkan);
    show_step(layer, slots, rows);
  }
  if (layer + 1 == s.layers) finish_step();
}

TokenCache::TokenCache(TokenPolicies p, Options o, kernels::Threads& t)
    : body_(std::make_unique<Body>(std::move(p), std::move(o), t)) {}
TokenCache::~TokenCache() = default;
void TokenCache::begin(std::int32_t n, std::span<const TokenClass> c) { body_->begin(n, c); }
void TokenCache::prompt(std::int32_t layer, const PromptTensors& t) {
  body_->take_prompt(layer, t);
}
void TokenCache::seal() { body_->seal(); }
void TokenCache::attend(std::int32_t layer, const StepTensors& t, std::span<float> out) {
  body_->attend(layer, t, out);
}

HeadView TokenCache::view(std::int32_t layer, std::int32_t head) const {
  return view_of(body_->heads[body_->at(layer, head)]);
}

StoredBytes TokenCache::stored() const {
  const Body& b = *body_;
  const KvShape& s = b.options.shape;
  StoredBytes all;
  const StoredBytes exact = sum_of(b.form.exact());
  const StoredBytes bases = sum_of(b.form.bases()) * (1 / static_cast<double>(b.form.heads()));
  for (std::int64_t l = 0; l < s.layers; ++l) {
    if (!b.sources.empty() && b.sources[static_cast<std::size_t>(l)] != l) continue;
    const auto layer = static_cast<std::size_t>(l);
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      const Head& head = b.heads[b.at(l, h)];
      StoredBytes one = head.stored(exact);
      one += bases;
      const bool upper = !b.pairs.empty() && b.pairs[layer] >= 0;
      const bool lower = layer + 1 < b.pairs.size() && b.pairs[layer + 1] == l;
      if (upper || lower) {
        const LayerAngles& a = b.angles[b.at(upper ? l : l + 1, h)];
        const double numbers = 2 * static_cast<double>(head.slots());
        const double apart = static_cast<double>(a.apart_keys + a.apart_values) / numbers;
        one = one * ((1 - apart) / 2 + apart);
        one.scales += 2 * numbers * (1 - apart);  // a length each
      }
      all += one;
    }
  }
  return all;
}

double TokenCache::kept_tokens() const {
  double sum = 0;
  for (const Head& h : body_->heads) sum += static_cast<double>(h.slots()) + (h.gone > 0 ? 1 : 0);
  return sum / static_cast<double>(body_->heads.size());
}
double TokenCache::read_tokens() const {
  double sum = 0;
  for (const Head& h : body_->heads)
    sum += static_cast<double>(std::count(h.read.begin(), h.read.end(), 1));
  return sum / static_cast<double>(body_->heads.size());
}

}  // namespace kvsim::token
