// Decode attention: every thread walks its pieces of the plan, group of tiles by group of tiles.
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/decode_plan.h"
#include "kernels/cpu/tile_reader.h"
#include "kernels/threads.h"
#include "sim/base/check.h"

namespace kvsim::kernels::cpu {

namespace {

constexpr float kLog2E = 1.44269504F;

// Partial results of rows that several pieces work on.
struct Partials {
  std::vector<Running> running;  // [partial]
  std::vector<float> out;        // [partial][v_dim]
};

class DecodeWorker {
 public:
  void run(const DecodeAttention& a, const DecodePlan& plan, std::size_t first, std::size_t end,
           Partials& partials) {
    a_ = &a;
    plan_ = &plan;
    end_piece_ = end;
    reader_.open(a.cache.format);
    for (std::size_t p = first; p < end; ++p) {
      next_piece_ = p + 1;
      work_on(plan.pieces[p]);
      deliver(plan.pieces[p], partials);
    }
  }

 private:
  [[nodiscard]] int heads_per_kv() const { return a_->q_heads / a_->cache.format.kv_heads; }

  void work_on(const DecodePiece& piece) {
    const DecodeItem& item = plan_->items[piece.item];
    load_queries(item);
    TileGroup group = group_of(piece, piece.first);
    for (std::int32_t g = piece.first; g < piece.end; ++g) {
      const TileGroup next = g + 1 < piece.end ? group_of(piece, g + 1) : first_of_next();
      const std::uint64_t visible = visible_in(group, item.range);
      reader_.prefetch(next, prefetcher_);
      if (reads_codes_in_place(a_->cache.format))
        attend_codes(group, visible);
      else
        attend_floats(group, visible);
      group = next;
    }
    if (reads_codes_in_place(a_->cache.format)) add_zeros();
  }

  void attend_floats(const TileGroup& group, std::uint64_t visible) {
    KeyTiles keys;
    ValueTiles values;
    reader_.read(group, visible, keys, values);
    score(keys, q_, rows_, scores_, prefetcher_);
    weigh(scores_, rows_, &visible, 0, running_.data());
    accumulate(values, scores_, rows_, running_.data(), out_, prefetcher_);
  }
  void attend_codes(const TileGroup& group, std::uint64_t visible) {
    CodeTiles tiles;
    reader_.read(group, visible, tiles);
    score_codes(tiles, q_, scores_, codes_, prefetcher_);
    weigh(scores_, rows_, &visible, 0, running_.data());
    accumulate_codes(tiles, scores_, running_.data(), out_, codes_, prefetcher_);
  }

  // What the zeros of the values' scales add to every number of a row.
  void add_zeros() {
    const int v_dim = a_->cache.format.v_dim;
    for (int r = 0; r < rows_; ++r)
      for (int d = 0; d < v_dim; ++d)
        out_[r * v_dim + d] += codes_.zero_sum[static_cast<std::size_t>(r)];
  }

  [[nodiscard]] TileGroup group_of(const DecodePiece& piece, std::int32_t group) const {
    const DecodeItem& item = plan_->items[piece.item];
    return tile_group(
        a_->cache, a_->table, static_cast<std::size_t>(item.sequence), item.kv_head,
        item.range.tiles(), [&](std::int32_t i) { return item.range.tile(i); }, group);
  }
  // Empty after the last piece.
  [[nodiscard]] TileGroup first_of_next() const {
    if (next_piece_ == end_piece_) return {};
    const DecodePiece& piece = plan_->pieces[next_piece_];
    return group_of(piece, piece.first);
  }

  // The item's queries one after the other, in log2 units.
  void load_queries(const DecodeItem& item) {
    const auto k_dim = static_cast<std::size_t>(a_->cache.format.k_dim);
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    rows_ = heads_per_kv() * item.sequences;
    const auto rows = static_cast<std::size_t>(rows_);
    q_ = q_memory_.at_least(rows * k_dim);
    scores_ = score_memory_.at_least(rows * kGroupTokens);
    out_ = out_memory_.at_least(rows * v_dim);
    std::fill_n(out_, rows * v_dim, 0.0F);
    codes_.open(rows_, a_->cache.format.k_dim);
    running_.assign(rows, Running{.reference = -std::numeric_limits<float>::infinity()});
    const float factor = a_->scale * kLog2E;
    for (std::size_t r = 0; r < rows; ++r) {
      const float* from = a_->q.data() + output_row(item, r) * k_dim;
      for (std::size_t d = 0; d < k_dim; ++d) q_[r * k_dim + d] = from[d] * factor;
    }
  }

  // Row r of the item, as a row of q and out.
  [[nodiscard]] std::size_t output_row(const DecodeItem& item, std::size_t r) const {
    const auto per_kv = static_cast<std::size_t>(heads_per_kv());
    return (static_cast<std::size_t>(item.sequence) + r / per_kv) *
               static_cast<std::size_t>(a_->q_heads) +
           static_cast<std::size_t>(item.kv_head) * per_kv + r % per_kv;
  }

