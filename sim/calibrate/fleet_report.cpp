#include "sim/calibrate/fleet_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace {

// Median absolute errors of the best published simulator on deployments measured in this way, in
// the order of kFleetFigures; 0 = not published (README of the measurements).
constexpr std::array<double, kFleetFigures.size()> kPublished{18, 29, 6.5, 6.8, 9.1, 0, 0};
constexpr std::size_t kShown = 5;  // figures of the table

double error_of(const FleetRow& row, const FleetFigures& f, std::size_t figure) {
  const auto member = kFleetFigures[figure].member;
  return (f.*member / (row.measured.*member) - 1) * 100;
}

// Predicts every row by a fit to the rows that are not the `same`. Each fit starts afresh: from the
// fit to all rows it would remember what it must not know.
template <class Same>
std::vector<FleetFigures> leave_out(std::vector<FleetCase>& cases, const FleetParameters& start,
                                    int threads, Same same) {
  std::vector<FleetFigures> out(cases.size());
  std::vector<bool> done(cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (done[i]) continue;
    std::vector<bool> used(cases.size());
    for (std::size_t k = 0; k < cases.size(); ++k) used[k] = !same(cases[k].row(), cases[i].row());
    if (std::find(used.begin(), used.end(), true) == used.end())
      throw InputError(
          fmt::format("nothing is left to fit to without case {}", cases[i].row().name),
          "leave-one-out needs two rows, of two models");
    const FleetParameters without = fit_fleet(cases, start, used, threads).parameters;
    for (std::size_t k = i; k < cases.size(); ++k) {
      if (used[k]) continue;
      out[k] = cases[k].replay(without);
      done[k] = true;
    }
  }
  return out;
}

void add_rows(std::string& out, const FleetReport& r, const std::vector<FleetFigures>& f) {
  out += fmt::format("{:<6}{:<24}{:>3}", "case", "model", "tp");
  for (std::size_t k = 0; k < kShown; ++k) out += fmt::format("{:>26}", kFleetFigures[k].name);
  out += '\n';
  for (std::size_t i = 0; i < r.rows.size(); ++i) {
    out += fmt::format("{:<6}{:<24}{:>3}", r.rows[i].name, r.rows[i].model, r.rows[i].tensor);
    for (std::size_t k = 0; k < kShown; ++k) {
      const auto member = kFleetFigures[k].member;
      out += fmt::format("{:>9.2f} /{:>8.2f}{:>6.1f}%", f[i].*member, r.rows[i].measured.*member,
                         error_of(r.rows[i], f[i], k));
    }
    out += r.rows[i].is_output_implied() ? " *\n" : "\n";
  }
}

void add_medians(std::string& out, const FleetReport& r) {
  const auto line = [&](const char* name, const auto& values) {
    out += fmt::format("{:<34}", name);
    for (std::size_t k = 0; k < kShown; ++k) out += fmt::format("{:>11.1f} %", values[k]);
    out += '\n';
  };
  out += fmt::format("{:<34}", "median absolute error");
  for (std::size_t k = 0; k < kShown; ++k) out += fmt::format("{:>13}", kFleetFigures[k].name);
  out += '\n';
  line(r.is_fitted ? "fitted to these rows" : "catalogue and preset",
       median_errors(r.rows, r.simulated));
  if (!r.row_left_out.empty()) line("left out by row", median_errors(r.rows, r.row_left_out));
  if (!r.model_left_out.empty()) line("left out by model", median_errors(r.rows, r.model_left_out));
  line("best published simulator", kPublished);
}

bool is_indented(const std::string& line) {
  return !line.empty() && (line[0] == ' ' || line[0] == '\t');
}

}  // namespace

std::array<double, kFleetFigures.size()> median_errors(const std::vector<FleetRow>& rows,
                                                       const std::vector<FleetFigures>& figures) {
  std::array<double, kFleetFigures.size()> out{};
  for (std::size_t k = 0; k < out.size() && !rows.empty(); ++k) {
    std::vector<double> all;
    for (std::size_t i = 0; i < rows.size(); ++i)
      all.push_back(std::abs(error_of(rows[i], figures[i], k)));
    std::sort(all.begin(), all.end());
    out[k] = (all[(all.size() - 1) / 2] + all[all.size() / 2]) / 2;
  }
  return out;
}

