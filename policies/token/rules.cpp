// The rules of composing policies (numbers: table in README.md).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "policies/token/compose.h"
#include "policies/token/encode.h"
#include "policies/token/plan.h"

namespace kvsim::token {

namespace {

class Rules {
 public:
  Rules(const TokenPolicies& p, const Surroundings& s) : p_(p), s_(s) {}

  std::vector<Finding> check() {
    check_sections();
    if (found_.empty() ||
        std::none_of(found_.begin(), found_.end(), [](const Finding& f) { return f.error; }))
      check_widths();
    if (std::any_of(found_.begin(), found_.end(), [](const Finding& f) { return f.error; }))
      return found_;  // what follows builds the pipeline
    check_merge();
    check_encoding();
    check_sharing();
    check_rows();
    check_heads();
    check_home();
    check_scheduling();
    return found_;
  }

 private:
  void error(int rule, const char* section, std::string text, std::string hint) {
    found_.push_back({rule, true, section, std::move(text), std::move(hint)});
  }
  void note(int rule, const char* section, std::string text) {
    found_.push_back({rule, false, section, std::move(text), {}});
  }

  // A section without the one that it works on.
  void check_sections() {
    if (p_.select && p_.retrieve)
      error(0, "select", "select drops tokens for good, retrieve needs all of them",
            "leave one of the two out");
    if (p_.budget && !p_.select && !p_.retrieve)
      error(0, "budget", "there is nothing that a budget limits", "add a select stage");
    const bool unlimited = !p_.budget || p_.budget->size.unlimited();
    if (p_.select && unlimited && !(p_.budget && !make_budget(p_)->exact()))
      error(0, "select", "without a budget nothing ever leaves",
            "give one, such as budget: 20 % or budget: 1024");
    if (p_.retrieve && unlimited && p_.retrieve->threshold == 0 && p_.retrieve->margin == 0 &&
        p_.retrieve->index.name != "all")
      error(0, "retrieve", "without a budget every step reads everything",
            "give one, such as budget: 1024, or a threshold");
  }

  void width(double bits, const char* name) {
    if (bits != 16 && !has_codes(bits))
      error(0, "quantize", fmt::format("{}: no codes have {} bits", name, bits),
            "widths: 16 (exact), 8, 4, 3, 2, 1.5 (ternary)");
  }
  void check_widths() {
    if (!p_.quantize) return;
    const QuantizeSpec& q = *p_.quantize;
    if (q.key_code != Code::sign) width(key_bits(q), "key_bits");
    width(value_bits(q), "value_bits");
    if (q.value_code == Code::sign)
      error(0, "quantize", "signs of projections give logits, not values",
            "value_code: uniform, symmetric or codebook");
    const auto codebook = [&](Code code, double bits, const char* name) {
      if (code == Code::codebook && bits != 4 && bits != 3 && bits != 2)
        error(0, "quantize", fmt::format("{}: a codebook has 4, 3 or 2 bits", name), "");
    };
    codebook(q.key_code, key_bits(q), "key_bits");
    codebook(q.value_code, value_bits(q), "value_bits");
    if (q.salient.value >= 1) return;
    width(q.low_key_bits, "low_key_bits");
    width(q.low_value_bits, "low_value_bits");
    if (q.low_key_bits == 16 || q.low_value_bits == 16)
      error(6, "quantize", "tokens that are not salient cannot stay exact", "low bits below 16");
    if (q.key_axis == Axis::channel || q.value_axis == Axis::channel)
      error(6, "quantize", "a channel's group cannot hold tokens of two widths",
            "with salient below 100 %: key_axis: token, value_axis: token");
  }

