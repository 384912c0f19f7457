#pragma once
// How a decode call is cut into pieces of work for threads. Items are (sequence or group with a
// shared prefix) x kv head; laid end to end they are cut into equal parts, so that threads split kv
// heads first and a context only where a cut falls into it. Rows that several pieces work on are
// merged afterwards.
#include <vector>

#include "kernels/cpu/walk.h"

namespace kvsim::kernels::cpu {

struct DecodeItem {
  std::int32_t sequence = 0;   // the first of `sequences`; its pages are read
  std::int32_t sequences = 1;  // that share the tokens
  int kv_head = 0;
  TokenRange range;
  std::int64_t cost_before = 0;  // of all items before; a tile group costs `sequences`
};

struct DecodePiece {
  std::size_t item = 0;
  std::int32_t first = 0, end = 0;  // tile groups
  std::size_t partial = 0;          // index of the first row's partial result
};

struct DecodePlan {
  std::vector<DecodeItem> items;
  std::vector<DecodePiece> pieces;         // ascending
  std::vector<std::size_t> thread_pieces;  // [threads + 1]: thread k has pieces [k] .. [k + 1] - 1
  std::vector<int> contributions;          // [sequence][kv head]: pieces that work on its rows
  std::size_t partials = 0;                // rows of partial results
};

// Partials are numbered only for rows with several contributions.
DecodePlan plan_decode(const DecodeAttention&, int threads);

}  // namespace kvsim::kernels::cpu
