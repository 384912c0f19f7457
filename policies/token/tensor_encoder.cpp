#include "policies/token/tensor_encoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/condition.h"
#include "kernels/low_rank.h"
#include "sim/base/check.h"

namespace kvsim::token {

namespace {

std::int32_t i32(std::size_t n) { return static_cast<std::int32_t>(n); }

std::size_t rotation_block(std::size_t dims) {
  std::size_t block = 1;
  while (dims % (block * 2) == 0) block *= 2;
  return block;
}

// Numbers of each group pulled towards the group's middle, so that its range is `clip` of what it
// was. Groups along a row only.
void clip_groups(std::vector<float>& rows, std::size_t dims, std::size_t group, double clip) {
  if (group == 0) group = dims;
  for (std::size_t row = 0; row < rows.size(); row += dims)
    for (std::size_t at = 0; at < dims; at += group) {
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(row + at);
      const auto last = first + static_cast<std::ptrdiff_t>(std::min(group, dims - at));
      const auto [low, high] = std::minmax_element(first, last);
      const double middle = (double{*low} + double{*high}) / 2;
      const double half = (double{*high} - double{*low}) / 2 * clip;
      const auto least = static_cast<float>(middle - half);
      const auto most = static_cast<float>(middle + half);
      for (auto x = first; x != last; ++x) *x = std::clamp(*x, least, most);
    }
}

// A sample of the numbers of groups, each scaled to 0 .. 1.
std::vector<float> scaled_sample(const std::vector<float>& rows, const kernels::Codec& codec) {
  std::vector<float> low(codec.groups(), 0), high(codec.groups(), 0), out;
  std::vector<bool> seen(codec.groups(), false);
  const auto each = [&](auto&& use) {
    for (std::int32_t t = 0; t < codec.tokens; ++t)
      for (std::int32_t d = 0; d < codec.dims; ++d)
        use(codec.group_of(t, d), rows[static_cast<std::size_t>(t * codec.dims + d)]);
  };
  each([&](std::size_t g, float x) {
    low[g] = seen[g] ? std::min(low[g], x) : x;
    high[g] = seen[g] ? std::max(high[g], x) : x;
    seen[g] = true;
  });
  each([&](std::size_t g, float x) {
    if (high[g] > low[g]) out.push_back((x - low[g]) / (high[g] - low[g]));
  });
  constexpr std::size_t kMost = 4096;
  if (out.size() > kMost) {
    std::vector<float> thin;
    for (std::size_t i = 0; i < kMost; ++i) thin.push_back(out[i * out.size() / kMost]);
    out = std::move(thin);
  }
  return out;
}

std::vector<float> codebook_of(const std::vector<float>& rows, const kernels::Codec& codec) {
  const std::vector<float> sample = scaled_sample(rows, codec);
  return sample.empty() ? std::vector<float>{} : kernels::fit_codebook(sample, {}, codec.levels());
}

}  // namespace

TensorEncoder::TensorEncoder(const Context& c) : c_(c) {
  keys_.keys = true;
  values_.keys = false;
}

double TensorEncoder::bits(const Side& s) const {
  if (!c_.policies->quantize) return 16;
  return s.keys ? key_bits(*c_.policies->quantize) : value_bits(*c_.policies->quantize);
}

bool TensorEncoder::turns_keys() const {
  return c_.rope && ((c_.policies->low_rank && c_.policies->low_rank->pre_rope) ||
                     (c_.policies->quantize && c_.policies->quantize->pre_rope));
}

// Turns the keys of one head, `offset` into rows of `stride`, to their positions or back.
void TensorEncoder::turn(std::vector<float>& rows, const Head& head, std::size_t from,
                         std::size_t stride, std::size_t offset, int sign) {
  const std::size_t n = rows.size() / stride;
  std::vector<float> own(n * head.k_dim);
  std::vector<std::int32_t> positions(n);
  for (std::size_t t = 0; t < n; ++t) {
    positions[t] = sign * head.positions[from + t];
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(t * stride + offset), head.k_dim,
                own.begin() + static_cast<std::ptrdiff_t>(t * head.k_dim));
  }
  kernels::Rope rope;
  rope.rows = i32(n);
  rope.heads = 1;
  rope.dim = i32(head.k_dim);
  rope.pairs = c_.rope->pairs;
  rope.theta = c_.rope->theta;
  rope.positions = positions;
  rope.x = own;
  kernels::cpu::rope(rope, *c_.threads);
  for (std::size_t t = 0; t < n; ++t)
    std::copy_n(own.begin() + static_cast<std::ptrdiff_t>(t * head.k_dim), head.k_dim,
                rows.begin() + static_cast<std::ptrdiff_t>(t * stride + offset));
}

