#include "sim/record/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "sim/base/stats.h"
#include "sim/record/metric_rows.h"

namespace kvsim {
namespace {

double ms(Duration d) { return static_cast<double>(d.count()) / 1e6; }

Summary summarize(const DurationHistogram& h) {
  const auto q = [&](double share) { return h.quantile_ns(share) / 1e6; };
  return {static_cast<std::size_t>(h.count()),
          h.mean_ns() / 1e6,
          h.std_ns() / 1e6,
          q(0),
          q(0.5),
          q(0.9),
          q(0.95),
          q(0.99),
          q(1)};
}

// Mean of the longest tenth of a request's gaps between tokens (Mooncake's TBT), in ms. Iterations
// that it took part in count as equal; what it waited between them (prompts computed apart, another
// instance, a preemption) as part of the longest gaps. Requires a second token.
double longest_gaps_ms(const RequestOutcome& r) {
  const auto gaps = r.output_tokens - 1;
  const std::int64_t all = r.after_ns.sum();
  std::int64_t part = 0;
  for (const Interval kind : {Interval::decode, Interval::host, Interval::back_end})
    part += r.after_ns[static_cast<std::size_t>(kind)];
  const auto longest = static_cast<double>((gaps + 9) / 10);
  return 1e-6 * (static_cast<double>(part) / static_cast<double>(gaps) +
                 static_cast<double>(all - part) / longest);
}

// Of a finished request, what its latencies follow from: a seventh of its record, which is read
// once for all of them.
struct Latencies {
  Duration ttft{}, e2e{}, queue{};
  std::int64_t output = 0;
  double longest_gaps = 0;  // ms; of requests with a second token
  [[nodiscard]] double tpot() const { return ms(e2e - ttft) / static_cast<double>(output - 1); }
};

std::vector<Latencies> latencies_of(const std::vector<RequestOutcome>& requests) {
  std::vector<Latencies> all;
  all.reserve(requests.size());
  for (const RequestOutcome& r : requests)
    if (r.outcome == Outcome::finished && r.first_token != kNever)
      all.push_back({r.first_token - r.arrival, r.last_token - r.arrival, r.scheduled - r.arrival,
                     r.output_tokens, r.output_tokens < 2 ? 0 : longest_gaps_ms(r)});
  return all;
}

// `itl`: of the same requests; null where nobody knows. One statistic after the other: the values
// of a million requests for all of them at once would take as much memory as the run.
void latency_rows(MetricRows& rows, const std::vector<RequestOutcome>& requests,
                  const DurationHistogram* itl) {
  const std::vector<Latencies> all = latencies_of(requests);
  const auto row = [&](const char* name, const char* unit, std::int64_t least_tokens, auto value) {
    std::vector<double> values;
    values.reserve(all.size());
    for (const Latencies& r : all)
      if (r.output >= least_tokens) value(r, values);
    rows.summary(name, kvsim::summarize(std::move(values)), unit);
  };
  row("ttft_ms", "ms", 0, [](auto& r, auto& to) { to.push_back(ms(r.ttft)); });
  row("tpot_ms", "ms", 2, [](auto& r, auto& to) { to.push_back(r.tpot()); });
  if (itl != nullptr) rows.summary("itl_ms", summarize(*itl), "ms");
  row("tbt_ms", "ms", 2, [](auto& r, auto& to) { to.push_back(r.longest_gaps); });
  row("e2el_ms", "ms", 0, [](auto& r, auto& to) { to.push_back(ms(r.e2e)); });
  row("queue_ms", "ms", 0, [](auto& r, auto& to) { to.push_back(ms(r.queue)); });
  row("normalized_latency_ms", "ms", 1,
      [](auto& r, auto& to) { to.push_back(ms(r.e2e) / static_cast<double>(r.output)); });
  row("output_token_throughput_per_user", "tokens/s", 2, [](auto& r, auto& to) {
    if (const double tpot = r.tpot(); tpot > 0) to.push_back(1000 / tpot);
  });
}

struct Totals {
  std::int64_t finished = 0, rejected = 0, timed_out = 0, good = 0, good_ttft = 0, good_tpot = 0,
               good_e2e = 0;
  std::int64_t input = 0, output = 0;  // of finished requests
  std::int64_t prompt = 0, queried = 0, hit = 0, recomputed = 0, preemptions = 0;
  std::array<std::int64_t, kMissCauses> missed{};
  std::array<std::int64_t, kMaxTiers> below{}, far{};
  Time first = kNever, last{};
};

Totals add_up(const std::vector<RequestOutcome>& requests, const Slo& slo) {
  Totals t;
  for (const RequestOutcome& r : requests) {
    const bool finished = r.outcome == Outcome::finished;
    t.finished += finished;
    t.rejected += r.outcome == Outcome::rejected;
    t.timed_out += r.outcome == Outcome::timed_out;
    t.good += meets(r, slo);
    t.good_ttft += meets(r, {slo.ttft, {}, {}});
    t.good_tpot += meets(r, {{}, slo.tpot, {}});
    t.good_e2e += meets(r, {{}, {}, slo.e2e});
    t.input += finished ? r.prompt_tokens : 0;
    t.output += finished ? r.output_tokens : 0;
    t.prompt += r.prompt_tokens;
    t.queried += r.queried_tokens;
    t.hit += r.hit_tokens;
    t.recomputed += r.recomputed_tokens;
    t.preemptions += r.preemptions;
    const auto missed = r.miss_tokens.all();
    const auto below = r.tier_tokens.all(), far = r.far_tokens.all();
    for (std::size_t i = 0; i < kMissCauses; ++i) t.missed[i] += missed[i];
    for (std::size_t i = 0; i < kMaxTiers; ++i) t.below[i] += below[i], t.far[i] += far[i];
    t.first = std::min(t.first, r.arrival);
    if (r.last_token != kNever) t.last = std::max(t.last, r.last_token);
  }
  return t;
}

double duration_of(const Totals& t) { return t.last > t.first ? to_seconds(t.last - t.first) : 0; }

// Rates are over `duration`, which is the run's for its classes too.
void throughput_rows(MetricRows& rows, std::size_t all, const Totals& t, const Slo& slo,
                     double duration) {
  const auto per_second = [&](const char* name, std::int64_t n, const char* unit) {
    rows.ratio(name, static_cast<double>(n), duration, unit);
  };
  const auto requests = static_cast<double>(all);
  rows.count("completed", t.finished);
  rows.count("failed", t.rejected + t.timed_out);
  rows.count("rejected", t.rejected);
  rows.count("timed_out", t.timed_out);
  rows.count("total_input_tokens", t.input, "tokens");
  rows.count("total_output_tokens", t.output, "tokens");
  per_second("request_throughput", t.finished, "1/s");
  per_second("request_goodput", t.good, "1/s");
  per_second("output_throughput", t.output, "tokens/s");
  per_second("total_token_throughput", t.input + t.output, "tokens/s");
  rows.ratio("slo_attainment", static_cast<double>(t.good), requests, "ratio");
  if (slo.ttft)
    rows.ratio("slo_attainment_ttft", static_cast<double>(t.good_ttft), requests, "ratio");
  if (slo.tpot)
    rows.ratio("slo_attainment_tpot", static_cast<double>(t.good_tpot), requests, "ratio");
  if (slo.e2e) rows.ratio("slo_attainment_e2e", static_cast<double>(t.good_e2e), requests, "ratio");
}

void cache_rows(MetricRows& rows, const Totals& t) {
  rows.count("queried_tokens", t.queried, "tokens");
  rows.count("hit_tokens", t.hit, "tokens");
  rows.ratio("prefix_hit_rate", static_cast<double>(t.hit), static_cast<double>(t.queried),
             "ratio");
  rows.ratio("cached_prompt_ratio", static_cast<double>(t.hit), static_cast<double>(t.prompt),
             "ratio");
  for (const auto& [cause, name] : enum_names(MissCause{}))
    rows.count(fmt::format("miss_{}", name), t.missed[static_cast<std::size_t>(cause)], "tokens");
  rows.count("preemptions", t.preemptions);
  rows.count("recomputed_tokens", t.recomputed, "tokens");
}

// By tier's name: tokens loaded at first admission and their share of the prompts; bytes moved.
void tier_rows(MetricRows& rows, const RunOutcome& run, const Totals& t) {
  if (run.tiers.empty()) return;
  std::map<std::uint32_t, TierTotals> tiers;  // stores of a tier added up
  for (const TierTotals& s : run.tiers) {
    TierTotals& sum = tiers.try_emplace(s.tier, TierTotals{}).first->second;
    sum.name = s.name;
    sum.read_bytes += s.read_bytes;
    sum.written_bytes += s.written_bytes;
    sum.peak += s.peak;
    sum.capacity_chunks += s.capacity_chunks;
    sum.evicted += s.evicted;
    sum.stale += s.stale;
    sum.pooled = s.pooled;
    sum.copied_bytes += s.copied_bytes;
    sum.dropped += s.dropped;
    if (s.drive_life_years > 0)  // the drive that wears out first
      sum.drive_life_years = sum.drive_life_years > 0
                                 ? std::min(sum.drive_life_years, s.drive_life_years)
                                 : s.drive_life_years;
  }
  std::int64_t below = 0;
  const auto prompts = static_cast<double>(t.prompt);
  for (const auto& [tier, sum] : tiers) {
    const std::int64_t tokens = t.below[tier];
    below += tokens;
    rows.count(fmt::format("tier_{}_hit_tokens", sum.name), tokens, "tokens");
    rows.ratio(fmt::format("tier_{}_hit_rate", sum.name), static_cast<double>(tokens), prompts,
               "ratio");
    rows.count(fmt::format("tier_{}_read_bytes", sum.name), sum.read_bytes, "bytes");
    rows.count(fmt::format("tier_{}_written_bytes", sum.name), sum.written_bytes, "bytes");
    rows.count(fmt::format("tier_{}_evicted_chunks", sum.name), sum.evicted);
    rows.ratio(fmt::format("tier_{}_peak_usage", sum.name), static_cast<double>(sum.peak),
               static_cast<double>(sum.capacity_chunks), "ratio");
    if (sum.pooled) {
      rows.count(fmt::format("tier_{}_far_hit_tokens", sum.name), t.far[tier], "tokens");
      rows.count(fmt::format("tier_{}_copied_bytes", sum.name), sum.copied_bytes, "bytes");
      rows.count(fmt::format("tier_{}_dropped_copies", sum.name), sum.dropped);
    }
    if (sum.drive_life_years > 0)
      rows.value(fmt::format("tier_{}_drive_life", sum.name), sum.drive_life_years, "years");
  }
  rows.ratio("total_hit_rate", static_cast<double>(t.hit + below), prompts, "ratio");
}

// KV of admitted requests in host memory, and what iterations waited for KV in all.
void host_rows(MetricRows& rows, const RunOutcome& run) {
  RankTotals t;
  for (const RankTotals& r : run.ranks) {
    t.swaps_out += r.swaps_out;
    t.swaps_in += r.swaps_in;
    t.layered_prompts += r.layered_prompts;
    t.to_host_bytes += r.to_host_bytes;
    t.from_host_bytes += r.from_host_bytes;
    t.stall_ns += r.stall_ns;
  }
  if (t.swaps_out > 0) rows.count("swaps_out", t.swaps_out);
  if (t.swaps_out > 0) rows.count("swaps_in", t.swaps_in);
  if (t.layered_prompts > 0) rows.count("layered_prompts", t.layered_prompts);
  if (t.to_host_bytes > 0) {
    rows.count("to_host_bytes", t.to_host_bytes, "bytes");
    rows.count("from_host_bytes", t.from_host_bytes, "bytes");
  }
  if (!run.tiers.empty() || t.to_host_bytes > 0)
    rows.value("load_stall", static_cast<double>(t.stall_ns) / 1e9, "s");
}

// Copies of states and windows, where layers forget tokens.
void snapshot_rows(MetricRows& rows, const std::vector<RankTotals>& ranks) {
  SnapshotTotals t;
  for (const RankTotals& r : ranks) {
    t.slots += r.snapshots.slots;
    t.saved += r.snapshots.saved;
    t.used += r.snapshots.used;
    t.evicted += r.snapshots.evicted;
  }
  if (t.slots == 0) return;
  rows.count("snapshot_slots", t.slots);
  rows.count("snapshots_saved", t.saved);
  rows.count("snapshots_used", t.used);
  rows.count("snapshots_evicted", t.evicted);
}

// Speculative decoding, and prefixes whose KV decodes read together.
void acceleration_rows(MetricRows& rows, const std::vector<RankTotals>& ranks) {
  SpeculationTotals s;
  SharedReadTotals shared;
  AdapterTotals adapters;
  for (const RankTotals& r : ranks) {
    s.verifications += r.speculation.verifications;
    s.drafted += r.speculation.drafted;
    s.accepted += r.speculation.accepted;
    s.draft_ns += r.speculation.draft_ns;
    shared.shared_tokens += r.shared.shared_tokens;
    shared.read_tokens += r.shared.read_tokens;
    adapters.loads += r.adapters.loads;
    adapters.passed_over += r.adapters.passed_over;
    adapters.step_ns += r.adapters.step_ns;
  }
  const auto d = [](std::int64_t n) { return static_cast<double>(n); };
  if (s.drafted > 0) {
    rows.count("draft_verifications", s.verifications);
    rows.count("drafted_tokens", s.drafted, "tokens");
    rows.count("accepted_tokens", s.accepted, "tokens");
    rows.ratio("acceptance_rate", d(s.accepted), d(s.drafted), "ratio");
    rows.ratio("tokens_per_verification", d(s.verifications + s.accepted), d(s.verifications),
               "tokens");
    rows.value("draft_time", d(s.draft_ns) / 1e9, "s");
  }
  if (adapters.step_ns > 0) {
    rows.count("adapter_loads", adapters.loads);
    rows.count("adapter_passed_over", adapters.passed_over);
    rows.value("adapter_time", d(adapters.step_ns) / 1e9, "s");
  }
  if (shared.shared_tokens > 0) {
    rows.count("shared_prefix_tokens", shared.shared_tokens, "tokens");
    rows.count("shared_prefix_read_tokens", shared.read_tokens, "tokens");
    rows.ratio("sharers_per_prefix_token", d(shared.shared_tokens), d(shared.read_tokens), "ratio");
  }
}

// Stages that wait for batches: their idle time, summed over stages, while anything was in flight.
void pipeline_rows(MetricRows& rows, const std::vector<RankTotals>& ranks) {
  double stages = 0, span = 0, places = 0, work = 0, batches = 0;
  for (const RankTotals& r : ranks) {
    const PipelineTotals& p = r.pipeline;
    stages = std::max(stages, static_cast<double>(p.stages));
    span += static_cast<double>(p.span_ns);
    places += static_cast<double>(p.stages) * static_cast<double>(p.span_ns);
    work += static_cast<double>(p.work_ns);
    batches += static_cast<double>(p.batch_ns);
  }
  if (stages < 1) return;
  rows.value("pipeline_stages", stages, "stages");
  rows.value("pipeline_bubble_time", (places - work) / 1e9, "s");
  rows.ratio("pipeline_bubble_share", places - work, places, "ratio");
  rows.ratio("pipeline_batches_in_flight", batches, span, "batches");
}

// Images of prompts: encoded with them, or by encoders of their own.
void encoder_rows(MetricRows& rows, const RunOutcome& run) {
  EncoderTotals t = run.encoders;
  for (const RankTotals& r : run.ranks) {
    t.images += r.encoder.images;
    t.tokens += r.encoder.tokens;
    t.hits += r.encoder.hits;
    t.busy_ns += r.encoder.busy_ns;
  }
  if (t.images == 0) return;
  const auto d = [](std::int64_t n) { return static_cast<double>(n); };
  rows.count("images_encoded", t.images);
  rows.count("image_tokens_encoded", t.tokens, "tokens");
  rows.count("encoder_cache_hits", t.hits);
  rows.ratio("encoder_cache_hit_rate", d(t.hits), d(t.hits + t.images), "ratio");
  rows.value("encoder_time", d(t.busy_ns) / 1e9, "s");
  if (t.encoders == 0) return;
  rows.ratio("encoder_busy_share", d(t.busy_ns), d(t.encoders) * d(to_ns(run.end)), "ratio");
  rows.count("encoder_sent_bytes", t.sent_bytes, "bytes");
  rows.ratio("encoder_wait_mean_ms", d(t.wait_ns) / 1e6, d(t.requests), "ms");
}

// What token policies keep and read, means over decode steps, and the time of what they do. Times
// are of the work itself: some of it passes while something else is waited for anyway.
void form_rows(MetricRows& rows, const std::vector<RankTotals>& ranks) {
  KvFormTotals t;
  for (const RankTotals& r : ranks) {
    const KvFormTotals& f = r.forms;
    t.score_ns += f.score_ns;
    t.index_ns += f.index_ns;
    t.restore_ns += f.restore_ns;
    t.merge_ns += f.merge_ns;
    t.encode_ns += f.encode_ns;
    t.fetch_ns += f.fetch_ns;
    t.far_ns += f.far_ns;
    t.prompt_ns += f.prompt_ns;
    t.prompt_link_ns += f.prompt_link_ns;
    t.context_tokens += f.context_tokens;
    t.kept_tokens += f.kept_tokens;
    t.read_tokens += f.read_tokens;
    t.turned += f.turned;
    t.hidden += f.hidden;
    t.token_bytes = f.token_bytes;
  }
  const auto d = [](std::int64_t n) { return static_cast<double>(n); };
  if (t.token_bytes == 0) {  // no token policies
    if (t.turned == 0) return;
    rows.count("hidden_admissions", t.hidden);
    rows.ratio("hidden_memory_saved", d(t.context_tokens - t.kept_tokens), d(t.context_tokens),
               "ratio");
    rows.value("hidden_projection_time", d(t.restore_ns + t.prompt_ns) / 1e9, "s");
    return;
  }
  rows.count("token_policy_prompts", t.turned);
  rows.ratio("kv_bytes_per_token", d(t.kept_tokens) * d(t.token_bytes), d(t.context_tokens),
             "bytes");
  rows.ratio("kv_reduction", d(t.context_tokens), d(t.kept_tokens), "ratio");
  rows.ratio("kv_read_share", d(t.read_tokens), d(t.context_tokens), "ratio");
  for (const auto& [name, ns] : {std::pair{"score", t.score_ns},
                                 {"index", t.index_ns},
                                 {"restore", t.restore_ns},
                                 {"merge", t.merge_ns},
                                 {"encode", t.encode_ns},
                                 {"fetch", t.fetch_ns},
                                 {"far", t.far_ns},
                                 {"prompt", t.prompt_ns},
                                 {"prompt_link", t.prompt_link_ns}})
    rows.value(fmt::format("token_policy_{}_time", name), d(ns) / 1e9, "s");
}

// Each class of tenants by itself.
void class_rows(std::vector<Metric>& all, const RunOutcome& run, double duration,
                const std::vector<SloClass>& classes) {
  if (classes.empty()) return;
  std::map<std::uint32_t, std::size_t> by_tenant;
  std::size_t rest = classes.size();
  for (std::size_t c = 0; c < classes.size(); ++c) {
    for (const std::uint32_t tenant : classes[c].tenants) by_tenant[tenant] = c;
    if (classes[c].tenants.empty()) rest = c;
  }
  std::vector<std::vector<RequestOutcome>> requests(classes.size() + 1);
  for (const RequestOutcome& r : run.requests) {
    const auto at = by_tenant.find(r.tenant);
    requests[at == by_tenant.end() ? rest : at->second].push_back(r);
  }
  for (std::size_t c = 0; c < classes.size(); ++c) {
    MetricRows rows(all, "class:" + classes[c].name);
    const Totals t = add_up(requests[c], classes[c].slo);
    rows.count("injected", static_cast<std::int64_t>(requests[c].size()));
    latency_rows(rows, requests[c], nullptr);
    throughput_rows(rows, requests[c].size(), t, classes[c].slo, duration);
    rows.ratio("prefix_hit_rate", static_cast<double>(t.hit), static_cast<double>(t.queried),
               "ratio");
    quota_rows(rows, requests[c]);
  }
}

// Requests that waited for tools, and what became of their KV meanwhile.
void tool_rows(MetricRows& rows, const RunOutcome& run) {
  std::int64_t calls = 0, recomputed = 0;
  std::vector<double> tools, waits;
  for (const RequestOutcome& r : run.requests) {
    if (r.tool_calls == 0) continue;
    const auto ms = [&](Interval i) {
      return static_cast<double>(r.after_ns[static_cast<std::size_t>(i)]) / 1e6;
    };
    calls += r.tool_calls;
    recomputed += r.recomputed_tokens;
    tools.push_back(ms(Interval::tool));
    waits.push_back(ms(Interval::queue) / r.tool_calls);
  }
  if (calls == 0) return;
  RankTotals t;
  for (const RankTotals& r : run.ranks) {
    t.tools_kept += r.tools_kept;
    t.tools_swapped += r.tools_swapped;
    t.tools_discarded += r.tools_discarded;
    t.tools_reclaimed += r.tools_reclaimed;
  }
  rows.count("tool_calls", calls);
  rows.count("tools_kept", t.tools_kept);
  rows.count("tools_swapped", t.tools_swapped);
  rows.count("tools_discarded", t.tools_discarded);
  rows.count("tools_reclaimed", t.tools_reclaimed);
  rows.count("tool_recomputed_tokens", recomputed, "tokens");
  rows.summary("tool_ms", kvsim::summarize(std::move(tools)), "ms");
  rows.summary("tool_return_wait_ms", kvsim::summarize(std::move(waits)), "ms");
}

// What the KV memory held while iterations ran; ranks weighted by that time.
void memory_rows(MetricRows& rows, const std::vector<RankTotals>& ranks) {
  double all = 0, reserved = 0, unfilled = 0, stranded = 0, mapping = 0;  // tokens * ns
  double peak_unfilled = 0, peak_stranded = 0, places = 0;
  for (const RankTotals& r : ranks) {
    const auto ns = static_cast<double>(r.busy_ns), bt = static_cast<double>(r.block_tokens);
    places += static_cast<double>(r.blocks) * bt;
    all += static_cast<double>(r.blocks) * bt * ns;
    reserved += r.kv.used_blocks() * bt * ns;
    unfilled += r.kv.unfilled_tokens() * ns;
    stranded += r.kv.stranded_blocks() * bt * ns;
    peak_unfilled += static_cast<double>(r.kv.peak_unfilled_tokens());
    peak_stranded += static_cast<double>(r.kv.peak_stranded_blocks()) * bt;
    mapping += static_cast<double>(r.mapping_ns);
  }
  rows.ratio("mean_kv_usage", reserved, all, "ratio");
  rows.ratio("kv_live_share", reserved - unfilled, reserved, "ratio");
  rows.ratio("kv_live_share_of_memory", reserved - unfilled, all, "ratio");
  rows.ratio("internal_fragmentation", unfilled, all, "ratio");
  rows.ratio("peak_internal_fragmentation", peak_unfilled, places, "ratio");
  rows.ratio("external_fragmentation", stranded, all, "ratio");
  rows.ratio("peak_external_fragmentation", peak_stranded, places, "ratio");
  if (mapping > 0) rows.value("page_mapping", mapping / 1e9, "s");
}

// Several ranks added up; `simulated` is the time that each of them had.
void rank_rows(MetricRows& rows, const std::vector<RankTotals>& ranks, double simulated_ns,
               bool whole_run) {
  RankTotals sum;
  for (const RankTotals& r : ranks) {
    sum.blocks += r.blocks;
    sum.iterations += r.iterations;
    sum.decode_iterations += r.decode_iterations;
    sum.preemptions += r.preemptions;
    sum.prefill_tokens += r.prefill_tokens;
    sum.decode_tokens += r.decode_tokens;
    sum.queried_tokens += r.queried_tokens;
    sum.hit_tokens += r.hit_tokens;
    sum.evicted_blocks += r.evicted_blocks;
    sum.busy_ns += r.busy_ns;
    sum.peak_blocks += r.peak_blocks;
  }
  const auto total_ns = simulated_ns * static_cast<double>(ranks.size());
  const auto iterations = static_cast<double>(sum.iterations);
  rows.count("kv_blocks", sum.blocks);
  rows.count("iterations", sum.iterations);
  rows.count("decode_iterations", sum.decode_iterations);
  rows.count("prefill_tokens", sum.prefill_tokens, "tokens");
  rows.count("decode_tokens", sum.decode_tokens, "tokens");
  rows.count("evicted_blocks", sum.evicted_blocks);
  rows.ratio("iteration_mean_ms", static_cast<double>(sum.busy_ns) / 1e6, iterations, "ms");
  rows.ratio("tokens_per_iteration", static_cast<double>(sum.prefill_tokens + sum.decode_tokens),
             iterations, "tokens");
  rows.ratio("busy_share", static_cast<double>(sum.busy_ns), total_ns, "ratio");
  rows.ratio("peak_kv_usage", static_cast<double>(sum.peak_blocks), static_cast<double>(sum.blocks),
             "ratio");
  memory_rows(rows, ranks);
  form_rows(rows, ranks);
  acceleration_rows(rows, ranks);
  pipeline_rows(rows, ranks);
  if (whole_run) return;  // the run has these from its requests
  rows.count("preemptions", sum.preemptions);
  rows.ratio("prefix_hit_rate", static_cast<double>(sum.hit_tokens),
             static_cast<double>(sum.queried_tokens), "ratio");
}

}  // namespace

bool meets(const RequestOutcome& r, const Slo& slo) {
  if (r.outcome != Outcome::finished || r.first_token == kNever) return false;
  const auto within_tpot = [&](Duration limit) {
    const std::int64_t gaps = r.output_tokens - 1;
    const std::int64_t span = to_ns(r.last_token - r.first_token);
    return gaps < 1 || span / gaps + (span % gaps != 0) <=
                           to_ns(limit);  // span <= limit * gaps, without overflow
  };
  return (!slo.ttft || r.first_token - r.arrival <= *slo.ttft) &&
         (!slo.tpot || within_tpot(*slo.tpot)) &&
         (!slo.e2e || r.last_token - r.arrival <= *slo.e2e);
}

std::vector<Metric> compute_metrics(const RunOutcome& run, const Slo& slo,
                                    const std::vector<SloClass>& classes) {
  std::vector<Metric> all;
  MetricRows rows(all, "run");
  const Totals totals = add_up(run.requests, slo);
  latency_rows(rows, run.requests, &run.itl);
  rows.value("duration", duration_of(totals), "s");
  rows.count("injected", static_cast<std::int64_t>(run.injected));
  throughput_rows(rows, run.requests.size(), totals, slo, duration_of(totals));
  cache_rows(rows, totals);
  tier_rows(rows, run, totals);
  host_rows(rows, run);
  snapshot_rows(rows, run.ranks);
  balance_rows(rows, run);
  regret_rows(rows, run);
  peer_rows(rows, run);
  scaling_rows(rows, run);
  lending_rows(rows, run);
  quota_rows(rows, run.requests);
  tool_rows(rows, run);
  encoder_rows(rows, run);
  const auto simulated_ns = static_cast<double>(to_ns(run.end));
  rank_rows(rows, run.ranks, simulated_ns, true);
  std::map<std::uint32_t, std::vector<RankTotals>> instances;
  for (const RankTotals& r : run.ranks) instances[r.instance].push_back(r);
  for (const auto& [instance, ranks] : instances) {
    MetricRows scoped(all, fmt::format("instance:{}", instance));
    rank_rows(scoped, ranks, simulated_ns, false);
  }
  class_rows(all, run, duration_of(totals), classes);
  return all;
}

}  // namespace kvsim
