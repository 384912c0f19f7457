// flexgen: offline inference with weights, KV and activations spread over GPU, host memory and
// drives, after the cost model of FlexGen (Sheng et al., ICML 2023; FMInference/FlexGen
// experimental/cost_model.py). An iteration is the sum over the layers of five streams that run
// beside each other; with w, c, h = shares of weights, KV, activations off the GPU (w_s, c_s, h_s:
// on drives), and W, A, N, R, Q = bytes of weights, hidden states between layers, KV written, KV of
// earlier tokens read, queries and attention outputs:
//
//   cpu->gpu   (w W + h A + c R') / r          R' = R, or that of prefills when the CPU attends
//   gpu->cpu   h A / r + c N / r_kv            and c Q / 2 in both directions when the CPU attends
//   ssd->cpu   (w_s W + h_s A + c_s R) / r
//   cpu->ssd   h_s A / r + c_s N / r           N of prefills at a rate of its own
//   compute    products + attention on the GPU + attention on the CPU + conversion
//
//   products   max(flops / rate, micro-batches x 16-bit weights / memory bandwidth), each
//   attention  max(flops / rate, KV / memory bandwidth); prefills multiply the whole square of
//              queries and keys and mask it, as the engine does; with `cpu_attention` the share c
//              of decode attention runs on the CPU: flops / rate, or KV / host memory bandwidth
//   conversion numbers stored in fewer than 16 bits x bytes of GPU memory traffic per number:
//              weights once a micro-batch, KV read, KV written
//
// `overlap: all` takes the slowest stream (the paper). `pairs` is how the published program adds
// them, which its constants were fitted with: prefill max(cpu->gpu + ssd->cpu, gpu->cpu + cpu->ssd,
// compute), decode cpu->gpu + max(the others). Unlike that program: GPU memory bandwidth is a
// limit, KV of decodes is stored, KV may be loaded for attention on the GPU, the output head
// counts, and CPU attention does not slow down for micro-batches below 64. Norms, activation
// functions and the sampler are free. The slowest stream is found over all layers together.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"
#include "hardware/roofline.h"
#include "hardware/topology.h"