  void check_merge() {
    if (!p_.merge) return;
    const MergeSpec& m = *p_.merge;
    const bool layers = m.target == MergeTarget::layer || m.target == MergeTarget::share;
    const bool own = layers || m.target == MergeTarget::previous;
    if (!own && !p_.select)
      error(0, "merge", fmt::format("target {} merges what a selection evicts", name_of(m.target)),
            "add a select stage, or target: previous or layer");
    if (m.target == MergeTarget::previous && p_.select)
      error(0, "merge", "a slot of several tokens has no score of its own",
            "target previous goes without a select stage");
    if (m.target == MergeTarget::previous && p_.retrieve)
      error(0, "merge", "an index ranks tokens, not slots of several",
            "target previous goes without retrieval");
    if (m.target == MergeTarget::previous && p_.quantize && p_.quantize->salient.value < 1)
      error(6, "quantize", "a slot of several tokens has no importance of its own",
            "salient: 100 %");
    if (layers && p_.select && p_.select->scope != Scope::all)
      error(0, "merge", "layers that share tokens must keep the same ones",
            "select: {scope: all}, or no select stage");
    if (layers && p_.select && make_budget(p_)->by_layer())
      error(0, "merge", "layers that share tokens must keep as many", "budget: {by: uniform}");
    if (m.target == MergeTarget::share && p_.retrieve)
      note(8, "merge", "layers that read another's cache read its summaries too");
  }

  // Rules 5, 6, 7.
  void check_encoding() {
    const EncodedForm form(p_, s_.shape);
    if (p_.low_rank) {
      const LowRankSpec& l = *p_.low_rank;
      if (s_.latent)
        error(7, "low-rank", "the model's cache is a latent already", "leave low-rank out");
      if (l.absorb_keys && l.pre_rope)
        error(5, "low-rank", "scores of coordinates cannot take a rotary position in",
              "pre_rope: false, or absorb_keys: false");
      if (s_.shape.kv_heads % form.heads() != 0)
        error(7, "low-rank",
              fmt::format("{} KV heads do not fall into groups of {}", s_.shape.kv_heads,
                          form.heads()),
              "heads: a divisor of the KV heads");
      if (form.heads() > 1 && p_.select && p_.select->scope == Scope::head)
        error(7, "low-rank", "heads that share a basis must keep the same tokens",
              "select: {scope: layer}, or low-rank: {heads: 1}");
      if (s_.tensor_parallel > 1 && (s_.shape.kv_heads / s_.tensor_parallel) % form.heads() != 0)
        note(7, "low-rank",
             fmt::format("{} ranks cut groups of {} heads: each keeps the whole latent",
                         s_.tensor_parallel, form.heads()));
      if (l.per_prompt && p_.quantize && key_bits(*p_.quantize) < 16)
        note(7, "low-rank", "tokens behind the prompt are not encoded: the basis is the prompt's");
      if (p_.quantize && p_.quantize->key_code == Code::sign)
        error(7, "quantize", "signs of projections need keys, not coordinates",
              "key_code: uniform");
    }
    const bool turns = (p_.low_rank && p_.low_rank->pre_rope && !p_.low_rank->absorb_keys) ||
                       (p_.quantize && p_.quantize->pre_rope) || (p_.select && p_.select->reindex);
    if (turns) note(5, "quantize", "every key that is read is rotated to its position");
    if (!p_.quantize || form.grain() == 1) return;
    const std::int64_t block = s_.shape.block_tokens, grain = form.grain();
    if (block % grain != 0 && grain % block != 0)
      error(6, "quantize", fmt::format("groups of {} tokens straddle blocks of {}", grain, block),
            "a group that is a multiple or a divisor of engine.block_tokens");
    else if (block % grain != 0)
      note(6, "quantize",
           fmt::format("a group is {} blocks: they come and go together", grain / block));
    if (p_.select && p_.select->trigger != Trigger::prefill)
      note(6, "quantize", "tokens that leave a group leave a hole: its scales stay");
  }

  // Rule 1.
  void check_sharing() {
    if (!s_.prefix_sharing) return;
    const Traits t = FootprintModel(p_, s_.shape).traits();
    if (!t.shareable)
      note(1, p_.select ? "select" : "merge",
           "the compressed prefix serves only its own request: " + t.shareable_why);
  }

