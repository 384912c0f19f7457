// kvsim trace: formats seen from the first line, statistics, conversion there and back, synthesis,
// miss ratios.
#include "sim/cli/trace_guess.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;
using cli_test::Result;

const std::string kChat = std::string(KVSIM_SOURCE_DIR) + "/traces/samples/chat.jsonl";

std::string info(const std::string& file, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"trace", "info", file};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Result r = cli_test::kvsim(arguments);
  EXPECT_EQ(r.code, 0) << r.err;
  return r.out;
}

TEST(TraceGuess, TellsFormatsApart) {
  cli_test::TempFolder folder;
  const std::pair<const char*, const char*> kFirstLines[] = {
      {R"({"timestamp": 0, "input_length": 5, "output_length": 2, "hash_ids": [0]})", "mooncake"},
      {R"({"chat_id": 1, "parent_chat_id": -1, "timestamp": 0.5, "input_length": 5, "output_length": 2, "turn": 1, "hash_ids": [3]})",
       "qwen-bailian"},
      {R"({"arrival_time_ns": 0, "input_toks": 2, "output_toks": 1, "input_tok_ids": [1, 2]})",
       "token-ids"},
      {R"({"session_id": "a", "sub_requests": []})", "token-ids"},
      {R"({"client": 1, "rates": [], "lengths": []})", "servegen"},
      {R"({"id": "a", "block_size": 64, "requests": []})", "agentic-sessions"},
      {"[", "sharegpt"},
      {"TIMESTAMP,ContextTokens,GeneratedTokens", "azure"},
      {"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", "burstgpt"},
      {"arrived_at,num_prefill_tokens,num_decode_tokens", "vidur"},
      {"\"num_prefill_tokens\", \"num_decode_tokens\"", "vidur"},
      {"request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size",
       "splitwise"}};
  for (const auto& [line, format] : kFirstLines)
    EXPECT_EQ(guess_trace_format(folder.write("t", std::string(line) + "\n")), format) << line;
}

TEST(TraceInfo, OfTheSample) {
  const std::string text = info(kChat);
  expect_holds(
      text, {"mooncake (seen from its first line)", "400 in 297.7 s", "1,779 of 3,204 (55.52 %)"});
  cli_test::expect_width(text);
  Diagnostics d;
  const Tree t = parse_yaml(info(kChat, {"--json"}), "json", d);
  ASSERT_TRUE(d.empty());
  EXPECT_EQ(t.find("requests")->text(), "400");
  EXPECT_EQ(t.find("hit_segments")->text(), "1779");
  expect_holds(info(kChat, {"--limit", "10", "--format", "mooncake"}), {"mooncake\n", "10 in "});
}

// The number that the trace's authors and others count.
TEST(TraceInfo, Mooncake) {
  const std::string file =
      std::string(KVSIM_SOURCE_DIR) + "/../shared/traces/mooncake_conversation.jsonl.gz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file;
  expect_holds(info(file), {"12,031 in", "105,710 of 288,500"});
}

TEST(TraceInfo, Misuse) {
  cli_test::TempFolder folder;
  expect_misuse({"trace"}, {"say what to do", "valid: info, convert, generate, mrc"});
  expect_misuse({"trace", "infos", kChat}, {"unknown action 'infos'", "did you mean 'info'?"});
  expect_misuse({"trace", "info"}, {"no file given"});
  expect_misuse({"trace", "info", folder / "absent"}, {"absent"});
  expect_misuse({"trace", "info", kChat, "--format", "moncake"},
                {"unknown trace-format 'moncake'", "did you mean 'mooncake'?"});
  expect_misuse({"trace", "info", kChat, "--set", "hash_blok=16"},
                {"unknown key", "did you mean 'hash_block'?"});
  expect_misuse({"trace", "info", kChat, "--limit", "0"}, {"--limit must be above 0"});
  expect_misuse({"trace", "info", kChat, "--rate-scale", "nan"}, {"--rate-scale must be above 0"});
  expect_misuse({"trace", "info", folder.write("a.csv", "one,two\n1,2\n")},
                {"cannot tell the format", "columns one, two", "give --format NAME", "azure"});
  expect_misuse({"trace", "info", folder.write("b.jsonl", "{\"x\": 1}\n")},
                {"cannot tell the format", "keys x"});
  expect_misuse({"trace", "info", folder.write("c", "")}, {"it is empty"});
  expect_misuse({"trace", "info", folder.write("d", "{broken\n")}, {"no JSON object"});
  expect_misuse(
      {"trace", "info", folder.write("e.csv", "num_prefill_tokens,num_decode_tokens\n5,6\n")},
      {"rate: 2 /s; here: --set KEY=VALUE"});
  const std::string broken =
      folder.write("f.jsonl", "{\"timestamp\":0,\"input_length\":5,\"output_length\":-1}\n");
  expect_misuse({"trace", "info", broken}, {"f.jsonl:1", "here: --lenient"});
  const std::string good = "{\"timestamp\":1,\"input_length\":5,\"output_length\":1}\n";
  expect_holds(info(folder.write("g.jsonl", cli_test::read_file(broken) + good), {"--lenient"}),
               {"left out", "1 records"});
}

