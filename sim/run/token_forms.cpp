#include "sim/run/token_forms.h"

#include <algorithm>
#include <cmath>

namespace kvsim {

namespace {

double d(std::int64_t n) { return static_cast<double>(n); }
constexpr double kUnit = 1024;          // KvCurve counts in 1/1024 byte
constexpr std::size_t kMostBends = 6;   // phases besides the first
constexpr std::int64_t kFar = 1 << 14;  // tokens over which a slope without an end is taken
constexpr std::int64_t kMostPeriod = 1 << 20;
std::int64_t unit(double bytes) { return std::llround(bytes * kUnit); }

}  // namespace

TokenForms::TokenForms(token::TokenPolicies policies, token::KvShape shape, const TokenRates& rates,
                       bool caches, bool keep_exact)
    : shape_(shape), model_(std::move(policies), shape), rates_(rates) {
  const token::TokenPolicies& p = model_.policies();
  leaves_gpu_ = p.retrieve && p.retrieve->home != token::Home::gpu;
  ahead_ = p.retrieve && p.retrieve->ahead;
  layers_ = std::max<std::int64_t>(1, shape_.layers);
  token_bytes_ = std::llround(shape_.token_bytes());
  const bool fetches = p.retrieve && p.retrieve->home == token::Home::cpu_fetch;
  step_ns_ = model_.kernels() * shape_.layers * rates_.launch_ns;
  if (leaves_gpu_) step_ns_ += (fetches ? 1 : 2) * shape_.layers * rates_.link_ns;
  choose_turn(caches, keep_exact);
  size_blocks();
}

void TokenForms::choose_turn(bool caches, bool keep_exact) {
  const token::Traits& t = model_.traits();
  if (!t.drops_tokens && !leaves_gpu_ && t.shareable) {
    turn_ = Turn::in_place;
  } else {
    turn_ = caches && (t.shareable || keep_exact) ? Turn::left : Turn::own;
  }
}

// Where blocks stay what they are, one holds block_tokens tokens in their form; where sequences go
// on in blocks of their own, uncompressed ones are the unit.
void TokenForms::size_blocks() {
  block_bytes_ = plain_block_bytes();
  slope_bytes_ = shape_.token_bytes();
  if (turn_ != Turn::in_place) return;
  const std::int64_t run = 1 << 16;  // a multiple of every group
  const std::int64_t first = run + model_.exact_tokens();
  const double near = model_.at(first, 0).gpu_bytes, far = model_.at(first + run, 0).gpu_bytes;
  slope_bytes_ = (far - near) / d(run);
  block_bytes_ = slope_bytes_ * d(shape_.block_tokens);
  const double exact = d(model_.exact_tokens());
  buffer_bytes_ = exact > 0 ? std::max(0.0, shape_.token_bytes() - slope_bytes_) : 0;
  fixed_bytes_ = std::max(0.0, near - d(first) * slope_bytes_ - exact * buffer_bytes_);
}

TokenForms::Entry& TokenForms::entry(std::int64_t prompt) {
  const auto [at, fresh] = entries_.try_emplace(prompt);
  if (fresh) {
    describe_prompt(at->second, prompt);
    describe_steps(at->second.curve, prompt);
    const token::TokenPolicies& p = model_.policies();
    // Nothing that the queries of the prompt's end decide: tokens leave piece by piece.
    if (turn_ == Turn::own && p.select && p.select->trigger != token::Trigger::prefill &&
        !model_.traits().whole_prompt)
      at->second.curve.most = at->second.curve.decoding(0);
  }
  return at->second;
}

void TokenForms::describe_prompt(Entry& e, std::int64_t prompt) {
  const token::PrefillCost cost = model_.prefill(prompt);
  KvCurve& c = e.curve;
  c.block = std::max<std::int64_t>(1, unit(slope_bytes_)) * shape_.block_tokens;
  c.token = unit(slope_bytes_);
  if (turn_ == Turn::in_place) {
    c.buffer = unit(buffer_bytes_);
    c.buffered = model_.exact_tokens();
    c.fixed = unit(fixed_bytes_);
  } else if (turn_ == Turn::own) {
    c.token = unit(std::min(slope_bytes_, cost.peak_kv_bytes / d(prompt)));
  }
  e.linear_share = std::min(1.0, cost.linear_share);
  e.attention_share = std::min(1.0, cost.attention_share);
  e.is_cumulative = turn_ == Turn::in_place || cost.needs_attention_rows;
}

double TokenForms::gpu_ns(double flops, double bytes) const {
  return std::max(flops / rates_.vector_flops, bytes / rates_.memory_bytes) * 1e9;
}

double TokenForms::fetch_ns(double bytes, double pieces) const {
  if (!(bytes > 0)) return 0;
  const double piece = bytes / std::max(1.0, pieces);
  return bytes / (rates_.link_bytes * piece / (piece + rates_.link_half)) * 1e9;
}

TokenForms::Sample TokenForms::sample(const KvCurve& c, std::int64_t prompt,
                                      std::int64_t generated) const {
  const token::Footprint f = model_.at(prompt, generated);
  const token::TokenPolicies& p = model_.policies();
  Sample s;
  const auto set = [&](TokenLoad l, double v) { s.loads[static_cast<std::size_t>(l)] = v; };
  const double token = shape_.token_bytes();
  set(TokenLoad::context, f.read_bytes / token + 1);  // and the token itself
  set(TokenLoad::score, gpu_ns(f.score_flops, f.score_bytes));
  set(TokenLoad::index, gpu_ns(f.index_flops, f.index_bytes));
  set(TokenLoad::merge, gpu_ns(f.merge_flops, f.merge_bytes));
  set(TokenLoad::encode, gpu_ns(f.encode_flops, f.encode_bytes));
  // Rebuilding from a basis is a product of matrices.
  const double rate = p.low_rank ? rates_.matrix_flops : rates_.vector_flops;
  const double reading = f.read_bytes / rates_.kv_bytes * 1e9;
  set(TokenLoad::restore, std::max(0.0, f.restore_flops / rate * 1e9 - reading));
  set(TokenLoad::fetch, fetch_ns(f.fetch_bytes, d(layers_)));
  if (f.far_bytes > 0)
    set(TokenLoad::far, f.far_bytes / rates_.far_bytes * 1e9 + fetch_ns(f.query_bytes, 1));
  set(TokenLoad::kept, f.stored.total() / token);
  set(TokenLoad::full, d(prompt + generated));
  if (turn_ == Turn::in_place) {
    const std::int64_t n = prompt + generated;
    s.memory = d(n * c.token + std::min(n, c.buffered) * c.buffer + c.fixed) / kUnit;
  } else {
    // Pages hold keys and values; what else is on the GPU comes on top.
    const double beside = leaves_gpu_ ? 0 : f.stored.summaries + f.stored.state;
    s.memory = std::max(f.gpu_bytes, f.page_bytes + beside);
  }
  return s;
}

// Even growth between two bends; what comes in bursts at its mean, its memory at its fullest.
KvPhase TokenForms::phase(const KvCurve& c, std::int64_t prompt, std::int64_t from,
                          std::int64_t until) const {
  const std::int64_t burst = std::max<std::int64_t>(1, model_.burst(prompt));
  const bool ends = until - from <= kFar;
  const std::int64_t span =
      ends ? std::max<std::int64_t>(0, until - 1 - from) : (kFar + burst - 1) / burst * burst;
  const Sample first = sample(c, prompt, from);
  const Sample last = span > 0 ? sample(c, prompt, from + span) : first;
  const double length = d(std::max<std::int64_t>(1, span));
  KvPhase p;
  p.from = from;
  std::array<double, kTokenLoads> slope{}, level = first.loads;
  const double growth = (last.memory - first.memory) / length;
  for (std::size_t i = 0; i < kTokenLoads; ++i)
    slope[i] = (last.loads[i] - first.loads[i]) / length;
  double fullest = first.memory;
  if (burst > 1 && span >= burst) {
    const std::array<std::int64_t, 4> at{burst / 4, burst / 2, burst * 3 / 4, burst - 1};
    for (const std::int64_t k : at) {
      const Sample s = sample(c, prompt, from + k);
      fullest = std::max(fullest, s.memory - growth * d(k));
      for (std::size_t i = 0; i < kTokenLoads; ++i) level[i] += s.loads[i] - slope[i] * d(k);
    }
    for (double& l : level) l /= 1 + d(std::ssize(at));
  }
  for (std::size_t i = 0; i < kTokenLoads; ++i) {
    p.level[i] = std::max<std::int64_t>(0, std::llround(level[i] * kUnit));
    p.slope[i] = std::max<std::int64_t>(0, std::llround(slope[i] * kUnit));
  }
  const double block = block_bytes_;
  p.blocks =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(fullest / block - 1e-9)));
  if (!(growth > block / d(kMostPeriod))) return p;
  const double steps = block / growth;
  p.period = std::max<std::int64_t>(1, turn_ == Turn::in_place
                                           ? static_cast<std::int64_t>(std::floor(steps + 1e-6))
                                           : std::llround(steps));
  const double left = (d(p.blocks) * block - fullest) / growth;  // steps until this many are full
  const auto due = static_cast<std::int64_t>(std::floor(left + 1e-6)) + 1;
  p.offset = std::clamp<std::int64_t>(p.period - due, 0, p.period - 1);
  return p;
}

