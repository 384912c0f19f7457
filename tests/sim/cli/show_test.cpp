// kvsim list and show: everything that is registered or in a catalogue is there, with figures that
// follow from it.
#include "models/model.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"
#include "tests/sim/cli/cli_fixture.h"
#include "traces/generator.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;

Tree json(const std::vector<std::string>& arguments) {
  const cli_test::Result r = cli_test::kvsim(arguments);
  EXPECT_EQ(r.code, 0) << r.err;
  Diagnostics d;
  Tree t = parse_yaml(r.out, "json", d);
  EXPECT_TRUE(d.empty()) << r.out.substr(0, 500);
  return t;
}

TEST(List, NamesEverything) {
  const cli_test::Result r = cli_test::kvsim({"list"});
  EXPECT_EQ(r.code, 0);
  cli_test::expect_width(r.out);
  std::size_t entries = 0;
  for (const std::string& kind : entry_kinds()) {
    expect_holds(r.out, {kind + ": "});
    for (const Entry& e : entries_of(kind)) {
      expect_holds(r.out, {"  " + e.name});
      EXPECT_NE(e.text, "") << e.kind << " " << e.name << " has no text";
      ++entries;
    }
  }
  EXPECT_EQ(json({"list", "--json"}).items().size(), entries);
}

TEST(Show, AMachineIsAGraphWithRoutes) {
  const cli_test::Result r = cli_test::kvsim({"show", "dgx-h100"});
  expect_holds(r.out, {"graph (GB/s and latency per direction)", "ssd6 ssd7", "routes",
                       "socket1 socket0 pcie0", "fabric"});
  expect_holds(cli_test::kvsim({"show", "pm9a3"}).out, {"by size of request", "life under"});
}

TEST(List, KindsInSingularAndPlural) {
  for (const std::string& kind : entry_kinds()) {
    const cli_test::Result one = cli_test::kvsim({"list", kind}),
                           many = cli_test::kvsim({"list", kind + "s"});
    EXPECT_EQ(one.code, 0);
    EXPECT_EQ(one.out, many.out);
    for (const Entry& e : entries_of(kind)) expect_holds(one.out, {e.name});
  }
}

TEST(List, Misuse) {
  expect_misuse({"list", "modles"},
                {"unknown kind 'modles'", "valid: model, device, node, storage, preset"});
  expect_misuse({"list", "router", "x"}, {"too many arguments; expected [KIND]"});
  expect_misuse({"list", "--jsn"}, {"did you mean '--json'?"});
}

TEST(Show, EveryEntryHasAPage) {
  for (const std::string& kind : entry_kinds())
    for (const Entry& e : entries_of(kind)) {
      const cli_test::Result r = cli_test::kvsim({"show", e.name, "--kind", kind});
      EXPECT_EQ(r.code, 0) << r.err;
      expect_holds(r.out, {kind + " " + e.name + ": "});
      cli_test::expect_width(r.out);
      const Tree t = json({"show", e.name, "--kind", kind, "--json"});
      ASSERT_EQ(t.items().size(), 1u);
      EXPECT_EQ(t.items()[0].find("name")->text(), e.name);
    }
}

// Llama 3.1 8B: 2 (key, value) x 8 heads x 128 x 2 bytes x 32 layers = 131072 bytes per token.
TEST(Show, ModelGeometry) {
  expect_holds(cli_test::kvsim({"show", "llama-3.1-8b"}).out,
               {"131,072 bytes per token", "8,030,261,248", "14.96 GiB", "32: 32 full",
                "config.json of huggingface.co", "kv_heads: 8"});
  const Tree t = json({"show", "llama-3.1-8b", "--json"});
  EXPECT_EQ(t.items()[0].find("kv_bytes_per_token")->text(), "131072");
  EXPECT_EQ(t.items()[0].find("parameters")->text(), "8030261248");
  // 52 windowed layers and 10 full ones, 16 heads of 128 each.
  expect_holds(cli_test::kvsim({"show", "gemma-3-27b"}).out,
               {"52      sliding       last 1,024 tokens  416 KiB",
                "10      full          all tokens         80 KiB"});
  expect_holds(cli_test::kvsim({"show", "qwen3-30b-a3b"}).out, {"8 of 128 experts"});
}

