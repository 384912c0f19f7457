#include "sim/cli/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

std::optional<double> find(const std::vector<Metric>& all, std::string_view name,
                           std::string_view statistic = "value", std::string_view scope = "run") {
  for (const Metric& m : all)
    if (m.scope == scope && m.name == name && m.statistic == statistic) return m.value;
  return std::nullopt;
}

constexpr std::size_t kLabel = 11;  // width of the labels before the lines of the summary

std::string number(std::optional<double> v, int decimals) {
  return v ? fmt::format("{:.{}f}", *v, decimals) : "-";
}
std::string percent(std::optional<double> v) { return v ? fmt::format("{:.2f} %", *v * 100) : "-"; }

// Long lines go on below their text, not below their label.
std::string fitted(const std::string& lines) {
  std::string out;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = lines.find('\n', at);
    const std::string line = lines.substr(at, end - at);
    const std::size_t label = std::min(kLabel, line.size());
    out += line.substr(0, label) + wrapped(line.substr(label), kTerminalWidth, kLabel) + "\n";
    at = end + 1;
  }
  return out;
}

// In 10 places: hours lose their fractions of a millisecond.
std::string latency_ms(std::optional<double> v) { return number(v, v && *v >= 1e6 ? 0 : 2); }

void latency_rows(std::string& out, const std::vector<Metric>& m) {
  out += fmt::format("\n{:<22}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}\n", "", "mean", "median", "p90",
                     "p95", "p99", "max");
  constexpr std::pair<const char*, const char*> kRows[] = {{"ttft_ms", "TTFT, ms"},
                                                           {"tpot_ms", "TPOT, ms"},
                                                           {"itl_ms", "ITL, ms"},
                                                           {"e2el_ms", "E2E latency, ms"},
                                                           {"queue_ms", "queue time, ms"}};
  for (const auto& [name, label] : kRows) {
    if (!find(m, name, "mean")) continue;
    out += fmt::format("{:<22}", label);
    for (const char* statistic : {"mean", "median", "p90", "p95", "p99", "max"})
      out += fmt::format(" {:>10}", latency_ms(find(m, name, statistic)));
    out += "\n";
    if (!find(m, name, "mean", "no-offload")) continue;
    out += fmt::format("{:<22}", "  without offload");
    for (const char* statistic : {"mean", "median", "p90", "p95", "p99", "max"})
      out += fmt::format(" {:>10}", latency_ms(find(m, name, statistic, "no-offload")));
    out += "\n";
  }
}

}  // namespace

