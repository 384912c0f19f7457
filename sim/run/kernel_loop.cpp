#include "sim/run/kernel_loop.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/arena.h"
#include "kernels/attention.h"
#include "kernels/bandwidth.h"
#include "kernels/threads.h"
#include "kernels/timing.h"
#include "kernels/transformer.h"
#include "models/geometry.h"
#include "sim/base/check.h"
#include "sim/base/diagnostics.h"
#include "sim/base/random.h"

namespace kvsim {

namespace {

std::size_t z(std::int64_t v) { return static_cast<std::size_t>(v); }
std::int32_t n32(std::int64_t v) { return static_cast<std::int32_t>(v); }

// Random numbers of deviation `size`, drawn once for 64 Ki places and repeated: drawing gigabytes
// takes minutes.
template <class T, class Convert>
void fill(std::span<T> out, double size, Rng rng, Convert convert) {
  const std::size_t drawn = std::min<std::size_t>(out.size(), 65536);
  for (std::size_t i = 0; i < drawn; ++i) out[i] = convert(static_cast<float>(size * rng.normal()));
  for (std::size_t i = drawn; i < out.size(); ++i) out[i] = out[i - drawn];
}

// One matrix in f16, out x in.
struct Matrix {
  kernels::Arena memory;
  std::int64_t out_dim = 0, in_dim = 0;
  Matrix(std::int64_t rows, std::int64_t columns, const Rng& rng)
      : memory(z(rows * columns) * 2), out_dim(rows), in_dim(columns) {
    fill(memory.as<std::uint16_t>(0, z(rows * columns)),
         1 / std::sqrt(static_cast<double>(columns)), rng, kernels::to_f16);
  }
  void multiply(std::span<const float> x, std::int64_t rows, std::vector<float>& out,
                kernels::Threads& threads) const {
    out.resize(z(rows * out_dim));
    kernels::cpu::linear({.rows = n32(rows),
                          .in_dim = n32(in_dim),
                          .out_dim = n32(out_dim),
                          .weight_f32 = {},
                          .weight_f16 = memory.as<std::uint16_t>(0, z(out_dim * in_dim)),
                          .x = x,
                          .out = out},
                         threads);
  }
};

class Decoder {
 public:
  Decoder(const ModelSpec& m, const LoopShape& shape)
      : m_(m), shape_(shape), threads_(shape.threads), norm_(z(m.hidden), 1.0F) {
    format_ = {.element = kernels::Element::f16,
               .kv_heads = static_cast<int>(m.kv_head_count()),
               .k_dim = static_cast<int>(m.head_width()),
               .v_dim = static_cast<int>(m.value_width()),
               .page_tokens = 16};
    format_.check();
    const Rng rng(1, "kernel-loop");
    pages_ = (shape.context + shape.steps + format_.page_tokens - 1) / format_.page_tokens;
    for (std::int64_t l = 0; l < m.layers; ++l) layers_.emplace_back(*this, rng.at(z(l)));
    head_ = std::make_unique<Matrix>(m.vocab, m.hidden, rng.at(1 << 20));
    for (std::int64_t i = 0; i < shape.batch * pages_; ++i) table_.push_back(n32(i));
    // Pages of a sequence lie apart, as in an engine that has run for a while.
    Rng order = rng.at(1 << 21);
    for (std::size_t i = table_.size(); i > 1; --i)
      std::swap(table_[i - 1], table_[order.below(i)]);
    x_.resize(z(shape.batch * m.hidden));
    fill(std::span(x_), 1, rng.at(1 << 22), [](float v) { return v; });
  }

  // One token for every sequence, whose contexts have `context` tokens with it.
  void step(std::int64_t context) {
    lengths_.assign(z(shape_.batch), n32(context));
    positions_.assign(z(shape_.batch), n32(context - 1));
    for (const Layer& l : layers_) run_layer(l, context);
    normalise();
    head_->multiply(hidden_, shape_.batch, logits_, threads_);
    kernels::cpu::softmax({.rows = n32(shape_.batch),
                           .columns = n32(m_.vocab),
                           .log = false,
                           .x = logits_,
                           .out = logits_},
                          threads_);
  }
  double read_rate() {
    return kernels::probe_read(threads_, {.bytes = kernels::bytes_beyond_caches()}).median;
  }
  [[nodiscard]] float sample() const { return logits_.front(); }

