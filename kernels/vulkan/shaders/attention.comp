#version 460
// Attention of a few query rows over a range of one kv head's tokens, by online softmax
// (FlashAttention, arXiv:2205.14135); attention_merge.comp joins the ranges (split-K, Flash-Decoding).
//
// One workgroup: one item (attention_plan.h) and one block of query heads of a kv head. Rows are queries x
// heads that share the keys. Tile after tile of WIDTH * TOKENS tokens:
//   scores   an invocation owns TOKENS tokens; keys arrive as 16 bytes of neighbouring tokens
//   values   an invocation owns 8 dims (PER times) of every LANES-th token
// Slots behind the item's end are never read into a result: they may hold NaN.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
#include "kv_format.glsl"
layout(constant_id = 9) const int QUERIES = 1;  // of a row block
layout(constant_id = 10) const int HEADS = 4;   // of a row block
layout(constant_id = 11) const int TOKENS = 2;  // of an invocation in a tile
layout(constant_id = 12) const int GROUPS = 1;  // of key scales that a tile may touch
layout(constant_id = 13) const int BLOCK_MASK = 0;

const int ROWS = QUERIES * HEADS;
const int ROWS4 = (ROWS + 3) / 4;
const int TILE = WIDTH * TOKENS;
const int K4 = K_DIM / 4;
const int UNITS = V_DIM / 8;
const int PER = (UNITS + WIDTH - 1) / WIDTH;
const int LANES = WIDTH < UNITS ? 1 : (WIDTH / UNITS < 16 ? WIDTH / UNITS : 16);
const float NEVER = -3.0e38;  // the score of a token that is not visible

layout(std430, set = 0, binding = 1) readonly buffer Table { int table[]; };
layout(std430, set = 0, binding = 2) readonly buffer Items { ivec4 items[]; };
layout(std430, set = 0, binding = 3) readonly buffer Slots { uvec2 slots[]; };
layout(std430, set = 0, binding = 4) readonly buffer Query { vec4 q[]; };
layout(std430, set = 0, binding = 5) readonly buffer Mask { uint mask[]; };
layout(std430, set = 0, binding = 6) writeonly buffer Stats { vec2 stats[]; };
layout(std430, set = 0, binding = 7) writeonly buffer Sums { float sums[]; };
layout(push_constant) uniform Push {
  KV_PUSH
  int max_pages, q_heads, group, head_blocks;
  float scale;  // of scores, times log2(e): exponentials are powers of two
  int window, sinks, mask_words;
};

#include "kv.glsl"
#define SLOTS ROWS
#include "reduce.glsl"

const int QUERY_WORDS = GROUPS * ROWS * K4;
const int WORK = QUERY_WORDS > ROWS * V_DIM / 4 ? QUERY_WORDS : ROWS * V_DIM / 4;
shared vec4 work[WORK];  // scaled queries [group][row][K4]; at the end the sums [row][V_DIM]
shared vec4 weights[TILE * ROWS4];
shared float biases[GROUPS * ROWS];  // quantised: query . zero

// Arrays sized by constants of the pipeline cannot be arguments of functions.
float scores[TOKENS * ROWS];
float best[ROWS], total[ROWS], zero[ROWS];  // online softmax: maximum, sum of weights, sum of weights * zero
vec4 sum[PER * ROWS * 2];
int lane;
int table_row, first_query, queries, position, begin, end, slot, mask_row;
int kv_head, first_head;

int query_of(int row) { return first_query + min(row / HEADS, queries - 1); }
int head_of(int row) { return kv_head * group + min(first_head + row % HEADS, group - 1); }

uint page_base(int t) {  // of the head page that holds token t
  return head_page(table[table_row * max_pages + t / PAGE_TOKENS], kv_head);
}
bool block_visible(int block) {
  return BLOCK_MASK == 0 || (mask[mask_row * mask_words * 2 + block / 32] >> (block % 32) & 1u) != 0;
}
bool is_visible(int row, int t) {
  const int at = position + row / HEADS;
  if (t > at || (window > 0 && t <= at - window && t >= sinks)) return false;
  return t < end && block_visible(t / 64);
}
// Whether any row may see any token of the tile.
bool tile_visible(int tile) {
  for (int block = tile / 64; block * 64 < min(tile + TILE, end); ++block)
    if (block_visible(block)) return true;
  return false;
}

