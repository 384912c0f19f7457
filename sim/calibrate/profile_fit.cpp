#include "sim/calibrate/profile_fit.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <map>

#include "hardware/csv_table.h"
#include "sim/calibrate/fleet_table.h"
#include "sim/run/build.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace {

constexpr double kElement = 2;  // bytes of a weight, an activation, a KV number
double d(std::int64_t v) { return static_cast<double>(v); }

FitSample product(Operator op, double rows, double in, double out, double us, std::string group) {
  FitSample s;
  s.work.op = op;
  s.work.flops = 2 * rows * in * out;
  s.work.weight_bytes = kElement * in * out;
  s.work.activation_bytes = kElement * rows * (in + out);
  s.work.launches = 1;
  s.rows.tokens = s.rows.sampling = rows;
  s.ns = us * 1e3;
  s.group = std::move(group);
  return s;
}

bool is_power_of_two(double v) { return v == std::exp2(std::round(std::log2(v))); }

class Samples {
 public:
  Samples(std::string folder, const ModelSpec& m) : folder_(std::move(folder)), m_(m) {}
  std::vector<FitSample> read() {
    dense();
    per_sequence();
    attention();
    if (m_.moe) experts();
    return std::move(all_);
  }

 private:
  [[nodiscard]] std::string table(const char* name) const {
    std::string path = find_csv(folder_, name);
    if (path.empty())
      throw InputError(fmt::format("{}/{}.csv.gz: cannot open the table", folder_, name),
                       "give the folder that holds tp1/");
    return path;
  }
  void dense() {
    const double hidden = d(m_.hidden), queries = d(m_.heads * m_.head_width());
    const double kv = d(m_.kv_head_count() * (m_.head_width() + m_.value_width())),
                 inner = d(m_.intermediate);
    const std::map<std::string, std::pair<double, double>, std::less<>> shapes{
        {"qkv_proj", {hidden, queries + kv}},
        {"o_proj", {d(m_.heads * m_.value_width()), hidden}},
        {"gate_up_proj", {hidden, (m_.gated ? 2 : 1) * inner}},
        {"down_proj", {inner, hidden}}};
    constexpr std::array<std::string_view, 3> kColumns{"layer", "tokens", "time_us"};
    read_csv(table("dense"), kColumns, [&](const CsvRow& r) {
      const double tokens = r.number(1, 1, 1e9), us = r.number(2, 1e-6, 1e9);
      if (!is_power_of_two(tokens)) return;
      const auto it = shapes.find(r.text(0));
      if (it != shapes.end())
        all_.push_back(
            product(Operator::ffn_up, tokens, it->second.first, it->second.second, us, it->first));
      if (r.text(0) != "layernorm" || tokens > 64) return;
      all_.push_back(product(Operator::norm, tokens, 0, 0, us, "layernorm"));
      all_.back().work.activation_bytes = 4 * kElement * hidden * tokens;
    });
  }
  void per_sequence() {
    constexpr std::array<std::string_view, 3> kColumns{"layer", "sequences", "time_us"};
    read_csv(table("per_sequence"), kColumns, [&](const CsvRow& r) {
      const double n = r.number(1, 1, 1e9), us = r.number(2, 1e-6, 1e9), vocab = d(m_.vocab);
      if (r.text(0) == "lm_head")
        all_.push_back(product(Operator::lm_head, n, d(m_.hidden), vocab, us, "lm_head"));
    });
  }
  void attention() {
    constexpr std::array<std::string_view, 5> kColumns{"prefill_chunk", "kv_prefill", "n_decode",
                                                       "kv_decode", "time_us"};
    const double queries = d(m_.heads * (m_.head_width() + m_.value_width()));
    const double kv = d(m_.kv_head_count() * (m_.head_width() + m_.value_width()));
    read_csv(table("attention"), kColumns, [&](const CsvRow& r) {
      const double c = r.number(0, 0, 1e9), h = r.number(1, 0, 1e9), n = r.number(2, 0, 1e9),
                   each = r.number(3, 0, 1e9);
      const double us = r.number(4, 1e-6, 1e9);
      if ((c > 0) == (n > 0) || (c == 0 && n * each < 16384)) return;
      FitSample s;
      s.work.op = c > 0 ? Operator::attention_prefill : Operator::attention_decode;
      s.work.flops = 2 * queries * (c * (h + c / 2) + n * each);
      s.work.kv_bytes = kElement * kv * (h + c + n * each);
      s.work.activation_bytes = kElement * queries * (c + n);
      s.work.launches = 1;
      s.rows.prefill = c;
      s.ns = us * 1e3;
      s.group = c > 0 ? "attention_prefill" : "attention_decode";
      all_.push_back(s);
    });
  }
  void experts() {
    constexpr std::array<std::string_view, 3> kColumns{"tokens", "activated_experts", "time_us"};
    const double one = 3 * d(m_.hidden) * d(m_.moe->intermediate), active = d(m_.moe->active);
    read_csv(table("moe"), kColumns, [&](const CsvRow& r) {
      const double tokens = r.number(0, 1, 1e9), touched = r.number(1, 1, 1e6);
      FitSample s = product(Operator::experts, tokens, 0, 0, r.number(2, 1e-6, 1e9), "experts");
      s.work.flops = 2 * tokens * active * one;
      s.work.weight_bytes = kElement * touched * one;
      s.work.activation_bytes =
          kElement * tokens * active * (2 * d(m_.hidden) + 6 * d(m_.moe->intermediate));
      s.work.launches = 3;
      s.rows.per_expert = std::max(1.0, tokens * active / d(m_.moe->experts));
      all_.push_back(s);
    });
  }

