// docs/cookbook.md: each statement runs on a result made here, prints what the page shows, and
// agrees with what is counted from the simulator's records without SQL.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "sim/base/stats.h"
#include "sim/record/query.h"
#include "sim/run/simulate.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::read_file;
using cli_test::TempFolder;

constexpr double kGb = 1e9;

struct Recipe {
  std::string question, files, sql, shown;
};

// Blocks "```sql FILES" with the block of output that follows each.
std::vector<Recipe> recipes() {
  std::istringstream page(read_file(std::string(KVSIM_SOURCE_DIR) + "/docs/cookbook.md"));
  std::vector<Recipe> all;
  std::string question, line;
  const auto block = [&] {
    std::string text;
    while (std::getline(page, line) && line != "```") text += line + "\n";
    return text;
  };
  while (std::getline(page, line)) {
    if (line.starts_with("### ")) question = line.substr(4);
    if (!line.starts_with("```sql ")) continue;
    Recipe r{question, line.substr(7), {}, {}};
    r.sql = block();
    while (std::getline(page, line) && line != "```") {
    }
    r.shown = block();
    all.push_back(std::move(r));
  }
  return all;
}

// One run, as a file and as the records it was written from.
struct Ran {
  Ran(const std::string& name, const std::vector<std::string>& sets, const std::string& file)
      : path(file) {
    simulate_into(name, sets, file);
    outcome = simulate_into(name, sets, "");
    std::ranges::sort(outcome.requests, {}, &RequestOutcome::index);
  }
  static RunOutcome simulate_into(const std::string& name, const std::vector<std::string>& sets,
                                  const std::string& file) {
    Diagnostics d;
    BuiltRun run = build_run(load_scenario(cli_test::scenario(name), sets, d), true, d);
    d.throw_if_any();
    SimulateOptions options;
    options.database = file;
    return simulate(run, options).outcome;
  }
  std::string path;
  RunOutcome outcome;
};

double ms(Duration d) { return static_cast<double>(to_ns(d)) / 1e6; }
double number(auto n) { return static_cast<double>(n); }
double ttft(const RequestOutcome& r) { return ms(r.first_token - r.arrival); }
double e2e(const RequestOutcome& r) { return ms(r.last_token - r.arrival); }
double queue(const RequestOutcome& r) { return ms(r.scheduled - r.arrival); }
double tpot(const RequestOutcome& r) {
  return ms(r.last_token - r.first_token) / number(r.output_tokens - 1);
}

// A row of expected cells; names and numbers as text, numbers compared with a tolerance.
using Row = std::vector<std::string>;
std::string cell(double v) { return fmt::format("{}", v); }
std::string cell(std::int64_t v) { return fmt::format("{}", v); }
std::string cell(const std::string& v) { return v; }
template <class... T>
Row row(const T&... cells) {
  return {cell(cells)...};
}

