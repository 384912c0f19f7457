#pragma once
// A small transformer for tests of cost models: facts and a list of Work that is affine in what it
// should be.
#include "hardware/cost_model.h"
#include "hardware/device.h"

namespace kvsim {

class FakeModel : public ModelWork {
 public:
  Facts f;
  double weight_bytes = 1.5e10, flops_per_token = 1.6e10, kv_bytes_per_token = 131072,
         attention_flops = 524288;
  FakeModel() {
    f.layers = 32;
    f.hidden = 4096;
  }
  [[nodiscard]] const Facts& facts() const override { return f; }
  void step(const StepShape& s, std::vector<Work>& out) const override {
    out.clear();
    const auto tokens = static_cast<double>(s.tokens());
    out.push_back(
        {Operator::ffn_up, flops_per_token * tokens, weight_bytes, 0, 1e5 * tokens, 0, 32});
    if (s.decodes > 0) {
      const auto sum = static_cast<double>(s.decode_context_sum);
      out.push_back({Operator::attention_decode, attention_flops * sum, 0, kv_bytes_per_token * sum,
                     0, 0, 32});
    }
    double pairs = 0, read = 0;
    for (const PrefillPiece& p : s.prefills) {
      pairs += static_cast<double>(p.tokens) *
               (static_cast<double>(p.history) + 0.5 * static_cast<double>(p.tokens));
      read += static_cast<double>(p.history + p.tokens);
    }
    if (pairs > 0)
      out.push_back({Operator::attention_prefill, attention_flops * pairs, 0,
                     kv_bytes_per_token * read, 0, 0, 32});
    if (f.parallel.tensor > 1)
      out.push_back({Operator::all_reduce, 0, 0, 0, 0, 64 * tokens * 8192, 64});
  }
};

inline StepShape decodes(std::int64_t n, std::int64_t sum, std::int64_t max) {
  StepShape s;
  s.decodes = s.padded_decodes = n;
  s.decode_context_sum = sum;
  s.decode_context_max = max;
  return s;
}

}  // namespace kvsim
