#pragma once
// Ragged heads for the attention kernels: every KV head of a layer is a sequence of its own, with
// one KV head and the queries of its group. A slot that stands for m tokens carries log m / scale
// in one more key channel, against which every query has 1.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kv_cache.h"
#include "kernels/threads.h"
#include "policies/token/shape.h"

namespace kvsim::kernels::vulkan {
class Device;
}

namespace kvsim::token {

class StagedHeads {
 public:
  // group = query heads of a KV head.
  StagedHeads(std::int64_t group, std::size_t k_dim, std::size_t v_dim, float scale);
  // Starts the next head.
  void add_head();
  // Adds a slot to the last head.
  void add(std::span<const float> key, std::span<const float> value, float count = 1);
  [[nodiscard]] std::int32_t slots(std::size_t head) const { return lengths_[head]; }

  // One query per head and query head of its group: q [head][group][k_dim]. Decode attention:
  // out [head][group][v_dim]. On the device where one is given.
  void attend(std::span<const float> q, std::span<float> out, kernels::Threads&,
              kernels::vulkan::Device* = nullptr);
  // `queries` queries per head, the last ones of its slots: q [head][query][group][k_dim].
  // Logits and weights [head][query][group][columns].
  struct Rows {
    std::int32_t columns = 0;
    std::vector<float> logits, weights;
  };
  Rows rows(std::span<const float> q, std::int32_t queries, kernels::Threads&,
            kernels::vulkan::Device* = nullptr);
  // Rows of a prompt's queries [first, first + queries): slots behind them are hidden.
  Rows prompt_rows(std::span<const float> q, std::int32_t first, std::int32_t queries,
                   kernels::Threads&);

 private:
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  [[nodiscard]] kernels::KvCache cache() const;
  [[nodiscard]] std::vector<float> padded(std::span<const float> q) const;
  Rows rows_of(std::span<const float> q, std::int32_t queries,
               std::span<const std::int32_t> lengths, std::int32_t columns, kernels::Threads&,
               kernels::vulkan::Device*);
  std::int64_t group_;
  std::size_t k_dim_, v_dim_;
  float scale_;
  kernels::KvFormat format_;
  std::vector<Line> lines_;
  std::vector<std::int32_t> lengths_;
  std::vector<std::vector<std::int32_t>> pages_;
  std::int32_t next_page_ = 0;
  std::vector<float> wide_key_, wide_value_;
};

}  // namespace kvsim::token
