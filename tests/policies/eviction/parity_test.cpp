// Misses of the public simulator libCacheSim on the Mooncake conversation trace.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "sim/cache/replay.h"

namespace kvsim {
namespace {

struct Published {
  std::int64_t capacity = 0;
  std::uint64_t misses = 0, least = 0, most = 0;
};

// By the name libCacheSim's table gives.
std::map<std::string, std::vector<Published>> published(const std::string& path) {
  std::map<std::string, std::vector<Published>> all;
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::vector<std::string> cells;
    std::stringstream text(line);
    for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
    all[cells.at(0)].push_back({std::stoll(cells.at(1)), std::stoull(cells.at(3)),
                                std::stoull(cells.at(6)), std::stoull(cells.at(7))});
  }
  return all;
}

struct Row {
  const char* theirs;
  const char* policy;
  const char* key = nullptr;
  const char* value = nullptr;
};

class LibCacheSim : public testing::Test {
 protected:
  void SetUp() override {
    const std::string shared = std::string(KVSIM_SOURCE_DIR) + "/../shared/";
    const std::string table = shared + "peers/libcachesim/mooncake_conversation.csv";
    TraceSource::Context context;
    context.path = shared + "traces/mooncake_conversation.jsonl.gz";
    context.raw_ids = true;
    for (const std::string& path : {table, context.path})
      if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
    theirs_ = published(table);
    const auto source = Registry::instance().make<TraceSource>("mooncake", Tree::map(), context);
    stream_ = load_stream(*source);
  }
  void check(const Row& row, double tolerance) {
    Tree params = Tree::map();
    if (row.key != nullptr) params.set(row.key, Tree::scalar(row.value));
    Replay replay(stream_);
    ASSERT_EQ(theirs_.count(row.theirs), 1U) << row.theirs;
    for (const Published& p : theirs_[row.theirs]) {
      replay.start(row.policy, params, p.capacity);
      const auto misses = static_cast<double>(replay.run().misses());
      EXPECT_GE(misses, static_cast<double>(p.least) * (1 - tolerance)) << row.theirs << p.capacity;
      EXPECT_LE(misses, static_cast<double>(p.most) * (1 + tolerance)) << row.theirs << p.capacity;
    }
  }
  std::map<std::string, std::vector<Published>> theirs_;
  BlockStream stream_;
};

TEST_F(LibCacheSim, DeterministicPoliciesAgreeMissForMiss) {
  for (const Row& row : {Row{"FIFO", "fifo"},
                         {"LRU", "lru"},
                         {"LFU", "lfu"},
                         {"CLOCK", "clock"},
                         {"CLOCK-2bit", "clock", "bits", "2"},
                         {"SIEVE", "sieve"},
                         {"S3-FIFO", "s3-fifo"},
                         {"S3-FIFO-t1", "s3-fifo", "threshold", "1"},
                         {"ARC", "arc"},
                         {"2Q", "2q"},
                         {"LIRS", "lirs"},
                         {"SLRU", "slru"},
                         {"LFUDA", "lfu-aging"},
                         {"GDSF", "gdsf"},
                         {"W-TinyLFU", "w-tinylfu"},
                         {"Belady", "belady"}})
    check(row, 0);
}

// They draw otherwise: RANDOM and Hyperbolic of libCacheSim only see the newest object of a hash
// bucket, so those two differ by more than chance.
TEST_F(LibCacheSim, DrawingPoliciesAgreeApproximately) {
  check({"CACHEUS", "cacheus"}, 0.0005);
  check({"LeCaR", "lecar"}, 0.001);
  check({"LHD", "lhd"}, 0.001);
  check({"RANDOM", "random"}, 0.02);
  check({"Hyperbolic", "hyperbolic"}, 0.02);
}

}  // namespace
}  // namespace kvsim
