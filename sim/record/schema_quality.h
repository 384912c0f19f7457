#pragma once
// The table of what token policies do to quality. Its rows belong to a run, or to a measurement of
// `kvsim quality` without one.
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "sim/record/schema.h"

namespace kvsim {

const TableInfo& quality_table();

struct QualityRow {
  std::string source, policy, parameters;
  std::optional<double> budget;
  double kv_bytes = 0, full_bytes = 0, read_bytes = 0, full_read_bytes = 0;
  double kept_tokens = 0, read_tokens = 0;
  std::string measure, statistic, unit;
  std::optional<std::int32_t> layer, head, step;
  double value = 0;
};
// Requires create_schema(). No transaction of its own.
void write_quality(Database&, std::optional<std::int64_t> run_id, std::span<const QualityRow>);

// A file with these rows and no run; replaces an older one whole. Throws InputError.
void write_quality_file(const std::string& path, std::span<const QualityRow>);

}  // namespace kvsim