namespace kvsim {
namespace {

enum class Overlap : std::uint8_t { all, pairs, none };
constexpr auto enum_names(Overlap) {
  return std::array{std::pair{Overlap::all, "all"}, std::pair{Overlap::pairs, "pairs"},
                    std::pair{Overlap::none, "none"}};
}

// Terms of an iteration's time, in ns; the last four together are the compute stream.
enum Term : std::uint8_t {
  kCpuGpu,
  kGpuCpu,
  kSsdCpu,
  kCpuSsd,
  kProducts,
  kGpuAttention,
  kCpuAttention,
  kConversion,
  kTerms
};
constexpr std::array<const char*, kTerms> kTermNames{"cpu_to_gpu",    "gpu_to_cpu", "ssd_to_cpu",
                                                     "cpu_to_ssd",    "products",   "gpu_attention",
                                                     "cpu_attention", "conversion"};
using Terms = std::array<double, kTerms>;

// The time is the largest sum over one of these sets of terms (bit p = term p).
using Mask = std::uint8_t;
constexpr Mask kCompute = 0xF0;
constexpr Mask bit(Term p) { return static_cast<Mask>(1U << p); }
constexpr Mask with(Term p, Mask m) { return static_cast<Mask>(bit(p) | m); }
constexpr std::array<Mask, 5> kAll{kCompute, bit(kCpuGpu), bit(kGpuCpu), bit(kSsdCpu),
                                   bit(kCpuSsd)};
constexpr std::array<Mask, 3> kPairsPrefill{kCompute, with(kCpuGpu, bit(kSsdCpu)),
                                            with(kGpuCpu, bit(kCpuSsd))};
constexpr std::array<Mask, 4> kPairsDecode{with(kCpuGpu, kCompute), with(kCpuGpu, bit(kGpuCpu)),
                                           with(kCpuGpu, bit(kSsdCpu)),
                                           with(kCpuGpu, bit(kCpuSsd))};
constexpr std::array<Mask, 1> kNone{0xFF};

std::span<const Mask> masks(Overlap o, bool prefill) {
  switch (o) {
    case Overlap::all:
      return kAll;
    case Overlap::pairs:
      return prefill ? std::span<const Mask>(kPairsPrefill) : kPairsDecode;
    case Overlap::none:
      break;
  }
  return kNone;
}
double total(const Terms& t, Mask m) {
  double ns = 0;
  for (std::size_t p = 0; p < kTerms; ++p)
    if ((m >> p & 1) != 0) ns += t[p];
  return ns;
}
// The first of the largest.
Mask slowest(const Terms& t, std::span<const Mask> all) {
  Mask best = all.front();
  for (const Mask m : all)
    if (total(t, m) > total(t, best)) best = m;
  return best;
}

double d(std::int64_t v) { return static_cast<double>(v); }

class FlexGen final : public CostModel {
 public:
  struct Shares {
    Ratio gpu{1.0}, cpu{0.0};
    static constexpr Rows kFields{
        field("gpu", &Shares::gpu, between(Ratio{0}, Ratio{1}), "share in GPU memory"),
        field("cpu", &Shares::cpu, between(Ratio{0}, Ratio{1}),
              "share in host memory; the rest is on drives")};
  };
  struct Params {
    Shares weights, kv, activations;
    int micro_batches = 1;
    bool cpu_attention = false;
    Overlap overlap = Overlap::all;
    int group = 64;
    double dequantize_bytes = 13, quantize_bytes = 25;
    std::optional<Bandwidth> cpu_to_gpu, gpu_to_cpu, gpu_to_cpu_kv, ssd_to_cpu, cpu_to_ssd,
        cpu_to_ssd_prefill_kv;
    std::optional<FlopRate> prefill_matmul, decode_matmul, prefill_attention, decode_attention,
        cpu_attention_rate;
    static constexpr Rows kFields{
        field("weights", &Params::weights, any, "where the weights are"),
        field("kv", &Params::kv, any, "where keys and values are"),
        field("activations", &Params::activations, any,
              "where the hidden states wait between two layers"),
        field("micro_batches", &Params::micro_batches, between(1, 4096),
              "parts of a block of sequences that follow each other through a layer while its "
              "weights stay on the GPU"),
        field("cpu_attention", &Params::cpu_attention, any,
              "the CPU computes decode attention over KV that is not on the GPU; off: that KV is "
              "loaded"),
        field("overlap", &Params::overlap, any,
              "all: the slowest stream decides (paper); pairs: as the published program adds "
              "them; none: one after the other"),
        field("group", &Params::group, between(1, 1 << 20),
              "numbers of fewer than 16 bits (weights, cache.dtype) that share two 16-bit scales"),
        field("dequantize_bytes", &Params::dequantize_bytes, between(0.0, 1000.0),
              "GPU memory traffic that widens a stored number to 16 bits; 13 = the passes of "
              "FlexGen's tensor program: two unpack halves of 2.5, a division and an addition in "
              "place of 4 each"),
        field("quantize_bytes", &Params::quantize_bytes, between(0.0, 1000.0),
              "likewise, to store it: minimum and maximum 2 each, subtraction 4, scaling 4, clamp "
              "4, rounding 4, narrowing 3, packing 2"),
        field("cpu_to_gpu", &Params::cpu_to_gpu, any, "instead of the node's rate"),
        field("gpu_to_cpu", &Params::gpu_to_cpu, any, "likewise"),
        field("gpu_to_cpu_kv", &Params::gpu_to_cpu_kv, any,
              "of KV, which comes in small pieces; default: gpu_to_cpu"),
        field("ssd_to_cpu", &Params::ssd_to_cpu, any,
              "instead of the rate of the node's drives together"),
        field("cpu_to_ssd", &Params::cpu_to_ssd, any, "likewise"),
        field("cpu_to_ssd_prefill_kv", &Params::cpu_to_ssd_prefill_kv, any,
              "of KV of prompts; default: cpu_to_ssd"),
        field("prefill_matmul", &Params::prefill_matmul, any,
              "rate of products over prompts; default: the device's peak by its efficiency"),
        field("decode_matmul", &Params::decode_matmul, any, "likewise, one token a sequence"),
        field("prefill_attention", &Params::prefill_attention, any, "likewise, attention"),
        field("decode_attention", &Params::decode_attention, any, "likewise"),
        field("cpu_attention_rate", &Params::cpu_attention_rate, any,
              "attention on the CPU; default: KV over the bandwidth of host memory")};
  };

