#include "kernels/cases/kv_inputs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

namespace kvsim::kernels {

namespace {
std::int32_t pages_for(std::int32_t tokens, const KvFormat& f) {
  return (tokens + f.page_tokens - 1) / f.page_tokens;
}
}  // namespace

void draw_normals(Rng& rng, std::span<float> out, double deviation) {
  constexpr std::size_t kDrawn = 262147;
  for (std::size_t i = 0; i < std::min(kDrawn, out.size()); ++i)
    out[i] = static_cast<float>(rng.normal() * deviation);
  for (std::size_t i = kDrawn; i < out.size(); ++i) out[i] = out[i - kDrawn];
}

KvInputs::KvInputs(KvInputsShape shape, const Rng& rng) : shape_(std::move(shape)) {
  shape_.format.check();
  place_pages(Rng(rng).at(0));
  fill(Rng(rng).at(1));
}

void KvInputs::place_pages(const Rng& rng) {
  const KvFormat& f = shape_.format;
  const std::int32_t shared = shape_.prefix_tokens / f.page_tokens;
  std::int64_t per_copy = shared;
  for (const std::int32_t length : shape_.lengths) {
    max_pages_ = std::max(max_pages_, pages_for(length, f));
    per_copy += std::max(0, pages_for(length, f) - shared);
  }
  const auto copy_bytes = static_cast<std::int64_t>(f.page_bytes()) * per_copy;
  if (copy_bytes > 0) copies_ = std::max<std::int64_t>(1, shape_.footprint / copy_bytes);
  std::vector<std::int32_t> order(static_cast<std::size_t>(per_copy * copies_));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  Rng draw = rng;
  if (shape_.is_shuffled)
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw.below(i)]);
  used_.assign(order.size(), 0);
  table_.assign(static_cast<std::size_t>(copies_) * shape_.lengths.size() *
                    static_cast<std::size_t>(max_pages_),
                -1);
  std::size_t next = 0, row = 0;
  for (std::int64_t copy = 0; copy < copies_; ++copy) {
    const std::size_t prefix = next;
    next += static_cast<std::size_t>(shared);
    for (const std::int32_t length : shape_.lengths) {
      for (std::int32_t p = 0; p < pages_for(length, f); ++p) {
        const std::int32_t page = order[p < shared ? prefix + static_cast<std::size_t>(p) : next++];
        table_[row + static_cast<std::size_t>(p)] = page;
        int& used = used_[static_cast<std::size_t>(page)];
        used = std::max(used, std::min(f.page_tokens, length - p * f.page_tokens));
      }
      row += static_cast<std::size_t>(max_pages_);
    }
  }
  pages_ = Arena(f.page_bytes() * order.size());
}

void KvInputs::draw_head_page(std::byte* page, int head, int tokens, Rng rng) const {
  const KvFormat& f = shape_.format;
  const auto k = static_cast<std::size_t>(f.k_dim), v = static_cast<std::size_t>(f.v_dim);
  const auto n = static_cast<std::size_t>(f.page_tokens);
  std::vector<float> keys(n * k), values(n * v);
  draw_normals(rng, keys, shape_.key_size);
  draw_normals(rng, values, shape_.value_size);
  if (is_quantised(f.element)) return quantize_page(f, page, head, tokens, keys, values);
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t)
    store_token(f, page, head, static_cast<int>(t), std::span(keys).subspan(t * k, k),
                std::span(values).subspan(t * v, v));
}

void KvInputs::fill(const Rng& rng) {
  constexpr std::size_t kDrawn = 64;
  const KvFormat& f = shape_.format;
  const auto heads = static_cast<std::size_t>(f.kv_heads);
  const std::size_t size = f.head_page_bytes();
  std::map<int, std::vector<std::size_t>> drawn;  // by tokens in them: head pages to copy from
  for (std::size_t i = 0; i < used_.size() * heads; ++i) {
    std::byte* head_page = pages_.bytes().data() + i * size;
    const int tokens = used_[i / heads];
    std::vector<std::size_t>& like = drawn[tokens];
    if (shape_.footprint > 0 && like.size() >= kDrawn) {
      std::memcpy(head_page, pages_.bytes().data() + like[i * 7 % kDrawn] * size, size);
      continue;
    }
    like.push_back(i);
    std::memset(head_page, 0xff, size);
    draw_head_page(pages_.bytes().data() + i / heads * f.page_bytes(), static_cast<int>(i % heads),
                   tokens, rng.at(i));
  }
}

BlockTable KvInputs::table(std::int64_t copy) const {
  const std::size_t size = shape_.lengths.size() * static_cast<std::size_t>(max_pages_);
  return {std::span(table_).subspan(static_cast<std::size_t>(copy) * size, size), max_pages_,
          shape_.lengths};
}

void KvInputs::aim(std::span<float> q, std::size_t sequence, int kv_head, std::int32_t token,
                   double score) const {
  const KvFormat& f = shape_.format;
  const std::int32_t page = table(0).page_of(sequence, token / f.page_tokens);
  double square = 0;
  for (int d = 0; d < f.k_dim; ++d) {
    const double key = cache().key(page, kv_head, token % f.page_tokens, d);
    q[static_cast<std::size_t>(d)] = static_cast<float>(key);
    square += key * key;
  }
  if (square == 0) return;
  for (float& x : q) x = static_cast<float>(x * score / square);
}

double worst_relative_l2(std::span<const float> got, std::span<const float> want,
                         std::size_t size) {
  double worst = 0;
  for (std::size_t first = 0; first + size <= want.size(); first += size) {
    double error = 0, norm = 0;
    for (std::size_t i = first; i < first + size; ++i) {
      const double difference = static_cast<double>(got[i]) - static_cast<double>(want[i]);
      error += difference * difference;
      norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
    }
    if (!(error >= 0) || (norm == 0 && error > 0)) return std::numeric_limits<double>::infinity();
    if (norm > 0) worst = std::max(worst, std::sqrt(error / norm));
  }
  return worst;
}

}  // namespace kvsim::kernels
