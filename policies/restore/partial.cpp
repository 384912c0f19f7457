// KVPR: hidden states of the first l tokens are loaded first; their K and V are projected while the
// KV of the others comes in: the least hidden(l) + max(project(l), KV(n - l)).
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class Partial final : public RestorePlanner {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Partial(Params, const Context&) {}
  RestorePlan plan(const RestoreQuestion& q) override {
    const std::int64_t n = q.stored_tokens;
    // Hidden states of grouped-query models are larger than their KV: nothing to win.
    if (q.hidden_bytes == Bytes{0} || q.hidden_bytes >= q.kv_bytes || q.bandwidth.value <= 0)
      return load_all(q);
    const std::int64_t cut = crossing(
        n, q.grain, [&](std::int64_t l) { return q.steps->project(l); },
        [&](std::int64_t l) { return (n - l) * q.kv_bytes / q.bandwidth; });
    RestorePlan best = cut_at(q, cut);
    if (cut > 0) best = shorter(best, cut_at(q, (cut - 1) / q.grain * q.grain));
    return best;
  }

 private:
  static RestorePlan cut_at(const RestoreQuestion& q, std::int64_t l) {
    RestorePlan p;
    p.hidden_tokens = l;
    p.hidden_layers = q.layers;
    p.load_tokens = q.stored_tokens - l;
    p = priced(q, p);
    // Projection begins when the hidden states are there.
    const Duration first = load_time(q, l * q.hidden_bytes);
    const Duration later = first + p.compute_time;
    p.total += std::max(p.load_time, later) - std::max(p.load_time, p.compute_time);
    return p;
  }
};

const Register<Partial> kSelf{"partial",
                              "first tokens from hidden states while the KV of others comes (KVPR)",
                              "Jiang et al., KVPR, Findings of ACL 2025, arXiv:2411.17089"};

}  // namespace
}  // namespace kvsim
