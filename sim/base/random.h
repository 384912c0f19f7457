#pragma once
// Random streams. A stream is named by a path and counts its draws, so the draw number i of a
// stream is a pure function of (run seed, path, i): policies under comparison see the same workload
// whatever order they ask in. Distributions are our own because the standard ones differ between
// libraries.
#include <cmath>
#include <cstdint>
#include <string_view>

#include "sim/base/hash.h"

namespace kvsim {

class Rng {
 public:
  constexpr Rng(std::uint64_t run_seed, std::string_view path)
      : key_(hash_combine(mix64(run_seed), hash_text(path))) {}
  // A stream of its own for item `index` (a request, a session): independent of how many draws
  // others took.
  [[nodiscard]] constexpr Rng at(std::uint64_t index) const {
    Rng r = *this;
    r.key_ = hash_combine(key_, index);
    r.counter_ = 0;
    return r;
  }
  constexpr std::uint64_t next() { return mix64(key_ ^ mix64(counter_++)); }
  // Uniform in [0, 1).
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // Uniform integer in [0, n); n >= 1. The bias is below 2^-32 for n < 2^32.
  constexpr std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  double exponential(double mean) { return -mean * std::log1p(-uniform()); }
  double normal();                           // mean 0, deviation 1 (Box-Muller, two uniforms)
  double gamma(double shape, double scale);  // Marsaglia and Tsang 2000; shape > 0
  double weibull(double shape, double scale) {
    return scale * std::pow(-std::log1p(-uniform()), 1.0 / shape);
  }
  double lognormal(double mu, double sigma) { return std::exp(mu + sigma * normal()); }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace kvsim
