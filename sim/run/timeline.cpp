#include "sim/run/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "sim/base/tree.h"
#include "sim/record/render.h"

namespace kvsim {
namespace {

enum class Kind : std::uint8_t { fault, iteration, request, transfer, sample };

// One thing that happened, with the number of events that it takes.
struct Track {
  Time start;
  Kind kind;
  std::uint8_t events;
  std::size_t index;
};

bool has_token(const RequestOutcome& r) {
  return r.scheduled != kNever && r.first_token != kNever && r.last_token != kNever;
}

std::vector<Track> tracks_of(const RunOutcome& o) {
  std::vector<Track> all;
  all.reserve(o.iterations.size() + o.requests.size() + o.transfers.size() + o.samples.size());
  for (std::size_t i = 0; i < o.faults.size(); ++i)
    all.push_back({o.faults[i].at, Kind::fault, 1, i});
  for (std::size_t i = 0; i < o.iterations.size(); ++i)
    all.push_back({o.iterations[i].start, Kind::iteration, 1, i});
  for (std::size_t i = 0; i < o.requests.size(); ++i)
    all.push_back({o.requests[i].arrival, Kind::request,
                   static_cast<std::uint8_t>(has_token(o.requests[i]) ? 8 : 1), i});
  for (std::size_t i = 0; i < o.transfers.size(); ++i)
    all.push_back({o.transfers[i].start, Kind::transfer, 2, i});
  for (std::size_t i = 0; i < o.samples.size(); ++i)
    all.push_back({o.samples[i].at, Kind::sample, 2, i});
  std::stable_sort(all.begin(), all.end(),
                   [](const Track& a, const Track& b) { return a.start < b.start; });
  return all;
}

// Microseconds with three decimals.
std::string us(std::int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }
// An instant, half a nanosecond late: Perfetto multiplies by 1000 and cuts, so that an exact
// decimal may become the nanosecond before, and it drops slices that overlap by one.
std::string us(Time t) { return us(to_ns(t)) + "5"; }

// Process numbers from 1: some viewers take 0 for the idle process.
std::uint32_t pid_of(std::uint32_t instance) { return instance + 1; }
// Unlike any process number and unique in the file: Perfetto names threads by this number alone.
std::uint32_t tid_of(std::uint32_t instance, std::uint32_t rank) {
  return 1'000'000 + 1000 * instance + rank;
}

class Writer {
 public:
  Writer(const RunOutcome& o, std::ostream& out) : o_(o), out_(&out) { lay_batches(); }

  void begin(const std::string& run_name) {
    *out_ << fmt::format(
        "{{\"displayTimeUnit\": \"ms\", \"otherData\": {{\"run\": {}, \"requests\": {}}}, "
        "\"traceEvents\": [",
        json_string(printable(run_name)), o_.requests.size());
    std::set<std::uint32_t> instances;
    std::set<std::pair<std::uint32_t, std::uint32_t>> ranks;
    for (const RankTotals& r : o_.ranks) {
      instances.insert(r.instance);
      ranks.emplace(r.instance, r.rank);
      faults_pid_ = std::max(faults_pid_, pid_of(r.instance) + 1);
    }
    for (const std::uint32_t i : instances) name_process(pid_of(i), fmt::format("instance {}", i));
    for (const auto& [instance, rank] : ranks)
      event(fmt::format(
          R"("ph": "M", "name": "thread_name", "pid": {}, "tid": {}, "args": {{"name": "iterations of rank {}"}})",
          pid_of(instance), tid_of(instance, rank), rank));
    for (const auto& [rank, ends] : in_flight_)
      for (std::uint32_t row = 1; row < ends.size(); ++row)
        event(fmt::format(
            R"("ph": "M", "name": "thread_name", "pid": {}, "tid": {}, "args": {{"name": "iterations that overlap, {}"}})",
            pid_of(rank.first), tid_of(rank.first, row), row + 1));
    if (!o_.faults.empty()) name_process(faults_pid_, "faults");
  }
  void end() { *out_ << "\n]}\n"; }