namespace {

std::string bytes_text(double bytes) {
  for (const auto& [unit, size] : {std::pair{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}})
    if (bytes >= size) return fmt::format("{:.2f} {}", bytes / size, unit);
  return fmt::format("{:.0f} B", bytes);
}

std::string metric_json(const Metric& m) {
  return fmt::format(
      "{{\"scope\": {}, \"name\": {}, \"statistic\": {}, \"value\": {}, \"unit\": {}}}",
      json_string(m.scope), json_string(m.name), json_string(m.statistic), m.value,
      json_string(m.unit));
}

std::string peer_line(const std::vector<Metric>& m) {
  if (!find(m, "handovers")) return "";
  std::string out = fmt::format(
      "handover   {} requests went on at another instance, {} between "
      "instances in all",
      number(find(m, "handovers"), 0), bytes_text(find(m, "peer_bytes").value_or(0)));
  if (find(m, "handover_ms", "mean"))
    out += fmt::format("; each waited {} ms for it in the mean, {} at p99",
                       number(find(m, "handover_ms", "mean"), 2),
                       number(find(m, "handover_ms", "p99"), 2));
  if (find(m, "prefix_copies").value_or(0) > 0)
    out += fmt::format("; {} prefixes copied, {} tokens", number(find(m, "prefix_copies"), 0),
                       number(find(m, "peer_hit_tokens"), 0));
  return out + "\n";
}

// How evenly several instances worked, and what the router's decisions cost.
std::string fleet_line(const std::vector<Metric>& m) {
  if (!find(m, "load_jain")) return "";
  std::string out = fmt::format(
      "fleet      busy time of the instances: Jain {}, most / mean {}; requests {}, {}",
      number(find(m, "load_jain"), 4), number(find(m, "load_max_over_mean"), 3),
      number(find(m, "requests_jain"), 4), number(find(m, "requests_max_over_mean"), 3));
  if (find(m, "regret_ms", "mean"))
    out +=
        fmt::format("; {} of the decisions were the best, regret {} ms in the mean, {} at most",
                    percent(find(m, "best_choice_rate")), number(find(m, "regret_ms", "mean"), 1),
                    number(find(m, "regret_ms", "max"), 1));
  return out + "\n";
}

// Instances of a fleet that scales.
std::string scaling_line(const std::vector<Metric>& m) {
  if (!find(m, "instances_mean")) return "";
  return fmt::format(
      "scaling    {} instances in the mean, {} at most, {} instance-hours; {} started or called "
      "back, {} taken away\n",
      number(find(m, "instances_mean"), 2), number(find(m, "instances_most"), 0),
      number(find(m, "instance_hours"), 3), number(find(m, "scale_ups"), 0),
      number(find(m, "scale_downs"), 0));
}

// Each class of tenants.
std::string class_lines(const Scenario& s, const std::vector<Metric>& m) {
  std::string out;
  for (const TenantClassSpec& c : s.tenants) {
    const auto get = [&](const char* name, const char* statistic = "value") {
      return find(m, name, statistic, "class:" + c.name);
    };
    out += fmt::format("{}{}: {} requests, {} rejected", out.empty() ? "tenants    " : "; ", c.name,
                       number(get("injected"), 0), number(get("rejected"), 0));
    if (get("held_requests"))
      out += fmt::format(", {} held back for {} s in the mean", number(get("held_requests"), 0),
                         number(get("held_ms", "mean").value_or(0) / 1000, 1));
    const SloSpec limits = c.slo.value_or(s.slo);
    if ((limits.ttft || limits.tpot || limits.e2e) && get("slo_attainment"))
      out += fmt::format(", {} meet their SLO", percent(get("slo_attainment")));
  }
  return out.empty() ? out : out + "\n";
}

std::string host_line(const std::vector<Metric>& m) {
  const auto swaps = find(m, "swaps_out"), prompts = find(m, "layered_prompts");
  if (!swaps && !prompts) return "";
  std::string out = "host      ";
  if (swaps)
    out += fmt::format(" {} preempted requests swapped out, {} back;", number(swaps, 0),
                       number(find(m, "swaps_in"), 0));
  if (prompts) out += fmt::format(" {} prompts came in layer by layer;", number(prompts, 0));
  return out + fmt::format(" {} to host memory, {} back\n",
                           bytes_text(find(m, "to_host_bytes").value_or(0)),
                           bytes_text(find(m, "from_host_bytes").value_or(0)));
}

// What became of KV while tools ran.
std::string tool_line(const std::vector<Metric>& m) {
  if (!find(m, "tool_calls")) return "";
  return fmt::format(
      "tools      {} calls; KV kept {} times ({} reclaimed), swapped {}, discarded {}; back in the "
      "batch {} ms after a return in the mean, {} at p99; {} tokens computed again\n",
      number(find(m, "tool_calls"), 0), number(find(m, "tools_kept"), 0),
      number(find(m, "tools_reclaimed"), 0), number(find(m, "tools_swapped"), 0),
      number(find(m, "tools_discarded"), 0), number(find(m, "tool_return_wait_ms", "mean"), 2),
      number(find(m, "tool_return_wait_ms", "p99"), 2),
      number(find(m, "tool_recomputed_tokens"), 0));
}

// What a sequence takes beside its tokens, where layers forget.
std::string hybrid_line(const EngineConfig& e, const std::vector<Metric>& m) {
  const HybridMemory& h = e.hybrid;
  if (!h.on) return "";
  std::string out = "hybrid    ";
  if (h.full == 0) out += " no layer keeps every token;";
  if (h.window_units > 0)
    out +=
        fmt::format(" {} blocks of windows a sequence at most;", h.window_units * h.window_blocks);
  if (h.state_units > 0) out += fmt::format(" {} of states;", h.state_units);
  const auto slots = find(m, "snapshot_slots");
  if (!slots) return out + " no snapshots\n";
  return out + fmt::format(" {} snapshots of {} slots saved, {} used, {} evicted\n",
                           number(find(m, "snapshots_saved"), 0), number(slots, 0),
                           number(find(m, "snapshots_used"), 0),
                           number(find(m, "snapshots_evicted"), 0));
}

// What token policies kept and read, and what they cost besides.
std::string token_line(const std::vector<Metric>& m) {
  if (!find(m, "kv_reduction")) return "";
  std::string out =
      fmt::format("tokens     {} bytes of KV kept a token, {}x fewer; steps read {} of it",
                  number(find(m, "kv_bytes_per_token"), 0), number(find(m, "kv_reduction"), 2),
                  percent(find(m, "kv_read_share")));
  std::string times;
  for (const char* what :
       {"score", "index", "restore", "merge", "encode", "fetch", "far", "prompt", "prompt_link"}) {
    const double s = find(m, fmt::format("token_policy_{}_time", what)).value_or(0);
    if (s >= 0.0005) times += fmt::format("{}{} {:.3f} s", times.empty() ? "" : ", ", what, s);
  }
  return out + (times.empty() ? "" : "; work besides: " + times) + "\n";
}

// Requests that kept hidden states in place of keys and values, what they saved and what that took.
std::string hidden_line(const std::vector<Metric>& m) {
  if (!find(m, "hidden_admissions")) return "";
  return fmt::format(
      "hidden     {} admissions kept hidden states: {} less memory for decodes, {:.3f} s of "
      "projections\n",
      number(find(m, "hidden_admissions"), 0), percent(find(m, "hidden_memory_saved")),
      find(m, "hidden_projection_time").value_or(0));
}

// Drafts and what became of them; prefixes that attention read once for several.
std::string acceleration_lines(const std::vector<Metric>& m) {
  std::string out;
  if (find(m, "drafted_tokens"))
    out += fmt::format(
        "drafts     {} tokens drafted, {} right; {} tokens a verification; drafting took {} s\n",
        number(find(m, "drafted_tokens"), 0), percent(find(m, "acceptance_rate")),
        number(find(m, "tokens_per_verification"), 2), number(find(m, "draft_time"), 3));
  if (find(m, "adapter_loads"))
    out += fmt::format(
        "adapters   {} loaded, {} requests waited for a slot; copies and products took {} s\n",
        number(find(m, "adapter_loads"), 0), number(find(m, "adapter_passed_over"), 0),
        number(find(m, "adapter_time"), 3));
  if (find(m, "shared_prefix_tokens"))
    out +=
        fmt::format("prefixes   {} tokens of shared KV read once instead of {} times, by decodes\n",
                    number(find(m, "shared_prefix_read_tokens"), 0),
                    number(find(m, "sharers_per_prefix_token"), 1));
  return out;
}

std::string lending_line(const std::vector<Metric>& m) {
  if (!find(m, "loans")) return "";
  return fmt::format(
      "lending    {} loans, at most {} blocks at once; {} of KV and {} of messages sent; debtors "
      "waited {} s, creditors computed {} s for them\n",
      number(find(m, "loans"), 0), number(find(m, "lent_blocks_most"), 0),
      bytes_text(find(m, "lending_copied_bytes").value_or(0)),
      bytes_text(find(m, "lending_message_bytes").value_or(0)),
      number(find(m, "lending_wait_time"), 2), number(find(m, "lending_served_time"), 2));
}

std::string pipeline_line(const std::vector<Metric>& m) {
  if (!find(m, "pipeline_stages")) return "";
  return fmt::format(
      "pipeline   {} stages, {} batches in flight in the mean; stages idle {} of the time between "
      "batches (bubbles), {} s in all\n",
      number(find(m, "pipeline_stages"), 0), number(find(m, "pipeline_batches_in_flight"), 2),
      percent(find(m, "pipeline_bubble_share")), number(find(m, "pipeline_bubble_time"), 2));
}

std::string encoder_line(const std::vector<Metric>& m) {
  if (!find(m, "images_encoded")) return "";
  std::string out =
      fmt::format("images     {} encoded ({} tokens), {} of all were cached; {} s",
                  number(find(m, "images_encoded"), 0), number(find(m, "image_tokens_encoded"), 0),
                  percent(find(m, "encoder_cache_hit_rate")), number(find(m, "encoder_time"), 2));
  if (const auto busy = find(m, "encoder_busy_share"))
    out += fmt::format(
        " on encoders that were busy {} of the time; requests waited {} ms for them "
        "in the mean",
        percent(busy), number(find(m, "encoder_wait_mean_ms"), 1));
  return out + "\n";
}

// What that does to attention, as measured on tensors (docs/quality.md).
std::string quality_line(const std::vector<Metric>& m) {
  const auto error = find(m, "quality", "out_err"), mass = find(m, "quality", "mass"),
             perplexity = find(m, "quality", "perplexity");
  std::string out;
  if (error)
    out += fmt::format(", output error {} (p99 {})", number(error, 3),
                       number(find(m, "quality", "out_err_p99"), 3));
  if (mass) out += fmt::format(", {} of the attention kept", percent(mass));
  if (perplexity) out += fmt::format(", perplexity {}", number(perplexity, 3));
  return out.empty() ? "" : "quality    measured on tensors: " + out.substr(2) + "\n";
}

// Hits and traffic of each tier below the GPU, then the link that is queued for the most.
std::string tier_lines(const std::vector<Metric>& m, const RunOutcome& o) {
  std::string out = o.tiers.empty() ? "" : "tiers     ";
  std::uint32_t last = 0;
  bool first = true;
  for (const TierTotals& t : o.tiers) {
    if (!first && t.tier == last) continue;
    const auto get = [&](const char* what) {
      return find(m, fmt::format("tier_{}_{}", t.name, what)).value_or(0);
    };
    out += fmt::format("{} {}: {} of the prompt tokens hit, {} read, {} written, at most {} full",
                       first ? "" : ";", t.name, percent(get("hit_rate")),
                       bytes_text(get("read_bytes")), bytes_text(get("written_bytes")),
                       percent(get("peak_usage")));
    if (t.pooled)
      out += fmt::format(", {} of the hits at other nodes, {} copied",
                         percent(get("far_hit_tokens") / std::max(1.0, get("hit_tokens"))),
                         bytes_text(get("copied_bytes")));
    if (const double years = get("drive_life"); years > 0)
      out += fmt::format(", drives last {:.1f} years", years);
    first = false;
    last = t.tier;
  }
  if (!o.tiers.empty())
    out += fmt::format("; in all {} of the prompt tokens were not computed\n",
                       percent(find(m, "total_hit_rate")));
  const LinkUse* busiest = nullptr;
  for (const LinkUse& l : o.links)
    if (busiest == nullptr || l.flow_seconds > busiest->flow_seconds) busiest = &l;
  if (busiest != nullptr && busiest->busy_ns > 0)
    out += fmt::format(
        "links      {}: {} passed, busy {} of the time, then {:.2f} transfers at once, at most {}; "
        "iterations waited {} s for loads and copies\n",
        busiest->name, bytes_text(static_cast<double>(busiest->bytes)),
        percent(static_cast<double>(busiest->busy_ns) / static_cast<double>(to_ns(o.end))),
        busiest->flow_seconds / (static_cast<double>(busiest->busy_ns) / 1e9), busiest->peak_flows,
        number(find(m, "load_stall"), 2));
  for (const FaultRecord& f : o.faults)
    out += fmt::format(
        "fault      {} at {:.1f} s: {} requests moved, {} GPU blocks and {} chunks lost, goodput "
        "{:.3f} -> {:.3f} /s, {}\n",
        f.target, to_seconds(f.at - Time{}), f.requests_moved, f.blocks_lost, f.chunks_lost,
        f.goodput_before, f.goodput_least,
        f.recovery.count() > 0 ? fmt::format("recovered after {:.0f} s", to_seconds(f.recovery))
                               : std::string("no dip that ended within the run"));
  return out;
}

// What an hour costs, and what a million tokens cost and draw.
std::string cost_line(const std::vector<Metric>& m) {
  if (!find(m, "cost_per_million_output_tokens")) return "";
  const double price = find(m, "price_per_hour").value_or(0);
  const double energy = find(m, "energy").value_or(0);
  if (price == 0 && energy == 0)
    return "cost       not known: the hardware has no price and no power\n";
  std::string out =
      fmt::format("cost       {} USD/h, {} USD per million output tokens ({} of all tokens)",
                  number(price, 2), number(find(m, "cost_per_million_output_tokens"), 3),
                  number(find(m, "cost_per_million_tokens"), 3));
  if (energy > 0)
    out += fmt::format("; {} kWh, {} per million output tokens, {} of it in idle GPUs",
                       number(energy, 3), number(find(m, "energy_per_million_output_tokens"), 3),
                       percent(find(m, "idle_energy").value_or(0) / energy));
  return out + '\n';
}

}  // namespace