  FlexGen(const Params& p, const Context& c)
      : model_(c.model), overlap_(p.overlap), micro_batches_(p.micro_batches), lines_(kLines) {
    if (c.model == nullptr || c.device == nullptr)
      throw InputError("cost model flexgen needs a model and a device");
    const ModelWork::Facts& f = c.model->facts();
    if (c.parallel.gpus() > 1)
      throw InputError("flexgen offloads from one GPU, but an instance has several",
                       "remove deployment.parallel, or use another cost model");
    if (f.experts > 0)
      throw InputError("flexgen streams whole layers: routed experts are not modelled");
    offload_.weights = placement("weights", p.weights);
    offload_.kv = placement("kv", p.kv);
    offload_.activations = placement("activations", p.activations);
    offload_.micro_batches = p.micro_batches;
    cpu_attention_ = p.cpu_attention;
    weight_bits_ = f.weight_bits;
    kv_bits_ = c.kv_bits;
    if (weight_bits_ < 16) offload_.weight_scale_bytes = kScaleBytes / p.group;
    if (kv_bits_ < 16) offload_.kv_scale_bytes = kScaleBytes / p.group;
    if (cpu_attention_ && kv_bits_ < 16)
      throw InputError("attention on the CPU over KV of fewer than 16 bits is not modelled",
                       "remove cost.cpu_attention, or set cache.dtype: fp16");
    gpu_rates(p, *c.device);
    dequantize_ = p.dequantize_bytes * memory_;
    quantize_ = p.quantize_bytes * memory_;
    link_rates(p, c);
    work_.reserve(64);
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    const Terms t = terms(s);
    const Duration all = from_ns_ceil(total(t, slowest(t, masks(overlap_, true))));
    const StepShape alone = decodes_of(s);
    return alone.decodes > 0 ? std::max(all, decode_line(alone).at(alone)) : all;
  }

  DecodeLine decode_line(const StepShape& s) override {
    const Lines& lines = lines_of(s);
    const std::span<const Mask> all = masks(overlap_, false);
    const Mask best = slowest(at(lines, s), all);
    const RealLine winner = combined(lines, best);
    double iterations = kForever;
    for (const Mask m : all)
      if (m != best) iterations = std::min(iterations, until_slower(combined(lines, m), winner, s));
    return to_integers(winner, s, static_cast<std::int64_t>(iterations), kShift);
  }

  std::vector<Part> explain(const StepShape& s) override {
    const StepShape alone = decodes_of(s);
    const Terms decode = at(lines_of(alone), alone);
    Terms t = decode;
    Mask m = slowest(decode, masks(overlap_, false));
    if (!s.prefills.empty()) {
      const Terms all = terms(s);
      const Mask slow = slowest(all, masks(overlap_, true));
      if (alone.decodes == 0 || total(all, slow) >= total(decode, m)) {
        t = all;
        m = slow;
      }
    }
    std::vector<Part> out;
    for (std::size_t p = 0; p < kTerms; ++p)
      if ((m >> p & 1) != 0) out.push_back({kTermNames[p], t[p]});
    return out;
  }

  [[nodiscard]] const Offload* offload() const override { return &offload_; }

