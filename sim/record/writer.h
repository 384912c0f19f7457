#pragma once
// Rows of one run into an open database: prepared statements, no transaction of its own (the caller
// batches).
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sim/record/database.h"
#include "sim/record/metrics.h"
#include "sim/record/row_insert.h"
#include "sim/record/schema_quality.h"
#include "sim/state/outcome.h"

namespace kvsim {

// A kernel measured on this machine before the run, for its cost model.
struct KernelTiming {
  std::string operation, shape, target;
  double seconds = 0;      // median of a call
  std::int64_t calls = 0;  // that counted
};

// What is known before a run starts.
struct RunHeader {
  std::string name;
  std::string scenario_text;  // fully resolved; its digest identifies the run
  std::uint64_t seed = 0;
  std::string version;
  Slo slo;
  std::vector<std::pair<std::string, std::string>> params;  // path and value; paths are unique
  std::vector<KernelTiming> kernel_timings{};
  std::vector<QualityRow> quality{};
};

// What differs between two runs of the same scenario; kept apart from results.
struct Provenance {
  std::string host;
  std::string started_utc;
  std::int64_t wall_ns = 0;
};

// 16 hexadecimal digits.
std::string digest_text(std::uint64_t digest);

class RunWriter {
 public:
  // Requires create_schema(). Inserts the row in `run` as unfinished, and the parameters.
  RunWriter(Database&, const RunHeader&);
  void write(const RequestOutcome&);
  void write(const IterationRecord&);
  void write(const InstanceSample&);
  void write(const RankTotals&);
  void write(const TierTotals&);
  void write(const TierSample&);
  void write(std::size_t number, const LinkUse&);
  void write(const TransferRecord&);
  void write(const FaultRecord&);
  void write(const DecisionRecord&);
  void write(const ScaleEvent&);
  void write(const Metric&);
  void write(const Provenance&);
  // The last row: status and totals.
  void finish(const RunOutcome&);
  void fail(const std::string& error);
  [[nodiscard]] std::int64_t run_id() const { return run_id_; }

 private:
  RowInsert insert(const std::string& table);
  RowInsert prepare(const std::string& sql);
  Database* db_;
  std::int64_t run_id_;
  RowInsert request_, iteration_, sample_, instance_, metric_;
  RowInsert tier_, tier_hit_, tier_sample_, link_, transfer_, fault_;
  RowInsert decision_, alternative_, scale_event_;
};

}  // namespace kvsim
