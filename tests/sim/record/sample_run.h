#pragma once
// A made-up run whose rows obey the conservation laws of outcome.h, and files that vanish with the
// test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "sim/base/random.h"
#include "sim/record/recorder.h"

namespace kvsim::record_test {

// A directory of its own that is removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "kvsim-record-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const char* file) const { return (path_ / file).string(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline RequestOutcome sample_request(std::uint64_t index, Rng rng) {
  RequestOutcome r;
  r.index = index;
  r.session = index / 3;
  r.turn = static_cast<std::uint32_t>(index % 3);
  r.tenant = static_cast<std::uint32_t>(rng.below(2));
  r.instance = static_cast<std::uint32_t>(rng.below(3));
  r.prompt_tokens = static_cast<std::int64_t>(1 + rng.below(4000));
  r.arrival = Time{Duration{static_cast<std::int64_t>(index * 10'000'000 + rng.below(5'000'000))}};
  if (rng.below(50) == 0) {
    r.outcome = rng.below(2) == 0 ? Outcome::rejected : Outcome::timed_out;
    r.reason = "longer than the context";
    return r;
  }
  r.output_tokens = static_cast<std::int64_t>(1 + rng.below(300));
  r.queried_tokens = r.prompt_tokens;
  r.hit_tokens = r.prompt_tokens / 2 / 16 * 16;
  r.miss_tokens[0] = (r.prompt_tokens - r.hit_tokens) / 2;
  r.miss_tokens[3] = r.prompt_tokens - r.hit_tokens - r.miss_tokens[0];
  r.preemptions = static_cast<std::uint32_t>(rng.below(2));
  std::int64_t ttft = 0, after = 0;
  for (std::size_t k = 0; k < kIntervals; ++k) {
    if (rng.below(3) > 0) ttft += r.ttft_ns[k] = static_cast<std::int64_t>(rng.below(40'000'000));
    if (r.output_tokens > 1 && rng.below(3) > 0)
      after += r.after_ns[k] = static_cast<std::int64_t>(rng.below(900'000'000));
  }
  r.scheduled = r.arrival + Duration{r.ttft_ns[0] + r.ttft_ns[1] + r.ttft_ns[2]};
  r.first_token = r.arrival + Duration{ttft};
  r.last_token = r.first_token + Duration{after};
  return r;
}

inline RunOutcome sample_run(std::uint64_t requests, std::uint64_t seed = 1) {
  RunOutcome run;
  const Rng rng(seed, "sample");
  for (std::uint64_t i = 0; i < requests; ++i) {
    run.requests.push_back(sample_request(i, rng.at(i)));
    const RequestOutcome& r = run.requests.back();
    if (r.last_token != kNever) run.end = std::max(run.end, r.last_token);
    if (r.output_tokens > 1)
      run.itl.add(to_ns(r.last_token - r.first_token) / (r.output_tokens - 1), r.output_tokens - 1);
  }
  run.iterations.push_back(
      {1, 0, Time{Duration{5}}, Time{Duration{25}}, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  run.samples.push_back({Time{Duration{1'000'000'000}}, 2, 1, 3, 4, 50, 60, 100, 700, 80});
  for (std::uint32_t i = 0; i < 3; ++i) {
    RankTotals& t = run.ranks.emplace_back();
    t.instance = i;
    t.blocks = 1000, t.iterations = 200, t.decode_iterations = 150, t.preemptions = 2;
    t.prefill_tokens = 9000, t.decode_tokens = 800, t.queried_tokens = 10000, t.hit_tokens = 4000;
    t.resumed_queried_tokens = 11, t.resumed_hit_tokens = 12;
  }
  RankTotals& t = run.ranks.back();
  t.evicted_blocks = 13, t.busy_ns = 1'000'000, t.gpu_ns = 800'000, t.host_ns = 200'000;
  t.peak_blocks = 500, t.stall_ns = 14, t.mapping_ns = 15, t.block_tokens = 16;
  t.swaps_out = 2, t.swaps_in = 1, t.layered_prompts = 3;
  t.tools_kept = 5, t.tools_swapped = 4, t.tools_discarded = 3, t.tools_reclaimed = 1;
  t.to_host_bytes = 4000, t.from_host_bytes = 5000, t.peak_host_blocks = 60;
  t.kv.add({300, 40, 7}, 1'000'000);
  TierTotals& tier = run.tiers.emplace_back();
  tier.name = "cpu";
  tier.capacity_chunks = 100, tier.chunk_bytes = 4096, tier.chunk_tokens = 16;
  tier.inserted = 50, tier.resident = 30, tier.evicted = 20, tier.peak = 40;
  tier.read = 9, tier.read_bytes = 9 * 4096, tier.written_bytes = 50 * 4096;
  run.tier_samples.push_back({Time{Duration{1'000'000'000}}, 0, 0, 30, 4096, 8192});
  run.links.push_back({"socket0>gpu0", 25e9, 123456, 5000, 2, 7.5e-6});
  FaultRecord& fault = run.faults.emplace_back();
  fault.target = "instance 0";
  fault.at = Time{Duration{500'000}};
  fault.end = Time{Duration{900'000}};
  fault.requests_moved = 3;
  run.injected = requests;
  run.digest = 0xfedcba9876543210ULL;
  return run;
}

inline RunHeader sample_header() {
  return {"sample",
          "name: sample\nmodel: it's quoted\n",
          42,
          "0.1.0",
          {std::chrono::milliseconds(200), std::chrono::milliseconds(20), std::nullopt},
          {{"engine.block_tokens", "16"}, {"cache.tiers.0.capacity", "80 GiB"}}};
}

// Writes the run to `path`, reproducibly.
inline void write_sample(const std::string& path, const RunOutcome& run) {
  const RunHeader header = sample_header();
  Recorder recorder(path, header);
  recorder.finish(run, compute_metrics(run, header.slo), std::nullopt);
}

}  // namespace kvsim::record_test