FleetReport calibrate_fleet(const std::string& file, const FleetOptions& options, bool fit,
                            int threads) {
  FleetReport r;
  r.file = file;
  r.device = options.device;
  r.rows = read_fleet(file, options.device);
  std::vector<FleetCase> cases;
  cases.reserve(r.rows.size());
  for (const FleetRow& row : r.rows) cases.emplace_back(row, options);
  r.parameters = cases.front().current();
  r.is_fitted = fit;
  if (fit) {
    const FleetParameters start = usual_parameters(r.parameters);
    const FleetFit all = fit_fleet(cases, start, {}, threads);
    r.parameters = all.parameters;
    r.loss = all.loss;
    const auto same_row = [](const FleetRow& a, const FleetRow& b) { return a.name == b.name; };
    const auto same_model = [](const FleetRow& a, const FleetRow& b) { return a.model == b.model; };
    if (cases.size() > 1) r.row_left_out = leave_out(cases, start, threads, same_row);
    const bool several = std::any_of(r.rows.begin(), r.rows.end(),
                                     [&](const FleetRow& x) { return x.model != r.rows[0].model; });
    if (several) r.model_left_out = leave_out(cases, start, threads, same_model);
  }
  r.simulated = replay_all(cases, r.parameters, threads);
  return r;
}

std::string fleet_table(const FleetReport& r) {
  std::string out = "simulated / measured in ms, and the difference\n";
  add_rows(out, r, r.simulated);
  if (!r.model_left_out.empty()) {
    out += "\nthe same, each predicted by a fit to the other models\n";
    add_rows(out, r, r.model_left_out);
  }
  if (std::any_of(r.rows.begin(), r.rows.end(),
                  [](const FleetRow& x) { return x.is_output_implied(); }))
    out +=
        "* outputs from the measured 1 + (E2E - TTFT) / ITL, which contradicts the designed "
        "number\n";
  out += '\n';
  add_medians(out, r);
  out += fmt::format("\n{}\n", r.is_fitted ? "fitted" : "in use");
  for (const FleetNumber& n : fleet_numbers()) {
    const double v = n.read(r.parameters);
    out += n.unit[0] != '\0' ? fmt::format("  {:<20}{:.0f} {}\n", n.name, v, n.unit)
                             : fmt::format("  {:<20}{:.4g}\n", n.name, v);
  }
  return out;
}

std::string fitted_device_file(const FleetReport& r) {
  const auto path = catalog_file(CatalogKind::device, r.device);
  if (!path) throw InputError(fmt::format("unknown device '{}'", r.device));
  Diagnostics d;
  std::istringstream old(read_text_file(*path, d));
  d.throw_if_any();
  const auto medians =
      median_errors(r.rows, r.model_left_out.empty() ? r.simulated : r.model_left_out);
  const Efficiency& e = r.parameters.efficiency;
  const std::string section = fmt::format(
      "efficiency:\n  gemm: {:.3f}\n  gemm_half_tokens: {:.0f}\n  attention: {}\n  "
      "attention_half_tokens: {}\n"
      "  memory: {:.3f}\n  kv_memory: {:.3f}\n  launch: {} ns\n  expert_memory: {:.3f}\n  sampler: "
      "{:.4f}\n"
      "  source: \"kvsim calibrate fleet {} --fit: {} measured deployments; median error of models "
      "left out: {:.1f} % "
      "mean TTFT, {:.1f} % ITL, {:.1f} % E2E; attention not fitted\"\n",
      e.gemm, e.gemm_half_tokens, e.attention, e.attention_half_tokens, e.memory, e.kv_memory,
      e.launch.count(), e.expert_memory, e.sampler,
      std::filesystem::path(r.file).filename().string(), r.rows.size(), medians[0], medians[2],
      medians[3]);
  std::string out, line, at;  // at: the top-level key that the line belongs to
  while (std::getline(old, line)) {
    if (!is_indented(line) && !line.empty()) {
      at = line.substr(0, line.find(':'));
      if (at == "efficiency") out += section;
    }
    if (at == "efficiency") continue;
    if (at == "gpu_link" && line.starts_with("  latency:"))
      line = fmt::format("  latency: {} ns", r.parameters.link_latency.count());
    out += line + '\n';
  }
  return out;
}

}  // namespace kvsim
