#pragma once
// Laws of whole numbers: tokens of prompts and outputs, turns of sessions.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/random.h"

namespace kvsim {

enum class LengthKind : std::uint8_t { constant, uniform, lognormal, zipf, empirical, trace };
constexpr auto enum_names(LengthKind) {
  return std::array{
      std::pair{LengthKind::constant, "constant"},   std::pair{LengthKind::uniform, "uniform"},
      std::pair{LengthKind::lognormal, "lognormal"}, std::pair{LengthKind::zipf, "zipf"},
      std::pair{LengthKind::empirical, "empirical"}, std::pair{LengthKind::trace, "trace"}};
}

struct LengthParams {
  LengthKind law = LengthKind::constant;
  std::optional<std::int64_t> value;
  std::optional<double> mean, cv, median, sigma;
  double exponent = 1.0;
  std::vector<std::int64_t> values;
  std::vector<double> weights;
  std::string file, format;
  std::int64_t min = 1, max = 1'000'000;
  static constexpr Rows kFields{
      field("law", &LengthParams::law, any, "how numbers are drawn"),
      field("value", &LengthParams::value, between<std::int64_t>(1, 100'000'000),
            "constant: the number"),
      field("mean", &LengthParams::mean, between(1e-3, 1e8), "lognormal: mean before bounds"),
      field("cv", &LengthParams::cv, between(0.0, 100.0),
            "lognormal: deviation / mean (default 1)"),
      field("median", &LengthParams::median, between(1e-3, 1e8),
            "lognormal: median, instead of mean"),
      field("sigma", &LengthParams::sigma, between(0.0, 10.0),
            "lognormal: deviation of the logarithm, with median (default 1)"),
      field("exponent", &LengthParams::exponent, between(0.0, 10.0),
            "zipf: min has weight 1, min + k has (k + 1)^-exponent"),
      field("values", &LengthParams::values, between<std::int64_t>(1, 100'000'000),
            "empirical: the numbers"),
      field("weights", &LengthParams::weights, between(0.0, 1e12),
            "empirical: weight of each number (default equal)"),
      field("file", &LengthParams::file, any,
            "trace: file whose lengths are drawn; the same row for prompt and output of one file"),
      field("format", &LengthParams::format, any, "trace: its format"),
      field("min", &LengthParams::min, between<std::int64_t>(1, 100'000'000),
            "smaller draws become this; uniform and zipf begin here"),
      field("max", &LengthParams::max, between<std::int64_t>(1, 100'000'000),
            "larger draws become this; uniform and zipf end here")};
};

// A number is short for {value: NUMBER}.
template <>
struct Codec<LengthParams> {
  static bool read(const Tree&, LengthParams&, Reader&);
  static Tree write(const LengthParams&);
  static TypeInfo info();
};

// Ranks 0..n-1 with weight (rank + 1)^-exponent. Requires 1 <= n <= 10^6.
class ZipfRanks {
 public:
  ZipfRanks(std::size_t n, double exponent);
  [[nodiscard]] std::size_t draw(Rng& rng) const;

 private:
  std::vector<double> cumulative_;
};

// Which lengths of a trace are meant.
enum class TraceLength : std::uint8_t { prompt, output };

class LengthLaw {
 public:
  // `name` is the parameter's, for messages. `folder` is where relative files begin. Throws
  // InputError.
  LengthLaw(const LengthParams&, const std::string& name, const std::string& folder, TraceLength);
  // `rows` is used by the law `trace` only, so that prompt and output drawn with equal `rows` come
  // from one row.
  [[nodiscard]] std::int64_t draw(Rng rng, Rng rows) const;

 private:
  LengthParams params_;
  double mu_ = 0, sigma_ = 0;
  std::shared_ptr<const ZipfRanks> zipf_;
  std::vector<double> cumulative_;
  std::vector<std::int64_t> lengths_;
};

}  // namespace kvsim