 private:
  using Lines = std::array<RealLine, kTerms>;
  struct Slot {
    std::int64_t decodes = -1, padded = 0;
    Lines lines{};
  };
  static constexpr std::size_t kLines = 256;
  static constexpr double kForever = 1 << 20;
  static constexpr double kScaleBytes = 4;  // of a group: scale and minimum in 16 bits
  static constexpr int kShift = 16;         // an iteration over drives may take hours

  static Residence placement(const char* what, const Shares& s) {
    if (s.gpu.value + s.cpu.value > 1 + 1e-9)
      throw InputError(fmt::format("{}: {:g} % on the GPU and {:g} % in host memory are more than "
                                   "100 %",
                                   what, s.gpu.value * 100, s.cpu.value * 100),
                       "the rest, at least 0 %, is on drives");
    // Shares are written in decimal: what is left of them by rounding is no share.
    const double cpu =
        std::abs(1 - s.gpu.value - s.cpu.value) < 1e-9 ? 1 - s.gpu.value : s.cpu.value;
    return {s.gpu.value, cpu};
  }

  void gpu_rates(const Params& p, const DeviceSpec& device) {
    const Efficiency& e = device.efficiency;
    if (!(device.bandwidth.value > 0))
      throw InputError(fmt::format("device {} has no memory bandwidth", device.name),
                       "give it in its catalogue file");
    const double peak = peak_rate(device, "auto", 16) * 1e-9;  // per ns
    const auto rate = [](const std::optional<FlopRate>& given, double usual) {
      if (!given) return usual;
      if (!(given->value > 0)) throw InputError("a rate must be above 0");
      return given->value * 1e-9;
    };
    prefill_matmul_ = rate(p.prefill_matmul, peak * e.gemm);
    decode_matmul_ = rate(p.decode_matmul, peak * e.gemm);
    prefill_attention_ = rate(p.prefill_attention, peak * e.attention);
    decode_attention_ = rate(p.decode_attention, peak * e.attention);
    memory_ = 1e9 / (device.bandwidth.value * e.memory);
    kv_memory_ = 1e9 / (device.bandwidth.value * e.kv_memory);
    if (p.cpu_attention_rate) cpu_flops_ = rate(p.cpu_attention_rate, 0);
  }

  // What the machine moves: from host memory to the GPU nearest to it, and drives all together.
  struct Machine {
    double cpu_gpu = 0, gpu_cpu = 0, ssd_cpu = 0, cpu_ssd = 0, memory = 0;  // bytes/s; 0 = no way
  };
  static Machine machine_of(const Context& c) {
    Machine m;
    if (c.node == nullptr || c.storage == nullptr) return m;
    Topology t = build_topology(*c.node, 1, *c.storage);
    const auto gpus = t.of_kind(VertexKind::gpu);
    const auto dram = gpus.empty() ? std::nullopt : t.nearest(gpus.front(), VertexKind::dram);
    if (!dram) return m;
    const auto rate = [&](VertexId from, VertexId to) {
      return t.reachable(from, to) ? t.bottleneck(t.route(from, to)) : 0.0;
    };
    m.cpu_gpu = rate(*dram, gpus.front());
    m.gpu_cpu = rate(gpus.front(), *dram);
    for (const VertexId ssd : t.of_kind(VertexKind::ssd)) {
      m.ssd_cpu += rate(ssd, *dram);
      m.cpu_ssd += rate(*dram, ssd);
    }
    if (const auto socket = t.nearest(*dram, VertexKind::socket)) m.memory = rate(*dram, *socket);
    if (std::isinf(m.memory)) m.memory = 0;
    return m;
  }

  // ns per byte; `needed`: something takes this way.
  static double way(const char* key, const std::optional<Bandwidth>& given, double usual,
                    bool needed) {
    const double rate = given ? given->value : usual;
    if (needed && !(rate > 0))
      throw InputError(
          given ? fmt::format("{}: a rate must be above 0", key)
                : fmt::format("the machine has nothing that gives {}", key),
          fmt::format(
              "name a node with {} (kvsim list node), or keep everything above it",
              std::string(key).find("ssd") != std::string::npos ? "drives" : "host memory"));
    return rate > 0 ? 1e9 / rate : 0;
  }

