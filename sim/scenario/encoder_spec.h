#pragma once
// `encoder`: the network that turns images of a prompt into tokens. The defaults are CLIP ViT-L/14
// at 336 pixels, as LLaVA-1.5 uses it (576 tokens an image).
#include <cstdint>

#include "sim/base/fields.h"
#include "sim/base/quantity.h"

namespace kvsim {

struct ImageEncoderSpec {
  std::int64_t layers = 24, hidden = 1024, intermediate = 4096;
  bool gated = false;
  double patches_per_token = 1;
  Tokens cache{16384};
  static constexpr Rows kFields{
      field("layers", &ImageEncoderSpec::layers, between<std::int64_t>(1, 1024), "of the encoder"),
      field("hidden", &ImageEncoderSpec::hidden, between<std::int64_t>(1, 1 << 20),
            "width of its residual stream"),
      field("intermediate", &ImageEncoderSpec::intermediate, between<std::int64_t>(1, 1 << 20),
            "width of its feed-forward part"),
      field("gated", &ImageEncoderSpec::gated, any, "the feed-forward part has a gate (SwiGLU)"),
      field(
          "patches_per_token", &ImageEncoderSpec::patches_per_token, between(0.01, 1024.0),
          "patches that the encoder sees for each token that the prompt gets (Qwen2-VL merges 4)"),
      field("cache", &ImageEncoderSpec::cache, any,
            "output tokens of images that are kept by an image's hash, an instance; vLLM's default "
            "is its token budget")};
};

}  // namespace kvsim