// Puts the queries into shared memory; quantised: multiplied with the scales of the tile's groups.
void load_queries(int tile) {
  for (int i = lane; i < QUERY_WORDS; i += WIDTH) {
    const int row = i / K4 % ROWS, d4 = i % K4;
    const vec4 x = q[(query_of(row) * q_heads + head_of(row)) * K4 + d4] * scale;
    if (QUANTISED) {
      const int t = min((tile / GROUP_TOKENS + i / (K4 * ROWS)) * GROUP_TOKENS, end - 1);
      work[i] = x * halves4(page_base(t), key_scales, key_scale_index(t) + d4 * 4);
    } else {
      work[i] = x;
    }
  }
  if (!QUANTISED) return;
  for (int i = lane; i < GROUPS * ROWS; i += WIDTH) {
    const int row = i % ROWS;
    const int t = min((tile / GROUP_TOKENS + i / ROWS) * GROUP_TOKENS, end - 1);
    const uint base = page_base(t);
    float sum = 0;
    for (int d4 = 0; d4 < K4; ++d4)
      sum += dot(q[(query_of(row) * q_heads + head_of(row)) * K4 + d4],
                 halves4(base, key_scales, key_scale_index(t) + K_DIM + d4 * 4));
    biases[i] = sum * scale;
  }
}

void score_tile(int tile) {
  uint keys[TOKENS];
  int groups[TOKENS];
  [[unroll]] for (int i = 0; i < TOKENS; ++i) {
    const int t = min(tile + lane + i * WIDTH, end - 1);
    keys[i] = page_base(t) + key_tile(t) + (DIM_MAJOR != 0 ? 0u : uint(t % 16));
    groups[i] = GROUPS > 1 ? t / GROUP_TOKENS - tile / GROUP_TOKENS : 0;
    [[unroll]] for (int r = 0; r < ROWS; ++r)
      scores[i * ROWS + r] = QUANTISED ? biases[groups[i] * ROWS + r] : 0.0;
  }
  for (int c = 0; c * PER_CHUNK < K_DIM; ++c) {
    uvec4 chunk[TOKENS];
    if (DIM_MAJOR == 0) [[unroll]] for (int i = 0; i < TOKENS; ++i) chunk[i] = pages4[keys[i] + c * 16];
    for (int v = 0; v < min(PER_CHUNK / 4, K4 - c * PER_CHUNK / 4); ++v) {
      const int d4 = c * (PER_CHUNK / 4) + v;
      vec4 x[TOKENS];
      [[unroll]] for (int i = 0; i < TOKENS; ++i)
        x[i] = DIM_MAJOR != 0 ? dim_major4(keys[i], min(tile + lane + i * WIDTH, end - 1) % 16, d4 * 4)
                              : of_chunk(chunk[i], v);
      [[unroll]] for (int r = 0; r < ROWS; ++r) {
        const vec4 shared_query = work[r * K4 + d4];
        [[unroll]] for (int i = 0; i < TOKENS; ++i)
          scores[i * ROWS + r] +=
              dot(x[i], GROUPS > 1 ? work[(groups[i] * ROWS + r) * K4 + d4] : shared_query);
      }
    }
  }
}