  void link_rates(const Params& p, const Context& c) {
    const Machine m = machine_of(c);
    const auto off = [](const Residence& at) { return at.gpu < 1; };
    const auto deep = [](const Residence& at) { return at.ssd() > 0; };
    const Offload& o = offload_;
    const bool leaves = off(o.weights) || off(o.kv) || off(o.activations);
    const bool sinks = deep(o.weights) || deep(o.kv) || deep(o.activations);
    cpu_gpu_ = way("cpu_to_gpu", p.cpu_to_gpu, m.cpu_gpu, leaves);
    gpu_cpu_ = way("gpu_to_cpu", p.gpu_to_cpu, m.gpu_cpu, leaves);
    gpu_cpu_kv_ = p.gpu_to_cpu_kv ? way("gpu_to_cpu_kv", p.gpu_to_cpu_kv, 0, true) : gpu_cpu_;
    ssd_cpu_ = way("ssd_to_cpu", p.ssd_to_cpu, m.ssd_cpu, sinks);
    cpu_ssd_ = way("cpu_to_ssd", p.cpu_to_ssd, m.cpu_ssd, sinks);
    cpu_ssd_prefill_kv_ = p.cpu_to_ssd_prefill_kv
                              ? way("cpu_to_ssd_prefill_kv", p.cpu_to_ssd_prefill_kv, 0, true)
                              : cpu_ssd_;
    host_memory_ = m.memory > 0 ? 1e9 / m.memory : 0;
    if (cpu_attention_ && off(o.kv) && !(cpu_flops_ > 0) && !(host_memory_ > 0))
      throw InputError("nothing says how fast the CPU attends: the node has no memory_link",
                       "set cost.cpu_attention_rate: 0.01 TFLOP/s, or remove cost.cpu_attention");
  }

  static StepShape decodes_of(const StepShape& s) {
    StepShape alone = s;
    alone.prefills = {};
    return alone;
  }

  // What moves in an iteration, all layers together; bytes.
  struct Moved {
    double weights = 0, hidden = 0, kv_new = 0;
    double kv_prefill = 0, kv_decode = 0;  // of earlier tokens
    double queries = 0;                    // and outputs, of decode attention
    double prefill = 0;                    // share of prompt tokens among all
  };

  Terms terms(const StepShape& s) {
    Terms t{};
    model_->step(s, work_);
    const double prefill = d(s.prefill_tokens()),
                 dense = d(std::max(s.padded_decodes, s.decodes)) + prefill;
    if (!(dense > 0)) return t;
    Moved m;
    m.prefill = prefill / dense;
    const ModelWork::Facts& f = model_->facts();
    m.hidden = d(f.layers) * d(s.tokens()) * d(f.hidden) * f.activation_element_bytes;
    const double sequences = d(s.decodes) + static_cast<double>(s.prefills.size());
    const double micro = std::min(static_cast<double>(micro_batches_), sequences);
    for (const Work& w : work_) {
      if (w.op == Operator::attention_decode) {
        attend_decodes(w, t, m);
      } else if (w.op == Operator::attention_prefill) {
        attend_prefills(s, w, t, m);
      } else if (w.op == Operator::rotary) {
        m.kv_new += stored_kv(w.kv_bytes);
        if (kv_bits_ < 16) t[kConversion] += numbers(w.kv_bytes) * quantize_;
      } else if (w.weight_bytes > 0) {
        multiply(w, micro, t, m);
      }
    }
    transfer(m, t);
    return t;
  }

  [[nodiscard]] double numbers(double kv_bytes) const { return kv_bytes * 8 / kv_bits_; }
  [[nodiscard]] double stored_kv(double kv_bytes) const {
    return kv_bytes + numbers(kv_bytes) * offload_.kv_scale_bytes;
  }