TEST(TraceConvert, ThereAndBackKeepsTheStatistics) {
  cli_test::TempFolder folder;
  const std::string zipped = folder / "a.jsonl.gz", plain = folder / "b.jsonl";
  EXPECT_EQ(cli_test::kvsim({"trace", "convert", kChat, "-o", zipped}).out,
            zipped + ": 400 requests as mooncake\n");
  EXPECT_EQ(cli_test::kvsim({"trace", "convert", zipped, "-o", plain}).code, 0);
  const std::string a = info(zipped), b = info(plain);
  EXPECT_EQ(a.substr(a.find("format")), b.substr(b.find("format")));
  EXPECT_EQ(cli_test::read_file(zipped).substr(0, 2), "\x1f\x8b");
  for (const char* format : {"azure", "vidur"}) {
    const std::string csv = folder / (std::string(format) + ".csv.zst");
    EXPECT_EQ(cli_test::kvsim({"trace", "convert", kChat, "-o", csv, "--to", format}).code, 0);
    expect_holds(info(csv), {std::string(format) + " (seen", "400 in ", "1,536,614"});
  }
}

TEST(TraceConvert, Misuse) {
  cli_test::TempFolder folder;
  expect_misuse({"trace", "convert", kChat}, {"no file to write", "-o FILE"});
  expect_misuse({"trace", "convert", kChat, "-o", folder / "a.csv"}, {"--to azure or --to vidur"});
  expect_misuse({"trace", "convert", kChat, "-o", folder / "a", "--to", "azur"},
                {"cannot write format 'azur'", "did you mean 'azure'?"});
  expect_misuse({"trace", "convert", kChat, "-o", kChat}, {"the output is the input"});
  expect_misuse({"trace", "convert", kChat, "-o", "/nowhere/a.jsonl"}, {"/nowhere/a.jsonl"});
}

TEST(TraceGenerate, FromAMappingAndFromAScenario) {
  cli_test::TempFolder folder;
  const std::string yaml = folder.write("g.yaml",
                                        "arrivals: {process: constant, rate: 2 /s}\nprompt: "
                                        "{value: 100}\noutput: {value: 7}\nrequests: 20\n");
  const std::string out = folder / "g.jsonl";
  EXPECT_EQ(cli_test::kvsim({"trace", "generate", yaml, "-o", out, "--set", "requests=30"}).code,
            0);
  expect_holds(info(out), {"30 in ", "3,000; mean 100.0", "210; mean 7.0"});
  const std::string first = cli_test::read_file(out);
  EXPECT_EQ(cli_test::kvsim({"trace", "generate", yaml, "-o", out, "--set", "requests=30"}).code,
            0);
  EXPECT_EQ(cli_test::read_file(out), first);
  const Result r = cli_test::kvsim({"trace", "generate", cli_test::scenario("multi-turn.yaml"),
                                    "-o", out, "--set", "workload.generate.requests=40"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(info(out), {"40 in "});
}

TEST(TraceGenerate, Misuse) {
  cli_test::TempFolder folder;
  const std::string out = folder / "g.jsonl";
  expect_misuse({"trace", "generate", cli_test::scenario("quickstart.yaml"), "-o", out},
                {"its workload is a trace"});
  expect_misuse({"trace", "generate", folder.write("a.yaml", "promt: {value: 3}\n"), "-o", out},
                {"a.yaml:1:1", "promt", "did you mean 'prompt'?"});
  expect_misuse({"trace", "generate", folder.write("b.yaml", "prompt: {value: 0}\n"), "-o", out},
                {"b.yaml:1", "out of bounds"});
  expect_misuse({"trace", "generate", folder.write("c.yaml", "requests: 3\n")},
                {"no file to write"});
  expect_misuse({"trace", "generate", folder.write("d.yaml", "- 1\n"), "-o", out}, {"map"});
}

TEST(TraceMrc, FallsAndEndsAtTheColdMisses) {
  const Result r = cli_test::kvsim({"trace", "mrc", kChat, "--csv", "--points", "5"});
  EXPECT_EQ(r.code, 0);
  std::istringstream lines(r.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "capacity_segments,miss_ratio");
  double before = 1, last = 1;
  int rows = 0;
  for (; std::getline(lines, line); ++rows) {
    last = std::stod(line.substr(line.find(',') + 1));
    EXPECT_LE(last, before);
    before = last;
  }
  EXPECT_EQ(rows, 5);
  EXPECT_NEAR(last, 1425.0 / 3204.0, 1e-9);  // different segments / accesses
  const Result table = cli_test::kvsim({"trace", "mrc", kChat});
  expect_holds(table.out, {"3,204 accesses", "miss ratio"});
  cli_test::expect_width(table.out);
  Diagnostics d;
  EXPECT_TRUE(
      parse_yaml(cli_test::kvsim({"trace", "mrc", kChat, "--json"}).out, "json", d).is_map());
  EXPECT_TRUE(d.empty());
  expect_misuse({"trace", "mrc", kChat, "--points", "-1"}, {"--points must be above 0"});
  expect_misuse({"trace", "mrc", kChat, "--points", "1000000"}, {"at most 100000"});
  expect_misuse({"trace", "mrc", kChat, "--csv", "--json"}, {"exclude each other"});
}

}  // namespace
}  // namespace kvsim
