// The file of kvsim run --timeline, by the rules of the trace event format.
#include "sim/run/timeline.h"

#include <simdjson.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

struct Event {
  char phase = 0;
  std::string category, name, id;
  std::int64_t pid = 0, tid = 0;
  double at = 0, duration = 0;
};

std::vector<Event> parse(const std::string& json) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  EXPECT_EQ(parser.parse(json).get(root), simdjson::SUCCESS);
  std::vector<Event> events;
  for (const simdjson::dom::element e : root["traceEvents"].get_array()) {
    Event v;
    v.phase = std::string_view(e["ph"])[0];
    v.name = std::string_view(e["name"]);
    v.pid = std::int64_t(e["pid"]);
    v.tid = std::int64_t(e["tid"]);
    if (v.phase != 'M') v.at = double(e["ts"]);
    if (v.phase == 'X') v.duration = double(e["dur"]);
    if (v.phase == 'b' || v.phase == 'e') {
      v.category = std::string_view(e["cat"]);
      v.id = std::string_view(e["id2"]["local"]);
    }
    events.push_back(std::move(v));
  }
  return events;
}

// Nanoseconds as Perfetto reads them: multiplied and cut.
double cut(double us) { return std::floor(us * 1000.0); }

// Slices of a track follow each other; asynchronous slices of one id nest; tracks have names, and
// threads numbers of their own.
void expect_well_formed(const std::vector<Event>& events) {
  std::map<std::pair<std::int64_t, std::int64_t>, double> busy_until;
  std::map<std::string, std::vector<const Event*>> open;
  std::map<std::string, double> last;
  std::set<std::int64_t> named;
  std::map<std::int64_t, std::int64_t> process_of;
  for (const Event& e : events) {
    EXPECT_EQ(process_of.emplace(e.tid, e.pid).first->second, e.pid) << "thread " << e.tid;
    if (e.phase == 'M') {
      named.insert(e.pid);
      continue;
    }
    EXPECT_TRUE(named.contains(e.pid));
    EXPECT_GE(e.at, 0);
    if (e.phase == 'X') {
      double& until = busy_until[{e.pid, e.tid}];
      EXPECT_GE(cut(e.at), until);
      EXPECT_GE(e.duration, 0);
      until = cut(e.at) + cut(e.duration);
    }
    if (e.phase != 'b' && e.phase != 'e') continue;
    const std::string track = std::to_string(e.pid) + e.category + e.id;
    EXPECT_GE(e.at, last[track]);
    last[track] = e.at;
    auto& stack = open[track];
    if (e.phase == 'b') {
      stack.push_back(&e);
      continue;
    }
    ASSERT_FALSE(stack.empty()) << track;
    EXPECT_EQ(stack.back()->name, e.name);
    stack.pop_back();
  }
  for (const auto& [track, stack] : open) EXPECT_TRUE(stack.empty()) << track;
}

std::size_t count(const std::vector<Event>& events, char phase, const std::string& name) {
  std::size_t n = 0;
  for (const Event& e : events) n += e.phase == phase && (name.empty() || e.name == name) ? 1 : 0;
  return n;
}

TEST(Timeline, HoldsARunAndChangesNothing) {
  const cli_test::TempFolder folder;
  const std::string scenario = cli_test::scenario("tiers-and-faults.yaml");
  const std::vector<std::string> base{"run",    scenario,        "--set", "workload.limit=120",
                                      "--json", "--reproducible"};
  auto with = base, without = base;
  with.insert(with.end(), {"-o", folder / "a.db", "--timeline", folder / "t.json"});
  without.insert(without.end(), {"-o", folder / "b.db"});
  const cli_test::Result a = cli_test::kvsim(with), b = cli_test::kvsim(without);
  ASSERT_EQ(a.code, 0) << a.err;
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(cli_test::read_file(folder / "a.db"), cli_test::read_file(folder / "b.db"));
  const std::vector<Event> events = parse(cli_test::read_file(folder / "t.json"));
  expect_well_formed(events);
  EXPECT_EQ(count(events, 'b', "request"), 120U);
  for (const char* name : {"queue", "prefill", "decode"})
    EXPECT_EQ(count(events, 'b', name), 120U) << name;
  const std::string iterations =
      cli_test::kvsim(
          {"query", folder / "a.db", "SELECT sum(iterations) AS n FROM instance", "--csv"})
          .out;
  EXPECT_EQ("n\r\n" +
                std::to_string(count(events, 'X', "decode") + count(events, 'X', "prefill") +
                               count(events, 'X', "prefill and decode")) +
                "\r\n",
            iterations);
  EXPECT_GT(count(events, 'b', "load") + count(events, 'b', "store"), 0U);
  EXPECT_GT(count(events, 'C', "KV blocks"), 0U);
}

TEST(Timeline, BatchesThatOverlapLieInRows) {
  const cli_test::TempFolder folder;
  const cli_test::Result a =
      cli_test::kvsim({"run", cli_test::scenario("acceleration/pipeline-batches.yaml"), "-o",
                       folder / "a.db", "--timeline", folder / "t.json"});
  ASSERT_EQ(a.code, 0) << a.err;
  const std::vector<Event> events = parse(cli_test::read_file(folder / "t.json"));
  expect_well_formed(events);
  std::set<std::int64_t> rows;
  for (const Event& e : events)
    if (e.phase == 'X') rows.insert(e.tid);
  EXPECT_EQ(rows.size(), 4U);  // as many as are in flight
}

TEST(Timeline, IsCutAtWholeSlices) {
  RunOutcome run;
  run.ranks.emplace_back();
  for (int i = 0; i < 50; ++i) {
    IterationRecord step;
    step.start = Time{Duration{1000 * i + 1}};
    step.end = Time{Duration{1000 * i + 900}};
    step.decodes = 1;
    run.iterations.push_back(step);
    RequestOutcome r;
    r.index = static_cast<std::uint64_t>(i);
    r.arrival = Time{Duration{1000 * i}};
    r.scheduled = r.arrival + Duration{10};
    r.first_token = r.arrival + Duration{500};
    r.last_token = r.arrival + Duration{5000};
    run.requests.push_back(r);
  }
  std::ostringstream out;
  const TimelineSummary summary = write_timeline(run, "a \"name\"", out, 100);
  EXPECT_TRUE(summary.is_cut);
  EXPECT_LE(summary.events, 100U);
  EXPECT_GT(summary.events, 90U);
  const std::vector<Event> events = parse(out.str());
  expect_well_formed(events);
  EXPECT_EQ(count(events, 'b', "request"), 11U);
  EXPECT_EQ(summary.cut_at, Time{Duration{11'000}});
  std::ostringstream all;
  EXPECT_FALSE(write_timeline(run, "x", all).is_cut);
  EXPECT_EQ(count(parse(all.str()), 'X', "decode"), 50U);
}

TEST(Timeline, MisuseIsExplained) {
  const cli_test::TempFolder folder;
  const std::string scenario = cli_test::scenario("quickstart.yaml");
  cli_test::expect_misuse({"run", scenario, "--no-database", "--timeline", folder / "no/t.json"},
                          {"no/t.json"});
  cli_test::expect_misuse({"run", scenario, scenario, "--timeline", folder / "t.json"},
                          {"several scenarios"});
  cli_test::expect_misuse(
      {"run", cli_test::scenario("multi-turn.yaml"), "--no-database", "--timeline",
       folder / "t.json", "--set", "workload.generate.requests=30000"},
      {"20000", "workload.limit"});
}

}  // namespace
}  // namespace kvsim