  void deliver(const DecodePiece& piece, Partials& partials) {
    const DecodeItem& item = plan_->items[piece.item];
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    const auto heads = static_cast<std::size_t>(a_->cache.format.kv_heads);
    const std::size_t cell =
        static_cast<std::size_t>(item.sequence) * heads + static_cast<std::size_t>(item.kv_head);
    const bool is_whole = item.sequences == 1 && plan_->contributions[cell] == 1;
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows_); ++r) {
      const float* from = out_ + r * v_dim;
      if (is_whole) {
        float* to = a_->out.data() + output_row(item, r) * v_dim;
        const float inverse = 1 / running_[r].sum();
        for (std::size_t d = 0; d < v_dim; ++d) to[d] = from[d] * inverse;
      } else {
        partials.running[piece.partial + r] = running_[r];
        std::copy_n(
            from, v_dim,
            partials.out.begin() + static_cast<std::ptrdiff_t>((piece.partial + r) * v_dim));
      }
    }
  }

  const DecodeAttention* a_ = nullptr;
  const DecodePlan* plan_ = nullptr;
  std::size_t next_piece_ = 0, end_piece_ = 0;
  TileReader reader_;
  Prefetcher prefetcher_;
  CodeScratch codes_;
  Scratch q_memory_, score_memory_, out_memory_;
  float *q_ = nullptr, *scores_ = nullptr, *out_ = nullptr;
  int rows_ = 0;
  std::vector<Running> running_;
};

// One (sequence, kv head): its rows from the pieces that worked on them.
void merge_rows(const DecodeAttention& a, const std::vector<std::size_t>& partial_rows,
                std::size_t first_row, const Partials& partials) {
  const auto v_dim = static_cast<std::size_t>(a.cache.format.v_dim);
  const auto rows = static_cast<std::size_t>(a.q_heads / a.cache.format.kv_heads);
  for (std::size_t r = 0; r < rows; ++r) {
    float* out = a.out.data() + (first_row + r) * v_dim;
    std::fill_n(out, v_dim, 0.0F);
    float most = -std::numeric_limits<float>::infinity(), sum = 0;
    for (const std::size_t p : partial_rows)
      most = std::max(most, partials.running[p + r].reference);
    for (const std::size_t p : partial_rows)
      sum += partials.running[p + r].sum() * std::exp2(partials.running[p + r].reference - most);
    for (const std::size_t p : partial_rows) {
      const float weight = std::exp2(partials.running[p + r].reference - most) / sum;
      const float* from = partials.out.data() + (p + r) * v_dim;
      for (std::size_t d = 0; d < v_dim; ++d) out[d] += weight * from[d];
    }
  }
}

// Cells that no single piece has written: several contributions, or none (zeros).
void merge(const DecodeAttention& a, const DecodePlan& plan, const Partials& partials,
           Threads& threads) {
  const auto heads = static_cast<std::size_t>(a.cache.format.kv_heads);
  const auto per_kv = static_cast<std::size_t>(a.q_heads) / heads;
  std::vector<std::vector<std::size_t>> rows_of(plan.contributions.size());
  for (const DecodePiece& piece : plan.pieces) {
    const DecodeItem& item = plan.items[piece.item];
    for (std::int32_t i = 0; i < item.sequences; ++i) {
      const std::size_t cell = static_cast<std::size_t>(item.sequence + i) * heads +
                               static_cast<std::size_t>(item.kv_head);
      if (item.sequences > 1 || plan.contributions[cell] > 1)
        rows_of[cell].push_back(piece.partial + static_cast<std::size_t>(i) * per_kv);
    }
  }
  const auto merge_part = [&](std::int64_t first, std::int64_t end) {
    for (auto cell = static_cast<std::size_t>(first); cell < static_cast<std::size_t>(end); ++cell)
      if (plan.contributions[cell] == 0 || !rows_of[cell].empty())
        merge_rows(a, rows_of[cell], cell * per_kv, partials);
  };
  const auto cells = static_cast<std::int64_t>(rows_of.size());
  // A call of the team costs as much as merging a few rows.
  if (plan.partials < 64) return merge_part(0, cells);
  threads.run([&](int thread) {
    const auto [first, end] = threads.part(cells, thread);
    merge_part(first, end);
  });
}

}  // namespace

void attend(const DecodeAttention& a, Threads& threads) {
  KVSIM_CHECK(a.q_heads > 0 && a.q_heads % a.cache.format.kv_heads == 0,
              "{} query heads for {} kv heads", a.q_heads, a.cache.format.kv_heads);
  const DecodePlan plan = plan_decode(a, threads.count());
  Partials partials;
  partials.running.resize(plan.partials);
  partials.out.resize(plan.partials * static_cast<std::size_t>(a.cache.format.v_dim));
  threads.run([&](int thread) {
    // Kept between calls: a step calls once per layer, and fresh memory costs page faults.
    static thread_local DecodeWorker worker;
    const auto k = static_cast<std::size_t>(thread);
    worker.run(a, plan, plan.thread_pieces[k], plan.thread_pieces[k + 1], partials);
  });
  const bool is_done =
      plan.partials == 0 && std::none_of(plan.contributions.begin(), plan.contributions.end(),
                                         [](int n) { return n == 0; });
  if (!is_done) merge(a, plan, partials, threads);
}

}  // namespace kvsim::kernels::cpu
