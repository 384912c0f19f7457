#include "sim/calibrate/fleet_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "hardware/csv_table.h"
#include "sim/base/diagnostics.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

namespace {

constexpr std::array<std::string_view, 22> kColumns{"case",
                                                    "model",
                                                    "gpu",
                                                    "tensor_parallel",
                                                    "data_parallel",
                                                    "weights",
                                                    "max_batched_tokens",
                                                    "max_running",
                                                    "kv_blocks",
                                                    "rate_first_rps",
                                                    "rate_last_rps",
                                                    "duration_s",
                                                    "shared_prefix_tokens",
                                                    "prompt_tokens",
                                                    "output_tokens",
                                                    "ttft_mean_ms",
                                                    "ttft_p90_ms",
                                                    "ttft_p99_ms",
                                                    "itl_mean_ms",
                                                    "e2e_mean_ms",
                                                    "e2e_p90_ms",
                                                    "e2e_p99_ms"};

constexpr std::size_t kMostRows = 10'000;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

FleetFigures read_figures(const CsvRow& r) {
  constexpr double kMost = 1e9;  // ms: 11 days
  constexpr double kLeast = 1e-3;
  FleetFigures f;
  f.ttft_mean = r.number(15, kLeast, kMost);
  f.ttft_p90 = r.number(16, kLeast, kMost);
  f.ttft_p99 = r.number(17, kLeast, kMost);
  f.itl_mean = r.number(18, kLeast, kMost);
  f.e2e_mean = r.number(19, kLeast, kMost);
  f.e2e_p90 = r.number(20, kLeast, kMost);
  f.e2e_p99 = r.number(21, kLeast, kMost);
  if (f.e2e_mean < f.ttft_mean)
    r.error(fmt::format("e2e_mean_ms {} is below ttft_mean_ms {}", f.e2e_mean, f.ttft_mean),
            "are columns exchanged, or units mixed?");
  if (f.ttft_p99 < f.ttft_p90 || f.e2e_p99 < f.e2e_p90)
    r.error("a 99th percentile is below the 90th", "are columns exchanged?");
  return f;
}

void read_load(const CsvRow& r, FleetRow& row) {
  row.rate_first = r.number(9, 0, 1e4);
  row.rate_last = r.number(10, 0, 1e4);
  row.duration = r.number(11, 1, 1e6);
  row.shared_prefix = r.whole(12, 0, 1 << 24);
  row.prompt = r.whole(13, 1, 1 << 24);
  row.output = r.whole(14, 1, 1 << 24);
  constexpr double kMostRequests = 1e6;
  const double requests = (row.rate_first + row.rate_last) / 2 * row.duration;
  if (!(requests >= 1) || requests > kMostRequests)
    r.error(fmt::format("the load is {:.0f} requests in all", requests),
            "expected between 1 and 1000000: check the rates and duration_s");
}

FleetRow read_row(const CsvRow& r) {
  FleetRow row;
  row.place = r.place();
  row.name = std::string(r.text(0));
  if (row.name.empty()) r.error("case: is empty", "give each row a name");
  row.model = catalog_model(std::string(r.text(1)));
  if (row.model.empty())
    r.error(fmt::format("model: '{}' is not in the catalogue", r.text(1).substr(0, 60)),
            name_hint(lower(r.text(1)), catalog_ids(CatalogKind::model)));
  row.tensor = static_cast<int>(r.whole(3, 1, 1024));
  row.data = static_cast<int>(r.whole(4, 1, 1024));
  row.weights = std::string(r.text(5));
  static const std::vector<std::string> kPrecisions{"fp32", "bf16", "fp16", "fp8",
                                                    "int8", "int4", "fp4"};
  if (std::find(kPrecisions.begin(), kPrecisions.end(), row.weights) == kPrecisions.end())
    r.error(fmt::format("weights: unknown precision '{}'", row.weights.substr(0, 40)),
            name_hint(row.weights, kPrecisions));
  row.max_batched_tokens = r.whole(6, 1, 1 << 24);
  row.max_running = r.whole(7, 1, 1 << 20);
  row.kv_blocks = r.whole(8, 2, std::int64_t{1} << 32);
  read_load(r, row);
  row.measured = read_figures(r);
  return row;
}

}  // namespace

std::int64_t FleetRow::answered() const {
  const double implied = 1 + (measured.e2e_mean - measured.ttft_mean) / measured.itl_mean;
  const auto designed = static_cast<double>(output);
  if (std::abs(implied / designed - 1) <= kOutputTolerance) return output;
  return std::max<std::int64_t>(1, std::llround(implied));
}

std::string catalog_model(const std::string& published) {
  std::string name = lower(published);
  for (const char* mark : {"-instruct", "-chat", "-fp8", "-hf", "-it"}) {
    const std::size_t at = name.find(mark);
    const std::size_t end = at == std::string::npos ? 0 : at + std::string(mark).size();
    // "-it" must end a word: "-italian" is none.
    if (at != std::string::npos && (end == name.size() || name[end] == '-')) name.erase(at);
  }
  std::string found;
  for (const std::string& id : catalog_ids(CatalogKind::model)) {
    if (id == name) return id;
    if (!id.starts_with(name + "-")) continue;
    if (!found.empty()) return {};  // ambiguous
    found = id;
  }
  return name.empty() ? std::string{} : found;
}

std::vector<FleetRow> read_fleet(const std::string& path, const std::string& device) {
  std::vector<FleetRow> rows;
  std::vector<std::string> others;
  read_csv(path, kColumns, [&](const CsvRow& r) {
    const std::string gpu = lower(r.text(2));
    if (gpu.empty()) return r.error("gpu: is empty", "write the accelerator's name, such as H100");
    if (device != gpu && !device.starts_with(gpu + "-")) {
      if (std::find(others.begin(), others.end(), gpu) == others.end()) others.push_back(gpu);
      return;
    }
    FleetRow row = read_row(r);
    for (const FleetRow& earlier : rows)
      if (earlier.name == row.name)
        r.error(fmt::format("case: '{}' appears a second time", row.name.substr(0, 60)));
    if (rows.size() >= kMostRows) return r.error("more than 10000 rows");
    rows.push_back(std::move(row));
  });
  if (rows.empty())
    throw InputError(
        fmt::format("{}: no row was measured on {}", path, device),
        fmt::format("the column gpu holds: {}; choose with --device", fmt::join(others, ", ")));
  return rows;
}

}  // namespace kvsim