class Cookbook : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    chat_ = new Ran("quickstart.yaml", {}, *folder_ / "chat.db");
    small_ = new Ran("quickstart.yaml", {"engine.max_batched_tokens=512"}, *folder_ / "small.db");
    tiers_ = new Ran("tiers-and-faults.yaml", {}, *folder_ / "tiers.db");
  }
  static void TearDownTestSuite() {
    for (Ran* r : {chat_, small_, tiers_}) delete r;
    delete folder_;
  }

  static const Recipe& recipe(std::size_t n) {
    static const std::vector<Recipe> all = recipes();
    return all.at(n - 1);
  }
  static std::string answer(const Recipe& r, QueryFormat format) {
    std::istringstream files(r.files);
    std::string file, option, with;
    files >> file >> option >> with;
    std::ostringstream out;
    run_query(*folder_ / file, r.sql, format, out, {}, with.empty() ? "" : *folder_ / with);
    return out.str();
  }
  // The answer of question n: as the page shows it, and as expected.
  static void expect(std::size_t n, const std::vector<Row>& expected) {
    const Recipe& r = recipe(n);
    SCOPED_TRACE(r.question);
    EXPECT_TRUE(r.question.starts_with(std::to_string(n) + ". "));
    EXPECT_EQ(answer(r, QueryFormat::table), r.shown) << "the page is stale";
    std::istringstream lines(answer(r, QueryFormat::csv));
    std::string line;
    std::getline(lines, line);
    std::size_t count = 0;
    for (; std::getline(lines, line); ++count) {
      ASSERT_LT(count, expected.size()) << line;
      line.pop_back();  // the carriage return
      std::istringstream cells(line + ",");
      std::string got;
      for (std::size_t i = 0; std::getline(cells, got, ','); ++i) {
        ASSERT_LT(i, expected[count].size()) << line;
        const std::string& want = expected[count][i];
        char* end = nullptr;
        const double a = std::strtod(got.c_str(), &end);
        if (!want.empty() && *end == '\0')
          EXPECT_NEAR(a, std::stod(want), 1e-9 * std::abs(a) + 1e-9) << line << " column " << i;
        else
          EXPECT_EQ(got, want) << line;
      }
    }
    EXPECT_EQ(count, expected.size());
  }

  static const std::vector<RequestOutcome>& chat() { return chat_->outcome.requests; }
  static const std::vector<RequestOutcome>& tiers() { return tiers_->outcome.requests; }
  static std::vector<double> all(double (*of)(const RequestOutcome&)) {
    std::vector<double> v;
    for (const RequestOutcome& r : chat()) v.push_back(of(r));
    return v;
  }

  static inline TempFolder* folder_;
  static inline Ran *chat_, *small_, *tiers_;
};

TEST_F(Cookbook, HasTwentyQuestions) { EXPECT_EQ(recipes().size(), 20U); }

TEST_F(Cookbook, FirstTokens) {
  const Summary s = summarize(all(ttft));
  expect(1, {row(number(s.count), s.p50, s.p90, s.p99, s.max)});
  double first = 0, each = 0, both = 0;
  for (const RequestOutcome& r : chat()) {
    const bool a = ttft(r) <= 150, b = r.output_tokens < 2 || tpot(r) <= 12;
    first += a, each += b, both += a && b;
  }
  const double n = number(chat().size());
  expect(2, {row(first / n, each / n, both / n)});
  std::vector<double> sorted = all(ttft);
  std::ranges::sort(sorted);
  expect(3, {row(sorted[static_cast<std::size_t>(std::ceil(0.95 * n)) - 1])});
}

TEST_F(Cookbook, PromptLengthsAndShares) {
  struct Sum {
    std::int64_t n = 0;
    double ttft = 0, found = 0;
  };
  std::map<std::int64_t, Sum> by;
  for (const RequestOutcome& r : chat()) {
    Sum& s = by[r.prompt_tokens / 2000 * 2000];
    ++s.n, s.ttft += ttft(r), s.found += number(r.hit_tokens) / number(r.prompt_tokens);
  }
  std::vector<Row> rows;
  for (const auto& [from, s] : by)
    rows.push_back(row(from, s.n, s.ttft / number(s.n), s.found / number(s.n)));
  expect(4, rows);

  std::vector<std::pair<double, std::string>> kinds;
  for (const auto& [kind, name] : enum_names(Interval{})) {
    double sum = 0;
    for (const RequestOutcome& r : chat()) sum += number(r.ttft_ns[static_cast<std::size_t>(kind)]);
    if (sum > 0) kinds.emplace_back(-sum / 1e6 / number(chat().size()), name);
  }
  std::ranges::sort(kinds);
  rows.clear();
  double total = 0;
  for (const auto& [negative, name] : kinds)
    rows.push_back(row(name, -negative)), total -= negative;
  expect(5, rows);
  EXPECT_NEAR(total, summarize(all(ttft)).mean, 1e-9);  // the shares are all of it
}

