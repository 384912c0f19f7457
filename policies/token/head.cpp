#include "policies/token/head.h"

#include "policies/token/scores/rows.h"

namespace kvsim::token {

namespace {

void keep_rows(std::vector<float>& rows, std::size_t dim, std::span<const std::int32_t> kept) {
  std::size_t to = 0;
  for (const std::int32_t slot : kept) {
    const std::size_t from = static_cast<std::size_t>(slot) * dim;
    for (std::size_t d = 0; d < dim; ++d) rows[to + d] = rows[from + d];
    to += dim;
  }
  rows.resize(to);
}

}  // namespace

HeadTokens Head::tokens() const {
  return {static_cast<std::int32_t>(slots()),
          static_cast<std::int32_t>(k_dim),
          static_cast<std::int32_t>(v_dim),
          keys,
          values,
          positions};
}

void Head::append(std::int32_t position, std::span<const float> new_key,
                  std::span<const float> new_value, TokenClass c) {
  positions.push_back(position);
  keys.insert(keys.end(), new_key.begin(), new_key.end());
  values.insert(values.end(), new_value.begin(), new_value.end());
  counts.push_back(1);
  merged.push_back(1);
  classes.push_back(c);
  leftover.push_back(0);
  batch.push_back(-1);
  read.push_back(1);
}

void Head::compensate(std::span<const std::int32_t> kept) {
  gone_key.resize(k_dim, 0.0F);
  gone_value.resize(v_dim, 0.0F);
  std::size_t next = 0;
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    if (next < kept.size() && kept[next] == static_cast<std::int32_t>(slot)) {
      ++next;
      continue;
    }
    gone += 1;
    const auto share = static_cast<float>(1 / gone);
    for (std::size_t d = 0; d < k_dim; ++d) gone_key[d] += (key(slot)[d] - gone_key[d]) * share;
    for (std::size_t d = 0; d < v_dim; ++d)
      gone_value[d] += (value(slot)[d] - gone_value[d]) * share;
  }
}

void Head::keep(std::span<const std::int32_t> kept) {
  for (const std::int32_t b : batch)
    if (b >= 0) --batches[static_cast<std::size_t>(b)].live;
  keep_rows(keys, k_dim, kept);
  keep_rows(values, v_dim, kept);
  keep_slots(positions, kept);
  keep_slots(counts, kept);
  keep_slots(merged, kept);
  keep_slots(classes, kept);
  keep_slots(leftover, kept);
  keep_slots(batch, kept);
  keep_slots(read, kept);
  for (const std::int32_t b : batch)
    if (b >= 0) ++batches[static_cast<std::size_t>(b)].live;
}

void Head::set_coded(std::size_t from, std::size_t to, const StoredBytes& by_token,
                     const StoredBytes& whole) {
  const auto n = static_cast<std::int32_t>(to - from);
  for (std::size_t slot = from; slot < to; ++slot)
    batch[slot] = static_cast<std::int32_t>(batches.size());
  batches.push_back({by_token, whole, n, n});
}

StoredBytes Head::stored(const StoredBytes& exact) const {
  StoredBytes sum;
  std::size_t coded = 0;
  for (const CodedBatch& b : batches) {
    if (b.live == 0) continue;
    coded += static_cast<std::size_t>(b.live);
    sum += b.whole;
    sum += b.by_token * (static_cast<double>(b.live) / b.tokens);
  }
  sum += exact * static_cast<double>(slots() - coded + (gone > 0 ? 1 : 0));
  return sum;
}

}  // namespace kvsim::token