void TokenForms::describe_steps(KvCurve& c, std::int64_t prompt) {
  std::vector<std::int64_t> bends = model_.bends(prompt);
  if (bends.size() > kMostBends) {
    std::vector<std::int64_t> some;
    for (std::size_t i = 0; i < kMostBends; ++i)
      some.push_back(bends[i * (bends.size() - 1) / (kMostBends - 1)]);
    bends = std::move(some);
  }
  bends.insert(bends.begin(), 0);
  for (std::size_t i = 0; i < bends.size(); ++i) {
    const std::int64_t until =
        i + 1 < bends.size() ? bends[i + 1] : std::numeric_limits<std::int64_t>::max() / 2;
    KvPhase p = phase(c, prompt, bends[i], until);
    if (turn_ == Turn::in_place && i == 0) p.blocks = std::max(p.blocks, c.computing(prompt));
    if (i > 0) {  // no block comes or goes with the phase itself
      const std::int64_t held = c.phases.back().blocks_at(bends[i]);
      if (p.period > 0 && held < p.blocks) p.offset = p.period - 1;
      if (p.period > 0 && held > p.blocks) p.offset = 0;
      p.blocks = held;
    }
    c.phases.push_back(p);
  }
}

// Of a prompt up to here, besides the model's own work.
double TokenForms::prompt_ns(std::int64_t tokens) const {
  if (tokens == 0) return 0;
  const token::PrefillCost c = model_.prefill(tokens);
  return std::max(c.flops / rates_.matrix_flops, c.bytes / rates_.memory_bytes) * 1e9;
}

