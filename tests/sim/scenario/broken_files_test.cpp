// Files that are no scenario: not YAML, too large, too deep; files that include or name others;
// broken --set.
#include "tests/sim/scenario/broken_scenario.h"

namespace kvsim {
namespace {

using test::BrokenScenario;

const std::string kWork = "workload: {generate: {requests: 5}}\n";

// a is a list of ten; b lists a ten times; c lists b ten times ...
std::string multiplied_anchors() {
  std::string text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (char name = 'b'; name < 'h'; ++name) {
    text += std::string(1, name) + ": &" + name + " [";
    for (int i = 0; i < 10; ++i)
      text += std::string(i > 0 ? ", *" : "*") + static_cast<char>(name - 1);
    text += "]\n";
  }
  return text;
}

const BrokenScenario kBroken[] = {
    {"empty_file", "",
     R"(s.yaml:1:1: error: workload: has neither 'trace' nor 'generate'
    for example: workload: {trace: {file: requests.jsonl, format: mooncake}})"},
    {"only_a_comment", "# nothing\n",
     R"(s.yaml:1:1: error: workload: has neither 'trace' nor 'generate'
    for example: workload: {trace: {file: requests.jsonl, format: mooncake}})"},
    {"list_instead_of_map", "- a\n- b\n",
     R"(s.yaml:1:1: error: a scenario is a map of key: value)"},
    {"a_number", "42\n", R"(s.yaml:1:1: error: a scenario is a map of key: value)"},
    {"two_documents", "kvsim: 1\n---\nkvsim: 1\n",
     R"(s.yaml:2:1: error: the file holds more than one document
    keep one, without '---' between)"},
    {"text_after_the_document", "{kvsim: 1}\n, {\n",
     R"(s.yaml:2:1: error: not valid YAML: unexpected ', {'
    check brackets, commas and the indentation of this line)"},
    {"begins_with_a_comma", ", {\"\n",
     R"(s.yaml:1:1: error: not valid YAML: unexpected ', {"'
    check brackets, commas and the indentation of this line)"},
    {"tab_indentation", "engine:\n\tmax_running: 4\n",
     R"(s.yaml:2:13: error: not valid YAML: illegal map value
    line 2 is indented with a tab: use spaces)"},
    {"open_bracket", "engine: {max_running: 4\n" + kWork,
     R"(s.yaml:2:9: error: not valid YAML: end of map flow not found
    check that every bracket before this place is closed)"},
    {"open_quote", "name: \"a\n" + kWork,
     R"(s.yaml:1:7: error: not valid YAML: this quote is never closed)"},
    {"duplicate_key", "seed: 1\nseed: 2\nengine: {max_running: 4, max_running: 5}\n" + kWork,
     R"(s.yaml:2:1: error: seed: the key is given twice
s.yaml:3:26: error: max_running: the key is given twice)"},
    {"key_that_is_a_list", "? [a, b]\n: 1\n" + kWork,
     R"(s.yaml:1:3: error: a key must be plain text)"},
    {"nul_byte", std::string("name: a\0b\n", 10),
     R"(s.yaml:1: error: the file holds NUL bytes: it is not a text file)"},
    {"latin_1_text", "kvsim: 1\nname: caf\xe9\n" + kWork,
     R"(s.yaml:2: error: the file is not UTF-8 text
    save it as UTF-8)"},
    {"alias_without_anchor", "name: *x\n" + kWork,
     R"(s.yaml:1:7: error: not valid YAML: the referenced anchor is not defined)"},
    {"alias_in_itself", "engine: &x {scheduler: *x}\n" + kWork,
     R"(s.yaml:1:24: error: an alias (*name) inside the value that it stands for)"},
    {"anchors_multiplied", multiplied_anchors(),
     R"(s.yaml:6:4: error: the document has too many values (are aliases multiplied?))"},
    {"nested_too_deeply", "model: " + std::string(120, '[') + std::string(120, ']') + "\n",
     R"(s.yaml:1:107: error: nested deeper than 100 levels)"},
    {"misaligned", "engine:\n  max_running: 4\n max_batched_tokens: 8\n" + kWork,
     R"(s.yaml:3:2: error: not valid YAML: end of map not found
    check the indentation: the keys of one map begin in the same column)"},
    {"include_of_itself", "include: s.yaml\n" + kWork,
     R"(s.yaml:1:10: error: include: files include each other more than 8 levels deep)"},
    {"include_in_a_circle", "include: circle.yaml\n" + kWork,
     R"(s.yaml:1:10: error: include: files include each other more than 8 levels deep)"},
    {"include_absent", "include: [absent.yaml, good.yaml]\nsed: 1\n" + kWork,
     R"(s.yaml:1:11: error: include: there is no file 'absent.yaml'
    paths are relative to the file that names them
s.yaml:2:1: error: sed: unknown key
    did you mean 'seed'? valid: *)"},
    {"include_is_a_map", "include: {a: b}\n" + kWork,
     R"(s.yaml:1:10: error: include: expected a path or a list of paths)"},
    {"include_broken", "include: broken.yaml\n" + kWork,
     R"(broken.yaml:2:1: error: not valid YAML: end of sequence flow not found
    check that every bracket before this place is closed)"},
    {"model_file_absent", "model: absent.yaml\n" + kWork,
     R"(s.yaml:1:8: error: model: there is no file 'absent.yaml'
    paths are relative to the file that names them)"},
    {"model_file_broken", "model: broken.yaml\n" + kWork,
     R"(broken.yaml:2:1: error: not valid YAML: end of sequence flow not found
    check that every bracket before this place is closed)"},
    {"hf_config_unknown_type", "model: {hf_config: unknown.json}\n" + kWork,
     R"(unknown.json:1:16: error: model.model_type: unknown model type 'lama'
    supported: *)"},
    {"hf_config_without_shape", "model: {hf_config: shapeless.json}\n" + kWork,
     R"(shapeless.json:1:1: error: model.num_hidden_layers: missing
    a config.json of this model_type has it
shapeless.json:1:1: error: model.intermediate_size: missing
    a config.json of this model_type has it
shapeless.json:1:1: error: model.vocab_size: missing
    a config.json of this model_type has it)"},
    {"hf_config_is_text", "model: {hf_config: good.csv}\n" + kWork,
     R"(good.csv:1:1: error: model: expected a map of key: value, as in a config.json)"},
    {"hf_config_is_a_list", "model: {hf_config: [a]}\n" + kWork,
     R"(s.yaml:1:20: error: model: expected the path of a config.json)"},
    {"device_file_incomplete", "deployment: {hardware: device.yaml}\n" + kWork,
     R"(s.yaml:1:24: error: deployment.hardware: device x has no memory or no memory bandwidth
    give both in its file)"},
    {"base_of_base", "model: {base: {base: lama-3.1-8b}}\n" + kWork,
     R"(s.yaml:1:22: error: model.base.base: unknown model 'lama-3.1-8b'
    did you mean 'llama-3.1-8b'? valid: *)"},
    {"catalogue_by_path_trick", "model: ../llama-3.1-8b\nengine: {preset: ../vllm-v1}\n" + kWork,
     R"(s.yaml:1:8: error: model: unknown model '../llama-3.1-8b'
    did you mean 'llama-3.1-8b'? valid: *
s.yaml:2:18: error: engine.preset: unknown engine preset '../vllm-v1'
    did you mean 'vllm-v1'? valid: *)"},
    {"set_without_value",
     kWork,
     R"(--set engine.max_running: error: expected PATH=VALUE, such as engine.max_running=64)",
     {"engine.max_running"}},
    {"set_unknown_key",
     kWork,
     R"(--set engine.max_runing=4: error: engine.max_runing: unknown key
    did you mean 'max_running'? valid: *
--set nonsense=1: error: nonsense: unknown key
    valid: *)",
     {"engine.max_runing=4", "nonsense=1"}},
    {"set_bad_value",
     kWork,
     R"(--set seed=x: error: seed: read 'x', expected a whole number
--set engine.overhead=150: error: engine.overhead: '150' has no unit, expected a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d))",
     {"engine.overhead=150", "seed=x"}},
    {"set_broken_yaml",
     kWork,
     R"(--set engine={a: [:1:1: error: not valid YAML: end of sequence flow not found
    check that every bracket before this place is closed)",
     {"engine={a: ["}},
    {"set_into_a_list",
     "engine: {graph_sizes: [1, 2]}\n" + kWork,
     R"(--set engine.graph_sizes.7=3: error: engine.graph_sizes.7: no such element: the list has 2, counted from 0)",
     {"engine.graph_sizes.7=3"}},
    {"set_below_a_value",
     "seed: 1\n" + kWork,
     R"(--set seed.x=1: error: seed: read a map, expected a whole number)",
     {"seed.x=1"}},
    {"set_empty_part",
     kWork,
     R"(--set engine..max_running=4: error: engine..max_running: has an empty name between its dots
    for example engine.max_running=64)",
     {"engine..max_running=4"}},
    {"set_below_a_name",
     kWork + "router: round-robin\n",
     R"(--set router.policy=nearest: error: router: unknown router 'nearest'
    valid: *)",
     {"router.policy=nearest"}},
};

class BrokenFiles : public testing::TestWithParam<BrokenScenario> {};

TEST_P(BrokenFiles, Says) { test::expect_broken(GetParam()); }

INSTANTIATE_TEST_SUITE_P(All, BrokenFiles, testing::ValuesIn(kBroken),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(BrokenFile, HugeIsRefusedBeforeItIsRead) {
  const test::BrokenFolder folder("");
  std::filesystem::resize_file(folder.file("s.yaml"), (std::uintmax_t{64} << 20) + 1);  // sparse
  EXPECT_EQ(folder.check({}), "s.yaml: error: the file is larger than 64 MiB");
}

TEST(BrokenFile, FoldersAndAbsentFiles) {
  const test::BrokenFolder folder("");
  std::filesystem::remove(folder.file("s.yaml"));
  EXPECT_EQ(folder.check({}),
            "s.yaml: error: cannot be read: No such file or directory\n    check the path");
  std::filesystem::create_directory(folder.file("s.yaml"));
  EXPECT_EQ(folder.check({}), "s.yaml: error: is a directory, expected a file");
}

}  // namespace
}  // namespace kvsim