  void multiply(const Work& w, double micro, Terms& t, Moved& m) const {
    const bool head = w.op == Operator::lm_head;  // kept in 16 bits, one row a sequence
    const bool narrow = !head && weight_bits_ < 16;
    const double count = narrow ? w.weight_bytes * 8 / weight_bits_ : 0;
    m.weights += w.weight_bytes + count * offload_.weight_scale_bytes;
    const double wide = narrow ? count * 2 : w.weight_bytes, prompts = head ? 0 : m.prefill;
    const double flops = w.flops * (prompts / prefill_matmul_ + (1 - prompts) / decode_matmul_);
    t[kProducts] += std::max(flops, micro * wide * memory_);
    t[kConversion] += micro * count * dequantize_;
  }

  // Arithmetic and KV both grow with the context alone, so one of them is the slower at every
  // context.
  void attend_decodes(const Work& w, Terms& t, Moved& m) const {
    const double off = cpu_attention_ ? 1 - offload_.kv.gpu : 0, wide = numbers(w.kv_bytes) * 2;
    t[kGpuAttention] += (1 - off) * std::max(w.flops / decode_attention_, wide * kv_memory_);
    t[kCpuAttention] += off * (cpu_flops_ > 0 ? w.flops / cpu_flops_ : wide * host_memory_);
    if (kv_bits_ < 16) t[kConversion] += (1 - off) * numbers(w.kv_bytes) * dequantize_;
    m.kv_decode += stored_kv(w.kv_bytes);
    m.queries += w.activation_bytes;
  }

  void attend_prefills(const StepShape& s, const Work& w, Terms& t, Moved& m) const {
    double square = 0, causal = 0, history = 0, all = 0;
    for (const PrefillPiece& p : s.prefills) {
      square += d(p.tokens) * d(p.history + p.tokens);
      causal += d(p.tokens) * (d(p.history) + 0.5 * (d(p.tokens) + 1));
      history += d(p.history);
      all += d(p.history + p.tokens);
    }
    const double earlier = w.kv_bytes * history / all;
    t[kGpuAttention] += std::max(w.flops * square / causal / prefill_attention_,
                                 numbers(w.kv_bytes) * 2 * kv_memory_);
    if (kv_bits_ < 16) t[kConversion] += numbers(earlier) * dequantize_;
    m.kv_prefill += stored_kv(earlier);
  }

  void transfer(const Moved& m, Terms& t) const {
    const Residence &w = offload_.weights, &c = offload_.kv, &h = offload_.activations;
    const double weights = (1 - w.gpu) * m.weights, hidden = (1 - h.gpu) * m.hidden;
    const double loaded = m.kv_prefill + (cpu_attention_ ? 0 : m.kv_decode);
    const double queries = cpu_attention_ ? (1 - c.gpu) * m.queries / 2 : 0;
    const double sunk = c.ssd() * m.kv_new;
    t[kCpuGpu] = (weights + hidden + (1 - c.gpu) * loaded + queries) * cpu_gpu_;
    t[kGpuCpu] = (hidden + queries) * gpu_cpu_ + (1 - c.gpu) * m.kv_new * gpu_cpu_kv_;
    t[kSsdCpu] =
        (w.ssd() * m.weights + h.ssd() * m.hidden + c.ssd() * (m.kv_prefill + m.kv_decode)) *
        ssd_cpu_;
    t[kCpuSsd] = h.ssd() * m.hidden * cpu_ssd_ +
                 sunk * (m.prefill * cpu_ssd_prefill_kv_ + (1 - m.prefill) * cpu_ssd_);
  }