  // Rule 2.
  void check_rows() {
    if (!p_.select || !s_.fused_attention) return;
    TokenScore::Context c;
    c.k_dim = static_cast<std::int32_t>(s_.shape.k_dim);
    const TokenScore::Needs needs = make_score(*p_.select, c)->needs();
    if (needs.attention && needs.prompt_queries < 0 && needs.query_share > 0)
      note(2, "select", "a fused kernel keeps no attention rows: the prompt's are computed twice");
    if (needs.attention && needs.steps)
      note(2, "select", "every step writes its attention rows out for the scores");
  }

  // Rules 3, 4, 11.
  void check_heads() {
    if (!p_.select) return;
    const bool by_head = make_budget(p_)->by_head();
    const Scope scope = p_.select->scope;
    if (by_head && scope != Scope::head)
      error(3, "select", "heads that keep the same tokens cannot have budgets of their own",
            "scope: head, or an allocator that treats heads alike");
    if (scope == Scope::all && (p_.select->dense_layers > 0 || make_budget(p_)->by_layer()))
      error(3, "select", "layers that keep the same tokens must keep as many",
            "scope: layer, or dense_layers: 0 and budget: {by: uniform}");
    if (p_.select->nested && scope == Scope::head)
      error(3, "select", "a layer computes a token for all of its heads or not at all",
            "nested goes with scope: layer");
    if (by_head && s_.latent)
      error(3, "budget", "a latent cache has no KV heads to tell apart", "budget: {by: uniform}");
    if (by_head && !s_.per_head_lists)
      error(3, "budget", "heads keep different numbers of tokens, and block lists are per sequence",
            "an allocator that treats heads alike, such as uniform or pyramid");
    if (by_head && s_.tensor_parallel > 1)
      note(3, "budget", "ranks hold different numbers of tokens: the fullest decides");
    if (s_.latent && p_.select->scope == Scope::head)
      note(4, "select", "one latent serves all heads: they keep the same tokens");
  }

  // Rules 8, 12.
  void check_home() {
    if (!p_.retrieve) return;
    const RetrieveSpec& r = *p_.retrieve;
    if (r.values_only && !p_.low_rank)
      error(8, "retrieve", "keys that stay on the GPU need a smaller form",
            "add a low-rank stage, or values_only: false");
    if (r.home == Home::gpu && (r.gpu_tokens > 0 || r.gpu_heads > 0))
      error(8, "retrieve", "a cache on the GPU for what lies on the GPU",
            "home: cpu-fetch, or gpu_tokens: 0");
    if (s_.prefix_sharing && r.index.name != "all")
      note(8, "retrieve", "summaries are cached with their blocks");
    if (r.ahead)
      note(12, "retrieve", "fetches ahead share the link with swaps and offloaded weights");
    if (r.home == Home::gpu || s_.host_bytes < 0 || s_.longest == 0) return;
    const Footprint f = FootprintModel(p_, s_.shape).at(s_.longest, 0);
    const double needed = f.host_bytes + f.disk_bytes;
    if (needed > s_.host_bytes)
      error(8, "retrieve",
            fmt::format("{} tokens need {:.1f} GiB off the GPU, {:.1f} GiB are there", s_.longest,
                        needed / 0x1p30, s_.host_bytes / 0x1p30),
            "a larger tier, a shorter context, or home: gpu");
  }

  // Rules 9, 10.
  void check_scheduling() {
    const Traits t = FootprintModel(p_, s_.shape).traits();
    if (s_.chunked_prefill && t.whole_prompt)
      note(9, "select", "decides with the prompt's last chunk: until then all of it is held");
    if (s_.recompute && !t.replayable)
      note(10, "select", "recomputing a sequence repeats its choices: swapping keeps them");
  }

  const TokenPolicies& p_;
  const Surroundings& s_;
  std::vector<Finding> found_;
};

}  // namespace

std::vector<Finding> check_composition(const TokenPolicies& p, const Surroundings& s) {
  return Rules(p, s).check();
}

}  // namespace kvsim::token