 private:
  struct Layer {
    Matrix q, k, v, o, gate, up, down;
    kernels::Arena kv;
    Layer(const Decoder& d, const Rng& rng)
        : q(d.m_.heads * d.m_.head_width(), d.m_.hidden, rng.at(0)),
          k(d.m_.kv_head_count() * d.m_.head_width(), d.m_.hidden, rng.at(1)),
          v(d.m_.kv_head_count() * d.m_.value_width(), d.m_.hidden, rng.at(2)),
          o(d.m_.hidden, d.m_.heads * d.m_.value_width(), rng.at(3)),
          gate(d.m_.intermediate, d.m_.hidden, rng.at(4)),
          up(d.m_.intermediate, d.m_.hidden, rng.at(5)),
          down(d.m_.hidden, d.m_.intermediate, rng.at(6)),
          kv(z(d.shape_.batch * d.pages_) * d.format_.page_bytes()) {
      fill(kv.as<std::uint16_t>(0, kv.bytes().size() / 2), 1, rng.at(7), kernels::to_f16);
    }
  };

  void normalise() {
    hidden_.resize(x_.size());
    kernels::cpu::rms_norm({.rows = n32(shape_.batch),
                            .dim = n32(m_.hidden),
                            .epsilon = 1e-5F,
                            .x = x_,
                            .weight = norm_,
                            .out = hidden_},
                           threads_);
  }
  void rotate(std::vector<float>& x, std::int64_t heads) {
    kernels::cpu::rope({.rows = n32(shape_.batch),
                        .heads = n32(heads),
                        .dim = n32(m_.head_width()),
                        .pairs = kernels::RopePairs::halves,
                        .theta = 500000,
                        .positions = positions_,
                        .x = x},
                       threads_);
  }
  void store(const Layer& l, std::int64_t context) {
    const std::int64_t page = (context - 1) / format_.page_tokens;
    const int slot = static_cast<int>((context - 1) % format_.page_tokens);
    const auto k_dim = z(format_.k_dim), v_dim = z(format_.v_dim);
    for (std::int64_t s = 0; s < shape_.batch; ++s) {
      std::byte* at = l.kv.bytes().data() + z(table_[z(s * pages_ + page)]) * format_.page_bytes();
      for (int h = 0; h < format_.kv_heads; ++h) {
        const std::size_t i = z(s) * z(format_.kv_heads) + z(h);
        kernels::store_token(format_, at, h, slot, std::span(k_).subspan(i * k_dim, k_dim),
                             std::span(v_).subspan(i * v_dim, v_dim));
      }
    }
  }
  void add(const std::vector<float>& change) {
    for (std::size_t i = 0; i < x_.size(); ++i) x_[i] += change[i];
  }

  void run_layer(const Layer& l, std::int64_t context) {
    const std::int64_t batch = shape_.batch;
    normalise();
    l.q.multiply(hidden_, batch, q_, threads_);
    l.k.multiply(hidden_, batch, k_, threads_);
    l.v.multiply(hidden_, batch, v_, threads_);
    rotate(q_, m_.heads);
    rotate(k_, m_.kv_head_count());
    store(l, context);
    attended_.resize(z(batch * m_.heads * m_.value_width()));
    kernels::cpu::attend(
        kernels::DecodeAttention{
            .cache = {format_, l.kv.bytes()},
            .table = {table_, n32(pages_), lengths_},
            .q_heads = static_cast<int>(m_.heads),
            .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(m_.head_width()))),
            .visible = {},
            .shared = {},
            .q = q_,
            .out = attended_},
        threads_);
    l.o.multiply(attended_, batch, change_, threads_);
    add(change_);
    normalise();
    l.gate.multiply(hidden_, batch, gate_, threads_);
    l.up.multiply(hidden_, batch, up_, threads_);
    kernels::cpu::silu_gate({.gate = gate_, .up = up_, .out = gate_}, threads_);
    l.down.multiply(gate_, batch, change_, threads_);
    add(change_);
  }

