// Prefill attention: blocks of up to 64 queries walk the tiles that any of them sees. A group of
// tiles is brought near once and serves all rows of the block, a few at a time so that their scores
// stay in the nearest cache.
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/tile_reader.h"
#include "kernels/threads.h"
#include "sim/base/check.h"

namespace kvsim::kernels::cpu {

namespace {

constexpr float kLog2E = 1.44269504F;
constexpr std::int32_t kBlock = 64;  // queries of a block, and positions of a block of the mask
constexpr int kRowsAtOnce = 16;

struct PrefillItem {
  std::size_t sequence = 0;
  int kv_head = 0;
  std::int32_t query = 0, queries = 0;  // of the batch
  std::int32_t position = 0;            // of the first of them
  std::size_t mask_row = 0;
  std::int64_t cost_before = 0, cost = 0;
};

std::vector<PrefillItem> items_of(const PrefillAttention& a) {
  std::vector<PrefillItem> items;
  std::int64_t cost = 0;
  std::size_t mask_row = 0;
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s) {
    const std::int32_t count = a.starts[s + 1] - a.starts[s];
    for (std::int32_t first = 0; first < count; first += kBlock, ++mask_row) {
      const std::int32_t queries = std::min(kBlock, count - first);
      const std::int32_t position = a.table.lengths[s] - count + first;
      const TokenRange range = TokenRange::seen_by(a.visible, position, position + queries - 1);
      for (int head = 0; head < a.cache.format.kv_heads; ++head) {
        const std::int64_t own = std::int64_t{range.groups()} * queries;
        items.push_back({s, head, a.starts[s] + first, queries, position, mask_row, cost, own});
        cost += own;
      }
    }
  }
  return items;
}

class PrefillWorker {
 public:
  void run(const PrefillAttention& a, const PrefillItem& item) {
    a_ = &a;
    item_ = &item;
    group_heads_ = a.q_heads / a.cache.format.kv_heads;
    rows_ = item.queries * group_heads_;
    reader_.open(a.cache.format);
    list_tiles();
    load_queries();
    if (!tiles_.empty()) walk();
    deliver();
  }

 private:
  void list_tiles() {
    range_ =
        TokenRange::seen_by(a_->visible, item_->position, item_->position + item_->queries - 1);
    tiles_.clear();
    for (std::int32_t i = 0; i < range_.tiles(); ++i) {
      const std::int32_t tile = range_.tile(i);
      if (a_->mask.empty() || is_set(static_cast<std::size_t>(tile * kTileTokens / kBlock)))
        tiles_.push_back(tile);
    }
  }
  [[nodiscard]] bool is_set(std::size_t kv_block) const {
    const std::size_t row = item_->mask_row * static_cast<std::size_t>(a_->mask_words);
    return (a_->mask[row + kv_block / 64] >> (kv_block % 64) & 1U) != 0;
  }

  [[nodiscard]] TileGroup group_at(std::int32_t group) const {
    if (group * kGroupTiles >= static_cast<std::int32_t>(tiles_.size())) return {};
    return tile_group(
        a_->cache, a_->table, item_->sequence, item_->kv_head,
        static_cast<std::int32_t>(tiles_.size()),
        [&](std::int32_t i) { return tiles_[static_cast<std::size_t>(i)]; }, group);
  }

  void walk() {
    TileGroup group = group_at(0);
    for (std::int32_t g = 0; group.tiles > 0; ++g) {
      const TileGroup next = group_at(g + 1);
      reader_.prefetch(group, next, prefetcher_);
      KeyTiles keys;
      ValueTiles values;
      reader_.read(group, visible_in(group, range_), keys, values);
      const bool is_masked = find_visible(group);
      for (int r = 0; r < rows_; r += kRowsAtOnce) {
        const int rows = std::min(kRowsAtOnce, rows_ - r);
        score(keys, q_ + r * keys.k_dim, rows, scores_, prefetcher_);
        weigh(scores_, rows, is_masked ? &visible_[static_cast<std::size_t>(r)] : &kAll,
              is_masked ? 1 : 0, &running_[static_cast<std::size_t>(r)]);
        accumulate(values, scores_, rows, &running_[static_cast<std::size_t>(r)],
                   out_ + r * values.v_dim, prefetcher_);
      }
      group = next;
    }
  }

