#include "sim/cli/uncertainty.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/base/tree.h"
#include "sim/cli/text_table.h"
#include "sim/study/uncertainty.h"

namespace kvsim {

namespace {

// "seeds,calibration"
void read_vary(const std::string& text, UncertaintyOptions& options) {
  options.vary_seed = options.vary_calibration = false;
  const std::vector<std::string> valid{"calibration", "seeds", "nothing"};
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string word = text.substr(at, comma - at);
    if (word == "seeds")
      options.vary_seed = true;
    else if (word == "calibration")
      options.vary_calibration = true;
    else if (word != "nothing")
      throw InputError(fmt::format("--vary: unknown source '{}'", word), name_hint(word, valid));
    at = comma + 1;
  }
}

std::string sources(const UncertaintyResult& r) {
  std::string text;
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : "; ") + what; };
  if (r.is_seed_varied) add("a seed each");
  if (r.residuals) {
    add(fmt::format("errors of cost model {} on {} deployments that its fit had not seen ({})",
                    r.cost, r.residuals->rows.size(), r.residuals->device));
    if (r.residuals->device != r.device)
      text += fmt::format(", for {} has none of its own, and may be further off", r.device);
  } else {
    add(fmt::format("errors of cost model {} not drawn", r.cost));
  }
  for (const ParamRange& range : r.ranges)
    add(fmt::format("{} from {} to {}", range.path, value_at(range, 0), value_at(range, 1)));
  return text;
}

std::string text_of(const UncertaintyResult& r) {
  std::string out = wrapped(fmt::format("{}: {} trials; {}", r.scenario, r.trials, sources(r)));
  TextTable table({"", ">as given", ">P5", ">P50", ">P95", ">P5 .. P95 of as given"});
  for (const UncertaintyRow& row : r.rows) {
    const bool is_share = row.unit == "ratio";
    const double scale = is_share ? 100 : 1;
    const auto cell = [&](double v) { return fmt::format("{:.4g}", v * scale); };
    const auto relative = [&](double v) {
      return fmt::format("{:+.1f}", (v / row.as_given - 1) * 100);
    };
    table.row(
        {fmt::format("{}{}{}, {}", row.name, row.statistic == "value" ? "" : " ",
                     row.statistic == "value" ? "" : row.statistic, is_share ? "%" : row.unit),
         cell(row.as_given), cell(row.p5), cell(row.p50), cell(row.p95),
         row.as_given > 0 ? relative(row.p5) + " .. " + relative(row.p95) + " %" : "-"});
  }
  out += "\n\n" + table.text();
  if (r.failed > 0)
    out +=
        fmt::format("{} trials failed and are left out; the first: {}\n", r.failed, r.first_error);
  return out;
}

std::string json_of(const UncertaintyResult& r) {
  std::string out = fmt::format(
      "{{\"name\": {}, \"trials\": {}, \"failed\": {}, \"cost\": {}, \"device\": {}, \"seeds\": "
      "{}, \"residuals\": {}, \"rows\": [",
      json_string(r.scenario), r.trials, r.failed, json_string(r.cost), json_string(r.device),
      r.is_seed_varied, r.residuals ? json_string(r.residuals->source) : "null");
  bool first = true;
  for (const UncertaintyRow& row : r.rows) {
    out += fmt::format(
        "{}\n  {{\"name\": {}, \"statistic\": {}, \"unit\": {}, \"as_given\": {}, \"p5\": {}, "
        "\"p50\": {}, \"p95\": {}}}",
        first ? "" : ",", json_string(row.name), json_string(row.statistic), json_string(row.unit),
        row.as_given, row.p5, row.p50, row.p95);
    first = false;
  }
  return out + "\n]}\n";
}

}  // namespace

void declare_uncertainty(po::options_description& o) {
  o.add_options()("uncertainty", po::value<std::size_t>()->implicit_value(100),
                  "error bars instead of one run: so many trials (100), each with a seed, an error "
                  "of the cost model, and values from --range")(
      "range", po::value<std::vector<std::string>>()->composing(),
      "of --uncertainty: PATH=LOW..HIGH; may be repeated")(
      "vary", po::value<std::string>(),
      "of --uncertainty: seeds, calibration or both (the default), or nothing besides --range")(
      "threads", po::value<int>(), "of --uncertainty: all cores unless given");
}

int run_uncertainty(const std::string& scenario, const po::variables_map& v) {
  UncertaintyOptions options;
  options.trials = v["uncertainty"].as<std::size_t>();
  if (v.count("vary") > 0) read_vary(v["vary"].as<std::string>(), options);
  for (const std::string& text : list_option(v, "range"))
    options.ranges.push_back(parse_range(text));
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  options.threads = option_or(v, "threads", cores);
  if (options.threads < 1 || options.threads > 256)
    throw InputError("--threads: expected 1 to 256");
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  if (is_terminal)
    options.progress = [](std::size_t done, std::size_t total) {
      fmt::print(stderr, "\r{} of {} trials", done, total);
    };
  const UncertaintyResult result = run_uncertain(scenario, list_option(v, "set"), options);
  if (is_terminal) fmt::print(stderr, "\r\033[K");
  fmt::print("{}", v.count("json") > 0 ? json_of(result) : text_of(result));
  return 0;
}

}  // namespace kvsim
