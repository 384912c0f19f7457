#pragma once
// How sure a prediction is: the run again and again with other seeds, with the errors that the cost
// model showed where it was measured, and with parameters anywhere in their ranges.
//
// A residual row (hardware/catalog/residuals/) is one measured deployment that the fit had not
// seen. A trial takes one row and makes decode as much slower or faster as its ITL was (memory
// efficiencies, launches, host time of graph iterations), prefill as much as its TTFT (compute
// efficiencies, host time of the other iterations); efficiencies stay within their bounds. Rows are
// taken in turn, so that every one has its share.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

struct ResidualRow {
  std::string name;
  double ttft = 1, itl = 1;
  static constexpr Rows kFields{
      field("name", &ResidualRow::name, any, "the deployment"),
      field("ttft", &ResidualRow::ttft, between(0.1, 10.0), "measured / simulated mean TTFT"),
      field("itl", &ResidualRow::itl, between(0.1, 10.0), "measured / simulated mean ITL")};
};

struct Residuals {
  std::string cost, device, source;
  std::vector<ResidualRow> rows;
  static constexpr Rows kFields{
      field("cost", &Residuals::cost, any, "cost model"),
      field("device", &Residuals::device, any, "where it was measured"),
      field("source", &Residuals::source, any, "how these were obtained"),
      field("rows", &Residuals::rows, any, "one a deployment that the fit had not seen")};
};

// What is known of a cost model's errors; nothing for one that nobody measured.
std::optional<Residuals> load_residuals(const std::string& cost, Diagnostics&);

// "PATH=LOW..HIGH": every value between is as likely as any other. Whole numbers without a unit
// give whole numbers; a unit may stand at the upper end alone ("100..300 us").
struct ParamRange {
  std::string path, unit;
  double low = 0, high = 0;
  bool is_whole = false;
};
ParamRange parse_range(const std::string& text);        // throws InputError
std::string value_at(const ParamRange&, double share);  // of the way from low to high, [0, 1)

struct UncertaintyOptions {
  std::size_t trials = 100;
  bool vary_seed = true, vary_calibration = true;
  std::vector<ParamRange> ranges;
  int threads = 1;  // the result does not depend on it
  std::function<void(std::size_t done, std::size_t total)> progress;  // from any thread
};

struct UncertaintyRow {
  std::string name, statistic, unit;  // as in table metric
  double as_given = 0, p5 = 0, p50 = 0, p95 = 0;
};

struct UncertaintyResult {
  std::string scenario, device, cost;
  std::size_t trials = 0, failed = 0;
  std::string first_error;  // of a failed trial
  bool is_seed_varied = false;
  std::optional<Residuals> residuals;  // when they were drawn from
  std::vector<ParamRange> ranges;
  std::vector<UncertaintyRow> rows;
};

// Throws InputError for mistakes in the scenario or the ends of a range, and when every trial fails
// or nothing is left to vary.
UncertaintyResult run_uncertain(const std::string& scenario, const std::vector<std::string>& sets,
                                const UncertaintyOptions&);

}  // namespace kvsim
