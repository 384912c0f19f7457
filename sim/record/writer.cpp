#include "sim/record/writer.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/check.h"
#include "sim/base/hash.h"
#include "sim/record/schema.h"

namespace kvsim {
namespace {

template <class E, std::size_t N>
const char* name_of(const std::array<std::pair<E, const char*>, N>& names, E value) {
  for (const auto& [v, name] : names)
    if (v == value) return name;
  KVSIM_CHECK(false, "value {} has no name", static_cast<int>(value));
}

}  // namespace

std::string digest_text(std::uint64_t digest) { return fmt::format("{:016x}", digest); }

RunWriter::RunWriter(Database& db, const RunHeader& h)
    : db_(&db),
      run_id_(db.integer("SELECT ifnull(max(run_id), 0) + 1 FROM run")),
      request_(insert("request")),
      iteration_(insert("iteration")),
      sample_(insert("instance_sample")),
      instance_(insert("instance")),
      metric_(insert("metric")),
      tier_(insert("tier")),
      tier_hit_(insert("tier_hit")),
      tier_sample_(insert("tier_sample")),
      link_(insert("link")),
      transfer_(insert("transfer")),
      fault_(insert("fault")),
      decision_(insert("decision")),
      alternative_(insert("alternative")),
      scale_event_(insert("scale_event")) {
  RowInsert run = insert("run");
  const std::string digest = digest_text(hash_text(h.scenario_text));
  Row row(run);  // what is known at the end stays NULL
  row << h.name << h.scenario_text << digest << h.seed << h.version << "unfinished";
  row.null() << h.slo.ttft << h.slo.tpot << h.slo.e2e;
  row.run();
  RowInsert param = insert("param");
  for (const auto& [path, value] : h.params) (Row(param) << path << value).run();
  RowInsert timing = insert("kernel_timing");
  for (const KernelTiming& t : h.kernel_timings)
    (Row(timing) << t.operation << t.shape << t.target << 1e9 * t.seconds << t.calls).run();
  write_quality(*db_, run_id_, h.quality);
}

RowInsert RunWriter::insert(const std::string& table) {
  return prepare(insert_sql(schema_table(table)));
}

RowInsert RunWriter::prepare(const std::string& sql) {
  RowInsert s(db_->prepare(sql));
  s.bind_run(run_id_);
  return s;
}

void RunWriter::write(const RequestOutcome& r) {
  Row row(request_);
  row << r.index << r.session << r.turn << r.tenant << r.instance << r.rank
      << name_of(enum_names(Outcome{}), r.outcome) << r.reason << r.prompt_tokens << r.output_tokens
      << r.hit_tokens << r.queried_tokens << r.recomputed_tokens << r.peer_tokens
      << r.first_instance << r.handovers << r.preemptions << r.swaps << r.tool_calls << r.arrival
      << r.scheduled << r.first_token << r.last_token << r.held_ns;
  for (const std::int64_t ns : r.ttft_ns.all()) row << ns;
  for (const std::int64_t ns : r.after_ns.all()) row << ns;
  for (const std::int64_t tokens : r.miss_tokens.all()) row << tokens;
  row.run();
  if (r.tier_tokens.sum() == 0) return;
  for (std::size_t k = 0; k < kMaxTiers; ++k)
    if (r.tier_tokens[k] > 0)
      (Row(tier_hit_) << r.index << k + 1 << r.tier_tokens[k] << r.far_tokens[k]).run();
}

void RunWriter::write(const TierTotals& t) {
  Row row(tier_);
  row << t.tier + 1 << t.store << t.name << name_of(enum_names(TierKind{}), t.kind)
      << t.capacity_chunks << t.chunk_bytes << t.chunk_tokens << t.resident << t.peak << t.inserted
      << t.evicted << t.expired << t.lost << t.abandoned << t.refused << t.read << t.stale
      << t.read_bytes << t.written_bytes << t.far_read << t.far_read_bytes << t.copied
      << t.copied_bytes << t.dropped;
  t.drive_life_years > 0 ? row << t.drive_life_years : row.null();
  row.run();
}

void RunWriter::write(const TierSample& s) {
  (Row(tier_sample_) << s.at << s.tier + 1 << s.store << s.resident << s.read_bytes
                     << s.written_bytes)
      .run();
}

void RunWriter::write(std::size_t number, const LinkUse& l) {
  const double busy = static_cast<double>(l.busy_ns) / 1e9;
  (Row(link_) << number << l.name << l.bandwidth << l.bytes << l.busy_ns
              << (busy > 0 ? l.flow_seconds / busy : 0.0) << l.peak_flows)
      .run();
}

void RunWriter::write(const TransferRecord& t) {
  (Row(transfer_) << t.instance << t.rank
                  << name_of(enum_names(TransferKind{}), static_cast<TransferKind>(t.kind))
                  << t.from << t.to << t.start << t.end << t.bytes << t.chunks
                  << (t.failed ? 1 : 0))
      .run();
}

void RunWriter::write(const FaultRecord& f) {
  Row row(fault_);
  row << name_of(enum_names(FaultKind{}), f.kind) << f.target << f.at << f.end << f.requests_moved
      << f.blocks_lost << f.chunks_lost << f.transfers_failed << f.goodput_before
      << f.goodput_least;
  f.recovery.count() > 0 ? row << std::optional(f.recovery) : row.null();
  row.run();
}

void RunWriter::write(const DecisionRecord& d) {
  const auto weighed = [](Row& row, const DecisionRecord::Alternative& a) {
    row << a.instance;
    std::isnan(a.score) ? row.null() : row << a.score;
    row << a.in_flight << a.pending_tokens << a.promised_tokens << a.cached_tokens << a.cost_ns;
  };
  Row row(decision_);
  row << d.request << d.at;
  weighed(row, d.chosen);
  row << d.best_instance << d.best_ns;
  row.run();
  for (const DecisionRecord::Alternative& a : d.others) {
    Row other(alternative_);
    other << d.request << d.at;
    weighed(other, a);
    other.run();
  }
}

void RunWriter::write(const ScaleEvent& e) {
  (Row(scale_event_) << e.at << e.instance << name_of(enum_names(e.kind), e.kind) << e.wanted
                     << e.up << e.starting << e.draining << e.waiting << e.in_flight)
      .run();
}

void RunWriter::write(const IterationRecord& i) {
  (Row(iteration_) << i.instance << i.rank << i.start << i.end << i.decodes << i.prefill_tokens
                   << i.context_sum << i.running << i.waiting << i.free_blocks << i.preemptions
                   << i.prompts << i.held_blocks_end)
      .run();
}

void RunWriter::write(const InstanceSample& s) {
  (Row(sample_) << s.at << s.instance << s.rank << s.running << s.waiting << s.used_blocks
                << s.cached_blocks << s.total_blocks << s.prompt_tokens << s.output_tokens
                << s.unfilled_tokens << s.stranded_blocks)
      .run();
}

void RunWriter::write(const RankTotals& t) {
  (Row(instance_) << t.instance << t.rank << t.blocks << t.iterations << t.decode_iterations
                  << t.preemptions << t.prefill_tokens << t.decode_tokens << t.queried_tokens
                  << t.hit_tokens << t.resumed_queried_tokens << t.resumed_hit_tokens
                  << t.evicted_blocks << t.busy_ns << t.gpu_ns << t.host_ns << t.peak_blocks
                  << t.stall_ns << t.mapping_ns << t.block_tokens << t.kv.used_blocks()
                  << t.kv.unfilled_tokens() << t.kv.peak_unfilled_tokens() << t.kv.stranded_blocks()
                  << t.kv.peak_stranded_blocks() << t.swaps_out << t.swaps_in << t.layered_prompts
                  << t.to_host_bytes << t.from_host_bytes << t.peak_host_blocks << t.tools_kept
                  << t.tools_swapped << t.tools_discarded << t.tools_reclaimed)
      .run();
}

void RunWriter::write(const Metric& m) {
  (Row(metric_) << m.scope << m.name << m.statistic << m.value << m.unit).run();
}

void RunWriter::write(const Provenance& p) {
  RowInsert s = insert("provenance");
  (Row(s) << p.host << p.started_utc << p.wall_ns).run();
}

void RunWriter::finish(const RunOutcome& outcome) {
  RowInsert s = prepare(
      "UPDATE run SET status = 'finished', simulated_ns = ?2, requests = ?3, event_digest = ?4 "
      "WHERE run_id = ?1");
  const std::string digest = digest_text(outcome.digest);
  (Row(s) << outcome.end << outcome.injected << digest).run();
}

void RunWriter::fail(const std::string& error) {
  RowInsert s = prepare("UPDATE run SET status = 'failed', error = ?2 WHERE run_id = ?1");
  (Row(s) << error).run();
}

}  // namespace kvsim
