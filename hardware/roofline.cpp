// roofline: an iteration from a model's Work and a device's figures (roofline.h has the law).
#include "hardware/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"

namespace kvsim {

double peak_rate(const DeviceSpec& device, const std::string& precision, double bits) {
  const auto rate = [&](const std::string& name) {
    const auto it = device.compute.find(name);
    return it != device.compute.end() ? it->second.value : 0.0;
  };
  if (precision != "auto") {
    if (rate(precision) > 0) return rate(precision);
    std::vector<std::string> names;
    for (const auto& [name, value] : device.compute) names.push_back(name);
    throw InputError(fmt::format("device {} has no compute rate '{}'", device.name, precision),
                     name_hint(precision, names));
  }
  const double wide = std::max(rate("bf16"), rate("bf16") > 0 ? 0 : rate("fp16"));
  const double peak = bits == 8 && rate("fp8") > 0
                          ? rate("fp8")
                          : (bits > 16 && rate("fp32") > 0 ? rate("fp32") : wide);
  if (!(peak > 0))
    throw InputError(
        fmt::format("device {} has neither a bf16 nor an fp16 compute rate", device.name),
        "give one in its catalogue file");
  return peak;
}

double Roofline::compute_ns(const Work& w, const Rows& r) const {
  if (!(w.flops > 0)) return 0;
  const auto ns = [&](double rows, double half, double peak) {
    return w.flops * (1 + half / std::max(rows, 1.0)) / peak * 1e9;
  };
  switch (w.op) {
    case Operator::attention_prefill:
      return ns(r.prefill, efficiency.attention_half_tokens, attention_peak * efficiency.attention);
    // The tensor cores idle between KV tiles at decode; what is left never decides on the devices
    // fitted so far.
    case Operator::attention_decode:
      return ns(1, 0, attention_peak * efficiency.attention);
    case Operator::lm_head:
      return ns(r.sampling, efficiency.gemm_half_tokens, gemm_peak * efficiency.gemm);
    case Operator::experts:
      return ns(r.per_expert, efficiency.gemm_half_tokens, gemm_peak * efficiency.gemm);
    default:
      return ns(r.tokens, efficiency.gemm_half_tokens, gemm_peak * efficiency.gemm);
  }
}

double Roofline::memory_ns(const Work& w) const {
  const Efficiency& e = efficiency;
  const double weights = w.op == Operator::experts ? e.expert_memory : e.memory;
  const double activations = w.op == Operator::sampler ? e.sampler : e.memory;
  return (w.weight_bytes / weights + w.activation_bytes / activations + w.kv_bytes / e.kv_memory) /
         bandwidth * 1e9;
}

double Roofline::price(const Work& w, const Rows& r, bool* compute_bound) const {
  if (compute_bound != nullptr) *compute_bound = false;
  const int p = parallel.tensor, all = parallel.tensor * parallel.data;
  switch (w.op) {
    case Operator::all_reduce:
      return p > 1 && w.launches > 0
                 ? w.launches * link.all_reduce(w.comm_bytes / w.launches, p) + launch_ns(w)
                 : 0;
    case Operator::all_to_all:
      return all > 1 ? w.comm_bytes * link.ns_per_byte + w.launches * (all - 1) * link.ns_per_step +
                           launch_ns(w)
                     : 0;
    case Operator::stage_transfer:
      return w.comm_bytes * link.ns_per_byte + w.launches * link.ns_per_step;
    case Operator::attention_merge:
      return w.launches * link.merge(w.comm_bytes / w.launches, parallel.context) + launch_ns(w);
    default:
      break;
  }
  const double compute = compute_ns(w, r), memory = memory_ns(w);
  if (compute_bound != nullptr) *compute_bound = compute > memory;
  const double own = std::max(compute, memory) + launch_ns(w);
  return w.op == Operator::attention_prefill ? own + exchange_ns(w, own) : own;
}

double Roofline::exchange_ns(const Work& w, double own) const {
  const int p = parallel.context;
  if (p == 1) return 0;
  const double all =
      w.launches * link.pass_round(w.launches > 0 ? w.comm_bytes / w.launches : 0, p);
  // Round the ring each part's arithmetic, own / p of it, hides the next part's way.
  return parallel.gathers_context ? all : std::max(0.0, all - own * (p - 1) / p);
}

namespace {

class RooflineModel final : public CostModel {
 public:
  struct Params {
    std::string compute = "auto";
    std::optional<double> gemm, gemm_half_tokens, attention, attention_half_tokens, memory,
        kv_memory, expert_memory, sampler;
    std::optional<Duration> launch;
    static constexpr Rows kFields{
        field("compute", &Params::compute, any,
              "precision of the matrix products, a key of the device's rates; auto = from the "
              "weights"),
        field("gemm", &Params::gemm, between(0.01, 1.0),
              "instead of the device's efficiency of this name"),
        field("gemm_half_tokens", &Params::gemm_half_tokens, between(0.0, 4096.0), "likewise"),
        field("attention", &Params::attention, between(0.01, 1.0), "likewise"),
        field("attention_half_tokens", &Params::attention_half_tokens, between(0.0, 65536.0),
              "likewise"),
        field("memory", &Params::memory, between(0.01, 1.0), "likewise"),
        field("kv_memory", &Params::kv_memory, between(0.01, 1.0), "likewise"),
        field("expert_memory", &Params::expert_memory, between(0.01, 1.0), "likewise"),
        field("sampler", &Params::sampler, between(0.001, 1.0), "likewise"),
        field("launch", &Params::launch, between<Duration>(Duration{0}, Duration{10'000'000}),
              "likewise")};
  };

