#pragma once
// Low rank and codes on tensors: numbers go in, what is read back from their stored form comes out.
// Fitted to the prompt, one object per layer and group of heads: bases, codebooks, factors and
// orders that a system takes from other texts come from the prompt here.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/threads.h"
#include "policies/token/cache.h"
#include "policies/token/encode.h"
#include "policies/token/head.h"

namespace kvsim::token {

class TensorEncoder {
 public:
  struct Context {
    const TokenPolicies* policies = nullptr;
    const EncodedForm* form = nullptr;
    std::optional<RopeShape> rope;
    Rng rng{0, ""};
    kernels::Threads* threads = nullptr;
  };
  explicit TensorEncoder(const Context&);
  // Heads of the group with the prompt's slots; queries [rows][k_dim] of all their query heads.
  void fit(std::span<Head* const> heads, std::span<const float> queries);
  // Replaces keys and values of slots [from, to) by what is read back; `salient` [to - from], or
  // empty: all. Marks them in the heads.
  void encode(std::span<Head* const> heads, std::size_t from, std::size_t to,
              std::span<const std::uint8_t> salient);

 private:
  struct Side {  // keys or values
    bool keys = true;
    std::size_t width = 0;               // numbers of a token in the group
    std::size_t coded = 0;               // of its coordinates, or the same
    std::vector<float> basis, strength;  // [rank][width]; singular values of flat
    std::vector<float> factors;          // of smooth
    std::vector<std::int32_t> order;     // of reorder
    std::vector<float> codebook, low_codebook;
    std::vector<float> projections;  // of sign: [m][width]
  };
  std::vector<float> gather(const Side&, std::span<Head* const>, std::size_t from, std::size_t to,
                            bool turn_back);
  void scatter(const Side&, std::span<Head* const>, std::size_t from, std::size_t to,
               std::vector<float> rows);
  void turn(std::vector<float>& rows, const Head&, std::size_t from, std::size_t stride,
            std::size_t offset, int sign);
  void fit_side(Side&, std::span<Head* const>, std::span<const float> queries);
  void encode_side(const Side&, std::span<Head* const>, std::size_t from, std::size_t to,
                   std::span<const std::uint8_t> salient);
  std::vector<float> to_coordinates(const Side&, const std::vector<float>& rows);
  std::vector<float> from_coordinates(const Side&, std::vector<float> coordinates);
  void code(const Side&, std::vector<float>& rows, std::span<const std::uint8_t> salient);
  void code_plain(const Side&, std::vector<float>& rows, bool low);
  void code_signs(const Side&, std::vector<float>& rows) const;
  void transform(const Side&, std::vector<float>& rows, bool back);
  [[nodiscard]] bool turns_keys() const;
  [[nodiscard]] double bits(const Side&) const;

  Context c_;
  Side keys_, values_;
};

}  // namespace kvsim::token
