// A real small model through the kernels against numbers from an independent float64 forward pass.
#include <sstream>

#include "sim/quality/tokenizer.h"
#include "tests/kernels/twins.h"
#include "tests/support/tiny_llama.h"
#include "tests/traces/trace_fixture.h"

namespace kvsim::kernels {
namespace {

// The numbers of a JSON list "key": [...] or of a single "key": x.
std::vector<double> numbers(const std::string& json, const std::string& key) {
  std::vector<double> all;
  const std::size_t at = json.find("\"" + key + "\":");
  if (at == std::string::npos) return all;
  std::string text = json.substr(at + key.size() + 3);
  text = text.substr(0, text.find_first_of("]}\""));
  for (char& c : text)
    if (c == '[' || c == ',') c = ' ';
  std::istringstream in(text);
  for (double x = 0; in >> x;) all.push_back(x);
  return all;
}
std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}
std::vector<std::int32_t> ids(const std::vector<double>& v) { return {v.begin(), v.end()}; }

class TinyLlamaTest : public testing::Test {
 protected:
  void SetUp() override {
    KVSIM_SHARED_FILE(golden, "tiny-model/golden.json");
    folder_ = golden.substr(0, golden.rfind('/') + 1);
    json_ = text_of(golden);
    weights_ = std::make_unique<kvsim::test::LlamaWeights>(folder_ + "stories260K.bin");
    ASSERT_TRUE(weights_->is_whole);
  }
  std::string folder_, json_;
  std::unique_ptr<kvsim::test::LlamaWeights> weights_;
};

TEST_F(TinyLlamaTest, PromptGivesTheLogitsAndTheGreedyText) {
  const kvsim::quality::Tokenizer tokenizer(folder_ + "tok512.bin", 512);
  const std::vector<std::int32_t> prompt = ids(numbers(json_, "prompt_tokens"));
  EXPECT_EQ(tokenizer.encode("Once upon a time"), prompt);
  const std::vector<double> logits = numbers(json_, "logits_after_prompt");
  const std::vector<std::int32_t> greedy = ids(numbers(json_, "greedy_next_100_tokens"));
  ASSERT_EQ(logits.size(), 512U);
  ASSERT_EQ(greedy.size(), 100U);
  Threads threads(2);
  for (const Isa isa : supported_isas()) {
    force_isa(isa);
    kvsim::test::TinyLlama model(*weights_, threads);
    std::vector<float> out = model.forward(prompt);
    for (std::size_t i = 0; i < 512; ++i)
      EXPECT_NEAR(out[(prompt.size() - 1) * 512 + i], logits[i], 2e-4);
    std::vector<std::int32_t> text;
    while (text.size() < greedy.size()) {
      text.push_back(static_cast<std::int32_t>(std::max_element(out.end() - 512, out.end()) -
                                               (out.end() - 512)));
      out = model.forward(std::span(text).last(1));
    }
    EXPECT_EQ(text, greedy) << name_of(isa);
  }
  force_isa(Isa::best);
}

TEST_F(TinyLlamaTest, StoriesHaveTheKnownLikelihood) {
  const kvsim::quality::Tokenizer tokenizer(folder_ + "tok512.bin", 512);
  std::istringstream stories(text_of(folder_ + "tinystories_sample.txt"));
  std::vector<std::int32_t> all;
  std::string story;
  for (std::string line; all.size() < 16 * 512 && std::getline(stories, line);) {
    if (line != "<|endoftext|>") {
      story += (story.empty() ? "" : "\n") + line;
      continue;
    }
    const auto encoded = tokenizer.encode(story);
    all.insert(all.end(), encoded.begin(), encoded.end());
    story.clear();
  }
  ASSERT_GE(all.size(), 16U * 512);
  EXPECT_EQ(std::vector(all.begin(), all.begin() + 512), ids(numbers(json_, "window0_tokens")));
  const auto nll = numbers(json_, "nll_sum_per_window");
  const auto scored = numbers(json_, "scored_tokens_per_window");
  Threads threads(2);
  double sum = 0, count = 0;
  for (std::size_t w = 0; w < 16; ++w) {
    kvsim::test::TinyLlama model(*weights_, threads);
    const auto window = std::span(all).subspan(w * 512, 512);
    std::vector<float> logits = model.forward(window);
    cpu::softmax({512, 512, true, logits, logits}, threads);
    double window_sum = 0;
    double window_count = 0;
    for (std::size_t t = 0; t + 1 < 512; ++t) {
      if (window[t + 1] == 1) continue;  // the begin of a story is not predicted
      window_sum -= logits[t * 512 + static_cast<std::size_t>(window[t + 1])];
      window_count += 1;
    }
    EXPECT_NEAR(window_sum, nll[w], 2e-3) << "window " << w;
    EXPECT_EQ(window_count, scored[w]);
    sum += window_sum, count += window_count;
  }
  EXPECT_NEAR(sum / count, 1.292226, 2e-6);
}

}  // namespace
}  // namespace kvsim::kernels
