#include "policies/token/scores/rows.h"

namespace kvsim::token {

std::vector<float> combined_row(const HeadRows& rows, std::int32_t query, kernels::Combine heads,
                                kernels::Threads& threads) {
  const auto size = static_cast<std::size_t>(rows.heads) * static_cast<std::size_t>(rows.slots);
  std::vector<float> out(static_cast<std::size_t>(rows.slots));
  kernels::ScoreReduction r;
  r.queries = 1;
  r.q_heads = rows.heads;
  r.kv_heads = 1;
  r.columns = rows.slots;
  r.heads = heads;
  r.in = rows.weights.subspan(static_cast<std::size_t>(query) * size, size);
  r.out = out;
  kernels::cpu::reduce_scores(r, threads);
  return out;
}

}  // namespace kvsim::token
