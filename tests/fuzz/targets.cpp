#include "tests/fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "hardware/attention_table.h"
#include "hardware/skew_table.h"
#include "models/hf_config.h"
#include "sim/base/check.h"
#include "sim/base/registry.h"
#include "sim/base/units.h"
#include "sim/cache/bounds.h"
#include "sim/cache/oracle_general.h"
#include "sim/quality/array_file.h"
#include "sim/quality/llama.h"
#include "sim/quality/store.h"
#include "sim/run/build.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"
#include "sim/study/gallery.h"
#include "traces/trace_source.h"

namespace kvsim::test {

namespace {

// Bytes under a path, without touching a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(memfd_create("kvsim-fuzz", 0)) {
    KVSIM_CHECK(fd_ >= 0, "no memory file");
    while (!bytes.empty()) {
      const auto n = write(fd_, bytes.data(), bytes.size());
      KVSIM_CHECK(n > 0, "memory file is not written");
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

template <class Work>
void allow_input_error(Work work) {
  try {
    work();
  } catch (const InputError& e) {
    KVSIM_CHECK(e.what()[0] != '\0', "an error without a message");
  }
}

// Whatever parses prints, and what is printed parses to the same.
void units(std::string_view text) {
  for (const Dimension d : {Dimension::time, Dimension::bytes}) {
    std::string error;
    const auto n = parse_count(d, text, error);
    KVSIM_CHECK(n.has_value() == error.empty(), "value and error disagree");
    if (n) KVSIM_CHECK(parse_count(d, print_count(d, *n), error) == n, "{} does not read back", *n);
  }
  for (const Dimension d : {Dimension::bandwidth, Dimension::flop_rate, Dimension::power,
                            Dimension::price, Dimension::ratio, Dimension::rate, Dimension::none}) {
    std::string error;
    const auto v = parse_quantity(d, text, error);
    KVSIM_CHECK(v.has_value() == error.empty(), "value and error disagree");
    if (v)
      KVSIM_CHECK(parse_quantity(d, print_quantity(d, *v), error) == v, "{} does not read back",
                  *v);
  }
}

void yaml(std::string_view text) {
  Diagnostics d;
  const Tree tree = parse_yaml(text, "fuzz", d);
  if (!d.empty()) return;
  const std::string printed = to_yaml(tree);
  const Tree again = parse_yaml(printed, "printed", d);
  KVSIM_CHECK(d.empty(), "what is printed does not parse: {}", to_string(d.all()[0]));
  KVSIM_CHECK(to_yaml(again) == printed, "printed differently the second time");
  (void)to_json(tree);
}

void scenario(std::string_view text) {
  Diagnostics d;
  Tree tree = parse_yaml(text, "fuzz", d);
  if (!d.empty()) return;
  allow_input_error([&] {
    const LoadedScenario loaded = read_scenario(std::move(tree), "/nonexistent", {}, d);
    if (!d.empty()) return;
    const BuiltRun run = build_run(loaded, false, d);
    if (!d.empty()) return;
    // A resolved scenario is a scenario.
    Diagnostics again;
    const Tree resolved = parse_yaml(to_yaml(run.resolved), "resolved", again);
    KVSIM_CHECK(again.empty(), "the resolved scenario does not parse: {}",
                to_string(again.all()[0]));
  });
}

void hf_config(std::string_view text) {
  Diagnostics d;
  const Tree tree = parse_yaml(text, "fuzz", d);
  Reader r(d);
  if (d.empty()) allow_input_error([&] { (void)from_hf_config(tree, r); });
}

// At most this many requests, closed loops included: each is over one millisecond after it began.
void trace(const std::string& format, std::string_view bytes) {
  const MemoryFile file(bytes);
  for (const bool lenient : {false, true}) {
    allow_input_error([&] {
      TraceSource::Context context;
      context.path = file.path();
      context.lenient = lenient;
      context.limit = 2000;
      const auto source = Registry::instance().make<TraceSource>(format, Tree::map(), context);
      Request request;
      Time last = kTimeZero;
      while (const auto next = source->next_arrival()) {
        source->pop(request);
        KVSIM_CHECK(request.arrival == *next && *next >= last,
                    "request {} arrives at {} ns after one at {} ns", request.index, to_ns(*next),
                    to_ns(last));
        KVSIM_CHECK(request.prompt_tokens >= 1 && request.output_tokens >= 1,
                    "request {} without tokens", request.index);
        std::int64_t tokens = 0;
        for (const Segment& s : request.segments) tokens += s.tokens;
        KVSIM_CHECK(tokens >= request.prompt_tokens &&
                        tokens <= request.prompt_tokens + request.output_tokens,
                    "request {}: segments of {} tokens for {} + {}", request.index, tokens,
                    request.prompt_tokens, request.output_tokens);
        last = *next;
        if (last < kNever - std::chrono::milliseconds(1))
          source->finished(request.index, last + std::chrono::milliseconds(1));
      }
    });
  }
}

// Files that quality reads and keeps.
std::vector<FuzzTarget> quality_targets() {
  return {{"npy",
           [](std::string_view bytes) {
             const MemoryFile file(bytes);
             allow_input_error([&] {
               const quality::Array a = quality::load_npy(file.path());
               std::int64_t n = 1;
               for (const std::int64_t d : a.shape) n *= d;
               KVSIM_CHECK(std::ssize(a.values) == n, "{} numbers of {}", a.values.size(), n);
             });
           }},
          {"tensor-file",
           [](std::string_view bytes) {
             const MemoryFile file(bytes);
             allow_input_error([&] {
               const quality::TensorFile tensors(file.path());
               for (const auto& [name, entry] : tensors.entries())
                 allow_input_error([&, tensor = name] { (void)tensors.load(tensor); });
             });
           }},
          {"llama-weights",
           [](std::string_view bytes) {
             const MemoryFile file(bytes);
             allow_input_error([&] { (void)quality::load_llama(file.path()); });
           }},
          {"quality-store", [](std::string_view bytes) {
             const auto m = quality::from_text(std::string(bytes), "q");
             if (m) KVSIM_CHECK(quality::from_text(quality::to_text("q", *m), "q") == m, "another");
           }}};
}

std::vector<FuzzTarget> all_targets() {
  std::vector<FuzzTarget> all{
      {"units", units},
      {"yaml", yaml},
      {"scenario", scenario},
      {"hf-config", hf_config},
      {"csv-attention",
       [](std::string_view bytes) {
         const MemoryFile file(bytes);
         allow_input_error([&] {
           const AttentionTable table(file.path());
           KVSIM_CHECK(!std::isnan(table.mixed(64, 128, 3, 100)), "not a number");
           for (std::size_t i = 0; i + 1 < std::min<std::size_t>(table.lengths().size(), 8); ++i)
             (void)table.decode_line(table.decode(5), i);
         });
       }},
      {"oracle-general",
       [](std::string_view bytes) {
         const MemoryFile file(bytes);
         allow_input_error([&] {
           const BlockStream s = load_oracle_general(file.path(), 100'000);
           KVSIM_CHECK(flat_optimum(s, 10) + s.objects.size() <= s.access.size(),
                       "hits on first uses");
         });
       }},
      {"formula",
       [](std::string_view text) {
         allow_input_error([&] {
           const Formula f = Formula::parse(std::string(text));
           const auto one = [](const std::string&) { return std::optional(1.0); };
           KVSIM_CHECK(Formula::parse("(" + f.text() + ")").names() == f.names(), "other names");
           (void)f.value(one);
         });
       }},
      {"claim",
       [](std::string_view bytes) {
         const MemoryFile file(bytes);
         Diagnostics d;
         const Claim claim = load_claim(file.path(), d);
         KVSIM_CHECK(!d.empty() || !claim.figures.empty(), "a claim without figures is good");
       }},
      {"csv-skew", [](std::string_view bytes) {
         const MemoryFile file(bytes);
         allow_input_error([&] {
           SkewTable table(read_skew(file.path()));
           KVSIM_CHECK(std::isfinite(table.alpha(8, 0, 0, 4096, 1024)), "not a number");
           KVSIM_CHECK(table.iterations(8, 4096, 1024) >= 1, "no iteration");
         });
       }}};
  for (FuzzTarget& t : quality_targets()) all.push_back(std::move(t));
  for (const std::string& format : Registry::instance().names("trace-format"))
    all.push_back({"trace-" + format, [format](std::string_view bytes) { trace(format, bytes); }});
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return all;
}

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> all = all_targets();
  return all;
}

}  // namespace kvsim::test