std::vector<float> TensorEncoder::gather(const Side& s, std::span<Head* const> heads,
                                         std::size_t from, std::size_t to, bool turn_back) {
  const std::size_t dim = s.keys ? heads[0]->k_dim : heads[0]->v_dim;
  const std::size_t width = dim * heads.size();
  std::vector<float> rows((to - from) * width);
  for (std::size_t h = 0; h < heads.size(); ++h) {
    for (std::size_t t = from; t < to; ++t) {
      const auto x = s.keys ? heads[h]->key(t) : heads[h]->value(t);
      std::copy(x.begin(), x.end(),
                rows.begin() + static_cast<std::ptrdiff_t>((t - from) * width + h * dim));
    }
    if (turn_back && s.keys && turns_keys()) turn(rows, *heads[h], from, width, h * dim, -1);
  }
  return rows;
}

void TensorEncoder::scatter(const Side& s, std::span<Head* const> heads, std::size_t from,
                            std::size_t to, std::vector<float> rows) {
  const std::size_t dim = s.keys ? heads[0]->k_dim : heads[0]->v_dim;
  const std::size_t width = dim * heads.size();
  for (std::size_t h = 0; h < heads.size(); ++h) {
    if (s.keys && turns_keys()) turn(rows, *heads[h], from, width, h * dim, 1);
    for (std::size_t t = from; t < to; ++t) {
      const auto x = s.keys ? heads[h]->key(t) : heads[h]->value(t);
      std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>((t - from) * width + h * dim), dim,
                  x.begin());
    }
  }
}

void TensorEncoder::fit_side(Side& s, std::span<Head* const> heads,
                             std::span<const float> queries) {
  const std::size_t n = heads[0]->slots();
  s.width = (s.keys ? heads[0]->k_dim : heads[0]->v_dim) * heads.size();
  const auto rank = static_cast<std::size_t>(s.keys ? c_.form->key_rank() : c_.form->value_rank());
  std::vector<float> rows = gather(s, heads, 0, n, true);
  s.coded = s.width;
  if (rank > 0) {
    s.basis = kernels::fit_basis(rows, i32(n), i32(s.width), i32(s.width), i32(rank));
    s.coded = rank;
    s.strength.assign(rank, 1.0F);
    rows = to_coordinates(s, rows);
    if (c_.policies->low_rank->flat) {
      for (std::size_t r = 0; r < rank; ++r) {
        double square = 0;
        for (std::size_t t = 0; t < n; ++t)
          square += double{rows[t * rank + r]} * double{rows[t * rank + r]};
        s.strength[r] =
            static_cast<float>(std::sqrt(square / std::max<double>(1, static_cast<double>(n))));
      }
      for (std::size_t i = 0; i < rows.size(); ++i)
        if (s.strength[i % rank] > 0) rows[i] /= s.strength[i % rank];
    }
  }
  if (bits(s) >= 16) return;
  const QuantizeSpec& q = *c_.policies->quantize;
  if (q.transform == Transform::smooth && s.keys && rank == 0)
    s.factors = kernels::smoothing_factors(rows, queries, i32(s.coded), q.alpha);
  if (q.transform == Transform::reorder) {
    std::vector<float> range(s.coded, 0);
    for (std::size_t i = 0; i < rows.size(); ++i)
      range[i % s.coded] = std::max(range[i % s.coded], std::abs(rows[i]));
    s.order.resize(s.coded);
    std::iota(s.order.begin(), s.order.end(), 0);
    std::stable_sort(s.order.begin(), s.order.end(), [&](std::int32_t a, std::int32_t b) {
      return range[static_cast<std::size_t>(a)] < range[static_cast<std::size_t>(b)];
    });
  }
  if (s.keys && q.key_code == Code::sign) {
    const auto m = q.projections > 0 ? static_cast<std::size_t>(q.projections) : 2 * s.coded;
    Rng rng = c_.rng;
    for (std::size_t i = 0; i < m * s.coded; ++i)
      s.projections.push_back(static_cast<float>(rng.normal()));
    return;
  }
  if ((s.keys ? q.key_code : q.value_code) != Code::codebook || n == 0) return;
  transform(s, rows, false);
  if (q.outliers.value > 0) kernels::take_outliers(rows, i32(s.coded), q.outliers.value);
  s.codebook = codebook_of(rows, c_.form->codec(s.keys, false, static_cast<std::int64_t>(n)));
}