  RooflineModel(const Params& p, const Context& c) : model_(c.model), lines_(kLines) {
    if (c.model == nullptr || c.device == nullptr)
      throw InputError("cost model roofline needs a model and a device");
    if (c.parallel.gpus() > 1 &&
        (c.interconnect == nullptr || !(c.interconnect->bandwidth.value > 0)))
      throw InputError("several GPUs per instance, but the link between them has no bandwidth",
                       "set deployment.interconnect");
    const ModelWork::Facts& facts = c.model->facts();
    law_.gemm_peak = peak_rate(*c.device, p.compute, facts.weight_bits);
    law_.attention_peak = peak_rate(*c.device, "auto", 16);
    law_.bandwidth = c.device->bandwidth.value;
    if (!(law_.bandwidth > 0))
      throw InputError(fmt::format("device {} has no memory bandwidth", c.device->name),
                       "give it in its catalogue file");
    Efficiency& e = law_.efficiency = c.device->efficiency;
    e.gemm = p.gemm.value_or(e.gemm);
    e.gemm_half_tokens = p.gemm_half_tokens.value_or(e.gemm_half_tokens);
    e.attention = p.attention.value_or(e.attention);
    e.attention_half_tokens = p.attention_half_tokens.value_or(e.attention_half_tokens);
    e.memory = p.memory.value_or(e.memory);
    e.kv_memory = p.kv_memory.value_or(e.kv_memory);
    e.expert_memory = p.expert_memory.value_or(e.expert_memory);
    e.sampler = p.sampler.value_or(e.sampler);
    e.launch = p.launch.value_or(e.launch);
    law_.link = Collectives(c.interconnect);
    law_.parallel = c.parallel;
    work_.reserve(64);
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    double ns = prefix_ns(s);
    model_->step(own(s), work_);
    const Roofline::Rows rows = rows_of(s);
    for (const Work& w : work_) ns += law_.price(w, rows);
    return from_ns_ceil(ns);
  }

  [[nodiscard]] bool verifies_drafts() const override { return true; }
  [[nodiscard]] bool shares_prefixes() const override { return true; }

  DecodeLine decode_line(const StepShape& s) override {
    constexpr std::int64_t kForever = std::int64_t{1} << 20;
    RealLine r = line(s).price;
    if (s.decode_shared_sum > 0)
      r.base += prefix_ns(s) - r.per_context * static_cast<double>(s.decode_shared_sum);
    return to_integers(r, s, kForever);
  }

  std::vector<Part> explain(const StepShape& given) override {
    const StepShape s = own(given);
    model_->step(s, work_);
    const Roofline::Rows rows = rows_of(s);
    std::vector<Part> parts;
    for (const Work& w : work_)
      if (!(s.prefills.empty() && w.op == Operator::attention_decode))
        parts.push_back({operator_name(w.op), law_.price(w, rows)});
    if (s.prefills.empty() && s.decodes > 0) {
      const RealLine& r = line(s).price;
      double rest = 0;
      for (const Part& p : parts) rest += p.ns;
      double all = r.base + r.per_context * static_cast<double>(s.decode_context_sum);
      for (std::size_t i = 0; i < kMaxWindows; ++i)
        all += r.per_window[i] * static_cast<double>(s.decode_window_sum[i]);
      parts.push_back({"attention_decode", all - rest});
    }
    if (const double prefix = prefix_ns(given); prefix > 0)
      parts.push_back({"attention_prefix", prefix});
    return parts;
  }

 private:
  struct Line {
    std::int64_t decodes = -1, padded = 0, group = 0, group_max = 0, drafts = 0;
    RealLine price;
    // Of attention over contexts of any length: both sides of a token, and what starting it takes.
    double compute = 0, memory = 0, launch = 0;
  };
  static constexpr std::size_t kLines = 4096;

  [[nodiscard]] Roofline::Rows rows_of(const StepShape& s) const {
    const ModelWork::Facts& f = model_->facts();
    const auto tokens = static_cast<double>(
        s.prefills.empty() ? std::max(s.padded_decodes, s.decodes) + s.draft_tokens : s.tokens());
    const double routed = s.group_tokens > 0 ? static_cast<double>(s.group_tokens) : tokens;
    const double share =
        f.experts > 0 ? static_cast<double>(f.active_experts) / static_cast<double>(f.experts) : 0;
    return {tokens, static_cast<double>(s.sampling()), static_cast<double>(s.prefill_tokens()),
            std::max(routed * share, 1.0)};
  }

