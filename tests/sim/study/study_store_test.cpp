// The database of a study: the same bytes whatever happened on the way.
#include "sim/study/study_store.h"

#include "sim/study/runner.h"
#include "sim/study/study_results.h"
#include "tests/sim/study/study_fixture.h"

namespace kvsim {
namespace {

using study_test::read_file;

const char* const kStudy =
    "axes:\n"
    "  - {path: engine.max_running, values: [4, 8, 16]}\n"
    "  - {path: engine.kv_blocks, values: [1000, 20]}\n"  // 20 blocks hold no prompt: rejections
    "seeds: [1, 2]\n"
    "objectives: [{metric: ttft_ms.mean}, {metric: output_throughput, goal: max}]\n"
    "constraints: [{metric: failed, at_most: 0}]\n";

TrialResult run(const StudyPlan& plan, std::size_t trial) {
  return run_trial(plan.base_path(), plan.input(trial));
}

void fill(StudyStore& store, const StudyPlan& plan, std::vector<std::size_t> trials) {
  for (const std::size_t t : trials) store.write(t, run(plan, t));
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const InputError& e) {
    return e.what();
  }
  return {};
}

TEST(StudyStore, OrderKillsAndResumptionsLeaveNoTrace) {
  const study_test::Folder folder;
  const auto [study, plan, scenario] = prepare_study(folder.study(kStudy));
  ASSERT_EQ(plan.trials(), 12U);
  {
    StudyStore store(folder / "a.db", plan, scenario, StoreMode::fresh);
    fill(store, plan, store.missing());
    store.finish();
  }
  {
    StudyStore store(folder / "b.db", plan, scenario, StoreMode::fresh);
    fill(store, plan, {11, 3, 7});
    store.commit();
    fill(store, plan, {0});  // lost: no commit
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "b.db"));
  EXPECT_FALSE(StudyStore::is_finished(folder / "b.db", plan, scenario));
  {
    StudyStore store(folder / "b.db", plan, scenario, StoreMode::resume);
    EXPECT_EQ(store.missing(), (std::vector<std::size_t>{0, 1, 2, 4, 5, 6, 8, 9, 10}));
    auto backwards = store.missing();
    std::reverse(backwards.begin(), backwards.end());
    fill(store, plan, backwards);
    store.finish();
  }
  EXPECT_EQ(read_file(folder / "a.db"), read_file(folder / "b.db"));
  EXPECT_TRUE(StudyStore::is_finished(folder / "b.db", plan, scenario));
  EXPECT_FALSE(std::filesystem::exists(folder / "b.db.unfinished"));
}

TEST(StudyStore, WhatIsThereIsNotThrownAwayByMistake) {
  const study_test::Folder folder;
  const auto [study, plan, scenario] = prepare_study(folder.study(kStudy));
  const auto open = [&, &p = plan, &s = scenario](StoreMode mode) {
    return message_of([&] { StudyStore store(folder / "a.db", p, s, mode); });
  };
  EXPECT_NE(open(StoreMode::resume).find("nothing can be resumed"), std::string::npos);
  {
    StudyStore store(folder / "a.db", plan, scenario, StoreMode::fresh);
    EXPECT_NE(open(StoreMode::resume).find("another process"), std::string::npos);
  }
  EXPECT_NE(open(StoreMode::fresh).find("an unfinished study is there"), std::string::npos);
  EXPECT_EQ(open(StoreMode::resume), "");
  const auto changed = prepare_study(folder.study(std::string(kStudy) + "set: [slo.ttft=3 s]\n"));
  EXPECT_NE(message_of([&] {
              StudyStore store(folder / "a.db", changed.plan, changed.scenario, StoreMode::resume);
            }).find("has changed"),
            std::string::npos);
  EXPECT_EQ(open(StoreMode::restart), "");
}

TEST(StudyStore, ResultsAreMeansOverSeedsWithTheFrontAmongTheFeasible) {
  const study_test::Folder folder;
  const auto [study, plan, scenario] = prepare_study(folder.study(kStudy));
  StudyStore store(folder / "a.db", plan, scenario, StoreMode::fresh);
  fill(store, plan, store.missing());
  store.finish();
  Database db = Database::open_read_only(folder / "a.db");
  const StudyPlan stored = stored_plan(db);
  EXPECT_EQ(stored.trials(), plan.trials());
  const StudyResults results = read_results(db, stored);
  EXPECT_EQ(results.trials_done, 12U);
  ASSERT_EQ(results.points.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    const PointResult& p = results.points[i];
    EXPECT_EQ(p.feasible, i % 2 == 0) << i;  // every second point rejects
    const auto ttft = metric_value(run(plan, 2 * i).metrics, "ttft_ms.mean");
    EXPECT_EQ(p.objectives[0].has_value(), ttft.has_value());
    if (ttft) {
      EXPECT_EQ(*p.objectives[0], *ttft);  // a trace has no use for seeds
    }
  }
  EXPECT_EQ(db.integer("SELECT count(*) FROM trial WHERE feasible = 1"), 6);
  EXPECT_GT(db.integer("SELECT count(*) FROM trial WHERE on_front = 1"), 0);
  EXPECT_EQ(db.integer("SELECT count(*) FROM trial WHERE on_front = 1 AND feasible = 0"), 0);
}

// Against the definition, point by point.
TEST(ParetoFront, IsWhatNobodyDominates) {
  std::vector<std::vector<std::optional<double>>> rows;
  for (int i = 0; i < 300; ++i)
    rows.push_back({(i * 37) % 23, (i * 91) % 29, (i * 53) % 31 * -1.0});
  rows.push_back({std::nullopt, -1, 100});
  const auto front = pareto_front(rows, {Goal::min, Goal::min, Goal::max});
  for (std::size_t i = 0; i + 1 < rows.size(); ++i) {
    bool dominated = false;
    for (std::size_t j = 0; j + 1 < rows.size(); ++j) {
      const bool no_worse =
          rows[j][0] <= rows[i][0] && rows[j][1] <= rows[i][1] && rows[j][2] >= rows[i][2];
      dominated = dominated || (no_worse && rows[j] != rows[i]);
    }
    EXPECT_EQ(front[i], !dominated) << i;
  }
  EXPECT_FALSE(front.back());
}

}  // namespace
}  // namespace kvsim