// Unit u of the value row of the run's token j: dims as dim_of says. `base`: of the values of the run's
// first token (in keys: of the key tile), in 16 bytes.
void load_unit(uint base, int j, int u, out vec4 low, out vec4 high) {
  if (VALUES_IN_KEYS != 0 && DIM_MAJOR != 0) {
    low = dim_major4(base, j, u * 8);
    high = dim_major4(base, j, u * 8 + 4);
    return;
  }
  const int units = PER_CHUNK / 8;  // of a chunk
  const uint at = VALUES_IN_KEYS != 0 && BITS < 32 ? uint((u / units * 16 + j) * units + u % units)
                                                   : uint(j * UNITS + u);
  if (BITS == 32) {
    const bool split = VALUES_IN_KEYS != 0;
    low = uintBitsToFloat(pages4[base + (split ? uint(u * 32 + j) : at * 2)]);
    high = uintBitsToFloat(pages4[base + (split ? uint(u * 32 + 16 + j) : at * 2 + 1)]);
  } else if (BITS == 16) {
    const uvec4 c = pages4[base + at];
    low = of_chunk(c, 0);
    high = of_chunk(c, 1);
  } else if (BITS == 8) {
    const uvec2 w = pages2[base * 2 + at];
    low = codes(w.x, 8 * IN_ROW);
    high = codes(w.y, 8 * IN_ROW);
  } else if (BITS == 4) {
    // Each branch has shifts of its own: Mesa 22.3's lavapipe computes wrong vectors from a choice by a
    // constant of the pipeline.
    const uint w = pages1[base * 4 + at];
    low = VALUES_IN_KEYS != 0 ? codes(w, 4 * IN_ROW) : codes(w, 8 * IN_ROW);
    high = VALUES_IN_KEYS != 0 ? codes(w, 16 + 4 * IN_ROW) : codes(w, 4 + 8 * IN_ROW);
  } else {
    const uint w = pages1[base * 4 + (at >> 1)] >> (16 * (at & 1));
    low = VALUES_IN_KEYS != 0 ? codes(w, 2 * IN_ROW) : codes(w, uvec4(0, 8, 2, 10));
    high = VALUES_IN_KEYS != 0 ? codes(w, 8 + 2 * IN_ROW) : codes(w, uvec4(4, 12, 6, 14));
  }
}
int dim_of(int u, int i) {
  if (VALUES_IN_KEYS != 0 || BITS >= 8) return u * 8 + i;
  if (BITS == 4) return i / 4 * (V_DIM / 2) + u * 4 + i % 4;
  return i / 2 * (V_DIM / 4) + u * 2 + i % 2;
}

void add_values(int tile) {
  const int my_lane = lane / UNITS;
  if (WIDTH >= UNITS && my_lane >= LANES) return;
  for (int run = tile; run < min(tile + TILE, end); run += 16) {
    const uint page = page_base(run);
    const int first = run % PAGE_TOKENS;
    const uint base =
        page + (VALUES_IN_KEYS != 0 ? key_tile(run) : values_offset + uint(first * UNITS * BITS / 16));
    const int count = min(16, end - run);
    [[unroll]] for (int k = 0; k < PER; ++k) {
      const int u = WIDTH < UNITS ? lane + k * WIDTH : lane % UNITS;
      if (WIDTH < UNITS && u >= UNITS) continue;
      vec4 factor_low, factor_high, zero_low, zero_high;
      if (QUANTISED && VALUES_IN_KEYS != 0) {
        const int at = key_scale_index(run) + u * 8;
        factor_low = halves4(page, key_scales, at);
        factor_high = halves4(page, key_scales, at + 4);
        zero_low = halves4(page, key_scales, at + K_DIM);
        zero_high = halves4(page, key_scales, at + K_DIM + 4);
      }
      for (int j = WIDTH < UNITS ? 0 : my_lane; j < count; j += LANES) {
        vec4 low, high;
        load_unit(base, j, u, low, high);
        if (QUANTISED && VALUES_IN_KEYS != 0) {
          low = low * factor_low + zero_low;
          high = high * factor_high + zero_high;
        }
        [[unroll]] for (int r4 = 0; r4 < ROWS4; ++r4) {
          const vec4 w = weights[(run - tile + j) * ROWS4 + r4];
          [[unroll]] for (int r = r4 * 4; r < min(r4 * 4 + 4, ROWS); ++r) {
            sum[(k * ROWS + r) * 2] += w[r - r4 * 4] * low;
            sum[(k * ROWS + r) * 2 + 1] += w[r - r4 * 4] * high;
          }
        }
      }
    }
  }
}

