#include "kernels/scores.h"

#include <array>
#include <map>

#include "kernels/vulkan/call.h"
#include "kernels/vulkan/kv_arguments.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

void build(Call& call, const KeyScores& a) {
  const KvFormat& f = a.cache.format;
  f.check();
  struct Query {
    std::int32_t sequence, position;
  };
  std::vector<Query> queries;
  for (std::size_t s = 0; s + 1 < a.starts.size(); ++s)
    for (std::int32_t q = a.starts[s]; q < a.starts[s + 1]; ++q)
      queries.push_back({static_cast<std::int32_t>(s), a.table.lengths[s] - (a.starts[s + 1] - q)});
  const Call::Paged paged = call.paged(a.cache, a.table);
  const Buffer& out = call.out(a.out, "the scores");
  call.for_each({"score_keys",
                 kv_constants(call.width(), f),
                 {paged.pages, paged.table, &call.own<Query>(queries, "positions of the queries"),
                  &call.in(a.q, "the queries"), &out},
                 kv_push(f, {word(a.table.max_pages), word(a.q_heads), word(a.q_heads / f.kv_heads),
                             word(a.columns), word(a.scale)}),
                 {}},
                static_cast<std::size_t>(a.columns), 0, word(a.q_heads), word(queries.size()));
  if (a.softmax && a.columns > 0)
    call.for_groups({"softmax", {call.width(), 0}, {&out, &out}, {0, word(a.columns)}, {}},
                    queries.size() * static_cast<std::size_t>(a.q_heads), 0);
}

void build(Call& call, const ScoreReduction& a) {
  const Buffer& sums = call.scratch(a.out.size_bytes(), "sums of the scores");
  const Buffer& out = call.out(a.out, "the importance of tokens", a.accumulate);
  const auto columns = static_cast<std::size_t>(a.columns);
  const std::int32_t first = a.window > 0 ? std::max(0, a.queries - a.window) : 0;
  call.for_each({"reduce_scores",
                 {call.width(), word(a.heads == Combine::max)},
                 {&call.in(a.in, "the scores"), &sums},
                 {0, word(first), word(a.queries), word(a.q_heads), word(a.q_heads / a.kv_heads),
                  word(a.columns)},
                 {}},
                columns, 0, word(a.kv_heads));
  call.for_each({"pool_scores",
                 {call.width(), word(a.pool == Combine::max), word(a.accumulate)},
                 {&sums, &out},
                 {0, word(a.columns), word((a.pool_width - 1) / 2)},
                 {}},
                columns, 0, word(a.kv_heads));
}

void build(Call& call, const TopK& a) {
  std::vector<std::int32_t> lengths(a.lengths.begin(), a.lengths.end());
  if (lengths.empty()) lengths.assign(static_cast<std::size_t>(a.rows), a.columns);
  const std::vector<const Buffer*> buffers{&call.in(a.in, "the scores"),
                                           &call.own<std::int32_t>(lengths, "lengths of rows"),
                                           &call.out(a.out, "the chosen indices")};
  if (a.k > 0)
    call.for_groups({"top_k", {call.width()}, buffers, {0, word(a.columns), word(a.k)}, {}},
                    static_cast<std::size_t>(a.rows), 0);
}

void build(Call& call, const PageSummaries& a) {
  const KvFormat& f = a.cache.format;
  f.check();
  std::map<std::int32_t, std::int32_t> tokens;  // of a page; a later sequence wins
  for (std::size_t s = 0; s < a.table.lengths.size(); ++s)
    for (std::int32_t p = 0; p * f.page_tokens < a.table.lengths[s]; ++p)
      tokens[a.table.page_of(s, p)] =
          std::min(f.page_tokens, a.table.lengths[s] - p * f.page_tokens);

  std::vector<std::array<std::int32_t, 2>> items;
  for (const auto& [page, valid] : tokens) items.push_back({page, valid});
  const std::size_t count = items.size() * static_cast<std::size_t>(f.kv_heads * f.k_dim / 4);
  call.for_each({"summarize_pages",
                 kv_constants(call.width(), f),
                 {&call.in(a.cache.pages, "the pages of the KV cache"),
                  &call.own<std::array<std::int32_t, 2>>(items, "the pages in use"),
                  &call.out(a.out, "the summaries", true)},
                 kv_push(f, {word(count), word(f.kv_heads)}),
                 {}},
                count, 0);
}

void build(Call& call, const PageScores& a) {
  call.for_each({"score_pages",
                 {call.width()},
                 {&call.own(a.table.pages, "the block table"),
                  &call.own(a.table.lengths, "the lengths"), &call.in(a.summaries, "the summaries"),
                  &call.in(a.q, "the queries"), &call.out(a.out, "the scores of pages")},
                 {0, word(a.table.max_pages), word(a.q_heads), word(a.kv_heads), word(a.k_dim / 4),
                  word(a.page_tokens)},
                 {}},
                static_cast<std::size_t>(a.table.max_pages), 0, word(a.q_heads),
                word(a.table.lengths.size()));
}

void once(const KeyScores& a, Device& device) { run_once(a, device); }
void once(const ScoreReduction& a, Device& device) { run_once(a, device); }
void once(const TopK& a, Device& device) { run_once(a, device); }
void once(const PageSummaries& a, Device& device) { run_once(a, device); }
void once(const PageScores& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
