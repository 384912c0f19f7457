// Cake: computes from the front while the back is loaded, until both meet: the least over m of
// max(compute [0, m), load [m, n)). Early tokens are cheap to compute, every token costs the same
// to load.
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class Split final : public RestorePlanner {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Split(Params, const Context&) {}
  RestorePlan plan(const RestoreQuestion& q) override {
    const std::int64_t n = q.stored_tokens;
    const std::int64_t meet = crossing(
        n, q.grain,
        [&](std::int64_t m) { return q.steps->prefill(q.local_tokens, q.local_tokens + m); },
        [&](std::int64_t m) { return load_time(q, (n - m) * q.kv_bytes); });
    RestorePlan best = cut_at(q, meet);
    if (meet > 0) best = shorter(best, cut_at(q, (meet - 1) / q.grain * q.grain));
    return best;
  }

 private:
  static RestorePlan cut_at(const RestoreQuestion& q, std::int64_t m) {
    RestorePlan p;
    p.recompute_tokens = m;
    p.load_tokens = q.stored_tokens - m;
    return priced(q, p);
  }
};

const Register<Split> kSelf{"split", "computes the front while the back is loaded (Cake)",
                            "Jin et al., Compute Or Load KV Cache? Why Not Both?, 2024, "
                            "arXiv:2410.03065"};

}  // namespace
}  // namespace kvsim
