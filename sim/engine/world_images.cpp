// Images that requests bring (encoder.h).
#include <fmt/format.h>

#include "sim/engine/world.h"

namespace kvsim {

void World::take_images() {
  if (!encoders_ && instances_.front()->spec.engine.encoder == nullptr)
    throw InputError(
        fmt::format("request {} brings images, and nobody encodes them", scratch_.index),
        "describe the encoder: encoder: {layers: 24, hidden: 1024, intermediate: 4096}");
  images_[scratch_.index] = scratch_.images;
}

}  // namespace kvsim
