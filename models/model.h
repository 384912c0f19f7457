#pragma once
// A transformer's shape, layer by layer: what decides KV bytes, weights, flops and bytes. (Fields: models/README.md.)
#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

enum class Dtype : std::uint8_t { fp32, bf16, fp16, fp8, int8, int4, fp4 };
constexpr auto enum_names(Dtype) {
  return std::array{std::pair{Dtype::fp32, "fp32"}, std::pair{Dtype::bf16, "bf16"}, std::pair{Dtype::fp16, "fp16"},
                    std::pair{Dtype::fp8, "fp8"},   std::pair{Dtype::int8, "int8"}, std::pair{Dtype::int4, "int4"},
                    std::pair{Dtype::fp4, "fp4"}};
}
constexpr int bits(Dtype d) {
  switch (d) {
    case Dtype::fp32: return 32;
    case Dtype::bf16:
    case Dtype::fp16: return 16;
    case Dtype::fp8:
    case Dtype::int8: return 8;
    case Dtype::int4:
    case Dtype::fp4: return 4;
  }
  return 16;
}

enum class AttentionKind : std::uint8_t { full, sliding, chunked, mla };
constexpr auto enum_names(AttentionKind) {
  return std::array{std::pair{AttentionKind::full, "full"}, std::pair{AttentionKind::sliding, "sliding"},
                    std::pair{AttentionKind::chunked, "chunked"}, std::pair{AttentionKind::mla, "mla"}};
}

}  // namespace kvsim
