#pragma once
// A counting sketch of how often keys were seen, halved now and then: the memory of TinyLFU.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace kvsim {

// XXH64 (github.com/Cyan4973/xxHash, its specification) of the eight bytes of a key.
constexpr std::uint64_t xxh64_of_word(std::uint64_t word, std::uint64_t seed) {
  constexpr std::uint64_t kP1 = 11400714785074694791ULL, kP2 = 14029467366897019727ULL,
                          kP3 = 1609587929392839161ULL, kP4 = 9650029242287828579ULL,
                          kP5 = 2870177450012600261ULL;
  std::uint64_t h = seed + kP5 + 8;
  h ^= std::rotl(word * kP2, 31) * kP1;
  h = std::rotl(h, 27) * kP1 + kP4;
  h = (h ^ (h >> 33)) * kP2;
  h = (h ^ (h >> 29)) * kP3;
  return h ^ (h >> 32);
}

// Ten counters a key, at (a + i b) mod counters; an addition raises all ten, the estimate is their
// least. Sized like libCacheSim's for a false-positive rate of 0.001.
class FrequencySketch {
 public:
  struct Key {
    std::uint32_t a, b;
  };
  static Key key_of(std::uint64_t content) {
    return {static_cast<std::uint32_t>(xxh64_of_word(content, 0x12345678)),
            static_cast<std::uint32_t>(xxh64_of_word(content, 0x12344321))};
  }
  explicit FrequencySketch(std::int64_t entries) {
    constexpr double kCountersOfAnEntry = 6.907755278982137 / 0.480453013918201;  // ln 1000 / ln² 2
    double n = std::ceil(kCountersOfAnEntry * static_cast<double>(entries));
    n = std::min(n, 2147483647.0);
    counters_.resize(n < kProbes ? 2 * kProbes : static_cast<std::size_t>(n));
    reciprocal_ = ~std::uint64_t{0} / counters_.size() + 1;
  }
  void add(Key k) {
    std::uint32_t at[kProbes];
    probes(k, at);
    for (const std::uint32_t i : at) ++counters_[i];
  }
  [[nodiscard]] std::uint32_t estimate(Key k) const {
    std::uint32_t at[kProbes];
    probes(k, at);
    std::uint32_t least = counters_[at[0]];
    for (const std::uint32_t i : at) least = std::min(least, counters_[i]);
    return least;
  }
  void halve() {
    for (std::uint32_t& c : counters_) c >>= 1;
  }
  void prefetch(Key k) const {
    std::uint32_t at[kProbes];
    probes(k, at);
    for (const std::uint32_t i : at) __builtin_prefetch(&counters_[i], 1);
  }

 private:
  static constexpr std::uint32_t kProbes = 10;
  void probes(Key k, std::uint32_t* at) const {
    std::uint32_t x = k.a;
    for (std::uint32_t i = 0; i < kProbes; ++i, x += k.b) at[i] = modulo(x);
  }
  // x mod counters without a division (Lemire, Kaser and Kurz 2019).
  [[nodiscard]] std::uint32_t modulo(std::uint32_t x) const {
    const std::uint64_t low = reciprocal_ * x;
    return static_cast<std::uint32_t>((static_cast<unsigned __int128>(low) * counters_.size()) >>
                                      64);
  }
  std::vector<std::uint32_t> counters_;
  std::uint64_t reciprocal_ = 0;
};

}  // namespace kvsim
