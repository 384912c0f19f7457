#pragma once
// Text with units to numbers and back: "80 GiB", "3.35 TB/s", "25 us", "10 %". GB and GiB differ; a
// bare number where a dimension is due is refused (0 is allowed: it is the same in every unit).
#include <optional>
#include <string>
#include <string_view>

namespace kvsim {

enum class Dimension { time, bytes, bandwidth, flop_rate, power, price, ratio, rate, none };

struct Unit {
  std::string_view name;
  double factor;  // in the dimension's base: ns, B, B/s, flop/s, W, USD/h, 1, 1/s
};

// "a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)"
std::string describe(Dimension);

// The value in the dimension's base unit, or nothing with `error` saying why.
std::optional<double> parse_quantity(Dimension, std::string_view text, std::string& error);
// The same for counted dimensions (time in ns, bytes): exact for whole numbers, else rounded to the
// nearest.
std::optional<std::int64_t> parse_count(Dimension, std::string_view text, std::string& error);

// In the largest unit that keeps the value exact and short; parses back to the same value.
std::string print_count(Dimension, std::int64_t);
std::string print_quantity(Dimension, double);

// Whole text as a finite number; no locale, no leading '+', no hex.
std::optional<double> parse_double(std::string_view);
std::optional<std::int64_t> parse_int(std::string_view);

}  // namespace kvsim
