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

// Pages smaller than a group of tiles hold little of one kv head in a run: the heads of a thread
// then take turns, group by group, so that memory is read in runs of several heads. As many as keep
// their rows near.
constexpr std::size_t kStateBytes = 64 << 10;

class DecodeWorker {
 public:
  void run(const DecodeAttention& a, const DecodePlan& plan, std::size_t first, std::size_t end,
           Partials& partials) {
    a_ = &a;
    plan_ = &plan;
    end_piece_ = end;
    reader_.open(a.cache.format);
    for (std::size_t p = first; p < end; p = next_piece_) {
      next_piece_ = turns_end(p);
      work_on(p);
      for (std::size_t i = p; i < next_piece_; ++i)
        deliver(plan.pieces[i], heads_[i - p], partials);
    }
  }

 private:
  // The rows of one item: its queries and what their softmax has come to.
  struct Head {
    Scratch q_memory, out_memory;
    float *q = nullptr, *out = nullptr;
    std::vector<Running> running;
    CodeScratch codes;
  };

  [[nodiscard]] int heads_per_kv() const { return a_->q_heads / a_->cache.format.kv_heads; }

  // The end of the pieces from `first` on that take turns: heads of one sequence, the same groups.
  [[nodiscard]] std::size_t turns_end(std::size_t first) const {
    const KvFormat& f = a_->cache.format;
    const DecodePiece& piece = plan_->pieces[first];
    const DecodeItem& item = plan_->items[piece.item];
    std::size_t end = first + 1;
    if (f.page_tokens >= kGroupTokens || item.sequences > 1) return end;
    const auto numbers = static_cast<std::size_t>(heads_per_kv() * (f.k_dim + f.v_dim));
    const std::size_t most = first + kStateBytes / (numbers * sizeof(float));
    const auto takes_turns = [&](const DecodePiece& p) {
      const DecodeItem& i = plan_->items[p.item];
      return i.sequence == item.sequence && i.sequences == 1 && p.first == piece.first &&
             p.end == piece.end;
    };
    while (end < std::min(most, end_piece_) && takes_turns(plan_->pieces[end])) ++end;
    return end;
  }

  // Pieces first .. next_piece_ - 1.
  void work_on(std::size_t first) {
    const std::size_t count = next_piece_ - first;
    if (heads_.size() < count) heads_.resize(count);
    const auto piece_of = [&](std::size_t i) -> const DecodePiece& {
      return plan_->pieces[first + i];
    };
    for (std::size_t i = 0; i < count; ++i) load(plan_->items[piece_of(i).item], heads_[i]);
    const std::int32_t end = piece_of(0).end;
    TileGroup group = group_of(piece_of(0), piece_of(0).first);
    for (std::int32_t g = piece_of(0).first; g < end; ++g) {
      for (std::size_t i = 0; i < count; ++i) {
        const TileGroup next = i + 1 < count ? group_of(piece_of(i + 1), g)
                               : g + 1 < end ? group_of(piece_of(0), g + 1)
                                             : first_of_next();
        reader_.prefetch(group, next, prefetcher_);
        attend_to(group, visible_in(group, plan_->items[piece_of(i).item].range), heads_[i]);
        group = next;
      }
    }
    if (reads_codes_in_place(a_->cache.format))
      for (std::size_t i = 0; i < count; ++i) add_zeros(heads_[i]);
  }

  void attend_to(const TileGroup& group, std::uint64_t visible, Head& head) {
    if (reads_codes_in_place(a_->cache.format)) {
      CodeTiles tiles;
      reader_.read(group, visible, tiles);
      score_codes(tiles, head.q, scores_, head.codes, prefetcher_);
      weigh(scores_, rows_, &visible, 0, head.running.data());
      accumulate_codes(tiles, scores_, head.running.data(), head.out, head.codes, prefetcher_);
      return;
    }
    KeyTiles keys;
    ValueTiles values;
    reader_.read(group, visible, keys, values);
    score(keys, head.q, rows_, scores_, prefetcher_);
    weigh(scores_, rows_, &visible, 0, head.running.data());
    accumulate(values, scores_, rows_, head.running.data(), head.out, prefetcher_);
  }

  // What the zeros of the values' scales add to every number of a row.
  void add_zeros(Head& head) const {
    const int v_dim = a_->cache.format.v_dim;
    for (int r = 0; r < rows_; ++r)
      for (int d = 0; d < v_dim; ++d)
        head.out[r * v_dim + d] += head.codes.zero_sum[static_cast<std::size_t>(r)];
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
  void load(const DecodeItem& item, Head& head) {
    const auto k_dim = static_cast<std::size_t>(a_->cache.format.k_dim);
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    rows_ = heads_per_kv() * item.sequences;
    const auto rows = static_cast<std::size_t>(rows_);
    scores_ = score_memory_.at_least(rows * kGroupTokens);
    head.q = head.q_memory.at_least(rows * k_dim);
    head.out = head.out_memory.at_least(rows * v_dim);
    std::fill_n(head.out, rows * v_dim, 0.0F);
    head.codes.open(rows_, a_->cache.format.k_dim);
    head.running.assign(rows, Running{.reference = -std::numeric_limits<float>::infinity()});
    const float factor = a_->scale * kLog2E;
    for (std::size_t r = 0; r < rows; ++r) {
      const float* from = a_->q.data() + output_row(item, r) * k_dim;
      for (std::size_t d = 0; d < k_dim; ++d) head.q[r * k_dim + d] = from[d] * factor;
    }
  }

  // Row r of the item, as a row of q and out.
  [[nodiscard]] std::size_t output_row(const DecodeItem& item, std::size_t r) const {
    const auto per_kv = static_cast<std::size_t>(heads_per_kv());
    return (static_cast<std::size_t>(item.sequence) + r / per_kv) *
               static_cast<std::size_t>(a_->q_heads) +
           static_cast<std::size_t>(item.kv_head) * per_kv + r % per_kv;
  }

  void deliver(const DecodePiece& piece, const Head& head, Partials& partials) const {
    const DecodeItem& item = plan_->items[piece.item];
    const auto v_dim = static_cast<std::size_t>(a_->cache.format.v_dim);
    const auto heads = static_cast<std::size_t>(a_->cache.format.kv_heads);
    const std::size_t cell =
        static_cast<std::size_t>(item.sequence) * heads + static_cast<std::size_t>(item.kv_head);
    const bool is_whole = item.sequences == 1 && plan_->contributions[cell] == 1;
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows_); ++r) {
      const float* from = head.out + r * v_dim;
      if (is_whole) {
        float* to = a_->out.data() + output_row(item, r) * v_dim;
        const float inverse = 1 / head.running[r].sum();
        for (std::size_t d = 0; d < v_dim; ++d) to[d] = from[d] * inverse;
      } else {
        partials.running[piece.partial + r] = head.running[r];
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
  std::vector<Head> heads_;
  Scratch score_memory_;
  float* scores_ = nullptr;
  int rows_ = 0;
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
