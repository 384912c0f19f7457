#include "sim/run/measure_kernels.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <map>

#include "kernels/harness/bench.h"
#include "kernels/threads.h"
#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

namespace {

using kernels::NamedTarget;

// A point that would take longer than this per call is left out, and the line through the smaller
// ones goes on.
constexpr double kLongestCall = 1.0;
constexpr double kLongestRepeat = 140;  // seconds that all points may take, again and again
constexpr std::int64_t kCalls = 15;
// Seconds per point; more when fewer than kFewestCalls had their cores, of which the median would
// be chance.
constexpr double kBudget = 0.7, kShortBudget = 0.1, kLargestBudget = 60;
constexpr std::int64_t kFewestCalls = 5;
// A point's calls last milliseconds, and others slow a shared CPU for seconds: so all points are
// measured once, then all again, and the median of the times counts. (A software device takes too
// long for that.)
int passes_of(const NamedTarget& t) { return t.target.cpu != nullptr ? 3 : 1; }
const std::vector<std::int64_t> kRows{1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
const std::vector<std::int64_t> kSequences{1, 4, 16, 64};

// A software device is thirty times slower than the CPU it runs on: smaller matrices and batches.
bool is_software(const NamedTarget& t) {
  return t.target.vulkan != nullptr && t.target.vulkan->info().software;
}

Tree shape_of(std::initializer_list<std::pair<const char*, std::string>> values) {
  Tree t = Tree::map();
  for (const auto& [key, value] : values) t.set(key, Tree::scalar(value));
  return t;
}

class Meter {
 public:
  Meter(const NamedTarget& target, std::vector<KernelTiming>& timings,
        const std::function<void(const std::string&)>& progress, double budget)
      : target_(target), timings_(timings), progress_(progress), budget_(budget) {}

  // Median of the seconds of a call, over all times that this shape was asked for. (Lower quartiles
  // of many short calls add up to less than an iteration that is made of such calls ever takes,
  // since what disturbs them is spread.) Tries again with more time when other processes kept the
  // cores busy.
  double seconds(const std::string& operation, const Tree& shape) {
    if (progress_) progress_(fmt::format("{} {}", operation, kernels::shape_text(shape)));
    kernels::BenchOptions options;
    options.calls = kCalls;
    options.footprint = is_software(target_) ? std::int64_t{64} << 20 : 0;
    for (double budget = budget_; budget < kLargestBudget; budget *= 4) {
      options.budget = budget;
      const kernels::BenchRow row = kernels::time_operation(operation, shape, target_, options);
      if (!row.skipped_why.empty())
        throw InputError(fmt::format("{} cannot be measured on {}: {}", operation, target_.name,
                                     row.skipped_why));
      const bool is_last = 4 * budget >= kLargestBudget;
      if (row.timing.calls < (is_last ? 1 : kFewestCalls)) continue;
      return keep(operation, row);
    }
    throw InputError(
        fmt::format("{}: no call of {} had its cores to itself", target_.name, operation),
        "measure when fewer other programs run, or with fewer --threads");
  }
  [[nodiscard]] const NamedTarget& target() const { return target_; }

 private:
  struct Known {
    std::size_t timing;  // in timings_
    std::vector<double> medians;
  };
  double keep(const std::string& operation, const kernels::BenchRow& row) {
    const auto [at, is_new] = known_.try_emplace(operation + row.shape, Known{timings_.size(), {}});
    if (is_new) timings_.push_back({operation, row.shape, target_.name, 0, 0});
    Known& known = at->second;
    known.medians.push_back(row.timing.median);
    std::vector<double> sorted = known.medians;
    KernelTiming& timing = timings_[known.timing];
    timing.seconds = kernels::quantile(sorted, 0.5);
    timing.calls += row.timing.calls;
    return timing.seconds;
  }

  const NamedTarget& target_;
  std::vector<KernelTiming>& timings_;
  const std::function<void(const std::string&)>& progress_;
  double budget_;
  std::map<std::string, Known> known_;  // by operation and shape
};

// The points between which `count` lies.
std::vector<std::int64_t> around(const std::vector<std::int64_t>& grid, std::int64_t count) {
  const auto high = std::lower_bound(grid.begin(), grid.end(), count);
  if (high == grid.end()) return {grid.end() - 2, grid.end()};
  if (*high == count || high == grid.begin()) return {*high};
  return {high[-1], high[0]};
}

struct Point {
  double amount = 0, seconds = 0;
};
struct Fitted {
  double base_ns = 0, slope_ns = 0, worst = 0;
};

// base + slope * amount with the smallest sum of squared relative errors; neither below 0.
Fitted fit(const std::vector<Point>& points) {
  double w = 0, wx = 0, wxx = 0, wy = 0, wxy = 0;
  for (const Point& p : points) {
    const double weight = 1 / (p.seconds * p.seconds);
    w += weight;
    wx += weight * p.amount;
    wxx += weight * p.amount * p.amount;
    wy += weight * p.seconds;
    wxy += weight * p.amount * p.seconds;
  }
  const double det = w * wxx - wx * wx;
  double slope = det > 0 ? (w * wxy - wx * wy) / det : wxy / wxx;
  double base = (wy - slope * wx) / w;
  if (base < 0) base = 0, slope = wxy / wxx;
  if (slope < 0) slope = 0, base = wy / w;
  Fitted f{1e9 * base, 1e9 * slope, 0};
  for (const Point& p : points)
    f.worst = std::max(f.worst, std::abs((base + slope * p.amount) / p.seconds - 1));
  return f;
}

void keep(const Fitted& f, KernelProfile& profile) {
  profile.worst_fit = std::max(profile.worst_fit, f.worst);
}

void measure_linear(Meter& meter, const std::string& element,
                    const std::vector<std::int64_t>& all_rows, KernelProfile& profile) {
  const bool small = is_software(meter.target());
  const std::array<std::int64_t, 2> dims =
      small ? std::array<std::int64_t, 2>{512, 1024} : std::array<std::int64_t, 2>{1024, 4096};
  double last = 0;
  for (const std::int64_t rows : all_rows) {
    if (last > kLongestCall) break;
    std::vector<Point> points;
    for (const std::int64_t dim : dims) {
      last = meter.seconds("linear", shape_of({{"rows", std::to_string(rows)},
                                               {"in_dim", std::to_string(dim)},
                                               {"out_dim", std::to_string(dim)},
                                               {"half", element == "f16" ? "true" : "false"}}));
      points.push_back({static_cast<double>(dim * dim), last});
    }
    const Fitted f = fit(points);
    profile.linear.push_back({element, rows, f.base_ns, f.slope_ns});
    keep(f, profile);
  }
}

Tree attention_shape(const AttentionShape& a, const NamedTarget& target) {
  const bool is_coded = a.element == "i8" || a.element == "i4" || a.element == "i2";
  return shape_of({{"q_heads", std::to_string(a.q_heads)},
                   {"kv_heads", std::to_string(a.kv_heads)},
                   {"k_dim", std::to_string(a.key_dim)},
                   {"v_dim", std::to_string(a.value_dim)},
                   {"mla", a.latent ? "true" : "false"},
                   {"element", a.element},
                   {"page_tokens", is_coded ? "64" : "16"},
                   {"key_order", target.target.vulkan != nullptr ? "chunk-major" : "dim-major"},
                   {"shuffled", "true"}});
}

AttentionTime time_of(const AttentionShape& a, std::int64_t count, const Fitted& f) {
  return {a.element, a.q_heads, a.kv_heads, a.key_dim, a.value_dim,
          a.latent,  count,     f.base_ns,  f.slope_ns};
}

void measure_decode(Meter& meter, const AttentionShape& a, const std::vector<std::int64_t>& batches,
                    KernelProfile& profile) {
  const std::int64_t most = is_software(meter.target()) ? 8192 : 131072;  // tokens of a batch
  double last = 0;
  for (const std::int64_t batch : batches) {
    if (last > kLongestCall) break;
    std::vector<Point> points;
    for (const std::int64_t context : {128, 512, 2048, 8192}) {
      if (batch * context > most) break;
      Tree shape = attention_shape(a, meter.target());
      shape.set("batch", Tree::scalar(std::to_string(batch)));
      shape.set("context", Tree::scalar(std::to_string(context)));
      last = meter.seconds("decode-attention", shape);
      points.push_back({static_cast<double>(batch * context), last});
    }
    const Fitted f = fit(points);
    profile.decode.push_back(time_of(a, batch, f));
    keep(f, profile);
  }
}

void measure_prefill(Meter& meter, const AttentionShape& a, KernelProfile& profile) {
  double last = 0;
  for (const std::int64_t tokens : {16, 64, 256, 512}) {
    if (last > kLongestCall) break;
    std::vector<Point> points;
    for (const std::int64_t history : {0, 512, 2048}) {
      if (is_software(meter.target()) && tokens * (history + tokens) > 512 * 512) break;
      Tree shape = attention_shape(a, meter.target());
      shape.set("queries", Tree::scalar(std::to_string(tokens)));
      shape.set("cached", Tree::scalar(std::to_string(history)));
      last = meter.seconds("prefill-attention", shape);
      points.push_back({static_cast<double>(tokens * history + tokens * (tokens + 1) / 2), last});
    }
    const Fitted f = fit(points);
    profile.prefill.push_back(time_of(a, tokens, f));
    keep(f, profile);
  }
}

void measure_elementwise(Meter& meter, KernelProfile& profile) {
  std::vector<Point> norms, softmaxes;
  for (const std::int64_t rows : {1, 16, 256}) {
    const double s = meter.seconds(
        "rms-norm", shape_of({{"rows", std::to_string(rows)}, {"heads", "32"}, {"dim", "128"}}));
    norms.push_back({static_cast<double>(rows) * 4096 * 8, s});
  }
  for (const std::int64_t rows : {1, 16}) {
    const double s =
        meter.seconds("log-softmax",
                      shape_of({{"rows", std::to_string(rows)}, {"heads", "1"}, {"dim", "32768"}}));
    softmaxes.push_back({static_cast<double>(rows) * 32768 * 8, s});
  }
  const Fitted norm = fit(norms), softmax = fit(softmaxes);
  profile.elementwise_base_ns = norm.base_ns;
  profile.elementwise_byte_ns = norm.slope_ns;
  profile.softmax_base_ns = softmax.base_ns;
  profile.softmax_byte_ns = softmax.slope_ns;
  keep(norm, profile);
  keep(softmax, profile);
}

// What `all` adds to the profile when it has measured everything as often as it shall be, or as
// there is time for.
template <class All>
void repeat(const NamedTarget& target, KernelProfile& profile, const All& all) {
  const auto begin = std::chrono::steady_clock::now();
  KernelProfile measured;
  for (int pass = 1; pass <= passes_of(target); ++pass) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    if (pass > 1 && spent.count() * pass / (pass - 1) > kLongestRepeat) break;
    measured = profile;
    all(measured);
  }
  profile = std::move(measured);
}

std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

}  // namespace