  const ModelSpec& m_;
  LoopShape shape_;
  kernels::Threads threads_;
  kernels::KvFormat format_;
  std::int64_t pages_ = 0;  // of a sequence
  std::vector<Layer> layers_;
  std::unique_ptr<Matrix> head_;
  std::vector<std::int32_t> table_, lengths_, positions_;
  std::vector<float> norm_, x_, hidden_, q_, k_, v_, attended_, gate_, up_, change_, logits_;
};

void check_model(const ModelSpec& m, const LoopShape& shape) {
  const bool is_plain = !m.moe && !m.mla && !m.recurrent && m.attention.empty() &&
                        m.kv_source.empty() && m.gated && !m.qk_norm && !m.parallel_residual &&
                        m.learned_positions == 0 && m.norms_per_layer == 2;
  if (!is_plain)
    throw InputError(fmt::format("the loop cannot run {}", m.name),
                     "it knows dense decoders with full attention, rotary positions and a gated "
                     "feed-forward part, such as llama-3.2-1b");
  const double weights = static_cast<double>(parameters(m).total() + m.vocab * m.hidden) * 2;
  const double kv = to_double(kv_token_bytes(m, Dtype::fp16)) *
                    static_cast<double>(shape.batch * (shape.context + shape.steps + 16));
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  if (weights + kv > memory / 2)
    throw InputError(
        fmt::format("weights and KV of the loop need {:.1f} GB, half of this machine's "
                    "memory is {:.1f} GB",
                    (weights + kv) / 1e9, memory / 2e9),
        "choose a smaller model, batch or context");
}

constexpr int kAttempts = 8;  // at an iteration that others disturb
constexpr std::int64_t kRounds = 5;

double median(std::vector<double> values) {
  return values.empty() ? std::nan("") : kernels::quantile(values, 0.5);
}

StepShape decodes(const LoopShape& shape, std::int64_t context) {
  StepShape s;
  s.decodes = s.padded_decodes = shape.batch;
  s.decode_context_sum = shape.batch * context;
  s.decode_context_max = context;
  return s;
}

}  // namespace

LoopReport run_kernel_loop(const ModelSpec& m, CostModel& profile, const TimeKernels& time_kernels,
                           const LoopShape& shape,
                           const std::function<void(const std::string&)>& progress) {
  check_model(m, shape);
  if (progress) progress("drawing weights");
  Decoder decoder(m, shape);
  decoder.step(shape.context + 1);  // touches everything once
  LoopReport report;
  std::vector<double> simulated, measured, law;
  const std::int64_t rounds = std::min(kRounds, shape.steps);
  for (std::int64_t round = 0; round < rounds; ++round) {
    const std::unique_ptr<CostModel> now = time_kernels();
    if (round == rounds / 2) report.read_rate = decoder.read_rate();
    std::vector<double> simulated_now, measured_now;
    for (std::int64_t i = shape.steps * round / rounds; i < shape.steps * (round + 1) / rounds;
         ++i) {
      const std::int64_t context = shape.context + 1 + i;
      if (progress) progress(fmt::format("iteration {} of {}", i + 1, shape.steps));
      double seconds = -1;
      for (int attempt = 0; attempt < kAttempts && seconds < 0; ++attempt) {
        seconds = kernels::time_once(shape.threads, [&] { decoder.step(context); });
        KVSIM_CHECK(std::isfinite(decoder.sample()), "the loop computes finite logits");
        ++(seconds < 0 ? report.disturbed : report.quiet);
      }
      if (seconds < 0) continue;
      const StepShape s = decodes(shape, context);
      simulated.push_back(to_seconds(profile.decode_line(s).at(s)));
      simulated_now.push_back(to_seconds(now->decode_line(s).at(s)));
      measured.push_back(seconds);
      measured_now.push_back(seconds);
    }
    if (!measured_now.empty()) law.push_back(median(simulated_now) / median(measured_now) - 1);
  }
  report.simulated = median(simulated);
  report.measured = median(measured);
  report.law_difference = median(law);
  return report;
}

}  // namespace kvsim