  // What each row sees of the group; false when every row sees all of it. A token that the first
  // and the last query see is seen by those between.
  bool find_visible(const TileGroup& group) {
    const auto seen_at = [&](std::int32_t i) {
      const std::int32_t p = item_->position + i;
      return visible_in(group, TokenRange::seen_by(a_->visible, p, p));
    };
    if ((seen_at(0) & seen_at(item_->queries - 1)) == kAll) return false;
    visible_.resize(static_cast<std::size_t>(rows_));
    for (std::int32_t i = 0; i < item_->queries; ++i)
      std::fill_n(visible_.begin() + i * group_heads_, group_heads_, seen_at(i));
    return true;
  }

  [[nodiscard]] std::size_t output_row(int row) const {
    return static_cast<std::size_t>(item_->query + row / group_heads_) *
               static_cast<std::size_t>(a_->q_heads) +
           static_cast<std::size_t>(item_->kv_head * group_heads_ + row % group_heads_);
  }
  void load_queries() {
    const auto rows = static_cast<std::size_t>(rows_);
    const auto k_dim = static_cast<std::size_t>(a_->cache.format.k_dim);
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    q_ = q_memory_.at_least(rows * k_dim);
    scores_ = score_memory_.at_least(kRowsAtOnce * kGroupTokens);
    out_ = out_memory_.at_least(rows * v_dim);
    std::fill_n(out_, rows * v_dim, 0.0F);
    running_.assign(rows, Running{.reference = -std::numeric_limits<float>::infinity()});
    const float factor = a_->scale * kLog2E;
    for (int r = 0; r < rows_; ++r) {
      const float* from = a_->q.data() + output_row(r) * k_dim;
      float* to = q_ + static_cast<std::size_t>(r) * k_dim;
      for (std::size_t d = 0; d < k_dim; ++d) to[d] = from[d] * factor;
    }
  }
  void deliver() {
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    for (int r = 0; r < rows_; ++r) {
      const float sum = running_[static_cast<std::size_t>(r)].sum();
      const float inverse = sum > 0 ? 1 / sum : 0;
      const float* from = out_ + static_cast<std::size_t>(r) * v_dim;
      float* to = a_->out.data() + output_row(r) * v_dim;
      for (std::size_t d = 0; d < v_dim; ++d) to[d] = from[d] * inverse;
    }
  }

  static constexpr std::uint64_t kAll = ~std::uint64_t{0};
  const PrefillAttention* a_ = nullptr;
  const PrefillItem* item_ = nullptr;
  int group_heads_ = 1, rows_ = 0;
  TokenRange range_;
  std::vector<std::int32_t> tiles_;
  TileReader reader_;
  Prefetcher prefetcher_;
  Scratch q_memory_, score_memory_, out_memory_;
  float *q_ = nullptr, *scores_ = nullptr, *out_ = nullptr;
  std::vector<Running> running_;
  std::vector<std::uint64_t> visible_;
};

}  // namespace

void attend(const PrefillAttention& a, Threads& threads) {
  KVSIM_CHECK(a.q_heads > 0 && a.q_heads % a.cache.format.kv_heads == 0,
              "{} query heads for {} kv heads", a.q_heads, a.cache.format.kv_heads);
  const std::vector<PrefillItem> items = items_of(a);
  if (items.empty()) return;
  const std::int64_t total = items.back().cost_before + items.back().cost;
  threads.run([&](int thread) {
    // Kept between calls: a step calls once per layer, and fresh memory costs page faults.
    static thread_local PrefillWorker worker;
    const std::int64_t begin = total * thread / threads.count();
    const std::int64_t end = total * (thread + 1) / threads.count();
    // An item belongs to the thread in whose part its middle lies.
    for (const PrefillItem& item : items) {
      const std::int64_t middle = item.cost_before + item.cost / 2;
      if (middle >= begin && middle < end) worker.run(a, item);
    }
  });
}

}  // namespace kvsim::kernels::cpu