PieceLoads TokenForms::piece(std::int64_t known, const PrefillPiece& piece, PrefillPiece& priced) {
  const Entry& e = entry(known);
  const std::int64_t from = piece.history, to = piece.history + piece.tokens;
  PieceLoads loads;
  if (e.is_cumulative)
    loads.gpu_ns = std::llround(std::max(0.0, prompt_ns(to) - prompt_ns(from)));
  else if (piece.samples)
    loads.gpu_ns = std::llround(prompt_ns(to));
  if (leaves_gpu_) {
    const auto moved = [&](std::int64_t n) { return n == 0 ? 0 : model_.prefill(n).offload_bytes; };
    loads.link_ns = std::llround(fetch_ns(std::max(0.0, moved(to) - moved(from)), d(layers_)));
  }
  if (e.linear_share < 1) {
    priced.tokens = std::max<std::int64_t>(
        1, static_cast<std::int64_t>(std::ceil(e.linear_share * d(piece.tokens))));
    priced.history = static_cast<std::int64_t>(e.linear_share * d(piece.history));
  } else if (e.attention_share < 1) {
    const double a = e.attention_share;
    priced.history = static_cast<std::int64_t>(
        std::max(0.0, a * d(piece.history) - (1 - a) * d(piece.tokens) / 2));
  }
  return loads;
}

}  // namespace kvsim
