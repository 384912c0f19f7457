#include "policies/restore/restore.h"

namespace kvsim {

namespace {

// k of n equal parts, rounded up.
Duration part(Duration whole, std::int64_t k, std::int64_t n) {
  return (whole * k + Duration{n - 1}) / n;
}

}  // namespace

Duration load_time(const RestoreQuestion& q, Bytes bytes) {
  if (bytes == Bytes{0}) return Duration{0};
  if (q.bandwidth.value <= 0) return Duration::max();
  return q.latency + bytes / q.bandwidth;
}

RestorePlan priced(const RestoreQuestion& q, RestorePlan p) {
  const std::int64_t end = q.local_tokens + q.stored_tokens;
  const std::int64_t front = q.local_tokens + p.recompute_tokens;
  const std::int64_t kv_layers = q.layers - p.recompute_layers - p.hidden_layers;
  p.bytes =
      p.load_tokens * q.kv_bytes +
      p.hidden_tokens * (q.hidden_bytes * p.hidden_layers + q.kv_bytes * kv_layers) / q.layers;
  p.load_time = load_time(q, p.bytes);
  p.compute_time =
      q.steps->prefill(q.local_tokens, front) +
      part(q.steps->prefill(front, front + p.hidden_tokens), p.recompute_layers, q.layers) +
      part(q.steps->project(p.hidden_tokens), p.hidden_layers, q.layers);
  const Duration restored = std::max(p.load_time, p.compute_time);
  p.total = restored == Duration::max() ? restored
                                        : restored + q.steps->prefill(end, end + q.tail_tokens);
  return p;
}

RestorePlan load_all(const RestoreQuestion& q) {
  RestorePlan p;
  p.load_tokens = q.stored_tokens;
  return priced(q, p);
}

RestorePlan recompute_all(const RestoreQuestion& q) {
  RestorePlan p;
  p.recompute_tokens = q.stored_tokens;
  return priced(q, p);
}

RestorePlan shorter(const RestorePlan& a, const RestorePlan& b) {
  return b.total < a.total ? b : a;
}

}  // namespace kvsim