  // The price of a decode-only iteration as a line, remembered by what its coefficients depend on.
  // A model's decode work is affine in the sums of contexts, so a few probes of step() give it.
  const Line& line(const StepShape& s) {
    Line& l = lines_[static_cast<std::size_t>(s.decodes ^ (s.padded_decodes << 3) ^
                                              (s.group_tokens * 31) ^ (s.draft_tokens << 5)) %
                     kLines];
    if (l.decodes == s.decodes && l.padded == s.padded_decodes && l.group == s.group_tokens &&
        l.group_max == s.group_tokens_max && l.drafts == s.draft_tokens)
      return l;
    l = {s.decodes, s.padded_decodes, s.group_tokens, s.group_tokens_max, s.draft_tokens, {}};
    StepShape probe = s;  // contexts of one token
    probe.prefills = {};
    probe.decode_context_sum = s.decodes;
    probe.decode_context_max = 1;
    probe.decode_window_sum.fill(s.decodes);
    model_->step(probe, work_);
    const Roofline::Rows rows = rows_of(probe);
    for (const Work& w : work_)
      if (w.op != Operator::attention_decode) l.price.base += law_.price(w, rows);
    if (s.decodes > 0) add_attention(probe, rows, l);
    return l;
  }

  // The shape without what is shared: that is a kernel of its own.
  static StepShape own(StepShape s) {
    s.decode_context_sum -= std::exchange(s.decode_shared_sum, 0);
    s.decode_shared_read = 0;
    return s;
  }

  // Attention of all queries over the shared prefixes, as products of matrices: every pair of query
  // and key is computed, every key is read once. It has launches of its own, its kernel and the
  // merge by (max, sum, value) with the rest.
  double prefix_ns(const StepShape& s) {
    if (s.decode_shared_sum == 0) return 0;
    const Line& l = line(s);
    return std::max(l.compute * static_cast<double>(s.decode_shared_sum),
                    l.memory * static_cast<double>(s.decode_shared_read)) +
           l.launch * 2 / 3;
  }

  struct Sides {
    double compute = 0, memory = 0, launch = 0;
    double round = 0;  // KV of the other groups of a shared context, where it goes round
  };
  Sides attention_at(const StepShape& s, const Roofline::Rows& rows) {
    Sides all;
    model_->step(s, work_);
    for (const Work& w : work_) {
      if (w.op != Operator::attention_decode) continue;
      all.compute += law_.compute_ns(w, rows);
      all.memory += law_.memory_ns(w);
      all.launch += law_.launch_ns(w);
      if (law_.parallel.rings_context && law_.parallel.context > 1 && w.launches > 0)
        all.round +=
            w.launches * law_.link.pass_round(w.comm_bytes / w.launches, law_.parallel.context);
    }
    return all;
  }

  // Arithmetic and traffic of decode attention grow in step, so one side decides at every context:
  // the one that is slower at 4096 tokens a sequence. It depends on the number of decodes only,
  // hence one line per number.
  void add_attention(const StepShape& unit, const Roofline::Rows& rows, Line& line) {
    RealLine& out = line.price;
    const std::int64_t far = 4096 * unit.decodes;
    const Sides at_unit = attention_at(unit, rows);
    Sides reference = at_unit;
    std::array<Sides, kMaxWindows + 1> grown;
    for (std::size_t i = 0; i <= kMaxWindows; ++i) {
      StepShape probe = unit;
      (i == 0 ? probe.decode_context_sum : probe.decode_window_sum[i - 1]) += far;
      grown[i] = attention_at(probe, rows);
      // A window counts at the reference only up to its own length.
      const std::int64_t window =
          i == 0 ? 4096 : std::min<std::int64_t>(4096, model_->facts().windows[i - 1]);
      const double share = static_cast<double>(window) / 4096;
      reference.compute += share * (grown[i].compute - at_unit.compute);
      reference.memory += share * (grown[i].memory - at_unit.memory);
    }
    // Round a ring every group attends to all parts, each while the next is on its way.
    const double others = law_.parallel.rings_context ? law_.parallel.context - 1 : 0;
    const auto side = [&](const Sides& s) {
      const double own = reference.compute > reference.memory ? s.compute : s.memory;
      return own + std::max(others * own, s.round);
    };
    out.base += side(at_unit) + at_unit.launch;
    for (std::size_t i = 0; i <= kMaxWindows; ++i) {
      const double slope = (side(grown[i]) - side(at_unit)) / static_cast<double>(far);
      if (i == 0) {
        line.compute = (grown[0].compute - at_unit.compute) / static_cast<double>(far);
        line.memory = (grown[0].memory - at_unit.memory) / static_cast<double>(far);
        line.launch = at_unit.launch;
      }
      (i == 0 ? out.per_context : out.per_window[i - 1]) = slope;
      out.base -= slope * static_cast<double>(unit.decodes);
    }
  }

  const ModelWork* model_;
  Roofline law_;
  std::vector<Line> lines_;
  std::vector<Work> work_;  // scratch
};

const Register<RooflineModel> kSelf{
    "roofline",
    "flops and bytes of every operator over the device's rates, with fitted efficiencies",
    "doi:10.1145/1498765.1498785"};

}  // namespace

}  // namespace kvsim
