#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/cpu/code_rows.h"
#include "kernels/cpu/lanes.inc"
#include "kernels/threads.h"

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {

// n >= 1.
void row_range(const float* x, std::size_t n, float& low, float& high) {
  const Wide d;
  auto lows = hn::Set(d, x[0]), highs = lows;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x + i);
    lows = hn::Min(lows, v), highs = hn::Max(highs, v);
  }
  low = hn::GetLane(hn::MinOfLanes(d, lows)), high = hn::GetLane(hn::MaxOfLanes(d, highs));
  for (; i < n; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
}

void widen_range(const float* x, std::size_t n, float* low, float* high) {
  const Wide d;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x + i);
    hn::StoreU(hn::Min(hn::LoadU(d, low + i), v), d, low + i);
    hn::StoreU(hn::Max(hn::LoadU(d, high + i), v), d, high + i);
  }
  for (; i < n; ++i) low[i] = std::min(low[i], x[i]), high[i] = std::max(high[i], x[i]);
}

// codes = (x - zero) * inverse + shift, rounded down and clamped to 0 .. top. All rows have room
// for a whole vector at their end.
void uniform_codes(const float* x, const float* zero, const float* inverse, float shift, float top,
                   std::size_t n, std::uint8_t* codes) {
  const Wide d;
  const hn::Rebind<std::int32_t, Wide> di;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto from_zero = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, zero + i));
    const auto v = hn::MulAdd(from_zero, hn::LoadU(d, inverse + i), hn::Set(d, shift));
    const auto code = hn::ConvertTo(di, hn::Min(hn::Max(v, hn::Zero(d)), hn::Set(d, top)));
    store_bytes(d, code, reinterpret_cast<std::byte*>(codes + i));
  }
}

// The number of middles between neighbouring entries that lie below.
void book_codes(const float* x, const float* zero, const float* inverse, const float* middles,
                std::size_t count, std::size_t n, std::uint8_t* codes) {
  const Wide d;
  const hn::Rebind<std::int32_t, Wide> di;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto from_zero = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, zero + i));
    const auto v = hn::Mul(from_zero, hn::LoadU(d, inverse + i));
    auto minus = hn::Zero(di);
    for (std::size_t m = 0; m < count; ++m)
      minus = hn::Add(minus,
                      hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(v, hn::Set(d, middles[m])))));
    store_bytes(d, hn::Neg(minus), reinterpret_cast<std::byte*>(codes + i));
  }
}

