#pragma once
// Where queries, keys and values come from: plug-ins of kind "quality-source" (sources/*.cpp). The
// same parameters and seed give the same tensors.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sim/base/registry.h"
#include "sim/quality/sequence.h"

namespace kvsim::quality {

class TextModel;

class Source {
 public:
  using Contract = Source;
  static constexpr const char* kKind = "quality-source";
  struct Context {
    std::string base_dir;  // relative paths start here
    std::uint64_t seed = 0;
    // Tokens of a sequence; 0 = as many as the source finds fit.
    std::int64_t prompt = 0, steps = 0;
    std::int64_t sequences = 1;
    // Heads of a model, for sources that have none of their own.
    std::optional<token::KvShape> like;
  };
  virtual ~Source() = default;
  [[nodiscard]] virtual token::KvShape shape() const = 0;
  [[nodiscard]] virtual std::int32_t prompt() const = 0;
  [[nodiscard]] virtual std::int32_t steps() const = 0;
  [[nodiscard]] virtual std::int32_t sequences() const = 0;
  // Of what its parameters name: contents of files.
  [[nodiscard]] virtual std::uint64_t digest() const { return 0; }
  [[nodiscard]] virtual Sequence sequence(std::int32_t index, const Compute&) const = 0;
  // A model whose text can go on under a policy; null: tensors only.
  [[nodiscard]] virtual const TextModel* model() const { return nullptr; }
};

// Tokens of a text, and what comes next under a policy. Sequence i of the source is its tokens i.
class TextModel {
 public:
  virtual ~TextModel() = default;
  // Attention of one layer for one new token; what a policy's cache does.
  using Attend =
      std::function<void(std::int32_t layer, const token::StepTensors&, std::span<float> out)>;
  [[nodiscard]] virtual std::span<const std::int32_t> tokens(std::int32_t index) const = 0;
  // Logits of the token after `id`, which stands at `position`.
  [[nodiscard]] virtual std::vector<float> next(std::int32_t id, std::int32_t position,
                                                const Attend&, const Compute&) const = 0;
  // Logits [tokens][vocabulary] with the whole cache.
  [[nodiscard]] virtual std::vector<float> logits(std::span<const std::int32_t> ids,
                                                  const Compute&) const = 0;
  [[nodiscard]] virtual std::int32_t vocabulary() const = 0;
  [[nodiscard]] virtual std::int32_t context() const = 0;
  // A token that begins a text and is not predicted; < 0: none.
  [[nodiscard]] virtual std::int32_t begin_token() const = 0;
};

}  // namespace kvsim::quality
