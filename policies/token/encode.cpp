#include "policies/token/encode.h"

#include <algorithm>
#include <cmath>

#include "sim/base/check.h"

namespace kvsim::token {

StoredBytes& operator+=(StoredBytes& a, const StoredBytes& b) {
  a.exact += b.exact;
  a.codes += b.codes;
  a.scales += b.scales;
  a.outliers += b.outliers;
  a.bases += b.bases;
  a.summaries += b.summaries;
  a.state += b.state;
  return a;
}
StoredBytes operator*(StoredBytes a, double k) {
  for (double* part :
       {&a.exact, &a.codes, &a.scales, &a.outliers, &a.bases, &a.summaries, &a.state})
    *part *= k;
  return a;
}
StoredBytes sum_of(const TokenForm& f) {
  StoredBytes sum = f.keys;
  return sum += f.values;
}

double key_bits(const QuantizeSpec& q) { return q.bits.value_or(q.key_bits); }
double value_bits(const QuantizeSpec& q) { return q.bits.value_or(q.value_bits); }
bool has_codes(double bits) {
  return bits == 8 || bits == 4 || bits == 3 || bits == 2 || bits == 1.5;
}
kernels::CodeWidth code_width(double bits) {
  KVSIM_CHECK(has_codes(bits), "codes of {} bits", bits);
  if (bits == 8) return kernels::CodeWidth::bits8;
  if (bits == 4) return kernels::CodeWidth::bits4;
  if (bits == 3) return kernels::CodeWidth::bits3;
  return bits == 2 ? kernels::CodeWidth::bits2 : kernels::CodeWidth::ternary;
}

namespace {

std::int64_t rank_of(std::int64_t rank, Ratio share, std::int64_t width, bool flat) {
  const auto by_share =
      static_cast<std::int64_t>(std::ceil(share.value * static_cast<double>(width) - 1e-9));
  const std::int64_t wanted = std::clamp<std::int64_t>(rank > 0 ? rank : by_share, 1, width);
  // A full basis changes nothing unless it takes the singular values.
  return wanted == width && !flat ? 0 : wanted;
}

double grouped_numbers(std::int64_t tokens, std::int64_t width) {
  return static_cast<double>(tokens * width);
}

}  // namespace

EncodedForm::EncodedForm(const TokenPolicies& p, const KvShape& shape)
    : quantize_(p.quantize ? &*p.quantize : nullptr),
      low_rank_(p.low_rank ? &*p.low_rank : nullptr),
      shape_(shape) {
  if (low_rank_ != nullptr) {
    heads_ = low_rank_->heads == 0 ? shape.kv_heads : std::min(low_rank_->heads, shape.kv_heads);
    key_rank_ =
        rank_of(low_rank_->key_rank, low_rank_->key_share, heads_ * shape.k_dim, low_rank_->flat);
    value_rank_ = rank_of(low_rank_->value_rank, low_rank_->value_share, heads_ * shape.v_dim,
                          low_rank_->flat);
  }
  if (quantize_ == nullptr) return;
  residual_ = quantize_->residual;
  sinks_ = quantize_->sinks;
  const auto tokens_of = [](Axis axis, std::int64_t group) {
    return axis == Axis::channel ? std::max<std::int64_t>(1, group) : std::int64_t{1};
  };
  grain_ = std::max(
      key_bits(*quantize_) < 16 ? tokens_of(quantize_->key_axis, quantize_->key_group) : 1,
      value_bits(*quantize_) < 16 ? tokens_of(quantize_->value_axis, quantize_->value_group) : 1);
}

std::int64_t EncodedForm::key_width() const {
  return key_rank_ > 0 ? key_rank_ : heads_ * shape_.k_dim;
}
std::int64_t EncodedForm::value_width() const {
  return value_rank_ > 0 ? value_rank_ : heads_ * shape_.v_dim;
}

std::int64_t EncodedForm::encoded(std::int64_t slots) const {
  if (!encodes()) return 0;
  const std::int64_t open = slots - std::min(slots, sinks_) - residual_;
  return open < grain_ ? 0 : open / grain_ * grain_;
}

std::int64_t EncodedForm::salient(std::int64_t tokens) const {
  if (quantize_ == nullptr) return tokens;
  return static_cast<std::int64_t>(
      std::llround(quantize_->salient.value * static_cast<double>(tokens)));
}

kernels::Codec EncodedForm::codec(bool keys, bool low, std::int64_t tokens) const {
  const QuantizeSpec& q = *quantize_;
  const double width =
      keys ? (low ? q.low_key_bits : key_bits(q)) : (low ? q.low_value_bits : value_bits(q));
  const Code code = keys ? q.key_code : q.value_code;
  const Axis axis = keys ? q.key_axis : q.value_axis;
  kernels::Codec c;
  c.width = code_width(width);
  c.grain = axis == Axis::token ? kernels::Grain::token : kernels::Grain::channel;
  c.group = static_cast<std::int32_t>(keys ? q.key_group : q.value_group);
  c.symmetric = code == Code::symmetric;
  c.tokens = static_cast<std::int32_t>(tokens);
  c.dims = static_cast<std::int32_t>(keys ? key_width() : value_width());
  if (c.grain == kernels::Grain::token) c.group = std::min(c.group, c.dims);
  return c;
}

StoredBytes EncodedForm::coded(bool keys, std::int64_t tokens) const {
  StoredBytes bytes;
  const std::int64_t width = keys ? key_width() : value_width();
  const std::int64_t rank = keys ? key_rank_ : value_rank_;
  const double element = static_cast<double>(shape_.element_bits) / 8;
  const double wide =
      quantize_ == nullptr ? 16 : (keys ? key_bits(*quantize_) : value_bits(*quantize_));
  if (wide >= 16) {
    (rank > 0 ? bytes.codes : bytes.exact) = grouped_numbers(tokens, width) * element;
    return bytes;
  }
  const QuantizeSpec& q = *quantize_;
  const auto n = static_cast<double>(tokens);
  if (keys && q.key_code == Code::sign) {
    const std::int64_t m = q.projections > 0 ? q.projections : 2 * width;
    bytes.codes = n * std::ceil(static_cast<double>(m) / 8);
    bytes.scales = n * 2;
    bytes.outliers = n * static_cast<double>(std::min(q.outlier_channels, width)) * element;
    return bytes;
  }
  for (const bool low : {false, true}) {
    const std::int64_t part = low ? tokens - salient(tokens) : salient(tokens);
    if (part == 0) continue;
    const kernels::Codec c = codec(keys, low, part);
    bytes.codes += static_cast<double>(c.code_bytes());
    bytes.scales += static_cast<double>(c.groups()) * static_cast<double>(q.scale_bits) / 8 *
                    (c.symmetric ? 1 : 2);
  }
  bytes.outliers += 4 * std::round(q.outliers.value * grouped_numbers(tokens, width));
  bytes.bases += 2 * static_cast<double>(q.error_rank * (tokens + width));
  return bytes;
}

TokenForm EncodedForm::batch(std::int64_t tokens) const {
  if (tokens == 0) return {};
  return {coded(true, tokens), coded(false, tokens)};
}

TokenForm EncodedForm::exact() const {
  TokenForm f;
  f.keys.exact = static_cast<double>(shape_.k_dim * shape_.element_bits) / 8;
  f.values.exact = static_cast<double>(shape_.v_dim * shape_.element_bits) / 8;
  return f;
}

TokenForm EncodedForm::bases() const {
  TokenForm f;
  if (low_rank_ != nullptr && low_rank_->per_prompt) {
    f.keys.bases = 2 * static_cast<double>(key_rank_ * heads_ * shape_.k_dim);
    f.values.bases = 2 * static_cast<double>(value_rank_ * heads_ * shape_.v_dim);
  }
  return f;
}

}  // namespace kvsim::token
