// Attention in double, one query and one token after the other. Shared prefixes do not change a
// result, so they are not looked at.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace kvsim::kernels::reference {

namespace {

bool sees(const Visibility& v, std::int32_t position, std::int32_t token) {
  if (token > position) return false;
  return v.window == 0 || token > position - v.window || token < v.sinks;
}

// Keys and values of one kv head of a sequence, as doubles; only tokens that a query at `first` or
// later sees are read.
struct History {
  int k_dim = 0, v_dim = 0;
  std::vector<double> keys, values;

  History(const KvCache& cache, const BlockTable& table, const Visibility& visible,
          std::size_t sequence, int head, std::int32_t first)
      : k_dim(cache.format.k_dim), v_dim(cache.format.v_dim) {
    const std::int32_t length = table.lengths[sequence];
    keys.resize(static_cast<std::size_t>(length) * static_cast<std::size_t>(k_dim));
    values.resize(static_cast<std::size_t>(length) * static_cast<std::size_t>(v_dim));
    for (std::int32_t t = 0; t < length; ++t) {
      if (!sees(visible, std::max(first, t), t)) continue;
      const std::int32_t page = table.page_of(sequence, t / cache.format.page_tokens);
      const int slot = t % cache.format.page_tokens;
      for (int d = 0; d < k_dim; ++d) key(t)[d] = cache.key(page, head, slot, d);
      for (int d = 0; d < v_dim; ++d) value(t)[d] = cache.value(page, head, slot, d);
    }
  }
  double* key(std::int32_t t) {
    return keys.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(k_dim);
  }
  double* value(std::int32_t t) {
    return values.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(v_dim);
  }
};

// One query over the tokens for which `seen` holds.
template <class Seen>
void attend_row(History& history, std::int32_t length, double scale, const float* q, float* out,
                const Seen& seen) {
  std::vector<double> weights(static_cast<std::size_t>(length));
  double most = -std::numeric_limits<double>::infinity();
  for (std::int32_t t = 0; t < length; ++t) {
    if (!seen(t)) continue;
    double score = 0;
    for (int d = 0; d < history.k_dim; ++d) score += static_cast<double>(q[d]) * history.key(t)[d];
    weights[static_cast<std::size_t>(t)] = score * scale;
    most = std::max(most, score * scale);
  }
  double total = 0;
  std::vector<double> sums(static_cast<std::size_t>(history.v_dim));
  for (std::int32_t t = 0; t < length; ++t) {
    if (!seen(t)) continue;
    const double weight = std::exp(weights[static_cast<std::size_t>(t)] - most);
    total += weight;
    for (std::size_t d = 0; d < sums.size(); ++d) sums[d] += weight * history.value(t)[d];
  }
  for (std::size_t d = 0; d < sums.size(); ++d)
    out[d] = static_cast<float>(total > 0 ? sums[d] / total : 0);
}

std::size_t row_of(std::int64_t query, int q_heads, int head) {
  return static_cast<std::size_t>(query) * static_cast<std::size_t>(q_heads) +
         static_cast<std::size_t>(head);
}

}  // namespace

void attend(const DecodeAttention& a) {
  const KvFormat& f = a.cache.format;
  const int group = a.q_heads / f.kv_heads;
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s) {
    const std::int32_t length = a.table.lengths[s];
    for (int kv_head = 0; kv_head < f.kv_heads; ++kv_head) {
      History history(a.cache, a.table, a.visible, s, kv_head, length - 1);
      for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const std::size_t row = row_of(static_cast<std::int64_t>(s), a.q_heads, head);
        attend_row(history, length, a.scale, &a.q[row * static_cast<std::size_t>(f.k_dim)],
                   &a.out[row * static_cast<std::size_t>(f.v_dim)],
                   [&](std::int32_t t) { return sees(a.visible, length - 1, t); });
      }
    }
  }
}

void attend(const PrefillAttention& a) {
  constexpr std::int32_t kMaskBlock = 64;
  const KvFormat& f = a.cache.format;
  const int group = a.q_heads / f.kv_heads;
  std::size_t first_block = 0;  // of the sequence's queries, in the rows of the mask
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s) {
    const std::int32_t length = a.table.lengths[s];
    const std::int32_t count = a.starts[s + 1] - a.starts[s];
    for (int kv_head = 0; kv_head < f.kv_heads; ++kv_head) {
      History history(a.cache, a.table, a.visible, s, kv_head, length - count);
      for (std::int32_t i = 0; i < count; ++i) {
        const std::size_t block = first_block + static_cast<std::size_t>(i / kMaskBlock);
        const auto seen = [&](std::int32_t t) {
          if (!sees(a.visible, length - count + i, t)) return false;
          if (a.mask.empty()) return true;
          const auto bit = static_cast<std::size_t>(t / kMaskBlock);
          const std::uint64_t word =
              a.mask[block * static_cast<std::size_t>(a.mask_words) + bit / 64];
          return (word >> (bit % 64) & 1U) != 0;
        };
        for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          const std::size_t row = row_of(a.starts[s] + i, a.q_heads, head);
          attend_row(history, length, a.scale, &a.q[row * static_cast<std::size_t>(f.k_dim)],
                     &a.out[row * static_cast<std::size_t>(f.v_dim)], seen);
        }
      }
    }
    first_block += static_cast<std::size_t>((count + kMaskBlock - 1) / kMaskBlock);
  }
}

}  // namespace kvsim::kernels::reference