  // Every term of a decode-only iteration is affine in the sums of contexts: probes give its
  // coefficients, which depend on the number of decodes.
  const Lines& lines_of(const StepShape& s) {
    Slot& slot = lines_[static_cast<std::size_t>(s.decodes ^ (s.padded_decodes << 2)) % kLines];
    if (slot.decodes == s.decodes && slot.padded == s.padded_decodes) return slot.lines;
    slot = {s.decodes, s.padded_decodes, {}};
    StepShape unit = s;  // contexts of one token
    unit.decode_context_sum = s.decodes;
    unit.decode_context_max = 1;
    unit.decode_window_sum.fill(s.decodes);
    const Terms base = terms(unit);
    for (std::size_t p = 0; p < kTerms; ++p) slot.lines[p].base = base[p];
    if (s.decodes == 0) return slot.lines;
    const std::int64_t far = 4096 * s.decodes;
    for (std::size_t i = 0; i <= kMaxWindows; ++i) {
      StepShape probe = unit;
      (i == 0 ? probe.decode_context_sum : probe.decode_window_sum[i - 1]) += far;
      const Terms grown = terms(probe);
      for (std::size_t p = 0; p < kTerms; ++p) {
        RealLine& line = slot.lines[p];
        const double slope = std::max(0.0, (grown[p] - base[p]) / d(far));
        (i == 0 ? line.per_context : line.per_window[i - 1]) = slope;
        line.base -= slope * d(s.decodes);
      }
    }
    return slot.lines;
  }
  static double at(const RealLine& r, const StepShape& s) {
    double ns = r.base + r.per_context * d(s.decode_context_sum);
    for (std::size_t i = 0; i < kMaxWindows; ++i) ns += r.per_window[i] * d(s.decode_window_sum[i]);
    return ns;
  }
  static Terms at(const Lines& lines, const StepShape& s) {
    Terms t{};
    for (std::size_t p = 0; p < kTerms; ++p) t[p] = at(lines[p], s);
    return t;
  }
  static RealLine combined(const Lines& lines, Mask m) {
    RealLine r;
    for (std::size_t p = 0; p < kTerms; ++p) {
      if ((m >> p & 1) == 0) continue;
      r.base += lines[p].base;
      r.per_context += lines[p].per_context;
      for (std::size_t i = 0; i < kMaxWindows; ++i) r.per_window[i] += lines[p].per_window[i];
    }
    return r;
  }

  // Iterations from here on, this one included, in which `other` surely stays below `winner`: at
  // most every window grows with its context, at least none does.
  static double until_slower(const RealLine& other, const RealLine& winner, const StepShape& s) {
    double growth = other.per_context - winner.per_context;
    for (const double w : other.per_window) growth += w;
    growth *= d(s.decodes);
    if (!(growth > 0)) return kForever;
    constexpr double kRounding = 1 - 1e-9;
    return 1 + std::floor(std::max(0.0, at(winner, s) - at(other, s)) * kRounding / growth);
  }

  const ModelWork* model_;
  Offload offload_;
  Overlap overlap_;
  int micro_batches_;
  bool cpu_attention_ = false;
  double weight_bits_ = 16, kv_bits_ = 16;
  // Flops per ns; cpu_flops_ 0 = host memory decides.
  double prefill_matmul_ = 0, decode_matmul_ = 0, prefill_attention_ = 0, decode_attention_ = 0,
         cpu_flops_ = 0;
  // ns per byte; 0 = nothing goes there.
  double memory_ = 0, kv_memory_ = 0, host_memory_ = 0, cpu_gpu_ = 0, gpu_cpu_ = 0, gpu_cpu_kv_ = 0,
         ssd_cpu_ = 0, cpu_ssd_ = 0, cpu_ssd_prefill_kv_ = 0;
  double dequantize_ = 0, quantize_ = 0;  // ns per number
  std::vector<Slot> lines_;
  std::vector<Work> work_;  // scratch
};

const Register<FlexGen> kSelf{
    "flexgen",
    "weights, KV and activations spread over GPU, host memory and drives; streams that overlap",
    "arXiv:2303.06865; FMInference/FlexGen experimental/cost_model.py"};

}  // namespace
}  // namespace kvsim
