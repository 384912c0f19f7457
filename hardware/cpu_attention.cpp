// cpu-attention: decode attention of the sequences that do not fit into GPU memory runs on the CPU,
// over KV in host memory (NEO, MLSys 2025, arXiv:2411.01142; FastDecode, arXiv:2403.11421; APEX,
// arXiv:2506.03296). Only queries, outputs and newly computed KV cross the link.
//
// With L(b) = everything but decode attention of a batch b on the GPU, G and C = decode attention
// over KV on the GPU and in host memory, X = what crosses the link:
//
//   one batch     T = L(all) + max(G, C, X)            attention of a layer on both sides at once
//   two batches   T = max(L(0) + L(1) + G, C, X)       batch 0 has the prompts and the decodes
//   whose
//                                                       KV is on the GPU, batch 1 the others: while
//                                                       one is on the CPU, the other is on the GPU
//
// The second reads the weights twice and hides the CPU behind all of the GPU's work; `pipeline:
// best` takes the shorter of the two, as NEO and APEX do. KV fills the GPU first. C = KV bytes /
// host memory bandwidth, X = bytes / link bandwidth and two messages a layer. Sequences are taken
// to be alike: of n decodes with contexts of S tokens, of which D fit, n (1 - D / S) are on the
// CPU.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"
#include "hardware/device.h"
#include "hardware/node.h"

namespace kvsim {
namespace {

enum class Pipeline : std::uint8_t { best, one, two };
constexpr auto enum_names(Pipeline) {
  return std::array{std::pair{Pipeline::best, "best"}, std::pair{Pipeline::one, "one"},
                    std::pair{Pipeline::two, "two"}};
}

double d(std::int64_t v) { return static_cast<double>(v); }

class CpuAttention final : public CostModel {
 public:
  struct Params {
    Pipeline pipeline = Pipeline::best;
    std::optional<Bandwidth> cpu_bandwidth, link;
    Ratio efficiency{0.7};
    static constexpr Rows kFields{
        field("pipeline", &Params::pipeline, any,
              "one: attention of a layer on both sides at once; two: two batches take turns on CPU "
              "and GPU; best: the shorter of the two"),
        field("cpu_bandwidth", &Params::cpu_bandwidth, any,
              "of host memory; default: all sockets of the node together, shared by its instances"),
        field("efficiency", &Params::efficiency, between(Ratio{0.01}, Ratio{1}),
              "share of it that attention on the CPU reaches"),
        field("link", &Params::link, any, "of a GPU to host memory; default: the node's")};
  };

  CpuAttention(const Params& p, const Context& c) : model_(c.model), pipeline_(p.pipeline) {
    if (c.model == nullptr || c.device == nullptr || c.node == nullptr)
      throw InputError("cost model cpu-attention needs a model, a device and its machine");
    if (c.model->facts().windows[0] > 0)
      throw InputError("layers with windows are not modelled on the CPU",
                       "choose a model with full attention, or another cost model");
    if (c.parallel.pipeline > 1 || c.parallel.data > 1)
      throw InputError("cpu-attention serves the GPUs of one tensor-parallel group",
                       "set deployment.parallel.pipeline and .data to 1");
    gpu_ = Registry::instance().make<CostModel>("roofline", Tree::map(), c);
    tensor_ = c.parallel.tensor;
    const double instances = std::max(1, c.node->devices / c.parallel.gpus());
    const double node = c.node->memory_link.bandwidth.value * std::max(1, c.node->sockets);
    cpu_ = (p.cpu_bandwidth ? p.cpu_bandwidth->value : node / instances) * p.efficiency.value;
    if (!(cpu_ > 0))
      throw InputError("the machine's host memory has no bandwidth",
                       "give cost.cpu_bandwidth, or name a node (kvsim list node)");
    const LinkSpec& link = host_link(*c.node, *c.device);
    link_ = p.link ? p.link->value : link.bandwidth.value;
    if (!(link_ > 0))
      throw InputError("the GPU's link to host memory has no bandwidth", "give cost.link");
    messages_ = 2 * d(c.model->facts().layers) * static_cast<double>(to_ns(link.latency));
    offload_.fills = true;
  }

  Duration mixed_step(const StepShape& s) override { return from_ns_ceil(parts(s).total); }

  // Where the batch is cut moves with every token.
  DecodeLine decode_line(const StepShape& s) override {
    RealLine line;
    line.base = parts(s).total;
    return to_integers(line, s, 1);
  }

