#pragma once
// What tests of twins share: numbers to compute with, and a run on every instruction set that this
// processor has, with one and three threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/isa.h"
#include "kernels/kv_cache.h"
#include "kernels/threads.h"
#include "sim/base/fields.h"
#include "sim/base/random.h"

namespace kvsim::kernels::test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline std::vector<float> normals(Rng& rng, std::size_t n, double deviation = 1) {
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(rng.normal() * deviation);
  return v;
}

// Calls body(threads) for each instruction set and team.
template <class Body>
void on_every_path(Body body) {
  for (const Isa isa : supported_isas())
    for (const int count : {1, 3}) {
      SCOPED_TRACE(std::string(name_of(isa)) + ", " + std::to_string(count) + " threads");
      force_isa(isa);
      Threads threads(count);
      body(threads);
    }
  force_isa(Isa::best);
}

// Relative L2 of each row against the expected one; NaN and infinities must agree.
inline double worst_row(std::span<const float> got, std::span<const float> expected,
                        std::size_t row) {
  EXPECT_EQ(got.size(), expected.size());
  double worst = 0;
  for (std::size_t first = 0; row > 0 && first < got.size(); first += row) {
    double error = 0, norm = 0;
    for (std::size_t i = first; i < first + row; ++i) {
      if (std::isinf(expected[i]) && got[i] == expected[i]) continue;
      error += std::pow(double{got[i]} - double{expected[i]}, 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    if (error != 0) worst = std::isnan(error) ? INFINITY : std::max(worst, std::sqrt(error / norm));
  }
  return worst;
}

// A page pool with 64-byte aligned storage, filled with `fill`.
class Pool {
 public:
  Pool(const KvFormat& format, std::int32_t pages, std::byte fill = std::byte{0xff})
      : format_(format), bytes_(format.page_bytes() * static_cast<std::size_t>(pages)) {
    storage_.assign(bytes_ + 64, fill);
  }
  [[nodiscard]] std::span<std::byte> bytes() {
    const auto at = reinterpret_cast<std::uintptr_t>(storage_.data());
    return std::span(storage_).subspan((64 - at % 64) % 64, bytes_);
  }
  [[nodiscard]] std::byte* page(std::int32_t p) {
    return bytes().data() + static_cast<std::size_t>(p) * format_.page_bytes();
  }
  [[nodiscard]] KvCache cache() { return {format_, bytes()}; }
  [[nodiscard]] const KvFormat& format() const { return format_; }

  // Random keys and values in the first `tokens` slots of a page, the others stay as they are.
  void fill(Rng& rng, std::int32_t p, int tokens, double deviation = 1) {
    for (int h = 0; h < format_.kv_heads; ++h) {
      const auto rows = [&](int dim) {
        auto all = normals(rng, static_cast<std::size_t>(tokens) * static_cast<std::size_t>(dim),
                           deviation);
        // Channels of different size and offset, as real keys have.
        for (std::size_t i = 0; i < all.size(); ++i)
          all[i] = all[i] * static_cast<float>(1 + i % 3) +
                   static_cast<float>(deviation) *
                       static_cast<float>(i % static_cast<std::size_t>(dim) % 5);
        return all;
      };
      const auto keys = rows(format_.k_dim), values = rows(format_.v_dim);
      if (is_quantised(format_.element)) {
        quantize_page(format_, page(p), h, tokens, keys, values);
        continue;
      }
      for (int t = 0; t < tokens; ++t)
        store_token(format_, page(p), h, t,
                    std::span(keys).subspan(static_cast<std::size_t>(t * format_.k_dim),
                                            static_cast<std::size_t>(format_.k_dim)),
                    std::span(values).subspan(static_cast<std::size_t>(t * format_.v_dim),
                                              static_cast<std::size_t>(format_.v_dim)));
    }
  }

 private:
  KvFormat format_;
  std::size_t bytes_;
  std::vector<std::byte> storage_;
};

// A format drawn at random.
inline KvFormat draw_format(Rng& rng, Element element) {
  KvFormat f{.element = element, .kv_heads = 1 + static_cast<int>(rng.below(3))};
  f.key_order = rng.below(2) == 0 ? KeyOrder::dim_major : KeyOrder::chunk_major;
  const int step = f.key_order == KeyOrder::chunk_major ? 64 : 16;
  f.k_dim = step * (1 + static_cast<int>(rng.below(3)));
  f.v_dim = 16 * (1 + static_cast<int>(rng.below(5)));
  f.group_tokens = 16 * (1 + static_cast<int>(rng.below(3)));
  f.page_tokens = f.group_tokens * (1 + static_cast<int>(rng.below(2)));
  f.values_in_keys = f.v_dim <= f.k_dim && rng.below(4) == 0;
  f.check();
  return f;
}

}  // namespace kvsim::kernels::test
