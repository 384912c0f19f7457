// What every named token policy owes: its budget, its first and newest tokens, the same answer on
// any number of threads, more for more, full attention when nothing is limited, and the bytes that
// the arithmetic says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "policies/token/plan.h"
#include "policies/token/system.h"
#include "tests/support/token_sequence.h"

namespace kvsim::token {
namespace {

constexpr std::int32_t kPrompt = 96, kSteps = 20;
const KvShape kShape{4, 4, 2, 16, 16, 16, 16};

void shrink(std::int64_t& n, std::int64_t most) { n = std::min(n, most); }
void cap_parameter(Tree& params, const char* key, std::int64_t most) {
  const Tree* t = params.find(key);
  if (t != nullptr && parse_int(t->text()).value_or(0) > most)
    params.set(key, Tree::scalar(std::to_string(most)));
}

// The system at the size of the test's prompt.
TokenPolicies scaled(const TokenSystem& s, std::int64_t budget = 32) {
  TokenPolicies p = s.policies;
  if (p.budget) {
    if (!p.budget->size.unlimited()) p.budget->size = {budget, 0};
    cap_parameter(p.budget->by.params, "sinks", 2);
    cap_parameter(p.budget->by.params, "recent", 8);
    if (p.budget->by.name == "lazy-layers")
      p.budget->by.params = parameters({{"sinks", "2"}, {"recent", "8"}, {"threshold", "0.5"}});
  }
  if (p.select) {
    shrink(p.select->sinks, 2);
    shrink(p.select->recent, 8);
    shrink(p.select->every, 4);
    shrink(p.select->dense_layers, 1);
    cap_parameter(p.select->score.params, "window", 8);
  }
  if (p.retrieve) {
    shrink(p.retrieve->sinks, 2);
    shrink(p.retrieve->recent, 8);
    shrink(p.retrieve->dense_layers, 1);
    cap_parameter(p.retrieve->index.params, "unit", 8);
    cap_parameter(p.retrieve->index.params, "tokens", 8);
    cap_parameter(p.retrieve->index.params, "outliers", 1);
  }
  if (p.quantize) {
    shrink(p.quantize->residual, 8);
    shrink(p.quantize->sinks, 2);
    shrink(p.quantize->key_group, 16);
    shrink(p.quantize->value_group, 16);
    shrink(p.quantize->outlier_channels, 2);
  }
  if (p.low_rank && p.low_rank->key_rank > 0) p.low_rank->key_rank = 16;
  return p;
}

// Nothing is limited: every section at the end of its range where it does nothing.
TokenPolicies unlimited(const TokenSystem& s) {
  TokenPolicies p = scaled(s);
  if (p.budget) {
    p.budget->size = {kPrompt + kSteps + 1, 0};
    Tree& params = p.budget->by.params;
    if (p.budget->by.name == "protected") p.budget->by = {"uniform", Tree::map()};
    if (p.budget->by.name == "lazy-layers") params = parameters({{"threshold", "1"}});
    if (p.budget->by.name == "head-classes") params = parameters({{"retrieval", "100 %"}});
    if (p.budget->by.name == "cheapest-rule") params = parameters({{"mass", "1"}});
  }
  if (p.retrieve) p.retrieve->threshold = p.retrieve->margin = 0;
  if (p.merge) {
    p.merge->ratio = 1;
    p.merge->from_depth = Ratio{1};
  }
  if (p.quantize) {
    p.quantize->bits = 16;
    p.quantize->salient = Ratio{1};
    p.quantize->key_code = Code::uniform;
  }
  if (p.low_rank) {
    p.low_rank->key_share = p.low_rank->value_share = Ratio{1};
    p.low_rank->key_rank = 0;
    p.low_rank->flat = false;
  }
  return p;
}

TokenCache::Options options() {
  TokenCache::Options o;
  o.shape = kShape;
  o.seed = 7;
  return o;
}

class TokenPolicyConformance : public testing::TestWithParam<const TokenSystem*> {
 protected:
  [[nodiscard]] const TokenSystem& system() const { return *GetParam(); }
  kernels::Threads threads_{1};
  test::TokenSequence sequence_{kShape, kPrompt, kSteps};
};

TEST_P(TokenPolicyConformance, ComposesAndIsDescribed) {
  const PluginInfo* info = Registry::instance().find(TokenPolicies::kKind, system().info.name);
  ASSERT_NE(info, nullptr);
  EXPECT_FALSE(info->text.empty());
  EXPECT_GT(info->source.size(), 5U);
  EXPECT_FALSE(system().info.family.empty());
  EXPECT_FALSE(parameter_summary(system().policies).empty());
  Diagnostics d;
  Reader r(d);
  info->resolve(Tree::map(), r, {});
  EXPECT_TRUE(d.empty());
  Surroundings llama;
  llama.shape = {32, 32, 8, 128, 128, 16, 16};
  llama.prefix_sharing = llama.chunked_prefill = llama.recompute = true;
  for (const Finding& f : check_composition(system().policies, llama))
    EXPECT_FALSE(f.error) << f.section << ": " << f.text;
}

TEST_P(TokenPolicyConformance, BudgetIsRespected) {
  const TokenPolicies p = scaled(system());
  if (!p.budget || !make_budget(p)->exact()) return;  // no budget by number
  TokenCache cache(p, options(), threads_);
  sequence_.seal(cache);
  // Dense layers do not count.
  const std::int64_t dense = p.select ? p.select->dense_layers : p.retrieve->dense_layers;
  const double most = 32;
  for (std::int32_t i = -1; i < kSteps; ++i) {
    if (i >= 0) sequence_.decode(cache, i, nullptr);
    double held = 0, read = 0;
    for (std::int64_t l = dense; l < kShape.layers; ++l)
      for (std::int32_t h = 0; h < kShape.kv_heads; ++h) {
        const HeadView v = cache.view(static_cast<std::int32_t>(l), h);
        held += static_cast<double>(v.positions.size());
        read += static_cast<double>(std::count(v.read.begin(), v.read.end(), 1));
      }
    const auto heads = static_cast<double>((kShape.layers - dense) * kShape.kv_heads);
    if (p.select) {
      double later = 0;
      if (p.select->trigger == Trigger::prefill) later = i + 1;
      if (p.select->trigger == Trigger::interval)
        later = static_cast<double>((i + 1) % p.select->every);
      EXPECT_LE(held / heads, most + later + 1e-9) << "step " << i;
    } else if (i >= 0) {
      EXPECT_EQ(held / heads, static_cast<double>(kPrompt + i + 1)) << "nothing is lost";
      if (p.retrieve->index.name != "all") {
        EXPECT_LE(read / heads, most + 1);
      }
    }
  }
}

TEST_P(TokenPolicyConformance, FirstAndNewestTokensStay) {
  const TokenPolicies p = scaled(system());
  if (!p.select && !p.retrieve) return;  // all tokens stay
  TokenCache cache(p, options(), threads_);
  sequence_.run(cache);
  const std::int64_t sinks = p.select ? p.select->sinks : p.retrieve->sinks;
  const std::int64_t recent = p.select ? recent_tokens(*p.select, 32) : p.retrieve->recent;
  const bool by_budget = p.select && (p.budget->by.name == "cheapest-rule" || p.select->nested);
  for (std::int32_t l = 0; l < kShape.layers; ++l)
    for (std::int32_t h = 0; h < kShape.kv_heads; ++h) {
      const HeadView v = cache.view(l, h);
      const auto has = [&](std::int32_t position) {
        const auto at = std::lower_bound(v.positions.begin(), v.positions.end(), position);
        return at != v.positions.end() && *at == position &&
               (p.select || v.read[static_cast<std::size_t>(at - v.positions.begin())] != 0);
      };
      EXPECT_TRUE(std::is_sorted(v.positions.begin(), v.positions.end()));
      for (std::int64_t t = 0; t < sinks; ++t) EXPECT_TRUE(has(static_cast<std::int32_t>(t)));
      // Interval and full let tokens come in between.
      for (std::int64_t t = 0; t < recent && !by_budget; ++t)
        EXPECT_TRUE(has(static_cast<std::int32_t>(kPrompt + kSteps - 1 - t)))
            << "layer " << l << " head " << h << " newest " << t;
    }
}

TEST_P(TokenPolicyConformance, ThreadsDoNotMatter) {
  std::vector<float> one, two;
  TokenCache a(scaled(system()), options(), threads_);
  sequence_.run(a, &one);
  kernels::Threads team(2);
  TokenCache b(scaled(system()), options(), team);
  sequence_.run(b, &two);
  EXPECT_EQ(one, two);
  for (const float x : one) ASSERT_TRUE(std::isfinite(x));
}

// softmax(q k / sqrt d) v in double over all tokens.
double full_error(const test::TokenSequence& s, const std::vector<float>& got) {
  const auto g = static_cast<std::size_t>(s.shape.kv_heads);
  const auto group = static_cast<std::size_t>(s.shape.group());
  const auto d = static_cast<std::size_t>(s.shape.k_dim);
  double error = 0, norm = 0;
  std::size_t at = 0;
  for (std::int32_t i = 0; i < s.steps; ++i)
    for (std::int64_t l = 0; l < s.shape.layers; ++l) {
      const StepTensors t = s.step(l, i);
      const auto& keys = s.keys[static_cast<std::size_t>(l)];
      const auto& values = s.values[static_cast<std::size_t>(l)];
      const auto n = static_cast<std::size_t>(s.prompt + i + 1);
      for (std::size_t h = 0; h < g * group; ++h) {
        std::vector<double> w(n), out(d, 0.0);
        double most = -1e300, sum = 0;
        for (std::size_t k = 0; k < n; ++k) {
          for (std::size_t c = 0; c < d; ++c)
            w[k] += double{t.query[h * d + c]} * double{keys[(k * g + h / group) * d + c]};
          w[k] /= std::sqrt(static_cast<double>(d));
          most = std::max(most, w[k]);
        }
        for (double& x : w) sum += x = std::exp(x - most);
        for (std::size_t k = 0; k < n; ++k)
          for (std::size_t c = 0; c < d; ++c)
            out[c] += w[k] / sum * double{values[(k * g + h / group) * d + c]};
        for (std::size_t c = 0; c < d; ++c, ++at) {
          error += (out[c] - double{got[at]}) * (out[c] - double{got[at]});
          norm += out[c] * out[c];
        }
      }
    }
  return std::sqrt(error / norm);
}

TEST_P(TokenPolicyConformance, UnlimitedIsFullAttention) {
  std::vector<float> out;
  TokenCache cache(unlimited(system()), options(), threads_);
  sequence_.run(cache, &out);
  EXPECT_LT(full_error(sequence_, out), 2e-5);
  EXPECT_EQ(cache.kept_tokens(), kPrompt + kSteps);
}

TEST_P(TokenPolicyConformance, MoreBudgetKeepsMore) {
  const bool limited = system().policies.budget && !system().policies.budget->size.unlimited();
  if (limited) {
    double before = 0;
    for (const std::int64_t budget : {16, 32, 64, 117}) {
      TokenCache cache(scaled(system(), budget), options(), threads_);
      sequence_.run(cache);
      const double now = system().policies.select ? cache.kept_tokens() : cache.read_tokens();
      EXPECT_GE(now, before) << budget;
      before = now;
    }
  }
  if (!system().policies.quantize) return;
  // Wider codes lose less.
  double before = 1e300;
  for (const double bits : {2.0, 4.0, 8.0}) {
    TokenPolicies p;
    p.quantize = scaled(system()).quantize;
    p.quantize->bits = bits;
    p.quantize->salient = Ratio{1};
    if (p.quantize->key_code == Code::codebook && bits == 8) continue;
    std::vector<float> out;
    TokenCache cache(p, options(), threads_);
    sequence_.run(cache, &out);
    const double error = full_error(sequence_, out);
    if (p.quantize->key_code != Code::sign) {
      EXPECT_LT(error, before) << bits;
    }
    before = error;
  }
}

// Bytes of tensors and bytes by arithmetic, where no expectation is needed: with a budget far below
// the prompt, and with one that only the answer reaches.
TEST_P(TokenPolicyConformance, BytesAreThoseOfTheArithmetic) {
  for (const std::int64_t budget : {32, 104}) {
    const TokenPolicies p = scaled(system(), budget);
    const std::string by = p.budget ? p.budget->by.name : "";
    if (by == "cheapest-rule" || by == "lazy-layers" || by == "protected")
      return;  // depends on the tensors
    // Codes of tokens that leave are a matter of which leave.
    const bool leaves = p.select && p.select->trigger != Trigger::prefill && p.quantize;
    const FootprintModel model(p, kShape);
    TokenCache cache(p, options(), threads_);
    sequence_.seal(cache);
    for (std::int32_t i = -1; i < kSteps; ++i) {
      SCOPED_TRACE(testing::Message() << "budget " << budget << " step " << i);
      if (i >= 0) sequence_.decode(cache, i, nullptr);
      const Footprint f = model.at(kPrompt, i + 1);
      const StoredBytes s = cache.stored();
      EXPECT_NEAR(cache.kept_tokens(), f.kept_tokens, 1e-9);
      if (leaves) continue;
      const double slack = p.merge && p.merge->target == MergeTarget::layer ? 0.1 : 1e-9;
      EXPECT_NEAR(s.exact, f.stored.exact, slack * f.stored.exact + 1e-6);
      EXPECT_NEAR(s.codes, f.stored.codes, slack * f.stored.codes + 1e-6);
      EXPECT_NEAR(s.scales, f.stored.scales, slack * f.stored.scales + 1e-6);
      EXPECT_NEAR(s.outliers, f.stored.outliers, 1e-6);
      EXPECT_NEAR(s.bases, f.stored.bases, 1e-6);
    }
    if (!p.budget || p.budget->size.unlimited()) return;
  }
}

// At its own parameters, from a prompt of one token to a long one.
TEST_P(TokenPolicyConformance, ArithmeticKeepsItsBalance) {
  const KvShape llama{32, 32, 8, 128, 128, 16, 16};
  const FootprintModel model(system().policies, llama);
  for (const std::int64_t prompt : {1, 7, 100, 5000, 131072})
    for (const std::int64_t generated : {0, 1, 1000}) {
      SCOPED_TRACE(testing::Message() << prompt << " + " << generated);
      const Footprint f = model.at(prompt, generated);
      const auto n = static_cast<double>(prompt + generated);
      EXPECT_GT(f.kept_tokens, 0);
      EXPECT_LE(f.kept_tokens, n + 1e-6);
      EXPECT_LE(f.read_tokens, f.kept_tokens + 1e-6);
      EXPECT_GE(f.read_bytes, 0);
      // Bytes lie somewhere; copies on the GPU come on top.
      EXPECT_GE(f.gpu_bytes + f.host_bytes + f.disk_bytes, f.stored.total() * (1 - 1e-12));
      EXPECT_LE(f.fetch_bytes, f.host_bytes * (1 + 1e-12));
      EXPECT_LE(f.stored.total(), 1.5 * n * llama.token_bytes() + 5e7);
      for (const double x : {f.attention_flops, f.restore_flops, f.score_flops, f.index_flops,
                             f.merge_flops, f.encode_flops, f.far_flops, f.page_bytes})
        EXPECT_TRUE(std::isfinite(x) && x >= 0) << x;
      const PrefillCost c = model.prefill(prompt);
      EXPECT_TRUE(std::isfinite(c.flops) && c.flops >= 0);
      EXPECT_LE(c.attention_share, 1 + 1e-12);
      EXPECT_LE(c.linear_share, 1 + 1e-12);
      EXPECT_GT(c.peak_kv_bytes, 0);
    }
}

// What was read back from codes gives the same codes again.
TEST_P(TokenPolicyConformance, CodesAreIdempotent) {
  TokenPolicies p = scaled(system());
  const bool plain = p.quantize && !p.low_rank && !p.select && p.quantize->error_rank == 0 &&
                     p.quantize->outliers.value == 0 && p.quantize->clip == 1 &&
                     p.quantize->transform == Transform::none &&
                     p.quantize->key_code == Code::uniform && p.quantize->salient.value == 1;
  if (!plain) return;  // not a plain codec
  TokenCache first(p, options(), threads_);
  sequence_.seal(first);
  test::TokenSequence again = sequence_;
  const auto heads = static_cast<std::size_t>(kShape.kv_heads);
  for (std::int32_t l = 0; l < kShape.layers; ++l)
    for (std::size_t h = 0; h < heads; ++h) {
      const HeadView v = first.view(l, static_cast<std::int32_t>(h));
      for (std::size_t t = 0; t < v.positions.size(); ++t)
        for (std::size_t d = 0; d < 16; ++d) {
          again.keys[static_cast<std::size_t>(l)][(t * heads + h) * 16 + d] = v.keys[t * 16 + d];
          again.values[static_cast<std::size_t>(l)][(t * heads + h) * 16 + d] =
              v.values[t * 16 + d];
        }
    }
  TokenCache second(p, options(), threads_);
  again.seal(second);
  for (std::int32_t l = 0; l < kShape.layers; ++l)
    for (std::int32_t h = 0; h < kShape.kv_heads; ++h) {
      const HeadView a = first.view(l, h), b = second.view(l, h);
      for (std::size_t i = 0; i < a.keys.size(); ++i) EXPECT_NEAR(a.keys[i], b.keys[i], 2e-2);
      for (std::size_t i = 0; i < a.values.size(); ++i) EXPECT_NEAR(a.values[i], b.values[i], 1e-2);
    }
}

INSTANTIATE_TEST_SUITE_P(Systems, TokenPolicyConformance, testing::ValuesIn(token_systems()),
                         [](const auto& i) {
                           std::string name = i.param->info.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Sections of two systems together; nothing when both set one.
template <class T>
bool join(std::optional<T>& to, const std::optional<T>& from) {
  if (to && from) return false;
  if (from) to = from;
  return true;
}
bool join(TokenPolicies& a, const TokenPolicies& b) {
  return join(a.select, b.select) && join(a.retrieve, b.retrieve) && join(a.budget, b.budget) &&
         join(a.merge, b.merge) && join(a.low_rank, b.low_rank) && join(a.quantize, b.quantize);
}

// Every pair is refused with a reason, or runs.
TEST(TokenPolicies, PairsRunOrSayWhyNot) {
  const auto systems = token_systems();
  const test::TokenSequence sequence(kShape, 40, 6);
  kernels::Threads threads(1);
  Rng rng(11, "pairs");
  Surroundings around;
  around.shape = kShape;
  int ran = 0, refused = 0;
  for (int i = 0; i < 2000 && ran < 150; ++i) {
    const TokenSystem &a = *systems[rng.below(systems.size())],
                      &b = *systems[rng.below(systems.size())];
    TokenPolicies p = scaled(a, 16);
    if (!join(p, scaled(b, 16))) continue;
    SCOPED_TRACE(a.info.name + " and " + b.info.name);
    const auto findings = check_composition(p, around);
    if (std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.error; })) {
      ++refused;
      continue;
    }
    ++ran;
    std::vector<float> out;
    TokenCache cache(p, options(), threads);
    sequence.run(cache, &out);
    for (const float x : out) ASSERT_TRUE(std::isfinite(x));
    const Footprint f = FootprintModel(p, kShape).at(40, 6);
    EXPECT_GT(f.stored.total(), 0);
    EXPECT_LE(f.read_tokens, 46 + 1e-9);
    if (!(p.budget && !make_budget(p)->exact())) {
      EXPECT_NEAR(cache.kept_tokens(), f.kept_tokens, 1e-9);
    }
  }
  EXPECT_EQ(ran, 150);
  EXPECT_GT(refused, 20);
}

TEST(TokenPolicies, ThereAreEnough) { EXPECT_GE(token_systems().size(), 45U); }

}  // namespace
}  // namespace kvsim::token