Bytes half_of_memory() { return Bytes{sysconf(_SC_PHYS_PAGES) / 2 * sysconf(_SC_PAGE_SIZE)}; }

KernelNeeds needs_of(const ModelWork& model) {
  const ModelWork::Facts& f = model.facts();
  if (f.weight_bits != 16 && f.weight_bits != 32)
    throw InputError(
        fmt::format("kernels multiply weights of 16 or 32 bits, not {}", f.weight_bits),
        "set `weights: bf16` in the scenario");
  return {{f.weight_bits == 16 ? "f16" : "f32"}, {f.decode_attention}, {f.prefill_attention}};
}

bool is_empty(const KernelNeeds& n) {
  return n.linear.empty() && n.decode.empty() && n.prefill.empty();
}

KernelNeeds missing(const KernelNeeds& needs, const KernelProfile& profile) {
  KernelNeeds out;
  for (const std::string& element : needs.linear)
    if (std::none_of(profile.linear.begin(), profile.linear.end(),
                     [&](const LinearTime& t) { return t.element == element; }))
      out.linear.push_back(element);
  const auto lacking = [](const std::vector<AttentionShape>& wanted,
                          const std::vector<AttentionTime>& there,
                          std::vector<AttentionShape>& lacks) {
    for (const AttentionShape& a : wanted)
      if (std::none_of(there.begin(), there.end(), [&](const auto& t) { return is_of(t, a); }))
        lacks.push_back(a);
  };
  lacking(needs.decode, profile.decode, out.decode);
  lacking(needs.prefill, profile.prefill, out.prefill);
  return out;
}

