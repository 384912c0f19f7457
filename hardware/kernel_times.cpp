// kernels: an iteration from measured times of this project's own kernels (kernel_profile.h). One
// device; every operator of a layer is one call, as in the real loop that `kvsim kernels loop`
// runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"
#include "hardware/device.h"

namespace kvsim {

namespace {

// base + slope * amount, between rows of a table by how many tokens or sequences there are.
struct Straight {
  double base = 0, slope = 0;
};

class Straights {
 public:
  void add(double count, Straight s) {
    at_.emplace_back(count, s);
    std::sort(at_.begin(), at_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  [[nodiscard]] bool empty() const { return at_.empty(); }
  // Linear between rows; before the first it is the first, behind the last the last two go on.
  [[nodiscard]] Straight at(double count) const {
    if (at_.size() == 1 || count <= at_.front().first) return at_.front().second;
    auto high =
        std::find_if(at_.begin(), at_.end(), [&](const auto& p) { return count <= p.first; });
    if (high == at_.end()) --high;
    const auto low = high - 1;
    const double share = (count - low->first) / (high->first - low->first);
    const auto mix = [&](double a, double b) { return std::max(0.0, a + share * (b - a)); };
    return {mix(low->second.base, high->second.base), mix(low->second.slope, high->second.slope)};
  }

 private:
  std::vector<std::pair<double, Straight>> at_;
};

std::string text_of(const AttentionShape& s) {
  return fmt::format("{} query heads, {} kv heads, key {}, value {}{}, {}", s.q_heads, s.kv_heads,
                     s.key_dim, s.value_dim, s.latent ? " in the key" : "", s.element);
}

class KernelTimes final : public CostModel {
 public:
  struct Params {
    std::string device;
    static constexpr Rows kFields{
        field("device", &Params::device, any,
              "cpu or vulkan: this machine's, measured once and kept; empty: the profile that "
              "deployment.hardware names")};
  };

  KernelTimes(const Params&, const Context& c) : model_(c.model), lines_(kLines) {
    if (c.model == nullptr || c.device == nullptr || !c.device->kernels)
      throw InputError(
          fmt::format("device {} has no measured kernels", c.device ? c.device->name : "?"),
          "`kvsim kernels calibrate -o profile.yaml` measures this machine; give the file as "
          "deployment.hardware");
    if (c.parallel.gpus() > 1)
      throw InputError("cost model kernels knows one device per instance",
                       "set deployment.parallel to 1");
    const KernelProfile& p = *c.device->kernels;
    const ModelWork::Facts& f = c.model->facts();
    element_bytes_ = f.weight_bits / 8;
    const std::string element = f.weight_bits == 16 ? "f16" : f.weight_bits == 32 ? "f32" : "";
    for (const LinearTime& l : p.linear)
      if (l.element == element)
        linear_.add(static_cast<double>(l.rows), {l.base_ns, l.per_weight_ns});
    if (linear_.empty())
      throw InputError(
          fmt::format("the profile of {} has no matrix products with weights of {} bits",
                      c.device->name, f.weight_bits),
          "weights may be fp32, fp16 or bf16 (`weights: bf16`)");
    decode_ = rows_of(p.decode, f.decode_attention, "decode", *c.device);
    prefill_ = rows_of(p.prefill, f.prefill_attention, "prefill", *c.device);
    decode_bytes_ = f.decode_attention.token_bytes;
    pair_flops_ = 2.0 * static_cast<double>(f.prefill_attention.q_heads) *
                  static_cast<double>(f.prefill_attention.key_dim + f.prefill_attention.value_dim);
    elementwise_ = {p.elementwise_base_ns, p.elementwise_byte_ns};
    softmax_ = {p.softmax_base_ns, p.softmax_byte_ns};
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    model_->step(s, work_);
    double ns = 0;
    for (const Work& w : work_) ns += price(w, s);
    return from_ns_ceil(ns);
  }

  DecodeLine decode_line(const StepShape& s) override {
    return to_integers(line(s), s, std::int64_t{1} << 20);
  }

  std::vector<Part> explain(const StepShape& s) override {
    model_->step(s, work_);
    std::vector<Part> parts;
    for (const Work& w : work_) parts.push_back({operator_name(w.op), price(w, s)});
    return parts;
  }

 private:
  static Straights rows_of(const std::vector<AttentionTime>& times, const AttentionShape& shape,
                           const char* what, const DeviceSpec& device) {
    Straights rows;
    for (const AttentionTime& t : times)
      if (is_of(t, shape)) rows.add(static_cast<double>(t.count), {t.base_ns, t.per_unit_ns});
    if (rows.empty())
      throw InputError(fmt::format("the profile of {} has no {} attention of {}", device.name, what,
                                   text_of(shape)),
                       "`kvsim kernels calibrate --scenario FILE` measures what a scenario needs");
    return rows;
  }

  [[nodiscard]] double price(const Work& w, const StepShape& s) const {
    const auto cost = [&](const Straight& t, double amount) {
      return w.launches * t.base + amount * t.slope;
    };
    const auto tokens = static_cast<double>(
        s.prefills.empty() ? std::max(s.padded_decodes, s.decodes) : s.tokens());
    switch (w.op) {
      case Operator::qkv_proj:
      case Operator::o_proj:
      case Operator::ffn_up:
      case Operator::ffn_down:
      case Operator::moe_router:
        return cost(linear_.at(tokens), w.weight_bytes / element_bytes_);
      case Operator::lm_head:
        return cost(linear_.at(static_cast<double>(s.sampling())), w.weight_bytes / element_bytes_);
      case Operator::experts: {
        const ModelWork::Facts& f = model_->facts();
        const double each =
            tokens * static_cast<double>(f.active_experts) / static_cast<double>(f.experts);
        return cost(linear_.at(std::max(1.0, each)), w.weight_bytes / element_bytes_);
      }
      case Operator::attention_decode:
        return cost(decode_.at(static_cast<double>(s.decodes)), w.kv_bytes / decode_bytes_);
      case Operator::attention_prefill: {
        const double each = static_cast<double>(s.prefill_tokens()) /
                            std::max(1.0, static_cast<double>(s.prefills.size()));
        const Straight t = prefill_.at(each);
        return w.launches * static_cast<double>(s.prefills.size()) * t.base +
               w.flops / pair_flops_ * t.slope;
      }
      case Operator::sampler:
        return cost(softmax_, w.activation_bytes);
      case Operator::all_reduce:
      case Operator::all_to_all:
      case Operator::stage_transfer:
        return 0;  // one device
      default:
        return cost(elementwise_, w.activation_bytes);
    }
  }

  struct Line {
    std::int64_t decodes = -1, padded = 0;
    RealLine price;
  };
  static constexpr std::size_t kLines = 4096;

  // Affine in the sums of contexts, so two probes per sum give the line; it depends on the number
  // of decodes only.
  const RealLine& line(const StepShape& s) {
    Line& l = lines_[static_cast<std::size_t>(s.decodes ^ (s.padded_decodes << 3)) % kLines];
    if (l.decodes == s.decodes && l.padded == s.padded_decodes) return l.price;
    l = {s.decodes, s.padded_decodes, {}};
    StepShape unit = s;
    unit.decode_context_sum = s.decodes;
    unit.decode_context_max = 1;
    unit.decode_window_sum.fill(s.decodes);
    const double at_unit = whole(unit);
    l.price.base = at_unit;
    const std::int64_t far = 4096 * std::max<std::int64_t>(1, s.decodes);
    for (std::size_t i = 0; i <= kMaxWindows; ++i) {
      StepShape probe = unit;
      (i == 0 ? probe.decode_context_sum : probe.decode_window_sum[i - 1]) += far;
      const double slope = (whole(probe) - at_unit) / static_cast<double>(far);
      (i == 0 ? l.price.per_context : l.price.per_window[i - 1]) = slope;
      l.price.base -= slope * static_cast<double>(s.decodes);
    }
    return l.price;
  }
  double whole(const StepShape& s) {
    model_->step(s, work_);
    double ns = 0;
    for (const Work& w : work_) ns += price(w, s);
    return ns;
  }

  const ModelWork* model_;
  Straights linear_, decode_, prefill_;
  Straight elementwise_, softmax_;
  double element_bytes_ = 2, decode_bytes_ = 1, pair_flops_ = 1;
  std::vector<Line> lines_;
  std::vector<Work> work_;  // scratch
};

const Register<KernelTimes> kSelf{
    "kernels", "measured times of this project's own kernels on a CPU or Vulkan device",
    "kvsim kernels calibrate"};

}  // namespace

}  // namespace kvsim