  std::string folder_;
  const ModelSpec& m_;
  std::vector<FitSample> all_;
};

// The model that meta.yaml names (organisation/name), as an id.
std::string model_of(const std::string& folder, const std::string& given) {
  Diagnostics d;
  const std::string meta = folder + "/meta.yaml";
  std::error_code ignored;
  if (std::filesystem::is_regular_file(meta, ignored)) {
    const Tree t = load_yaml(meta, d);
    const Tree* name = t.find("model");
    if (name != nullptr && name->is_scalar()) {
      const std::string id = catalog_model(name->text().substr(name->text().rfind('/') + 1));
      if (!id.empty()) return id;
    }
  }
  if (given.empty())
    throw InputError(fmt::format("{}: names no model of the catalogue", meta),
                     "give one with --model");
  return given;
}

}  // namespace

std::vector<FitSample> profile_samples(const std::string& folder, const ModelSpec& m) {
  return Samples(folder + "/tp1", m).read();
}

ProfileReport calibrate_profile(const std::vector<std::string>& folders, const std::string& device,
                                const std::string& model) {
  ProfileReport out;
  Diagnostics d;
  const Hardware hardware = build_hardware(Tree::scalar(device), ".", "device", d);
  d.throw_if_any();
  std::vector<FitSample> all;
  for (const std::string& folder : folders) {
    out.models.push_back(model_of(folder, model));
    const ModelSpec spec = build_model(Tree::scalar(out.models.back()), ".", "model", d);
    d.throw_if_any();
    const std::vector<FitSample> some = profile_samples(folder, spec);
    for (FitSample s : some) {
      if (folders.size() > 1) s.group = out.models.back() + " " + s.group;
      all.push_back(std::move(s));
    }
  }
  Roofline law;
  law.gemm_peak = law.attention_peak = peak_rate(hardware.device, "auto", 16);
  law.bandwidth = hardware.device.bandwidth.value;
  out.fit = fit_efficiency(law, all);
  return out;
}

std::string profile_table(const ProfileReport& r, const std::string& device) {
  const Efficiency& e = r.fit.efficiency;
  std::string out = fmt::format("{}: median error {:.1f} %, 90th percentile {:.1f} %\n", device,
                                100 * r.fit.p50, 100 * r.fit.p90);
  out += fmt::format("{:<36}{:>8}{:>14}{:>22}\n", "group", "samples", "median error",
                     "left out of the fit");
  for (const FitReport::Group& g : r.fit.groups)
    out += fmt::format("{:<36}{:>8}{:>12.1f} %{:>20.1f} %\n", g.name, g.samples, 100 * g.p50,
                       100 * g.left_out_p50);
  return out + fmt::format(
                   "\nefficiency:\n  gemm: {:.3f}\n  gemm_half_tokens: {:.0f}\n  attention: "
                   "{:.3f}\n  attention_half_tokens: {:.0f}\n"
                   "  memory: {:.3f}\n  kv_memory: {:.3f}\n  launch: {} ns\n  expert_memory: "
                   "{:.3f}\n  sampler: {:.4f}\n",
                   e.gemm, e.gemm_half_tokens, e.attention, e.attention_half_tokens, e.memory,
                   e.kv_memory, e.launch.count(), e.expert_memory, e.sampler);
}

}  // namespace kvsim
