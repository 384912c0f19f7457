// HCache: layers are shared out between loading hidden states (half of the KV of multi-head
// attention) and projecting them, loading KV, and computing from token ids, so that both streams
// end together: the least max(load, compute) over the numbers of layers.
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class Hidden final : public RestorePlanner {
 public:
  struct Params {
    std::int64_t history = 4096;
    static constexpr Rows kFields{
        field("history", &Params::history, between<std::int64_t>(1, 1 << 30),
              "tokens for which the layers are shared out once and for all: tiers hold hidden "
              "states of some layers, KV of others and nothing of the rest")};
  };
  Hidden(Params p, const Context&) : history_(p.history) {}
  [[nodiscard]] std::int64_t stored_for() const override { return history_; }
  RestorePlan plan(const RestoreQuestion& q) override {
    const std::int64_t n = q.stored_tokens;
    if (n == 0) return load_all(q);
    // Streams per layer; both are linear in layers, so each pair is two products.
    const auto layers = static_cast<double>(q.layers);
    const double project = to_seconds(q.steps->project(n)) / layers;
    const double prefill =
        to_seconds(q.steps->prefill(q.local_tokens, q.local_tokens + n)) / layers;
    const double kv = to_double(n * q.kv_bytes) / layers;
    const double hidden = to_double(n * q.hidden_bytes) / layers;
    double least = -1;
    RestorePlan best;
    best.hidden_tokens = n;
    if (q.stored.fixed()) {
      best.recompute_layers = q.stored.recompute;
      best.hidden_layers = q.stored.hidden;
      return priced(q, best);
    }
    for (std::int64_t r = 0; r <= q.layers; ++r)
      for (std::int64_t h = 0; h <= (q.hidden_bytes > Bytes{0} ? q.layers - r : 0); ++h) {
        const double bytes =
            static_cast<double>(h) * hidden + static_cast<double>(q.layers - r - h) * kv;
        if (bytes > 0 && q.bandwidth.value <= 0) continue;
        const double load = bytes > 0 ? to_seconds(q.latency) + bytes / q.bandwidth.value : 0;
        const double compute = static_cast<double>(h) * project + static_cast<double>(r) * prefill;
        const double time = std::max(load, compute);
        if (least >= 0 && time >= least) continue;
        least = time;
        best.recompute_layers = r;
        best.hidden_layers = h;
      }
    return priced(q, best);
  }

 private:
  std::int64_t history_;
};

const Register<Hidden> kSelf{"hidden", "layers from hidden states, KV or token ids (HCache)",
                             "Gao et al., Fast State Restoration in LLM Serving with HCache, "
                             "EuroSys 2025, arXiv:2410.05004"};

}  // namespace
}  // namespace kvsim