std::string summary_table(const BuiltRun& run, const SimulateResult& result) {
  const std::vector<Metric>& m = result.metrics;
  const RunOutcome& o = result.outcome;
  const Scenario& s = run.scenario;
  std::string out = fmt::format("{}: {} on ", s.name, run.model.name);
  for (const BuiltRun* part : parts_of(run)) {
    if (part != &run) out += " + ";
    out += fmt::format("{} x {}", part->scenario.deployment.replicas * part->parallel.gpus(),
                       part->device.name);
    if (part->role != PoolRole::mixed)
      out += fmt::format(" for {}", part->role == PoolRole::prefill ? "prefill" : "decode");
  }
  if (run.encode.encoders > 0) out += fmt::format(" + {} encoders", run.encode.encoders);
  if (instances_of(run) > 1)
    out += fmt::format(" ({} instances, {})", instances_of(run), s.router.name);
  out += fmt::format(", {}, cost {}\n", s.engine.preset, s.cost.name);
  const double completed = find(m, "completed").value_or(0);
  out += fmt::format("requests   {} in, {:.0f} finished, {:.0f} rejected or timed out", o.injected,
                     completed, static_cast<double>(o.injected) - completed);
  if (result.skipped.records > 0)
    out += fmt::format(", {} broken records skipped ({})", result.skipped.records,
                       result.skipped.first_reason);
  out +=
      fmt::format("\nthroughput {} requests/s, {} output tokens/s, {} tokens/s in all, over {} s\n",
                  number(find(m, "request_throughput"), 3), number(find(m, "output_throughput"), 1),
                  number(find(m, "total_token_throughput"), 1), number(find(m, "duration"), 1));
  out += fmt::format("prefix     {} of the prompt tokens hit", percent(find(m, "prefix_hit_rate")));
  std::string causes;
  for (const auto& [cause, name] : enum_names(MissCause{})) {
    const auto tokens = find(m, std::string("miss_") + name);
    const auto prompts = find(m, "total_input_tokens");
    if (tokens && *tokens > 0 && prompts)
      causes += fmt::format("{}{} {}", causes.empty() ? "; missed: " : ", ", name,
                            percent(*tokens / *prompts));
  }
  out += causes + "\n";
  out += fmt::format(
      "engine     {} iterations, {} preemptions, {} KV blocks a rank, at most {} of them in use\n",
      number(find(m, "iterations"), 0), number(find(m, "preemptions"), 0), run.engine.kv_blocks,
      percent(find(m, "peak_kv_usage")));
  out += hybrid_line(run.engine, m);
  out += fleet_line(m);
  out += scaling_line(m);
  out += class_lines(s, m);
  out += peer_line(m);
  out += host_line(m);
  out += tool_line(m);
  out += token_line(m);
  out += hidden_line(m);
  out += acceleration_lines(m);
  out += lending_line(m);
  out += pipeline_line(m);
  out += encoder_line(m);
  out += quality_line(m);
  out += tier_lines(m, o);
  if (s.slo.ttft || s.slo.tpot || s.slo.e2e)
    out += fmt::format("SLO        {} of the requests meet it, goodput {} requests/s\n",
                       percent(find(m, "slo_attainment")), number(find(m, "request_goodput"), 3));
  out += cost_line(m);
  out = fitted(out);
  latency_rows(out, m);
  return out;
}