TEST_F(Cookbook, WaitingSlowestAndSpread) {
  std::vector<double> waits;
  for (const RequestOutcome& r : chat())
    if (queue(r) > 20) waits.push_back(queue(r));
  const Summary s = summarize(waits);
  expect(6, {row(number(s.count), s.mean, s.max)});

  std::vector<RequestOutcome> slow = chat();
  const auto per_token = [](const RequestOutcome& r) { return e2e(r) / number(r.output_tokens); };
  std::ranges::stable_sort(slow, std::greater<>{}, per_token);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < 5; ++i)
    rows.push_back(row(static_cast<std::int64_t>(slow[i].index), slow[i].prompt_tokens,
                       slow[i].output_tokens, per_token(slow[i])));
  expect(7, rows);

  std::map<std::int64_t, std::int64_t> bins;
  for (const RequestOutcome& r : chat())
    if (r.output_tokens >= 2) ++bins[static_cast<std::int64_t>(tpot(r) / 2) * 2];
  rows.clear();
  for (const auto& [from, n] : bins) rows.push_back(row(from, n));
  expect(8, rows);
}

TEST_F(Cookbook, Load) {
  Time first = kNever, last{};
  double inside = 0;
  for (const RequestOutcome& r : chat()) {
    first = std::min(first, r.arrival), last = std::max(last, r.last_token);
    inside += e2e(r);
  }
  expect(9, {row(inside / ms(last - first), inside / ms(last - first))});

  std::map<std::int64_t, std::array<std::int64_t, 3>> by;
  const auto part = [](Time t) { return to_ns(t - Time{}) / 1'000'000'000 / 20 * 20; };
  for (const RequestOutcome& r : chat()) {
    ++by[part(r.arrival)][0];
    ++by[part(r.last_token)][1];
    by[part(r.last_token)][2] += r.output_tokens;
  }
  std::vector<Row> rows;
  for (const auto& [from, n] : by) rows.push_back(row(from, n[0], n[1], n[2] / 20));
  expect(10, rows);
}

TEST_F(Cookbook, InstancesAndMemory) {
  std::vector<Row> even, iterations;
  for (const RankTotals& rank : chat_->outcome.ranks) {
    std::int64_t n = 0, computed = 0, output = 0;
    for (const RequestOutcome& r : chat())
      if (r.instance == rank.instance)
        ++n, computed += r.prompt_tokens - r.hit_tokens, output += r.output_tokens;
    even.push_back(
        row(std::int64_t{rank.instance}, n, computed, output, number(rank.busy_ns) / 1e9));
    const double k = number(rank.iterations);
    iterations.push_back(row(std::int64_t{rank.instance}, rank.iterations,
                             number(rank.prefill_tokens + rank.decode_tokens) / k,
                             number(rank.busy_ns) / 1e6 / k, number(rank.decode_iterations) / k));
  }
  expect(11, even);
  expect(12, iterations);

  std::map<Time, std::array<std::int64_t, 5>> at;
  for (const InstanceSample& s : chat_->outcome.samples) {
    auto& sum = at[s.at];
    sum[0] += s.used_blocks, sum[1] += s.cached_blocks, sum[2] += s.total_blocks;
    sum[3] += s.running, sum[4] += s.waiting;
  }
  double held = 0, cached = 0;
  std::int64_t running = 0, waiting = 0;
  for (const auto& [time, sum] : at) {
    held = std::max(held, number(sum[0]) / number(sum[2]));
    cached = std::max(cached, number(sum[0] + sum[1]) / number(sum[2]));
    running = std::max(running, sum[3]), waiting = std::max(waiting, sum[4]);
  }
  expect(13, {row(held, cached, running, waiting)});
}

TEST_F(Cookbook, MissesAndPairs) {
  std::vector<std::pair<std::int64_t, std::string>> causes;
  std::int64_t prompts = 0;
  for (const RequestOutcome& r : chat()) prompts += r.prompt_tokens;
  for (const auto& [cause, name] : enum_names(MissCause{})) {
    std::int64_t sum = 0;
    for (const RequestOutcome& r : chat()) sum += r.miss_tokens[static_cast<std::size_t>(cause)];
    if (sum > 0) causes.emplace_back(-sum, name);
  }
  std::ranges::sort(causes);
  std::vector<Row> rows;
  for (const auto& [negative, name] : causes)
    rows.push_back(row(name, -negative, number(-negative) / number(prompts)));
  expect(14, rows);

  double difference = 0;
  std::int64_t sooner = 0, later = 0;
  for (std::size_t i = 0; i < chat().size(); ++i) {
    const RequestOutcome &a = chat()[i], &b = small_->outcome.requests[i];
    difference += ttft(b) - ttft(a);
    sooner += b.first_token<a.first_token, later += b.first_token> a.first_token;
  }
  const auto n = static_cast<std::int64_t>(chat().size());
  expect(15, {row(n, difference / number(n), sooner, later)});
}

TEST_F(Cookbook, TurnsAndTiers) {
  std::map<std::int64_t, std::array<std::int64_t, 3>> turns;
  std::int64_t prompts = 0, on_gpu = 0;
  std::map<std::uint32_t, std::int64_t> found;
  for (const RequestOutcome& r : tiers()) {
    auto& sum = turns[std::min<std::int64_t>(r.turn, 5)];
    ++sum[0], sum[1] += r.prompt_tokens, sum[2] += r.hit_tokens;
    prompts += r.prompt_tokens, on_gpu += r.hit_tokens;
    for (std::uint32_t t = 0; t < kMaxTiers; ++t) found[t] += r.tier_tokens[t];
  }
  std::vector<Row> rows;
  for (const auto& [turn, s] : turns)
    rows.push_back(row(turn, s[0], number(s[1]) / number(s[0]), number(s[2]) / number(s[1])));
  expect(16, rows);

  rows = {row(std::string("gpu"), on_gpu, number(on_gpu) / number(prompts), std::string(),
              std::string())};
  for (const TierTotals& t : tiers_->outcome.tiers)  // each has one store, that of the node
    rows.push_back(row(t.name, found[t.tier], number(found[t.tier]) / number(prompts),
                       number(t.read_bytes) / kGb, number(t.written_bytes) / kGb));
  expect(17, rows);
}

TEST_F(Cookbook, FetchesLinksAndFaults) {
  std::vector<Row> rows;
  for (const auto& [kind, name] : enum_names(Interval{})) {
    if (!std::string(name).starts_with("fetch")) continue;
    std::vector<double> times;
    for (const RequestOutcome& r : tiers())
      if (const auto ns = r.ttft_ns[static_cast<std::size_t>(kind)]; ns > 0)
        times.push_back(number(ns) / 1e6);
    const Summary s = summarize(times);
    if (s.count > 0) rows.push_back(row(std::string(name), number(s.count), s.mean, s.max));
  }
  expect(18, rows);

  std::vector<LinkUse> links = tiers_->outcome.links;
  std::ranges::stable_sort(links, std::greater<>{}, &LinkUse::bytes);
  rows.clear();
  for (std::size_t i = 0; i < 4; ++i)
    rows.push_back(row(links[i].name, number(links[i].bytes) / kGb,
                       number(links[i].busy_ns) / number(to_ns(tiers_->outcome.end - Time{})),
                       links[i].peak_flows));
  expect(19, rows);

  std::int64_t lost = 0;
  for (const RequestOutcome& r : tiers())
    lost += r.miss_tokens[static_cast<std::size_t>(MissCause::lost_fault)];
  rows.clear();
  for (const FaultRecord& f : tiers_->outcome.faults) {
    double worst = 0;
    for (const RequestOutcome& r : tiers())
      if (r.arrival >= f.at && r.arrival <= f.at + std::chrono::seconds(60))
        worst = std::max(worst, ttft(r));
    rows.push_back(
        row(std::string(name_of(f.kind)), f.target, f.requests_moved, f.chunks_lost, lost, worst));
  }
  expect(20, rows);
}

}  // namespace
}  // namespace kvsim
