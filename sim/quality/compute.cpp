#include "sim/quality/compute.h"

#include <algorithm>

#include "kernels/attention.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::quality {

namespace {
int padded_dim(std::int64_t dim) { return static_cast<int>((dim + 15) / 16 * 16); }
std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
}  // namespace

void Compute::run(const kernels::Linear& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::linear(a, threads_);
}
void Compute::run(const kernels::RmsNorm& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::rms_norm(a, threads_);
}
void Compute::run(const kernels::Rope& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::rope(a, threads_);
}
void Compute::run(const kernels::SiluGate& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::silu_gate(a, threads_);
}
void Compute::run(const kernels::Softmax& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::softmax(a, threads_);
}
void Compute::run(const kernels::KeyScores& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::score_keys(a, threads_);
}
void Compute::run(const kernels::PrefillAttention& a) const {
  device_ != nullptr ? kernels::vulkan::once(a, *device_) : kernels::cpu::attend(a, threads_);
}

PagedSequence::PagedSequence(std::int64_t kv_heads, std::int64_t k_dim, std::int64_t v_dim,
                             std::span<const float> keys, std::span<const float> values)
    : k_dim_(size(k_dim)),
      v_dim_(size(v_dim)),
      tokens_(static_cast<std::int32_t>(keys.size() / size(kv_heads * k_dim))),
      length_{tokens_} {
  format_.element = kernels::Element::f32;
  format_.kv_heads = static_cast<int>(kv_heads);
  format_.k_dim = padded_dim(k_dim);
  format_.v_dim = padded_dim(v_dim);
  format_.page_tokens = 64;
  const std::int32_t pages = (tokens_ + format_.page_tokens - 1) / format_.page_tokens;
  pages_.resize(size(pages));
  std::iota(pages_.begin(), pages_.end(), 0);
  lines_.resize(format_.page_bytes() * size(pages) / sizeof(Line));
  std::vector<float> key(size(format_.k_dim)), value(size(format_.v_dim));
  auto* bytes = reinterpret_cast<std::byte*>(lines_.data());
  for (std::int32_t t = 0; t < tokens_; ++t)
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      std::copy_n(&keys[size(t * kv_heads + h) * k_dim_], k_dim_, key.begin());
      std::copy_n(&values[size(t * kv_heads + h) * v_dim_], v_dim_, value.begin());
      kernels::store_token(format_, bytes + size(t / format_.page_tokens) * format_.page_bytes(),
                           static_cast<int>(h), t % format_.page_tokens, key, value);
    }
}

kernels::KvCache PagedSequence::cache() const {
  return {format_,
          {reinterpret_cast<const std::byte*>(lines_.data()), lines_.size() * sizeof(Line)}};
}

std::vector<float> PagedSequence::padded(std::span<const float> q) const {
  const std::size_t rows = q.size() / k_dim_, wide = size(format_.k_dim);
  std::vector<float> out(rows * wide, 0.0F);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(&q[r * k_dim_], k_dim_, out.begin() + static_cast<std::ptrdiff_t>(r * wide));
  return out;
}

std::vector<float> PagedSequence::attend(std::span<const float> q, std::int64_t q_heads,
                                         float scale, const Compute& compute) const {
  const std::vector<float> wide_q = padded(q);
  const std::size_t rows = q.size() / k_dim_, wide = size(format_.v_dim);
  std::vector<float> wide_out(rows * wide);
  const std::vector<std::int32_t> starts{0, static_cast<std::int32_t>(rows / size(q_heads))};
  kernels::PrefillAttention a;
  a.cache = cache();
  a.table = {pages_, static_cast<std::int32_t>(pages_.size()), length_};
  a.q_heads = static_cast<int>(q_heads);
  a.scale = scale;
  a.starts = starts;
  a.q = wide_q;
  a.out = wide_out;
  compute.run(a);
  std::vector<float> out(rows * v_dim_);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(&wide_out[r * wide], v_dim_, out.begin() + static_cast<std::ptrdiff_t>(r * v_dim_));
  return out;
}

std::vector<float> PagedSequence::weights(std::span<const float> q, std::int64_t q_heads,
                                          float scale, const Compute& compute) const {
  const std::vector<float> wide_q = padded(q);
  const std::size_t rows = q.size() / k_dim_;
  const std::vector<std::int32_t> starts{0, static_cast<std::int32_t>(rows / size(q_heads))};
  std::vector<float> out(rows * size(tokens_));
  kernels::KeyScores s;
  s.cache = cache();
  s.table = {pages_, static_cast<std::int32_t>(pages_.size()), length_};
  s.q_heads = static_cast<int>(q_heads);
  s.scale = scale;
  s.starts = starts;
  s.q = wide_q;
  s.columns = tokens_;
  s.out = out;
  compute.run(s);
  return out;
}

}  // namespace kvsim::quality
