#include <gtest/gtest.h>

#include <sstream>

#include "tests/sim/cli/cli_fixture.h"

namespace kvsim::cli_test {
namespace {

const std::string kChat = std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl";

// The text without its last column, which is a speed.
std::string answers(const std::string& csv) {
  std::stringstream in(csv), out;
  for (std::string line; std::getline(in, line);) out << line.substr(0, line.rfind(',')) << '\n';
  return out.str();
}

TEST(CacheCommand, CountsEveryAccess) {
  // 3,204 accesses to 1,425 blocks: at 100 % only the first of each misses.
  const Result r =
      kvsim({"cache", "--trace", kChat, "--policy", "lru,s3-fifo:threshold=1,small=5 %", "--policy",
             "belady", "--capacity", "100%,1425", "--csv"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(answers(r.out),
            "policy,capacity,accesses,hits,misses,miss_ratio\n"
            "\"lru\",1425,3204,1779,1425,0.4447565543071161\n"
            "\"lru\",1425,3204,1779,1425,0.4447565543071161\n"
            "\"s3-fifo:small=0.05,threshold=1\",1425,3204,1779,1425,0.4447565543071161\n"
            "\"s3-fifo:small=0.05,threshold=1\",1425,3204,1779,1425,0.4447565543071161\n"
            "\"belady\",1425,3204,1779,1425,0.4447565543071161\n"
            "\"belady\",1425,3204,1779,1425,0.4447565543071161\n");
}

TEST(CacheCommand, FileAndOptionsSayTheSame) {
  const TempFolder folder;
  const std::string file = folder.write(
      "study.yaml", "kvsim: 1\ntrace: {file: " + kChat +
                        ", format: mooncake}\npolicies: [lru, {policy: clock, bits: 2}]\n"
                        "capacities: [200, 10%]\nlimit: 300\n");
  const Result by_file = kvsim({"cache", file, "--csv"});
  const Result by_options = kvsim({"cache", "--trace", kChat, "--policy", "lru,clock:bits=2",
                                   "--capacity", "200,10%", "--limit", "300", "--csv"});
  EXPECT_EQ(by_file.code, 0) << by_file.err;
  EXPECT_EQ(answers(by_file.out), answers(by_options.out));
  expect_holds(by_file.out, {"\"clock:bits=2\",200,"});
  const Result overridden = kvsim({"cache", file, "--capacity", "7", "--csv"});
  expect_holds(overridden.out, {"\"lru\",7,"});
}

TEST(CacheCommand, AnotherGrainMeansOtherBlocks) {
  const Result r = kvsim({"cache", "--trace", kChat, "--policy", "lru", "--capacity", "100",
                          "--block", "64", "--json"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"\"accesses\": ", "\"hits\": ", "\"misses\": ", "\"miss_ratio\": ",
                       "\"accesses_per_second\": ", "\"policy\": \"lru\"", "\"capacity\": 100"});
  EXPECT_EQ(r.out.find("\"accesses\": 3204"), std::string::npos);
}

TEST(CacheCommand, SaysAllThatIsWrong) {
  expect_misuse(
      {"cache", "--trace", "absent.jsonl", "--policy", "lruu,s3-fifo:smal=3", "--capacity",
       "0,abc,10%,120%"},
      {"unknown eviction 'lruu'", "did you mean 'lru'", "smal: unknown key", "'small'",
       "'0' is no capacity", "'abc' is no capacity", "'120%' is no capacity", "absent.jsonl"});
  expect_misuse({"cache"}, {"--trace FILE", "--policy NAME", "--capacity BLOCKS"});
}

}  // namespace
}  // namespace kvsim::cli_test
