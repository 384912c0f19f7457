#pragma once
// Quality of token policies in terms of a scenario and its result file.
#include <optional>
#include <vector>

#include "models/model.h"
#include "sim/quality/run.h"
#include "sim/record/metrics.h"
#include "sim/record/schema_quality.h"
#include "sim/scenario/scenario.h"

namespace kvsim {

// The heads of a model's cache, latent or not; nothing for a model without KV.
std::optional<token::KvShape> kv_shape_of(const ModelSpec&);
std::vector<QualityRow> quality_rows(const quality::QualityResult&);

// What `quality` of a scenario asks of its cache.token_policies, on synthetic tensors with the
// model's heads unless it says otherwise; nothing for `quality: none`, a model without KV, and a
// scenario that has neither key, unless `always`. Mistakes go to Diagnostics. Tensors are the same
// whatever the run's seed, so that trials pay once.
std::optional<quality::Question> run_question(const LoadedScenario&, const ModelSpec&, bool always,
                                              Diagnostics&);
// What a run keeps of it: rows of table `quality`, and metrics `quality` (out_err, out_err_p99,
// ...) of the scope `run`.
struct RunQuality {
  std::vector<QualityRow> rows;
  std::vector<Metric> metrics;
};
RunQuality measure_run_quality(const quality::Question&, const quality::MeasureOptions&);

}  // namespace kvsim
