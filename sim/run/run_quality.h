#pragma once
// Quality of token policies in terms of a scenario and its result file.
#include <optional>
#include <vector>

#include "models/model.h"
#include "sim/quality/run.h"
#include "sim/record/schema_quality.h"

namespace kvsim {

// The heads of a model's cache, latent or not; nothing for a model without KV.
std::optional<token::KvShape> kv_shape_of(const ModelSpec&);
std::vector<QualityRow> quality_rows(const quality::QualityResult&);

}  // namespace kvsim
