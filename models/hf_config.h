#pragma once
// A model's shape from the config.json of a Hugging Face repository (read as a Tree by
// sim/scenario/yaml.h). Only shape-giving keys are read; others are ignored, because such files
// carry many. Absent keys take the defaults of the transformers library's configuration classes.
// Multimodal files: the text_config part.
#include <string>
#include <vector>

#include "models/model.h"

namespace kvsim {

// Mistakes (unknown model_type, missing or absurd dimensions) go to the reader; the result is then
// meaningless.
ModelSpec from_hf_config(const Tree& json, Reader&);

// Supported values of model_type, sorted.
std::vector<std::string> hf_model_types();

}  // namespace kvsim