// x = zero + scale * x.
void restore_row(const float* zero, const float* scale, float* x, std::size_t n) {
  const Wide d;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(hn::MulAdd(hn::LoadU(d, scale + i), hn::LoadU(d, x + i), hn::LoadU(d, zero + i)), d,
               x + i);
  for (; i < n; ++i) x[i] = zero[i] + scale[i] * x[i];
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(row_range);
HWY_EXPORT(widen_range);
HWY_EXPORT(uniform_codes);
HWY_EXPORT(book_codes);
HWY_EXPORT(restore_row);

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

// A codec with what all of its rows share.
class Rows {
 public:
  explicit Rows(const Codec& codec)
      : c(codec), dims(u(c.dims)), padded((u(c.dims) + 79) / 40 * 40) {
    const int half = (c.levels() - 1) / 2;
    top = static_cast<float>(c.symmetric ? 2 * half : c.levels() - 1);
    offset = static_cast<float>(c.symmetric ? half : 0);
    first = c.codebook.empty() ? -offset : c.codebook.front();
    last = c.codebook.empty() ? top - offset : c.codebook.back();
    for (std::size_t i = 0; i < entry.size(); ++i)
      entry[i] = c.codebook.empty() ? static_cast<float>(i) - offset
                                    : c.codebook[std::min(i, c.codebook.size() - 1)];
    for (std::size_t i = 0; i + 1 < c.codebook.size(); ++i)
      middles.push_back(
          static_cast<float>((double{c.codebook[i]} + double{c.codebook[i + 1]}) / 2));
  }
  // A group's range becomes its stored scale and zero.
  void fit(float low, float high, std::size_t group, const Quantized& out) const {
    const float scale = c.symmetric
                            ? std::max(-low, high) / std::max(std::abs(first), std::abs(last))
                            : (high - low) / (last - first);
    out.scales[group] = to_f16(scale);
    if (!c.symmetric) out.zeros[group] = to_f16(low - from_f16(out.scales[group]) * first);
  }
  // Scale and zero of every number of a token's row.
  void expand(std::span<const std::uint16_t> scales, std::span<const std::uint16_t> zeros,
              std::int32_t token, std::vector<float>& scale, std::vector<float>& zero) const {
    const std::size_t at = c.group_of(token, 0);
    const std::size_t width = c.grain == Grain::channel ? 1 : c.group == 0 ? dims : u(c.group);
    for (std::size_t d = 0; d < dims; d += width) {
      const float s = from_f16(scales[at + d / width]);
      const float z = zeros.empty() ? 0 : from_f16(zeros[at + d / width]);
      const std::size_t end = std::min(dims, d + width);
      std::fill(scale.data() + d, scale.data() + end, s);
      std::fill(zero.data() + d, zero.data() + end, z);
    }
  }
  // Whether a token's scales are those of the token before.
  [[nodiscard]] bool keeps(std::int32_t token) const {
    return c.grain == Grain::channel && (c.group == 0 || token % c.group != 0);
  }

  const Codec& c;
  std::size_t dims, padded;
  float top = 0, offset = 0, first = 0, last = 0;
  std::array<float, 256> entry{};
  std::vector<float> middles;
};

void fit_token(const Rows& r, const float* x, std::int32_t token, const Quantized& out) {
  const std::size_t width = r.c.group == 0 ? r.dims : u(r.c.group);
  for (std::size_t d = 0; d < r.dims; d += width) {
    float low = 0, high = 0;
    HWY_DYNAMIC_DISPATCH(row_range)(x + d, std::min(width, r.dims - d), low, high);
    r.fit(low, high, r.c.group_of(token, static_cast<std::int32_t>(d)), out);
  }
}

// Channels first .. end - 1 of all groups of tokens.
void fit_channels(const Rows& r, std::span<const float> in, std::size_t first, std::size_t end,
                  const Quantized& out) {
  if (first == end) return;
  const std::int32_t group = r.c.group == 0 ? r.c.tokens : r.c.group;
  std::vector<float> low(end - first), high(end - first);
  for (std::int32_t begin = 0; begin < r.c.tokens; begin += group) {
    std::copy_n(in.data() + u(begin) * r.dims + first, end - first, low.data());
    high = low;
    for (std::int32_t t = begin; t < std::min(r.c.tokens, begin + group); ++t)
      HWY_DYNAMIC_DISPATCH(widen_range)
    (in.data() + u(t) * r.dims + first, end - first, low.data(), high.data());
    const std::size_t at = r.c.group_of(begin, 0);
    for (std::size_t d = first; d < end; ++d) r.fit(low[d - first], high[d - first], at + d, out);
  }
}

void encode_rows(const Rows& r, std::span<const float> in, std::int32_t first, std::int32_t end,
                 const Quantized& out) {
  std::vector<float> scale(r.padded), zero(r.padded), inverse(r.padded), x(r.padded);
  std::vector<std::uint8_t> codes(r.padded);
  for (std::int32_t t = first; t < end; ++t) {
    std::copy_n(in.data() + u(t) * r.dims, r.dims, x.data());
    if (r.c.grain == Grain::token) fit_token(r, x.data(), t, out);
    if (t == first || !r.keeps(t)) {
      r.expand(out.scales, out.zeros, t, scale, zero);
      for (std::size_t d = 0; d < r.dims; ++d) inverse[d] = scale[d] == 0 ? 0 : 1 / scale[d];
    }
    if (r.middles.empty()) {
      const auto encode = HWY_DYNAMIC_DISPATCH(uniform_codes);
      encode(x.data(), zero.data(), inverse.data(), r.offset + 0.5F, r.top, r.dims, codes.data());
    } else {
      const auto encode = HWY_DYNAMIC_DISPATCH(book_codes);
      encode(x.data(), zero.data(), inverse.data(), r.middles.data(), r.middles.size(), r.dims,
             codes.data());
    }
    std::fill(codes.data() + r.dims, codes.data() + r.padded, std::uint8_t{0});
    const std::size_t bytes = r.c.row_bytes();
    pack_row(r.c.width, codes.data(), r.dims, bytes, out.codes.data() + u(t) * bytes);
  }
}

}  // namespace

void quantize(const Codec& c, std::span<const float> in, const Quantized& out, Threads& threads) {
  if (c.tokens == 0 || c.dims == 0) return;
  const Rows rows(c);
  if (c.grain == Grain::channel)
    threads.run([&](int thread) {
      const auto [first, end] = threads.part(c.dims, thread, 16);
      fit_channels(rows, in, u(first), u(end), out);
    });
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(c.tokens, thread);
    encode_rows(rows, in, static_cast<std::int32_t>(first), static_cast<std::int32_t>(end), out);
  });
}

void dequantize(const Codec& c, const ConstQuantized& in, std::span<float> out, Threads& threads) {
  if (c.tokens == 0 || c.dims == 0) return;
  const Rows rows(c);
  threads.run([&](int thread) {
    std::vector<float> scale(rows.padded), zero(rows.padded);
    std::vector<std::uint8_t> codes(rows.padded);
    const auto [first, end] = threads.part(c.tokens, thread);
    for (auto t = static_cast<std::int32_t>(first); t < end; ++t) {
      if (t == first || !rows.keeps(t)) rows.expand(in.scales, in.zeros, t, scale, zero);
      unpack_row(c.width, in.codes.data() + u(t) * c.row_bytes(), c.row_bytes(), rows.dims,
                 codes.data());
      float* x = out.data() + u(t) * rows.dims;
      for (std::size_t d = 0; d < rows.dims; ++d) x[d] = rows.entry[codes[d]];
      HWY_DYNAMIC_DISPATCH(restore_row)(zero.data(), scale.data(), x, rows.dims);
    }
  });
}

}  // namespace kvsim::kernels::cpu
#endif