  std::vector<Part> explain(const StepShape& s) override {
    const Parts p = parts(s);
    std::vector<Part> out{{"gpu_other", p.other}, {"gpu_attention", p.gpu}};
    if (p.cpu > 0)
      out.push_back({p.two ? "waiting_for_cpu" : "cpu_beyond_gpu", p.total - p.other - p.gpu});
    return out;
  }

  [[nodiscard]] const Offload* offload() const override { return &offload_; }
  void sized(std::int64_t gpu_tokens) override { gpu_tokens_ = gpu_tokens; }

 private:
  struct Parts {
    double other = 0, gpu = 0, cpu = 0,
           total = 0;  // ns; other: of the GPU, without decode attention
    bool two = false;
  };

  // Decode attention on the GPU, and everything else there.
  std::pair<double, double> on_gpu(const StepShape& s) {
    double attention = 0, other = 0;
    for (const Part& p : gpu_->explain(s))
      (std::string_view(p.name) == "attention_decode" ? attention : other) += p.ns;
    return {attention, other};
  }

  // The decodes of `s` cut to so many with so many tokens of context.
  static StepShape cut(StepShape s, std::int64_t decodes, std::int64_t context) {
    s.padded_decodes = std::max<std::int64_t>(decodes, s.padded_decodes - (s.decodes - decodes));
    s.decodes = decodes;
    s.decode_context_sum = decodes == 0 ? 0 : context;
    if (decodes == 0) s.padded_decodes = s.decode_context_max = 0;
    return s;
  }

  Parts parts(const StepShape& s) {
    Parts p;
    const std::int64_t sum = s.decode_context_sum,
                       away = std::max<std::int64_t>(0, sum - gpu_tokens_);
    const auto far = sum == 0 ? std::int64_t{0}
                              : std::min(s.decodes, static_cast<std::int64_t>(std::llround(
                                                        d(s.decodes) * d(away) / d(sum))));
    if (far == 0) {
      std::tie(p.gpu, p.other) = on_gpu(s);
      p.total = p.gpu + p.other;
      return p;
    }
    p.cpu = host_ns(s, far, away);
    const auto [all_attention, all_other] = on_gpu(s);
    const StepShape near = cut(s, s.decodes - far, sum - away);
    const auto [near_attention, near_other] = on_gpu(near);
    StepShape rest = cut(s, far, away);
    rest.prefills = {};
    const double far_other = on_gpu(rest).second;
    const double one = all_other + std::max(near_attention, p.cpu),
                 two = std::max(near_other + far_other + near_attention, p.cpu);
    p.two = pipeline_ == Pipeline::two || (pipeline_ == Pipeline::best && two < one);
    p.gpu = near_attention;
    p.other = p.two ? near_other + far_other : all_other;
    p.total = p.two ? two : one;
    (void)all_attention;
    return p;
  }

  // Attention of `far` decodes over `tokens` in host memory, or what crosses the link, where that
  // takes longer.
  double host_ns(const StepShape& s, std::int64_t far, std::int64_t tokens) {
    model_->step(cut(s, far, tokens), work_);
    double kv = 0, activations = 0, fresh = 0;
    for (const Work& w : work_) {
      if (w.op == Operator::attention_decode) kv += w.kv_bytes, activations += w.activation_bytes;
      if (w.op == Operator::rotary) fresh += w.kv_bytes;
    }
    // New KV of prompts leaves in proportion to where KV is; that of the decodes goes with them.
    const double share = d(far) / d(s.decodes);
    const double prompts = d(s.prefill_tokens()), all = d(far) + prompts;
    const double crossing = activations + fresh * (d(far) + prompts * share) / all;
    return std::max(kv * tensor_ / cpu_, crossing / link_) * 1e9 + messages_;
  }

  const ModelWork* model_;
  std::unique_ptr<CostModel> gpu_;
  Pipeline pipeline_;
  Offload offload_;
  double cpu_ = 0, link_ = 0, messages_ = 0;  // bytes/s; ns an iteration
  int tensor_ = 1;
  std::int64_t gpu_tokens_ = std::int64_t{1} << 60;
  std::vector<Work> work_;  // scratch
};

const Register<CpuAttention> kSelf{
    "cpu-attention",
    "roofline on the GPU; decode attention over KV that does not fit there runs on the CPU",
    "NEO (arXiv:2411.01142), FastDecode (arXiv:2403.11421), APEX (arXiv:2506.03296)"};

}  // namespace
}  // namespace kvsim
