// kvsim cache --prefix, and oracleGeneral files through the program.
#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

const std::string kChat = std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl";

Tree rows_of(const std::vector<std::string>& arguments) {
  const auto r = cli_test::kvsim(arguments);
  EXPECT_EQ(r.code, 0) << r.err;
  Diagnostics d;
  const Tree t = parse_yaml(r.out, "json", d);
  EXPECT_TRUE(d.empty());
  return *t.find("rows");
}

std::uint64_t number(const Tree& row, const char* key) {
  return std::stoull(row.find(key)->text());
}

TEST(CachePrefix, RowsAddUpBelowTheOptimum) {
  const Tree rows = rows_of({"cache", "--trace", kChat, "--prefix", "--policy", "leaf-lru,gittins",
                             "--capacity", "50,100%", "--json"});
  ASSERT_EQ(rows.items().size(), 6U);
  std::uint64_t best = 0;
  for (const Tree& row : rows.items()) {
    if (row.find("policy")->text() == "optimum") best = number(row, "hits");
    EXPECT_LE(number(row, "hits"), best);
    EXPECT_EQ(number(row, "hits") + number(row, "policy_misses") + number(row, "capacity_misses") +
                  number(row, "compulsory_misses"),
              number(row, "accesses"));
    EXPECT_EQ(number(row, "compulsory_misses"), 1425U);
  }
  EXPECT_EQ(best, 3204U - 1425U);  // room for all
}

TEST(CachePrefix, FormsAndMisuse) {
  const std::vector<std::string> base{"cache", "--trace",    kChat, "--policy",
                                      "lru",   "--capacity", "100"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return cli_test::kvsim(more);
  };
  const auto table = with({"--prefix"});
  EXPECT_NE(table.out.find("of possible"), std::string::npos);
  cli_test::expect_width(table.out);
  EXPECT_NE(with({"--prefix", "--csv"}).out.find("\"optimum\",100,3204,"), std::string::npos);
  EXPECT_NE(with({"--prefix", "--markdown"}).out.find("| optimum |"), std::string::npos);
  for (const char* option : {"--tail-first", "--markdown"}) {
    const auto r = with({option});
    EXPECT_EQ(r.code, 2);
    EXPECT_NE(r.err.find("add --prefix"), std::string::npos) << r.err;
  }
  EXPECT_EQ(with({"--prefix", "--csv", "--json"}).code, 2);
}

TEST(CachePrefix, OracleGeneralFilesGiveTheSameCounts) {
  cli_test::TempFolder folder;
  const std::string file = folder / "chat.oracleGeneral.zst";
  EXPECT_EQ(cli_test::kvsim({"trace", "convert", kChat, "-o", file}).code, 0);
  const auto misses = [](const std::string& trace) {
    return number(
        rows_of({"cache", "--trace", trace, "--policy", "arc", "--capacity", "80", "--json"})
            .items()
            .front(),
        "misses");
  };
  EXPECT_EQ(misses(file), misses(kChat));
  const auto csv = [](const std::string& trace) {
    return cli_test::kvsim({"trace", "mrc", trace, "--capacity", "1,80,1000", "--csv"}).out;
  };
  EXPECT_EQ(csv(file), csv(kChat));
  const auto info = cli_test::kvsim({"trace", "info", file});
  EXPECT_EQ(info.code, 2);
  EXPECT_NE(info.err.find("kvsim cache and kvsim trace mrc read them"), std::string::npos);
}

TEST(TraceMrcOptions, SampledAndMisuse) {
  const auto sampled = cli_test::kvsim({"trace", "mrc", kChat, "--samples", "200"});
  EXPECT_NE(sampled.out.find("estimated from"), std::string::npos);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--sampled", "0"},
                                                {"--sampled", "1.5"},
                                                {"--samples", "1"},
                                                {"--capacity", "10,x"}}) {
    std::vector<std::string> all{"trace", "mrc", kChat};
    all.insert(all.end(), wrong.begin(), wrong.end());
    EXPECT_EQ(cli_test::kvsim(all).code, 2) << wrong[0] << " " << wrong[1];
  }
}

}  // namespace
}  // namespace kvsim
