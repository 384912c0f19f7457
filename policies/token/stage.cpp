#include "policies/token/stage.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/scores.h"
#include "kernels/transformer.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::token {

namespace {
int padded_dim(std::size_t dim) { return static_cast<int>((dim + 15) / 16 * 16); }

// The pages of all heads as one table.
struct Table {
  std::vector<std::int32_t> pages;
  std::int32_t max_pages = 1;
  explicit Table(const std::vector<std::vector<std::int32_t>>& heads) {
    for (const auto& h : heads)
      max_pages = std::max(max_pages, static_cast<std::int32_t>(h.size()));
    pages.assign(heads.size() * static_cast<std::size_t>(max_pages), 0);
    for (std::size_t h = 0; h < heads.size(); ++h)
      std::copy(heads[h].begin(), heads[h].end(),
                pages.begin() + static_cast<std::ptrdiff_t>(h) * max_pages);
  }
};
}  // namespace

StagedHeads::StagedHeads(std::int64_t group, std::size_t k_dim, std::size_t v_dim, float scale)
    : group_(group), k_dim_(k_dim), v_dim_(v_dim), scale_(scale) {
  format_.element = kernels::Element::f32;
  format_.kv_heads = 1;
  format_.k_dim = padded_dim(k_dim + 1);
  format_.v_dim = padded_dim(v_dim);
  format_.page_tokens = 64;
  wide_key_.resize(static_cast<std::size_t>(format_.k_dim), 0.0F);
  wide_value_.resize(static_cast<std::size_t>(format_.v_dim), 0.0F);
}

void StagedHeads::add_head() {
  lengths_.push_back(0);
  pages_.emplace_back();
}

void StagedHeads::add(std::span<const float> key, std::span<const float> value, float count) {
  const std::size_t page_lines = format_.page_bytes() / sizeof(Line);
  const int slot = lengths_.back() % format_.page_tokens;
  if (slot == 0) {
    pages_.back().push_back(next_page_++);
    lines_.resize(static_cast<std::size_t>(next_page_) * page_lines);
  }
  std::copy(key.begin(), key.end(), wide_key_.begin());
  std::copy(value.begin(), value.end(), wide_value_.begin());
  wide_key_[k_dim_] = count == 1 ? 0.0F : std::log(count) / scale_;
  auto* page = reinterpret_cast<std::byte*>(
      lines_.data() + static_cast<std::size_t>(pages_.back().back()) * page_lines);
  kernels::store_token(format_, page, 0, slot, wide_key_, wide_value_);
  ++lengths_.back();
}

kernels::KvCache StagedHeads::cache() const {
  return {format_,
          {reinterpret_cast<const std::byte*>(lines_.data()), lines_.size() * sizeof(Line)}};
}

std::vector<float> StagedHeads::padded(std::span<const float> q) const {
  const std::size_t rows = q.size() / k_dim_, wide = static_cast<std::size_t>(format_.k_dim);
  std::vector<float> out(rows * wide, 0.0F);
  for (std::size_t r = 0; r < rows; ++r) {
    std::copy_n(q.begin() + static_cast<std::ptrdiff_t>(r * k_dim_), k_dim_,
                out.begin() + static_cast<std::ptrdiff_t>(r * wide));
    out[r * wide + k_dim_] = 1;
  }
  return out;
}

void StagedHeads::attend(std::span<const float> q, std::span<float> out, kernels::Threads& threads,
                         kernels::vulkan::Device* device) {
  const Table table(pages_);
  const std::vector<float> wide_q = padded(q);
  const std::size_t rows = q.size() / k_dim_, wide = static_cast<std::size_t>(format_.v_dim);
  std::vector<float> wide_out(rows * wide);
  kernels::DecodeAttention a;
  a.cache = cache();
  a.table = {table.pages, table.max_pages, lengths_};
  a.q_heads = static_cast<int>(group_);
  a.scale = scale_;
  a.q = wide_q;
  a.out = wide_out;
  if (device != nullptr)
    kernels::vulkan::once(a, *device);
  else
    kernels::cpu::attend(a, threads);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(wide_out.begin() + static_cast<std::ptrdiff_t>(r * wide), v_dim_,
                out.begin() + static_cast<std::ptrdiff_t>(r * v_dim_));
}

StagedHeads::Rows StagedHeads::rows_of(std::span<const float> q, std::int32_t queries,
                                       std::span<const std::int32_t> lengths, std::int32_t columns,
                                       kernels::Threads& threads, kernels::vulkan::Device* device) {
  const Table table(pages_);
  const std::vector<float> wide_q = padded(q);
  std::vector<std::int32_t> starts;
  for (std::size_t h = 0; h <= lengths.size(); ++h)
    starts.push_back(static_cast<std::int32_t>(h) * queries);
  Rows out;
  out.columns = columns;
  out.logits.resize(static_cast<std::size_t>(starts.back()) * static_cast<std::size_t>(group_) *
                    static_cast<std::size_t>(columns));
  out.weights.resize(out.logits.size());
  kernels::KeyScores s;
  s.cache = cache();
  s.table = {table.pages, table.max_pages, lengths};
  s.q_heads = static_cast<int>(group_);
  s.scale = scale_;
  s.softmax = false;
  s.starts = starts;
  s.q = wide_q;
  s.columns = columns;
  s.out = out.logits;
  if (device != nullptr)
    kernels::vulkan::once(s, *device);
  else
    kernels::cpu::score_keys(s, threads);
  kernels::Softmax softmax;
  softmax.rows = starts.back() * static_cast<std::int32_t>(group_);
  softmax.columns = columns;
  softmax.x = out.logits;
  softmax.out = out.weights;
  kernels::cpu::softmax(softmax, threads);
  return out;
}

StagedHeads::Rows StagedHeads::rows(std::span<const float> q, std::int32_t queries,
                                    kernels::Threads& threads, kernels::vulkan::Device* device) {
  return rows_of(q, queries, lengths_, *std::max_element(lengths_.begin(), lengths_.end()), threads,
                 device);
}

StagedHeads::Rows StagedHeads::prompt_rows(std::span<const float> q, std::int32_t first,
                                           std::int32_t queries, kernels::Threads& threads) {
  const std::vector<std::int32_t> seen(lengths_.size(), first + queries);
  return rows_of(q, queries, seen, lengths_.front(), threads, nullptr);
}

}  // namespace kvsim::token