void write_results() {
  barrier();
  [[unroll]] for (int r = 0; r < ROWS; ++r) share_sum(r, total[r]);
  barrier();
  [[unroll]] for (int r = 0; r < ROWS; ++r) total[r] = shared_sum(r);
  barrier();
  [[unroll]] for (int r = 0; r < ROWS; ++r) share_sum(r, zero[r]);
  for (int part = 0; part < LANES; ++part) {
    barrier();
    if (WIDTH >= UNITS && lane / UNITS != part) continue;
    [[unroll]] for (int k = 0; k < PER; ++k) {
      const int u = WIDTH < UNITS ? lane + k * WIDTH : lane % UNITS;
      if (u >= UNITS) continue;
      [[unroll]] for (int r = 0; r < ROWS; ++r) [[unroll]] for (int half_ = 0; half_ < 2; ++half_) {
        const int at = (r * UNITS + u) * 2 + half_;
        const vec4 mine = sum[(k * ROWS + r) * 2 + half_];
        work[at] = part == 0 ? mine : work[at] + mine;
      }
    }
  }
  barrier();
  [[unroll]] for (int r = 0; r < ROWS; ++r) {
    const int head = first_head + r % HEADS;
    if (r / HEADS >= queries || head >= group) continue;
    const uint at = (slots[query_of(r)].x + uint(slot)) * uint(q_heads) + uint(kv_head * group + head);
    if (lane == 0) stats[at] = vec2(best[r], total[r]);
    const float z = shared_sum(r);
    for (int i = lane; i < V_DIM; i += WIDTH)
      sums[at * uint(V_DIM) + uint(dim_of(i / 8, i % 8))] =
          work[(r * UNITS + i / 8) * 2 + i % 8 / 4][i % 4] + z;
  }
}

void main() {
  lane = int(gl_LocalInvocationIndex);
  const uint item = gl_WorkGroupID.x + first_item;
  const ivec4 a = items[item * 2], b = items[item * 2 + 1];
  table_row = a.x, first_query = a.y, queries = a.z, position = a.w;
  begin = b.x, end = b.y, slot = b.z, mask_row = b.w;
  kv_head = int(gl_WorkGroupID.y) / head_blocks;
  first_head = int(gl_WorkGroupID.y) % head_blocks * HEADS;

  [[unroll]] for (int r = 0; r < ROWS; ++r) best[r] = NEVER, total[r] = 0, zero[r] = 0;
  [[unroll]] for (int i = 0; i < PER * ROWS * 2; ++i) sum[i] = vec4(0);
  bool queries_loaded = false;
  for (int tile = begin; tile < end; tile += TILE) {
    if (!tile_visible(tile)) continue;
    if (QUANTISED || !queries_loaded) {
      load_queries(tile);
      barrier();
      queries_loaded = true;
    }
    score_tile(tile);
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
      float most = NEVER;
      [[unroll]] for (int i = 0; i < TOKENS; ++i) {
        if (!is_visible(r, tile + lane + i * WIDTH)) scores[i * ROWS + r] = NEVER;
        most = max(most, scores[i * ROWS + r]);
      }
      share_max(r, most);
    }
    barrier();
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
      const float now = max(best[r], shared_max(r));
      const float factor = exp2(best[r] - now);
      best[r] = now;
      total[r] *= factor;
      zero[r] *= factor;
      [[unroll]] for (int k = 0; k < PER; ++k) {
        sum[(k * ROWS + r) * 2] *= factor;
        sum[(k * ROWS + r) * 2 + 1] *= factor;
      }
    }
    [[unroll]] for (int i = 0; i < TOKENS; ++i) {
      vec2 affine = vec2(1, 0);
      const int t = min(tile + lane + i * WIDTH, end - 1);
      if (QUANTISED && VALUES_IN_KEYS == 0) {
        const uint base = page_base(t);
        affine.x = half_at(base, value_scales, t % PAGE_TOKENS);
        affine.y = half_at(base, value_scales, t % PAGE_TOKENS + PAGE_TOKENS);
      }
      [[unroll]] for (int r4 = 0; r4 < ROWS4; ++r4) {
        vec4 w = vec4(0);
        [[unroll]] for (int r = r4 * 4; r < min(r4 * 4 + 4, ROWS); ++r) {
          const float s = scores[i * ROWS + r];
          const float p = s > NEVER ? exp2(s - best[r]) : 0.0;
          total[r] += p;
          zero[r] += p * affine.y;
          w[r - r4 * 4] = p * affine.x;
        }
        weights[(lane + i * WIDTH) * ROWS4 + r4] = w;
      }
    }
    barrier();
    add_values(tile);
  }
  write_results();
}
