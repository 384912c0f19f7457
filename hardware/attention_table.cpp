#include "hardware/attention_table.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>

#include "hardware/csv_table.h"

namespace kvsim {

namespace {

constexpr std::array<std::string_view, 5> kColumns{"prefill_chunk", "kv_prefill", "n_decode",
                                                   "kv_decode", "time_us"};
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr double kMostTime = 1e8;  // us

[[noreturn]] void hole(const std::string& path, const std::string& what) {
  Diagnostics d;
  d.add(Place{std::make_shared<const std::string>(path), 0, 0}, {}, "hole in the grid: " + what,
        "a line needs two points: measure the missing ones");
  d.throw_if_any();
  throw InputError(path);  // not reached
}

void check_mixed(const std::string& path, const Nested<Nested<Nested<Curve>>>& table) {
  if (table.x.size() < 2)
    hole(path, fmt::format("{} sizes of prefill_chunk above 0", table.x.size()));
  for (std::size_t c = 0; c < table.x.size(); ++c) {
    const auto& by_count = table.y[c];
    if (by_count.x.size() < 2 || by_count.x[0] != 0)
      hole(path,
           fmt::format("prefill_chunk {} needs n_decode 0 and at least one more", table.x[c]));
    for (std::size_t n = 0; n < by_count.x.size(); ++n) {
      if (by_count.y[n].x.size() < 2)
        hole(path, fmt::format("prefill_chunk {}, n_decode {}: fewer than two kv_prefill",
                               table.x[c], by_count.x[n]));
      for (std::size_t h = 0; by_count.x[n] > 0 && h < by_count.y[n].x.size(); ++h)
        if (by_count.y[n].y[h].x.size() < 2)
          hole(path,
               fmt::format("prefill_chunk {}, n_decode {}, kv_prefill {}: fewer than two kv_decode",
                           table.x[c], by_count.x[n], by_count.y[n].x[h]));
    }
  }
}

}  // namespace

PrefillPoint combine(std::span<const PrefillPiece> pieces) {
  double tokens = 0, pairs = 0;
  for (const PrefillPiece& p : pieces) {
    const auto n = static_cast<double>(p.tokens);
    tokens += n;
    pairs += n * (static_cast<double>(p.history) + 0.5 * n);
  }
  if (pieces.size() == 1) return {tokens, static_cast<double>(pieces[0].history)};
  if (!(tokens > 0)) return {};
  const double history = pairs / tokens - 0.5 * tokens;
  if (history >= 0) return {tokens, history};
  return {std::sqrt(2 * pairs), 0};
}

AttentionTable::AttentionTable(const std::string& path) {
  Nested<Curve> decode;  // n, kv
  read_csv(path, kColumns, [&](const CsvRow& row) {
    const auto axis = [&](std::size_t i) {
      return static_cast<double>(row.whole(i, 0, kMostTokens));
    };
    const double chunk = axis(0), history = axis(1), n = axis(2), kv = axis(3);
    const double ns = 1e3 * row.number(4, 0, kMostTime);
    if ((n > 0) != (kv > 0))
      return row.error("n_decode and kv_decode must both be 0 or both above 0");
    if (chunk == 0 && (history > 0 || n == 0))
      return row.error("a row without a prefill_chunk needs kv_prefill 0 and n_decode above 0");
    bool is_new = false;
    double& slot = chunk == 0 ? decode.slot(n).slot(kv, is_new)
                              : mixed_.slot(chunk).slot(n).slot(history).slot(kv, is_new);
    if (!is_new) return row.error("this grid point appears twice");
    slot = ns;
  });
  if (decode.x.size() < 2) hole(path, "fewer than two n_decode in rows without a prefill_chunk");
  check_mixed(path, mixed_);
  for (std::size_t n = 0; n < decode.x.size(); ++n) {
    if (decode.y[n].x.size() < 2)
      hole(path,
           fmt::format("prefill_chunk 0, n_decode {}: fewer than two kv_decode", decode.x[n]));
    lengths_.insert(lengths_.end(), decode.y[n].x.begin(), decode.y[n].x.end());
  }
  std::sort(lengths_.begin(), lengths_.end());
  lengths_.erase(std::unique(lengths_.begin(), lengths_.end()), lengths_.end());
  // All counts on the union of the lengths: the same functions, with common knots.
  counts_ = decode.x;
  for (const Curve& c : decode.y) {
    auto& row = decode_.emplace_back();
    for (const double kv : lengths_) row.push_back(c.at(kv));
  }
}

AttentionTable::Decode AttentionTable::decode(std::int64_t n) const {
  const auto q = static_cast<double>(n);
  const std::size_t cell = cell_of(counts_, q);
  const std::size_t high = std::clamp<std::size_t>(cell, 1, counts_.size() - 1);
  return {high - 1, high, (q - counts_[high - 1]) / (counts_[high] - counts_[high - 1]),
          cell == counts_.size()};
}

double AttentionTable::knot(const Decode& d, std::size_t i) const {
  const double low = decode_[d.low][i], high = decode_[d.high][i];
  // Behind the last count the time does not fall.
  if (d.behind) return high + (d.weight - 1) * std::max(high - low, 0.0);
  return std::max(low + d.weight * (high - low), 0.0);
}

LineSegment AttentionTable::decode_line(const Decode& d, std::size_t cell) const {
  const std::size_t i = std::clamp<std::size_t>(cell, 1, lengths_.size() - 1);
  return segment(lengths_[i - 1], knot(d, i - 1), lengths_[i], knot(d, i), cell == 0,
                 cell == lengths_.size());
}

}  // namespace kvsim
