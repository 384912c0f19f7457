#pragma once
// The operations besides attention that run a Llama-like transformer. f32 arithmetic (references:
// double); rows are tokens.
#include <array>
#include <cstdint>
#include <span>
#include <utility>

namespace kvsim::kernels {

// out[m][n] = sum_k x[m][k] * weight[n][k]: weights as stored by PyTorch's Linear (out x in). One
// of the two weights is given; f16 is IEEE binary16. rows = 1 is a GEMV, which reads each weight
// once. Bound: relative L2 2e-5 per row of well-conditioned sums.
struct Linear {
  std::int32_t rows = 0, in_dim = 0, out_dim = 0;
  std::span<const float> weight_f32;          // [out_dim][in_dim]
  std::span<const std::uint16_t> weight_f16;  // or this
  std::span<const float> x;                   // [rows][in_dim]
  std::span<float> out;                       // [rows][out_dim]
};

// out = x / sqrt(mean(x^2) + epsilon) * weight, per row. May be in place. Bound 1e-6 relative L2.
struct RmsNorm {
  std::int32_t rows = 0, dim = 0;
  float epsilon = 1e-5F;
  std::span<const float> x, weight;
  std::span<float> out;
};

// Rotary position embedding (arXiv:2104.09864): pair i of a head turns by position * theta^(-2i /
// dim). Pairs are numbers (2i, 2i + 1) of the head, or (i, i + dim / 2) in Hugging Face's Llama.
// In place. The angle is computed in double on both paths; bound 1e-6 relative L2.
enum class RopePairs : std::uint8_t { adjacent, halves };
constexpr auto enum_names(RopePairs) {
  return std::array{std::pair{RopePairs::adjacent, "adjacent"},
                    std::pair{RopePairs::halves, "halves"}};
}
struct Rope {
  std::int32_t rows = 0, heads = 0, dim = 0;  // dim even
  RopePairs pairs = RopePairs::halves;
  double theta = 10000;
  std::span<const std::int32_t> positions;  // [rows]
  std::span<float> x;                       // [rows][heads][dim]
};

// out = gate / (1 + exp(-gate)) * up (SwiGLU's middle, arXiv:2002.05202). May be in place. Bound
// 1e-6 relative L2.
struct SiluGate {
  std::span<const float> gate, up;
  std::span<float> out;
};

// out = log(softmax(x)) per row, or softmax. -infinity is allowed, not in a whole row. May be in
// place. Bound: 1e-5 absolute (log: times max(1, |out|)).
struct Softmax {
  std::int32_t rows = 0, columns = 0;
  bool log = false;
  std::span<const float> x;
  std::span<float> out;
};

namespace reference {
void linear(const Linear&);
void rms_norm(const RmsNorm&);
void rope(const Rope&);
void silu_gate(const SiluGate&);
void softmax(const Softmax&);
}  // namespace reference

class Threads;
namespace cpu {
void linear(const Linear&, Threads&);
void rms_norm(const RmsNorm&, Threads&);
void rope(const Rope&, Threads&);
void silu_gate(const SiluGate&, Threads&);
void softmax(const Softmax&, Threads&);
}  // namespace cpu

}  // namespace kvsim::kernels