DeviceSpec measure_device(const NamedTarget& target, const std::string& id,
                          std::vector<KernelTiming>& timings,
                          const std::function<void(const std::string&)>& progress) {
  DeviceSpec d;
  KernelProfile p;
  p.date = today();
  if (progress) progress(target.name + ": what the machine can do");
  const kernels::MachineRates rates = kernels::machine_rates(target, 3);
  if (target.target.cpu != nullptr) {
    kernels::force_isa(target.isa);
    p.device = kernels::cpu_name();
    p.isa = kernels::current_isa();
    p.threads = target.target.cpu->count();
    d.memory = half_of_memory();
  } else {
    const kernels::vulkan::DeviceInfo& info = target.target.vulkan->info();
    p.device = info.name;
    p.driver = info.driver;
    p.software = info.software;
    d.memory = Bytes{static_cast<std::int64_t>(info.memory_bytes)};
  }
  d.name = id;
  d.vendor = "this machine";
  d.text = "measured by kvsim kernels calibrate: " + target.name;
  d.bandwidth = Bandwidth{rates.read};
  d.compute = {{"fp32", FlopRate{rates.flops}}};
  for (const char* figure : {"memory", "bandwidth", "compute", "kernels"})
    d.source[figure] = "measured here on " + p.date;
  Meter meter(target, timings, progress, kBudget);
  repeat(target, p, [&](KernelProfile& into) { measure_elementwise(meter, into); });
  d.kernels = std::move(p);
  return d;
}

void measure(const KernelNeeds& needs, const NamedTarget& target, DeviceSpec& device,
             std::vector<KernelTiming>& timings,
             const std::function<void(const std::string&)>& progress) {
  Meter meter(target, timings, progress, kBudget);
  repeat(target, *device.kernels, [&](KernelProfile& into) {
    for (const std::string& element : needs.linear) measure_linear(meter, element, kRows, into);
    for (const AttentionShape& a : needs.decode) measure_decode(meter, a, kSequences, into);
    for (const AttentionShape& a : needs.prefill) measure_prefill(meter, a, into);
  });
}

void measure_decodes(const KernelNeeds& needs, std::int64_t sequences, const NamedTarget& target,
                     DeviceSpec& device, std::vector<KernelTiming>& timings,
                     const std::function<void(const std::string&)>& progress) {
  Meter meter(target, timings, progress, kShortBudget);
  KernelProfile& p = *device.kernels;
  p.linear.clear();
  p.decode.clear();
  measure_elementwise(meter, p);
  for (const std::string& element : needs.linear)
    measure_linear(meter, element, around(kRows, sequences), p);
  for (const AttentionShape& a : needs.decode)
    measure_decode(meter, a, around(kSequences, sequences), p);
}

}  // namespace kvsim
