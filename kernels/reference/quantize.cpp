#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kvsim::kernels::reference {

namespace {

std::size_t u(std::int64_t n) { return static_cast<std::size_t>(n); }

// The entries that codes stand for before scale and zero: 0 .. L - 1, -half .. half, or the
// codebook's.
std::vector<double> entries(const Codec& c) {
  std::vector<double> all(c.codebook.begin(), c.codebook.end());
  const int half = (c.levels() - 1) / 2;
  if (all.empty())
    for (int i = 0; i <= (c.symmetric ? 2 * half : c.levels() - 1); ++i)
      all.push_back(c.symmetric ? i - half : i);
  return all;
}

// Ties go to the upper entry of a uniform codec and to the lower of a codebook.
unsigned nearest(const std::vector<double>& all, double x, bool upper) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const double gain = std::abs(x - all[best]) - std::abs(x - all[i]);
    if (gain > 0 || (upper && gain == 0)) best = i;
  }
  return static_cast<unsigned>(best);
}

// Adds `code` at place `dim` of a cleared row.
void put(CodeWidth width, std::byte* row, std::int32_t dim, unsigned code) {
  const auto add = [&](std::int32_t byte, unsigned value) {
    row[byte] = static_cast<std::byte>(std::to_integer<unsigned>(row[byte]) + value);
  };
  switch (width) {
    case CodeWidth::bits8:
      return add(dim, code);
    case CodeWidth::bits4:
      return add(dim / 2, code << (dim % 2 * 4));
    case CodeWidth::bits2:
      return add(dim / 4, code << (dim % 4 * 2));
    case CodeWidth::bits3: {
      const unsigned wide = code << (dim * 3 % 8);
      add(dim * 3 / 8, wide & 255U);
      if (wide > 255U) add(dim * 3 / 8 + 1, wide >> 8);
      return;
    }
    case CodeWidth::ternary: {
      constexpr unsigned kPower[] = {1, 3, 9, 27, 81};
      return add(dim / 5, code * kPower[dim % 5]);
    }
  }
}

unsigned get(CodeWidth width, const std::byte* row, std::int32_t dim) {
  const auto at = [&](std::int32_t byte) { return std::to_integer<unsigned>(row[byte]); };
  switch (width) {
    case CodeWidth::bits8:
      return at(dim);
    case CodeWidth::bits4:
      return at(dim / 2) >> (dim % 2 * 4) & 15U;
    case CodeWidth::bits2:
      return at(dim / 4) >> (dim % 4 * 2) & 3U;
    case CodeWidth::bits3: {
      const std::int32_t bit = dim * 3;
      const unsigned high = bit % 8 > 5 ? at(bit / 8 + 1) << 8 : 0;
      return (at(bit / 8) | high) >> (bit % 8) & 7U;
    }
    case CodeWidth::ternary: {
      constexpr unsigned kPower[] = {1, 3, 9, 27, 81};
      return at(dim / 5) / kPower[dim % 5] % 3;
    }
  }
  return 0;
}

}  // namespace

void quantize(const Codec& c, std::span<const float> in, const Quantized& out) {
  const std::vector<double> all = entries(c);
  std::vector<float> low(c.groups(), INFINITY), high(c.groups(), -INFINITY);
  for (std::int32_t t = 0; t < c.tokens; ++t)
    for (std::int32_t d = 0; d < c.dims; ++d) {
      const float x = in[u(t) * u(c.dims) + u(d)];
      const std::size_t g = c.group_of(t, d);
      low[g] = std::min(low[g], x), high[g] = std::max(high[g], x);
    }
  for (std::size_t g = 0; g < c.groups(); ++g) {
    const float reach = static_cast<float>(std::max(std::abs(all.front()), std::abs(all.back())));
    const float span = static_cast<float>(all.back() - all.front());
    const float scale =
        c.symmetric ? std::max(-low[g], high[g]) / reach : (high[g] - low[g]) / span;
    out.scales[g] = to_f16(scale);
    if (!c.symmetric)
      out.zeros[g] = to_f16(low[g] - from_f16(out.scales[g]) * static_cast<float>(all.front()));
  }
  std::fill(out.codes.begin(), out.codes.end(), std::byte{0});
  for (std::int32_t t = 0; t < c.tokens; ++t)
    for (std::int32_t d = 0; d < c.dims; ++d) {
      const std::size_t g = c.group_of(t, d);
      const double scale = from_f16(out.scales[g]);
      const double zero = c.symmetric ? 0.0 : double{from_f16(out.zeros[g])};
      const double x = scale == 0 ? 0 : (in[u(t) * u(c.dims) + u(d)] - zero) / scale;
      put(c.width, out.codes.data() + u(t) * c.row_bytes(), d, nearest(all, x, c.codebook.empty()));
    }
}

void dequantize(const Codec& c, const ConstQuantized& in, std::span<float> out) {
  const std::vector<double> all = entries(c);
  for (std::int32_t t = 0; t < c.tokens; ++t)
    for (std::int32_t d = 0; d < c.dims; ++d) {
      const std::size_t g = c.group_of(t, d);
      const double zero = c.symmetric ? 0.0 : double{from_f16(in.zeros[g])};
      const unsigned code = get(c.width, in.codes.data() + u(t) * c.row_bytes(), d);
      out[u(t) * u(c.dims) + u(d)] =
          static_cast<float>(zero + double{from_f16(in.scales[g])} * all[code]);
    }
}

namespace {

// Rows of one head's keys or values, read number by number.
template <class Get>
std::vector<float> rows(int tokens, int dim, Get get) {
  std::vector<float> all;
  for (int t = 0; t < tokens; ++t)
    for (int d = 0; d < dim; ++d) all.push_back(get(t, d));
  return all;
}

template <class Visit>
void each_head(const PageQuantization& a, Visit visit) {
  for (std::size_t i = 0; i < a.from_pages.size(); ++i) {
    std::byte* page = a.target.data() + u(a.to_pages[i]) * a.format.page_bytes();
    const int tokens = a.tokens.empty() ? a.format.page_tokens : a.tokens[i];
    for (int h = 0; h < a.format.kv_heads; ++h) {
      const auto keys = rows(tokens, a.format.k_dim,
                             [&](int t, int d) { return a.source.key(a.from_pages[i], h, t, d); });
      const auto values = rows(tokens, a.format.v_dim, [&](int t, int d) {
        return a.source.value(a.from_pages[i], h, t, d);
      });
      visit(page, h, tokens, std::span(keys), std::span(values));
    }
  }
}

}  // namespace

void quantize_pages(const PageQuantization& a) {
  each_head(a, [&](std::byte* page, int head, int tokens, auto keys, auto values) {
    quantize_page(a.format, page, head, tokens, keys, values);
  });
}

void dequantize_pages(const PageQuantization& a) {
  each_head(a, [&](std::byte* page, int head, int tokens, auto keys, auto values) {
    for (int t = 0; t < tokens; ++t)
      store_token(a.format, page, head, t,
                  keys.subspan(u(t) * u(a.format.k_dim), u(a.format.k_dim)),
                  values.subspan(u(t) * u(a.format.v_dim), u(a.format.v_dim)));
  });
}

}  // namespace kvsim::kernels::reference