  void write(const Track& u) {
    switch (u.kind) {
      case Kind::fault:
        return write(o_.faults[u.index], u.index);
      case Kind::iteration:
        return write(o_.iterations[u.index],
                     rows_.empty() ? o_.iterations[u.index].rank : rows_[u.index]);
      case Kind::request:
        return write(o_.requests[u.index]);
      case Kind::transfer:
        return write(o_.transfers[u.index], u.index);
      case Kind::sample:
        return write(o_.samples[u.index]);
    }
  }

 private:
  void event(const std::string& fields) {
    *out_ << (is_first_ ? "\n{" : ",\n{") << fields << '}';
    is_first_ = false;
  }
  void name_process(std::uint32_t pid, const std::string& name) {
    event(fmt::format(
        R"("ph": "M", "name": "process_name", "pid": {0}, "tid": {0}, "args": {{"name": {1}}})",
        pid, json_string(name)));
    event(fmt::format(
        R"("ph": "M", "name": "process_sort_index", "pid": {0}, "tid": {0}, "args": {{"sort_index": {0}}})",
        pid));
  }
  // A begin ('b') or end ('e') of a nested asynchronous slice; `id` is unique in its process.
  void nested(char phase, const char* category, const std::string& name, std::uint32_t pid,
              const std::string& id, Time at, const std::string& args = {}) {
    event(fmt::format(
        R"("ph": "{0}", "cat": "{1}", "name": "{2}", "pid": {3}, "tid": {3}, "id2": {{"local": "{4}"}}, "ts": {5}{6})",
        phase, category, name, pid, id, us(at),
        args.empty() ? "" : fmt::format(", \"args\": {{{}}}", args)));
  }

  // Batches in flight in a pipeline overlap, and slices of one thread must not: each goes to the
  // first row that is free. (An instance whose batches overlap has one rank.)
  void lay_batches() {
    if (std::none_of(o_.ranks.begin(), o_.ranks.end(),
                     [](const RankTotals& r) { return r.pipeline.stages > 0; }))
      return;
    for (const IterationRecord& i : o_.iterations) {
      std::vector<Time>& ends = in_flight_[{i.instance, i.rank}];
      const auto at = std::find_if(ends.begin(), ends.end(), [&](Time t) { return t <= i.start; });
      rows_.push_back(i.rank + static_cast<std::uint32_t>(at - ends.begin()));
      if (at == ends.end())
        ends.push_back(i.end);
      else
        *at = i.end;
    }
  }

  void write(const IterationRecord& i, std::uint32_t row) {
    event(fmt::format(
        R"("ph": "X", "cat": "iteration", "name": "{}", "pid": {}, "tid": {}, "ts": {}, "dur": {}, "args": {{"decodes": {}, "prefill_tokens": {}, "context_tokens": {}, "running": {}, "waiting": {}, "free_blocks": {}, "preemptions": {}}})",
        i.prefill_tokens == 0 ? "decode"
        : i.decodes == 0      ? "prefill"
                              : "prefill and decode",
        pid_of(i.instance), tid_of(i.instance, row), us(i.start), us(to_ns(i.end - i.start)),
        i.decodes, i.prefill_tokens, i.context_sum, i.running, i.waiting, i.free_blocks,
        i.preemptions));
  }

  void write(const RequestOutcome& r) {
    const std::uint32_t pid = pid_of(r.instance);
    if (!has_token(r)) {
      event(fmt::format(
          R"("ph": "i", "s": "p", "cat": "request", "name": {0}, "pid": {1}, "tid": {1}, "ts": {2}, "args": {{"request": {3}}})",
          json_string(fmt::format("{}: {}", enum_text(r.outcome), r.reason)), pid, us(r.arrival),
          r.index));
      return;
    }
    const std::string id = fmt::format("r{}", r.index);
    nested('b', "request", "request", pid, id, r.arrival, request_args(r));
    const auto phase = [&](const char* name, Time from, Time to) {
      nested('b', "request", name, pid, id, from);
      nested('e', "request", name, pid, id, to);
    };
    phase("queue", r.arrival, r.scheduled);
    phase("prefill", r.scheduled, r.first_token);
    phase("decode", r.first_token, r.last_token);
    nested('e', "request", "request", pid, id, r.last_token);
  }