namespace {

std::string short_name(const NamedResult& r) { return r.name.substr(r.name.find(": ") + 2); }

// Fleets that scale are compared by what they pay and keep.
std::string scaling_table(const std::vector<NamedResult>& results, std::size_t width) {
  std::string out =
      fmt::format("\n{:<{}} {:>10} {:>6} {:>8} {:>9} {:>13} {:>13}\n", "", width, "instances",
                  "most", "USD/h", "SLO kept", "TTFT mean, ms", "TTFT p99, ms");
  for (const NamedResult& r : results) {
    const auto& m = r.metrics;
    out += fmt::format("{:<{}} {:>10} {:>6} {:>8} {:>9} {:>13} {:>13}\n", short_name(r), width,
                       number(find(m, "instances_mean"), 2), number(find(m, "instances_most"), 0),
                       number(find(m, "price_per_hour"), 1), percent(find(m, "slo_attainment")),
                       number(find(m, "ttft_ms", "mean"), 1), number(find(m, "ttft_ms", "p99"), 1));
  }
  return out;
}

}  // namespace

std::string variants_table(const std::vector<NamedResult>& results) {
  std::size_t width = 10;
  for (const NamedResult& r : results) width = std::max(width, short_name(r).size());
  if (std::any_of(results.begin(), results.end(),
                  [](const NamedResult& r) { return find(r.metrics, "instances_mean"); }))
    return scaling_table(results, width);
  std::string out =
      fmt::format("\n{:<{}} {:>8} {:>8} {:>9} {:>11} {:>13} {:>13}\n", "", width, "hits", "Jain",
                  "max/mean", "regret, ms", "TTFT mean, ms", "TTFT p99, ms");
  for (const NamedResult& r : results) {
    const auto& m = r.metrics;
    out += fmt::format("{:<{}} {:>8} {:>8} {:>9} {:>11} {:>13} {:>13}\n", short_name(r), width,
                       percent(find(m, "prefix_hit_rate")), number(find(m, "load_jain"), 4),
                       number(find(m, "load_max_over_mean"), 3),
                       number(find(m, "regret_ms", "mean"), 1),
                       number(find(m, "ttft_ms", "mean"), 1), number(find(m, "ttft_ms", "p99"), 1));
  }
  return out;
}

std::string variants_json(const std::vector<NamedResult>& results) {
  std::string out = "[";
  for (const NamedResult& r : results) {
    out += fmt::format("{}{{\"name\": {}, \"metrics\": [", out.size() > 1 ? ",\n" : "",
                       json_string(r.name));
    bool first = true;
    for (const Metric& m : r.metrics) {
      out += fmt::format("{}\n  {}", first ? "" : ",", metric_json(m));
      first = false;
    }
    out += "]}";
  }
  return out + "]\n";
}

std::string summary_json(const BuiltRun& run, const SimulateResult& result) {
  std::string out =
      fmt::format("{{\"name\": {}, \"digest\": \"{:016x}\", \"injected\": {}, \"metrics\": [",
                  json_string(run.scenario.name), result.outcome.digest, result.outcome.injected);
  bool first = true;
  for (const Metric& m : result.metrics) {
    out += fmt::format("{}\n  {}", first ? "" : ",", metric_json(m));
    first = false;
  }
  return out + "\n]}\n";
}

}  // namespace kvsim