void TensorEncoder::fit(std::span<Head* const> heads, std::span<const float> queries) {
  fit_side(keys_, heads, queries);
  fit_side(values_, heads, queries);
}

std::vector<float> TensorEncoder::to_coordinates(const Side& s, const std::vector<float>& rows) {
  const std::size_t n = rows.size() / s.width;
  std::vector<float> out(n * s.coded);
  kernels::Projection p;
  p.tokens = i32(n);
  p.dim = i32(s.width);
  p.rank = i32(s.coded);
  p.bases = s.basis;
  p.in = rows;
  p.out = out;
  kernels::cpu::project(p, *c_.threads);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (s.strength[i % s.coded] > 0) out[i] /= s.strength[i % s.coded];
  return out;
}

std::vector<float> TensorEncoder::from_coordinates(const Side& s, std::vector<float> y) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= s.strength[i % s.coded];
  std::vector<float> out(y.size() / s.coded * s.width);
  kernels::Projection p;
  p.tokens = i32(y.size() / s.coded);
  p.dim = i32(s.width);
  p.rank = i32(s.coded);
  p.bases = s.basis;
  p.in = y;
  p.out = out;
  kernels::cpu::reconstruct(p, *c_.threads);
  return out;
}

void TensorEncoder::transform(const Side& s, std::vector<float>& rows, bool back) {
  const QuantizeSpec& q = *c_.policies->quantize;
  if (q.transform == Transform::hadamard && rotation_block(s.coded) > 1) {
    kernels::Rotation r;
    r.rows = i32(rows.size() / s.coded);
    r.dims = i32(s.coded);
    r.block = i32(rotation_block(s.coded));
    r.matrix = rows;
    kernels::cpu::rotate(r, *c_.threads);  // its own inverse
  }
  if (!s.factors.empty())
    for (std::size_t i = 0; i < rows.size(); ++i)
      rows[i] = back ? rows[i] * s.factors[i % s.coded] : rows[i] / s.factors[i % s.coded];
  if (s.order.empty()) return;
  std::vector<float> row(s.coded);
  for (std::size_t at = 0; at < rows.size(); at += s.coded) {
    for (std::size_t d = 0; d < s.coded; ++d) {
      const auto from = static_cast<std::size_t>(s.order[d]);
      row[back ? from : d] = rows[at + (back ? d : from)];
    }
    std::copy(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void TensorEncoder::code_plain(const Side& s, std::vector<float>& rows, bool low) {
  if (rows.empty()) return;
  const QuantizeSpec& q = *c_.policies->quantize;
  kernels::Codec codec =
      c_.form->codec(s.keys, low, static_cast<std::int64_t>(rows.size() / s.coded));
  if (!low) codec.codebook = s.codebook;
  if (q.clip < 1 && codec.grain == kernels::Grain::token)
    clip_groups(rows, s.coded, static_cast<std::size_t>(codec.group), q.clip);
  std::vector<std::byte> codes(codec.code_bytes());
  std::vector<std::uint16_t> scales(codec.groups()), zeros(codec.symmetric ? 0 : codec.groups());
  kernels::cpu::quantize(codec, rows, {codes, scales, zeros}, *c_.threads);
  kernels::cpu::dequantize(codec, {codes, scales, zeros}, rows, *c_.threads);
}

// An estimate of q.k from the signs of projections is linear in q: its vector stands for the key.
void TensorEncoder::code_signs(const Side& s, std::vector<float>& rows) const {
  const QuantizeSpec& q = *c_.policies->quantize;
  const std::size_t m = s.projections.size() / s.coded, dim = s.coded;
  const auto exact = static_cast<std::size_t>(
      std::min<std::int64_t>(q.outlier_channels, static_cast<std::int64_t>(dim)));
  // Channels of largest energy stay exact, the others are projected.
  std::vector<double> energy(dim, 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i)
    energy[i % dim] += double{rows[i]} * double{rows[i]};
  std::vector<std::size_t> order(dim);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return energy[a] > energy[b]; });
  for (std::size_t at = 0; at < rows.size(); at += dim) {
    std::vector<double> key(rows.begin() + static_cast<std::ptrdiff_t>(at),
                            rows.begin() + static_cast<std::ptrdiff_t>(at + dim)),
        out(dim, 0.0);
    for (std::size_t k = 0; k < exact; ++k) key[order[k]] = 0;
    double length = 0;
    for (const double x : key) length += x * x;
    for (std::size_t p = 0; p < m; ++p) {
      double along = 0;
      for (std::size_t d = 0; d < dim; ++d) along += double{s.projections[p * dim + d]} * key[d];
      for (std::size_t d = 0; d < dim; ++d)
        out[d] += (along >= 0 ? 1.0 : -1.0) * double{s.projections[p * dim + d]};
    }
    const double factor =
        std::sqrt(length) * std::sqrt(std::acos(-1.0) / 2) / static_cast<double>(m);
    for (std::size_t d = 0; d < dim; ++d) out[d] *= factor;
    for (std::size_t k = 0; k < exact; ++k) out[order[k]] = double{rows[at + order[k]]};
    for (std::size_t d = 0; d < dim; ++d) rows[at + d] = static_cast<float>(out[d]);
  }
}

void TensorEncoder::code(const Side& s, std::vector<float>& rows,
                         std::span<const std::uint8_t> salient) {
  const QuantizeSpec& q = *c_.policies->quantize;
  if (s.keys && q.key_code == Code::sign) return code_signs(s, rows);
  transform(s, rows, false);
  const std::vector<float> before = rows;
  kernels::Outliers apart;
  if (q.outliers.value > 0) apart = kernels::take_outliers(rows, i32(s.coded), q.outliers.value);
  std::vector<float> parts[2];  // full width, low width
  const std::size_t n = rows.size() / s.coded;
  const auto is_low = [&](std::size_t t) { return !salient.empty() && salient[t] == 0; };
  for (std::size_t t = 0; t < n; ++t) {
    auto& part = parts[is_low(t) ? 1 : 0];
    const auto row = rows.begin() + static_cast<std::ptrdiff_t>(t * s.coded);
    part.insert(part.end(), row, row + static_cast<std::ptrdiff_t>(s.coded));
  }
  code_plain(s, parts[0], false);
  code_plain(s, parts[1], true);
  std::size_t at[2] = {0, 0};
  for (std::size_t t = 0; t < n; ++t) {
    std::size_t& from = at[is_low(t) ? 1 : 0];
    std::copy_n(parts[is_low(t) ? 1 : 0].begin() + static_cast<std::ptrdiff_t>(from), s.coded,
                rows.begin() + static_cast<std::ptrdiff_t>(t * s.coded));
    from += s.coded;
  }
  kernels::put_outliers(apart, rows);
  if (q.error_rank > 0 && n > 0) {
    std::vector<float> error(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) error[i] = before[i] - rows[i];
    Side lost;
    lost.width = s.coded;
    lost.coded = static_cast<std::size_t>(q.error_rank);
    lost.strength.assign(lost.coded, 1.0F);
    lost.basis = kernels::fit_basis(error, i32(n), i32(s.coded), i32(s.coded),
                                    static_cast<std::int32_t>(q.error_rank));
    const std::vector<float> kept = from_coordinates(lost, to_coordinates(lost, error));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += kept[i];
  }
  transform(s, rows, true);
}

void TensorEncoder::encode_side(const Side& s, std::span<Head* const> heads, std::size_t from,
                                std::size_t to, std::span<const std::uint8_t> salient) {
  if (s.basis.empty() && bits(s) >= 16) return;
  std::vector<float> rows = gather(s, heads, from, to, true);
  if (!s.basis.empty()) rows = to_coordinates(s, rows);
  if (bits(s) < 16) code(s, rows, salient);
  if (!s.basis.empty()) rows = from_coordinates(s, std::move(rows));
  scatter(s, heads, from, to, std::move(rows));
}

void TensorEncoder::encode(std::span<Head* const> heads, std::size_t from, std::size_t to,
                           std::span<const std::uint8_t> salient) {
  if (from == to) return;
  encode_side(keys_, heads, from, to, salient);
  encode_side(values_, heads, from, to, salient);
  const StoredBytes all = sum_of(c_.form->batch(static_cast<std::int64_t>(to - from))) *
                          (1 / static_cast<double>(heads.size()));
  StoredBytes by_token = all, whole;
  const bool grouped = c_.form->grain() > 1;
  whole.bases = by_token.bases;
  by_token.bases = 0;
  if (grouped) std::swap(whole.scales, by_token.scales);
  for (Head* h : heads) h->set_coded(from, to, by_token, whole);
}

}  // namespace kvsim::token
