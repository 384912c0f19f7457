#pragma once
// `cache.hidden_states` (Apt-Serve): a sequence keeps either keys and values or the inputs of the
// layers, from which they are projected anew whenever an earlier token is attended to. Both lie in
// blocks of the same size:
//
//   tokens of a block   b of keys and values, floor(b 2 G d s / (D s)) of hidden states
//   projection          4 D G d flops a token and layer, D s + 2 G d s bytes read and written;
//                       max(flops / rate, bytes / bandwidth) of all layers
//
// G, d of one tensor-parallel rank; hidden states are whole on each. See sim/engine/kv_form.h.
#include <map>
#include <memory>

#include "sim/engine/kv_form.h"
#include "sim/run/build.h"

namespace kvsim {

class HiddenForms final : public KvForms {
 public:
  // Tokens of a block in either form; ns to project one. `hidden` must exceed `kv` for anybody to
  // gain.
  HiddenForms(std::int64_t kv, std::int64_t hidden, double project_ns);
  const KvCurve& curve(std::int64_t prompt) override;
  const KvCurve* hidden(std::int64_t prompt) override;
  PieceLoads piece(std::int64_t, const PrefillPiece&, PrefillPiece&) override { return {}; }

 private:
  [[nodiscard]] KvCurve draw(std::int64_t prompt, std::int64_t block_tokens,
                             std::int64_t project) const;

  std::int64_t kv_, hidden_, project_;              // the last in kLoadOne to a nanosecond
  std::map<std::int64_t, KvCurve> plain_, inputs_;  // by prompt; none moves
};

// To make keys and values of one token from the inputs of all layers, on one tensor-parallel rank.
double projection_ns(const BuiltRun&);

// Null without the key, or with mistakes, which go to Diagnostics. Requires model, hardware and the
// engine's settings but its scheduler.
std::unique_ptr<HiddenForms> build_hidden_forms(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