  static std::string request_args(const RequestOutcome& r) {
    std::int64_t below = 0;
    for (const std::int64_t tokens : r.tier_tokens) below += tokens;
    std::string args = fmt::format(
        R"("request": {}, "session": {}, "turn": {}, "prompt_tokens": {}, "output_tokens": {}, "hit_tokens": {}, "tier_hit_tokens": {}, "preemptions": {}, "ttft_ms": {})",
        r.index, r.session, r.turn, r.prompt_tokens, r.output_tokens, r.hit_tokens, below,
        r.preemptions, us(to_ns(r.first_token - r.arrival) / 1000));
    for (const auto& [kind, name] : enum_names(Interval{}))
      if (const std::int64_t ns = r.ttft_ns[static_cast<std::size_t>(kind)]; ns > 0)
        args += fmt::format(", \"ttft_{}_ms\": {}", name, us(ns / 1000));
    return args;
  }

  void write(const TransferRecord& t, std::size_t index) {
    const std::string id = fmt::format("t{}", index);
    const char* name = "transfer";
    for (const auto& [kind, text] : enum_names(TransferKind{}))
      if (static_cast<std::uint8_t>(kind) == t.kind) name = text;
    nested('b', "transfer", name, pid_of(t.instance), id, t.start,
           fmt::format(R"("from_tier": {}, "to_tier": {}, "bytes": {}, "chunks": {}, "failed": {})",
                       t.from, t.to, t.bytes, t.chunks, t.failed));
    nested('e', "transfer", name, pid_of(t.instance), id, t.end);
  }

  void write(const InstanceSample& s) {
    const auto counter = [&](const char* name, const std::string& args) {
      event(fmt::format(
          R"("ph": "C", "name": "{0}{1}", "pid": {2}, "tid": {2}, "ts": {3}, "args": {{{4}}})",
          name, s.rank > 0 ? fmt::format(" of rank {}", s.rank) : "", pid_of(s.instance), us(s.at),
          args));
    };
    counter("requests", fmt::format(R"("running": {}, "waiting": {})", s.running, s.waiting));
    counter("KV blocks",
            fmt::format(R"("held": {}, "cached": {})", s.used_blocks, s.cached_blocks));
  }

  void write(const FaultRecord& f, std::size_t index) {
    const Time end = f.end == kNever ? std::max(o_.end, f.at) : f.end;
    event(fmt::format(
        R"("ph": "X", "cat": "fault", "name": {}, "pid": {}, "tid": {}, "ts": {}, "dur": {}, "args": {{"requests_moved": {}, "blocks_lost": {}, "chunks_lost": {}}})",
        json_string(printable(f.target)), faults_pid_,
        tid_of(faults_pid_, static_cast<std::uint32_t>(index)), us(f.at), us(to_ns(end - f.at)),
        f.requests_moved, f.blocks_lost, f.chunks_lost));
  }

  static const char* enum_text(Outcome outcome) {
    for (const auto& [value, name] : enum_names(Outcome{}))
      if (value == outcome) return name;
    return "";
  }

  const RunOutcome& o_;
  std::vector<std::uint32_t> rows_;  // by iteration; empty without pipelines
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<Time>>
      in_flight_;  // by instance, rank and row: end of the last
  std::ostream* out_;
  std::uint32_t faults_pid_ = 1;
  bool is_first_ = true;
};

}  // namespace

TimelineSummary write_timeline(const RunOutcome& outcome, const std::string& run_name,
                               std::ostream& out, std::size_t most_events) {
  TimelineSummary summary;
  Writer writer(outcome, out);
  writer.begin(run_name);
  for (const Track& u : tracks_of(outcome)) {
    if (summary.events + u.events > most_events) {
      summary.is_cut = true;
      summary.cut_at = u.start;
      break;
    }
    summary.events += u.events;
    writer.write(u);
  }
  writer.end();
  return summary;
}

}  // namespace kvsim
