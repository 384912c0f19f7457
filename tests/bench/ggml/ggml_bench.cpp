// kvsim's decode attention and page codecs beside ggml's, call by call in turn in one process, so
// that what slows the machine slows both. Built only with -DKVSIM_GGML=<a checkout of ggml that was
// built in its folder build/>; `./dev bench ggml CHECKOUT` does both. Nothing of ggml is kept here.
//
//   kvsim_ggml_bench [cpu|vulkan] [context] [calls]
//
// One query token per call, 32 query and 8 KV heads of 128. Each side is checked before it is
// timed: ours against our reference in double, ggml's against exact attention over its own inputs.
#include <fmt/format.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "kernels/bandwidth.h"
#include "kernels/harness/check.h"
#include "kernels/threads.h"
#include "kernels/timing.h"
#include "kernels/vulkan/device.h"

namespace {

using namespace kvsim;
using namespace kvsim::kernels;

constexpr std::int64_t kQueries = 32, kHeads = 8, kDim = 128;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "ggml_bench: {}\n", what);
  std::exit(1);
}

std::vector<float> draw(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(random()) * 0x1p-31F - 1;
  return x;
}

// ggml's fused attention over one contiguous cache.
class Peer {
 public:
  Peer(ggml_backend_t backend, ggml_type type, std::int64_t context)
      : backend_(backend), context_(context) {
    ctx_ = ggml_init({64 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true});
    q_ = ggml_new_tensor_4d(ctx_, GGML_TYPE_F32, kDim, 1, kQueries, 1);
    k_ = ggml_new_tensor_4d(ctx_, type, kDim, context, kHeads, 1);
    v_ = ggml_new_tensor_4d(ctx_, type, kDim, context, kHeads, 1);
    out_ = ggml_flash_attn_ext(ctx_, q_, k_, v_, nullptr, scale(), 0, 0);
    if (!ggml_backend_supports_op(backend, out_)) fail("ggml lacks this attention");
    graph_ = ggml_new_graph(ctx_);
    ggml_build_forward_expand(graph_, out_);
    buffer_ = ggml_backend_alloc_ctx_tensors(ctx_, backend);
    if (buffer_ == nullptr) fail("ggml has no memory");
    const auto q = draw(static_cast<std::size_t>(kDim * kQueries), 1);
    ggml_backend_tensor_set(q_, q.data(), 0, ggml_nbytes(q_));
    fill(k_, type, 2);
    fill(v_, type, 3);
    run();
    check(q);
  }
  ~Peer() {
    ggml_backend_buffer_free(buffer_);
    ggml_free(ctx_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  void run() {
    if (ggml_backend_graph_compute(backend_, graph_) != GGML_STATUS_SUCCESS) fail("ggml failed");
  }

 private:
  static float scale() { return 1 / std::sqrt(static_cast<float>(kDim)); }
  void fill(ggml_tensor* t, ggml_type type, unsigned seed) {
    const auto x = draw(static_cast<std::size_t>(ggml_nelements(t)), seed);
    std::vector<std::uint8_t> bytes(ggml_nbytes(t));
    ggml_quantize_chunk(type, x.data(), bytes.data(), 0, context_ * kHeads, kDim, nullptr);
    ggml_backend_tensor_set(t, bytes.data(), 0, bytes.size());
  }
  // Row `t` of head 0 as numbers.
  std::vector<float> row(const ggml_tensor* tensor, std::int64_t t) const {
    std::vector<std::uint8_t> bytes(ggml_row_size(tensor->type, kDim));
    ggml_backend_tensor_get(tensor, bytes.data(), static_cast<std::size_t>(t) * tensor->nb[1],
                            bytes.size());
    std::vector<float> x(static_cast<std::size_t>(kDim));
    ggml_get_type_traits(tensor->type)->to_float(bytes.data(), x.data(), kDim);
    return x;
  }
  // Query head 0 in double, of the stored numbers.
  void check(const std::vector<float>& q) const {
    std::vector<double> sum(static_cast<std::size_t>(kDim));
    double total = 0;
    for (std::int64_t t = 0; t < context_; ++t) {
      const auto k = row(k_, t), v = row(v_, t);
      double dot = 0;
      for (std::size_t d = 0; d < k.size(); ++d) dot += double{q[d]} * double{k[d]};
      const double weight = std::exp(dot * double{scale()});
      total += weight;
      for (std::size_t d = 0; d < v.size(); ++d) sum[d] += weight * double{v[d]};
    }
    std::vector<float> out(static_cast<std::size_t>(kDim));
    ggml_backend_tensor_get(out_, out.data(), 0, out.size() * sizeof(float));
    double off = 0, norm = 0;
    for (std::size_t d = 0; d < out.size(); ++d) {
      off += std::pow(sum[d] / total - double{out[d]}, 2);
      norm += std::pow(sum[d] / total, 2);
    }
    if (!(off < 0.01 * norm)) fail(fmt::format("ggml is off by {:.3f}", std::sqrt(off / norm)));
  }

  ggml_backend_t backend_;
  std::int64_t context_;
  ggml_context* ctx_ = nullptr;
  ggml_tensor *q_, *k_, *v_, *out_;
  ggml_cgraph* graph_ = nullptr;
  ggml_backend_buffer_t buffer_ = nullptr;
};

struct Ours {
  std::unique_ptr<Operation> op;
  std::unique_ptr<Bound> bound;
  Ours(const std::string& name, Tree shape, Target target)
      : op(make_operation(name, shape, {.seed = 1, .footprint = 0})) {
    std::string why;
    bound = op->bind(target, why);
    if (!bound) fail(why);
    op->reference();
    op->poison();
    bound->run(0);
    bound->fetch();
    // Random numbers over a long context average to nearly nothing, so that relative errors grow.
    if (op->difference().of_bound > 2) fail(op->difference().text);
  }
};

Tree shape(std::int64_t context, const char* element, std::int64_t page, bool shuffled) {
  Tree t = Tree::map();
  t.set("context", Tree::scalar(std::to_string(context)));
  t.set("element", Tree::scalar(element));
  t.set("page_tokens", Tree::scalar(std::to_string(page)));
  t.set("shuffled", Tree::scalar(shuffled ? "true" : "false"));
  return t;
}

void row(const std::string& what, const Timing& ours, const Timing& theirs, double read) {
  fmt::print("{:<34} {:>9.1f} {:>9.1f} {:>7.2f}x {:>5}/{:<5}{}\n", what, ours.median * 1e6,
             theirs.median * 1e6, theirs.median / ours.median, ours.calls, theirs.calls,
             read > 0 ? fmt::format(" {:.0f} % of the read probe beside", 100 * read) : "");
  std::fflush(stdout);
}

void header(const std::string& what) {
  fmt::print("\n{}\n{:<34} {:>9} {:>9} {:>8} {:>11}\n", what, "", "kvsim, us", "ggml, us", "ratio",
             "quiet calls");
}

void cpu_rows(int threads, std::int64_t context, std::int64_t calls) {
  ggml_backend_t backend = ggml_backend_cpu_init();
  ggml_backend_cpu_set_n_threads(backend, threads);
  ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  params.poll = 0;  // its workers sleep while ours run
  ggml_threadpool* pool = ggml_threadpool_new(&params);
  ggml_backend_cpu_set_threadpool(backend, pool);
  Threads team(threads);
  MemoryProbe memory(team, std::size_t{512} << 20, true);
  header(fmt::format("CPU, {} threads, context {}", threads, context));
  const TimingRules rules{.threads = threads, .calls = calls, .budget = 60};
  struct Case {
    const char* name;
    const char* element;
    ggml_type type;
    std::int64_t page;
    bool shuffled;
  };
  for (const Case& c : {Case{"decode f16, tokens in order", "f16", GGML_TYPE_F16, 1024, false},
                        Case{"decode f16, shuffled pages of 16", "f16", GGML_TYPE_F16, 16, true},
                        Case{"decode int8 / q8_0", "i8", GGML_TYPE_Q8_0, 1024, false},
                        Case{"decode int4 / q4_0", "i4", GGML_TYPE_Q4_0, 1024, false}}) {
    Ours ours("decode-attention", shape(context, c.element, c.page, c.shuffled), {&team, nullptr});
    Peer peer(backend, c.type, context);
    const auto times = time_in_turn(
        rules, {[&](std::int64_t) { ours.bound->run(0); }, [&](std::int64_t) { peer.run(); },
                [&](std::int64_t call) { memory.read(call); }});
    const double probe = memory.bytes_read() / times[2].median;
    row(c.name, times[0], times[1], ours.op->traffic().bytes_read / times[0].median / probe);
  }
  ggml_backend_free(backend);
  ggml_threadpool_free(pool);
}

// The same count of numbers into codes: ours from a cache in f16, ggml's from floats, which is what
// its own writes to a cache begin with. Larger than the caches of the processor.
void codec_rows(int threads, std::int64_t calls) {
  constexpr std::int64_t kTokens = 16384, kNumbers = kTokens * kHeads * kDim * 2, kRow = 4096;
  Threads team(threads);
  header(fmt::format("CPU, {} threads, {} M numbers into codes", threads, kNumbers >> 20));
  const TimingRules rules{.threads = threads, .calls = calls, .budget = 30};
  const std::vector<float> x = draw(static_cast<std::size_t>(kNumbers), 2);
  struct Case {
    const char* name;
    const char* codes;
    ggml_type type;
  };
  for (const Case& c : {Case{"quantise int8 / q8_0", "i8", GGML_TYPE_Q8_0},
                        Case{"quantise int4 / q4_0", "i4", GGML_TYPE_Q4_0}}) {
    Tree t = Tree::map();
    t.set("context", Tree::scalar(std::to_string(kTokens)));
    t.set("codes", Tree::scalar(c.codes));
    Ours ours("quantize-pages", t, {&team, nullptr});
    std::vector<std::byte> codes(ggml_row_size(c.type, kNumbers));
    const auto quantize = [&](std::int64_t) {
      team.run([&](int thread) {
        const auto [first, end] = team.part(kNumbers, thread, kRow);
        ggml_get_type_traits_cpu(c.type)->from_float(
            x.data() + first, codes.data() + ggml_row_size(c.type, first), end - first);
      });
    };
    quantize(0);
    std::vector<float> back(kRow);
    ggml_get_type_traits(c.type)->to_float(codes.data(), back.data(), kRow);
    for (std::size_t i = 0; i < back.size(); ++i)
      if (std::fabs(back[i] - x[i]) > 0.13F) fail("ggml's codes are off");
    const auto times = time_in_turn(rules, {[&](std::int64_t) { ours.bound->run(0); }, quantize});
    row(c.name, times[0], times[1], 0);
    fmt::print("{:>34} {:>9.2f} {:>9.2f}   10^9 numbers/s\n", "", kNumbers / times[0].median / 1e9,
               kNumbers / times[1].median / 1e9);
  }
}

void vulkan_rows(std::int64_t context, std::int64_t calls) {
  ggml_backend_t backend = nullptr;
  for (std::size_t i = 0; i < ggml_backend_dev_count() && backend == nullptr; ++i)
    if (std::string(ggml_backend_dev_name(ggml_backend_dev_get(i))).starts_with("Vulkan"))
      backend = ggml_backend_dev_init(ggml_backend_dev_get(i), nullptr);
  if (backend == nullptr) fail("ggml finds no Vulkan device (GGML_VK_VISIBLE_DEVICES=0?)");
  vulkan::Device device;
  header(fmt::format("Vulkan, {}, context {}, host wall time", device.info().name, context));
  const TimingRules rules{.threads = 1, .calls = calls, .budget = 120};
  Ours ours("decode-attention", shape(context, "f16", 64, false), {nullptr, &device});
  Peer peer(backend, GGML_TYPE_F16, context);
  const auto times = time_in_turn(
      rules, {[&](std::int64_t) { ours.bound->run(0); }, [&](std::int64_t) { peer.run(); }});
  row("decode f16", times[0], times[1], 0);
  ggml_backend_free(backend);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string device = argc > 1 ? argv[1] : "cpu";
  const std::int64_t context = argc > 2 ? std::atoll(argv[2]) : device == "cpu" ? 32768 : 4096;
  const std::int64_t calls = argc > 3 ? std::atoll(argv[3]) : 21;
  if (device == "vulkan") {
    vulkan_rows(context, calls);
    return 0;
  }
  for (const int threads : {1, 2}) {
    cpu_rows(threads, context, calls);
    codec_rows(threads, calls);
  }
}
