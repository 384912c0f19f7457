#include "sim/run/peer_parity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "hardware/csv_table.h"

namespace kvsim {

namespace {

constexpr double kSameSeconds = 1e-9;

class Comparer {
 public:
  explicit Comparer(Parity& p) : parity_(p) {}
  void whole(const char* quantity, const std::string& where, std::int64_t ours,
             std::int64_t theirs) {
    Parity::Row& r = row(quantity);
    ++r.compared;
    if (ours == theirs) return;
    differs(r, fmt::format("{}: {} instead of {}", where, ours, theirs));
  }
  void time(const char* quantity, const std::string& where, Time ours, double theirs) {
    Parity::Row& r = row(quantity);
    ++r.compared;
    const double difference = std::abs(static_cast<double>(to_ns(ours)) * 1e-9 - theirs);
    r.largest_s = std::max(r.largest_s, difference);
    if (difference <= kSameSeconds) return;
    differs(r, fmt::format("{}: {:.9f} s instead of {:.9f} s", where,
                           static_cast<double>(to_ns(ours)) * 1e-9, theirs));
  }

 private:
  Parity::Row& row(const char* quantity) {
    for (Parity::Row& r : parity_.rows)
      if (r.quantity == quantity) return r;
    return parity_.rows.emplace_back(Parity::Row{quantity, 0, 0, 0, {}});
  }
  static void differs(Parity::Row& r, std::string where) {
    if (r.different++ == 0) r.first = std::move(where);
  }
  Parity& parity_;
};

std::string table(const std::string& folder, const char* name) {
  std::string path = find_csv(folder, name);
  if (path.empty())
    throw InputError(fmt::format("{}: has no {}.csv.gz or {}.csv", folder, name, name),
                     "measured.file names the folder of a run of Vidur");
  return path;
}

void compare_requests(const std::string& path, const RunOutcome& outcome, Comparer& c) {
  static constexpr std::array<std::string_view, 6> kColumns{"request_id",   "replica_id",
                                                            "scheduled_at", "prefill_completed_at",
                                                            "completed_at", "num_restarts"};
  std::map<std::uint64_t, const RequestOutcome*> ours;
  for (const RequestOutcome& r : outcome.requests) ours[r.index] = &r;
  std::int64_t rows = 0;
  read_csv(path, kColumns, [&](const CsvRow& row) {
    ++rows;
    const std::int64_t id = row.whole(0, 0, std::int64_t{1} << 40);
    const auto found = ours.find(static_cast<std::uint64_t>(id));
    if (found == ours.end()) return;
    const RequestOutcome& r = *found->second;
    const std::string where = fmt::format("request {}", id);
    c.whole("request: replica", where, r.instance, row.whole(1, 0, 1 << 20));
    c.whole("request: restarts", where, r.preemptions, row.whole(5, 0, 1 << 30));
    c.time("request: scheduled", where, r.scheduled, row.number(2, 0, 1e9));
    c.time("request: prompt computed", where, r.first_token, row.number(3, 0, 1e9));
    c.time("request: completed", where, r.last_token, row.number(4, 0, 1e9));
  });
  const auto finished =
      std::count_if(outcome.requests.begin(), outcome.requests.end(),
                    [](const RequestOutcome& r) { return r.outcome == Outcome::finished; });
  c.whole("requests", path, finished, rows);
}

// Vidur numbers a replica's iterations as they are formed; they end in the same order.
void compare_batches(const std::string& path, const RunOutcome& outcome, Comparer& c) {
  static constexpr std::array<std::string_view, 7> kColumns{"replica_id",
                                                            "scheduled_at",
                                                            "completed_at",
                                                            "num_requests",
                                                            "num_tokens",
                                                            "num_prefill_tokens",
                                                            "allocated_blocks_after_end"};
  std::map<std::uint32_t, std::vector<const IterationRecord*>> ours;
  for (const IterationRecord& i : outcome.iterations) ours[i.instance].push_back(&i);
  std::map<std::uint32_t, std::size_t> at;
  std::int64_t missing = 0;
  read_csv(path, kColumns, [&](const CsvRow& row) {
    const auto replica = static_cast<std::uint32_t>(row.whole(0, 0, 1 << 20));
    const std::size_t n = at[replica]++;
    const auto& all = ours[replica];
    if (n >= all.size()) {
      ++missing;
      return;
    }
    const IterationRecord& i = *all[n];
    const std::string where = fmt::format("replica {}, iteration {}", replica, n);
    c.time("iteration: start", where, i.start, row.number(1, 0, 1e9));
    c.time("iteration: end", where, i.end, row.number(2, 0, 1e9));
    c.whole("iteration: requests", where, i.decodes + i.prompts, row.whole(3, 0, 1 << 20));
    c.whole("iteration: tokens", where, i.decodes + i.prefill_tokens, row.whole(4, 0, 1 << 30));
    c.whole("iteration: prompt tokens", where, i.prefill_tokens, row.whole(5, 0, 1 << 30));
    c.whole("iteration: blocks held at its end", where, i.held_blocks_end,
            row.whole(6, 0, std::int64_t{1} << 40));
  });
  c.whole("iterations missing", path, missing, 0);
}

}  // namespace

bool Parity::is_exact() const {
  return std::all_of(rows.begin(), rows.end(), [](const Row& r) { return r.different == 0; });
}

Parity compare_with_vidur(const std::string& folder, const RunOutcome& outcome) {
  Parity p;
  Comparer c(p);
  compare_requests(table(folder, "requests"), outcome, c);
  compare_batches(table(folder, "batches"), outcome, c);
  return p;
}

}  // namespace kvsim