TEST(Show, HardwareFiguresHaveSources) {
  expect_holds(cli_test::kvsim({"show", "h100-sxm"}).out,
               {"3.35 TB/s", "989.4 TFLOP/s", "79.18 GiB", "sources\n  [1] H100 data sheet"});
  expect_holds(cli_test::kvsim({"show", "dgx-h100"}).out,
               {"h100-sxm", "nvlink4", "kvsim show h100-sxm"});
}

TEST(Show, ScenarioDocumentsEveryField) {
  const std::string text = cli_test::kvsim({"show", "scenario"}).out;
  for (const ParameterRow& r : scenario_rows()) {
    expect_holds(text, {r.is_section ? "\n" + r.path + ": " : "  " + r.path});
    EXPECT_NE(r.text, "") << r.path;
  }
  expect_holds(text,
               {"engine.block_tokens = 16   (whole number, 1 to 65536)\n      tokens of a KV block",
                "router = round-robin", "include"});
  cli_test::expect_width(text);
  const std::string generate = cli_test::kvsim({"show", "generate"}).out;
  for (const FieldInfo& f : describe_fields<GeneratorParams>()) expect_holds(generate, {f.name});
  expect_holds(generate, {"sessions.think_time", "prompt.law"});
  cli_test::expect_width(generate);
}

TEST(Show, TakesTheNamesPeopleUse) {
  EXPECT_EQ(cli_test::kvsim({"show", "h100"}).out, cli_test::kvsim({"show", "h100-sxm"}).out);
  EXPECT_EQ(cli_test::kvsim({"show", "meta-llama/Llama-3.1-8B-Instruct"}).out,
            cli_test::kvsim({"show", "llama-3.1-8b"}).out);
}

TEST(Show, Misuse) {
  expect_misuse({"show"}, {"no name given", "kvsim list"});
  expect_misuse({"show", "llama-3.1-8"},
                {"nothing is called 'llama-3.1-8'", "did you mean 'llama-3.1-8b'?"});
  expect_misuse({"show", "gemma"}, {"names with it: gemma-2-27b"});
  expect_misuse({"show", "routers"}, {"is a kind, not a name", "kvsim list router"});
  expect_misuse({"show", "h100-sxm", "--kind", "model"}, {"nothing is called 'h100-sxm'"});
  expect_misuse({"show", "h100-sxm", "--kind", "moddel"},
                {"unknown kind 'moddel'", "did you mean 'model'?"});
  expect_misuse({"show", "../../etc/passwd"}, {"nothing is called"});
}

TEST(Describe, TypesAreShort) {
  for (const ParameterRow& r : scenario_rows())
    EXPECT_EQ(r.type.find("such as"), std::string::npos) << r.path << ": " << r.type;
  EXPECT_EQ(short_type(Codec<Duration>::info()), "duration");
  EXPECT_EQ(short_type(Codec<std::vector<Bytes>>::info()), "list of size");
  EXPECT_EQ(short_type(Codec<Bandwidth>::info()), "bandwidth");
}

TEST(Show, ATokenPolicySaysWhatItKeepsAndWhere) {
  expect_holds(cli_test::kvsim({"show", "snapkv"}).out,
               {"arXiv:2404.14469", "window-attention (window 32", "131,072         1024",
                "prefix not shareable", "rule 9"});
  const Tree t = json({"show", "headinfer", "--json"});
  const Tree* rows = t.items()[0].find("footprint");
  ASSERT_NE(rows, nullptr);
  // 131,072 tokens of 128 KiB: all in host memory, two of 256 heads on the GPU.
  EXPECT_EQ(rows->items()[2].find("host_bytes")->text(), "17179869184");
  EXPECT_EQ(rows->items()[2].find("gpu_bytes")->text(), "134217728");
  EXPECT_GE(json({"list", "token-policies", "--json"}).items().size(), 45U);
}

}  // namespace
}  // namespace kvsim
