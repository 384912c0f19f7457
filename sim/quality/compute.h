#pragma once
// Where the kernels of a measurement run: this machine's cores, or a Vulkan device. Attention here
// takes tensors as transformers make them, tokens first, of one sequence.
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/kv_cache.h"
#include "kernels/scores.h"
#include "kernels/threads.h"
#include "kernels/transformer.h"

namespace kvsim::kernels::vulkan {
class Device;
}

namespace kvsim::quality {

class Compute {
 public:
  explicit Compute(kernels::Threads& threads, kernels::vulkan::Device* device = nullptr)
      : threads_(threads), device_(device) {}
  void run(const kernels::Linear&) const;
  void run(const kernels::RmsNorm&) const;
  void run(const kernels::Rope&) const;
  void run(const kernels::SiluGate&) const;
  void run(const kernels::Softmax&) const;
  void run(const kernels::KeyScores&) const;
  void run(const kernels::PrefillAttention&) const;
  [[nodiscard]] kernels::Threads& threads() const { return threads_; }
  [[nodiscard]] kernels::vulkan::Device* device() const { return device_; }

 private:
  kernels::Threads& threads_;
  kernels::vulkan::Device* device_;
};

// Keys and values of one layer in pages of f32; widths that no page can hold are filled up with
// zeros, which change no product.
class PagedSequence {
 public:
  // keys [tokens][kv_heads][k_dim], values likewise.
  PagedSequence(std::int64_t kv_heads, std::int64_t k_dim, std::int64_t v_dim,
                std::span<const float> keys, std::span<const float> values);
  // Of the newest tokens: q [queries][q_heads][k_dim]; out [queries][q_heads][v_dim].
  [[nodiscard]] std::vector<float> attend(std::span<const float> q, std::int64_t q_heads,
                                          float scale, const Compute&) const;
  // Softmax rows [queries][q_heads][tokens]; 0 where a query does not see.
  [[nodiscard]] std::vector<float> weights(std::span<const float> q, std::int64_t q_heads,
                                           float scale, const Compute&) const;

 private:
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  [[nodiscard]] kernels::KvCache cache() const;
  [[nodiscard]] std::vector<float> padded(std::span<const float> q) const;
  kernels::KvFormat format_;
  std::size_t k_dim_, v_dim_;
  std::int32_t tokens_;
  std::vector<std::int32_t> pages_, length_;
  std::vector<Line> lines_;
};

}  // namespace kvsim::quality
