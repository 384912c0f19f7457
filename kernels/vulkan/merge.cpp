#include "kernels/merge.h"

#include "kernels/low_rank.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

namespace {

const Buffer& add_lengths(Call& call, const Buffer& x, std::int32_t tokens, std::int32_t dim) {
  const auto rows = static_cast<std::size_t>(tokens);
  const Buffer& lengths = call.scratch(rows * 4, "lengths of rows");
  call.for_each({"lengths", {call.width()}, {&x, &lengths}, {0, word(tokens), word(dim)}, {}}, rows,
                0);
  return lengths;
}

void add_projection(Call& call, const Projection& a, bool is_transposed) {
  const std::size_t count = a.out.size();
  call.for_each(
      {"project",
       {call.width(), is_transposed},
       {&call.in(a.bases, "the bases"), &call.in(a.in, "the rows"), &call.out(a.out, "the result")},
       {0, word(count), word(a.groups), word(a.rank), word(a.dim)},
       {}},
      count, 0);
}

}  // namespace

void build(Call& call, const NeighbourSimilarity& a) {
  const Buffer& x = call.in(a.x, "the tokens");
  const Buffer& out = call.out(a.out, "the similarities");
  if (a.tokens < 2) return;
  const Buffer& lengths = add_lengths(call, x, a.tokens, a.dim);
  call.for_each({"neighbour_similarity",
                 {call.width()},
                 {&x, &lengths, &out},
                 {0, word(a.tokens - 1), word(a.dim)},
                 {}},
                static_cast<std::size_t>(a.tokens) - 1, 0);
}

void build(Call& call, const NearestKept& a) {
  const Buffer& x = call.in(a.x, "the tokens");
  const Buffer& lengths = add_lengths(call, x, a.tokens, a.dim);
  call.for_each(
      {"nearest_kept",
       {call.width()},
       {&x, &lengths, &call.own(a.kept, "the kept tokens"), &call.out(a.cluster, "the clusters"),
        &call.out(a.similarity, "the similarities")},
       {0, word(a.tokens), word(a.dim), word(a.kept.size()), word(a.threshold)},
       {}},
      static_cast<std::size_t>(a.tokens), 0);
}

void build(Call& call, const WeightedMerge& a) {
  const std::size_t count = a.out.size();
  call.for_each({"weighted_merge",
                 {call.width()},
                 {&call.in(a.x, "the tokens"), &call.in(a.cluster, "the clusters"),
                  &call.in(a.weight, "the weights"), &call.out(a.out, "the merged tokens")},
                 {0, word(count), word(a.tokens), word(a.dim)},
                 {}},
                count, 0);
}

void build(Call& call, const LayerMerge& a) {
  call.for_groups({"merge_layers",
                   {call.width()},
                   {&call.in(a.a, "one layer"), &call.in(a.b, "the other layer"),
                    &call.out(a.direction, "the directions"), &call.out(a.length_a, "lengths"),
                    &call.out(a.length_b, "lengths"), &call.out(a.angle, "angles")},
                   {0, word(a.dim), word(a.at)},
                   {}},
                  static_cast<std::size_t>(a.tokens), 0);
}

void build(Call& call, const Projection& a) { add_projection(call, a, false); }
void build(Call& call, const Reconstruction& a) { add_projection(call, a.projection, true); }

void once(const NeighbourSimilarity& a, Device& device) { run_once(a, device); }
void once(const NearestKept& a, Device& device) { run_once(a, device); }
void once(const WeightedMerge& a, Device& device) { run_once(a, device); }
void once(const LayerMerge& a, Device& device) { run_once(a, device); }
void once(const Projection& a, Device& device) { run_once(a, device); }
void once(const Reconstruction& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
