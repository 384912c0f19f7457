// Systems that drop tokens for good (F1), with their budgets (F3).
#include "policies/token/system.h"

namespace kvsim::token {
namespace {

Choice<"token-score", "by"> window(const char* size, const char* width, const char* pool) {
  return {"window-attention",
          parameters({{"window", size}, {"pool_width", width}, {"pool", pool}})};
}
const Choice<"token-score", "by"> kAccumulated{"accumulated-attention", Tree::map()};

// Decided once, when the prompt is computed.
const RegisterSystem kSnapKv{
    {.name = "snapkv",
     .text = "the prompt's last queries vote, peaks keep their neighbours",
     .source = "arXiv:2404.14469; github.com/FasterDecoding/SnapKV (window 32, kernel 5, max pool)",
     .family = "F1",
     .entry = "S01"},
    {.select = SelectSpec{.score = window("32", "5", "max"), .recent = 32},
     .budget = BudgetSpec{.size = {1024, 0}}}};
const RegisterSystem kKnorm{
    {.name = "knorm",
     .text = "tokens whose keys are short, no attention needed",
     .source = "arXiv:2406.11430 (first two layers dense)",
     .family = "F1",
     .entry = "S02"},
    {.select = SelectSpec{.score = {"key-norm"}, .trigger = Trigger::step, .dense_layers = 2},
     .budget = BudgetSpec{.size = {0, 0.5}}}};
const RegisterSystem kFastGen{
    {.name = "fastgen",
     .text = "per head the cheapest rule that keeps enough of the prompt's attention",
     .source = "arXiv:2310.01801 (recovery 0.95, ratios 0.3 from memory)",
     .family = "F1 F3",
     .entry = "S03"},
    {.select = SelectSpec{.score = kAccumulated,
                          .trigger = Trigger::step,
                          .sinks = 1,
                          .protected_share = Ratio{0.1}},
     .budget =
         BudgetSpec{.by = {"cheapest-rule", parameters({{"mass", "0.95"}, {"recent", "30 %"}})}}}};
const RegisterSystem kAttentionGate{
    {.name = "attention-gate",
     .text = "a trained gate drops prompt tokens (an oracle that errs stands for it)",
     .source = "Attention-Gate, 2024; retention and error rate are assumptions",
     .family = "F1",
     .entry = "S04"},
    {.select = SelectSpec{.score = {"gate", parameters({{"errors", "5 %"}})}},
     .budget = BudgetSpec{.size = {0, 0.5}}}};
const RegisterSystem kNacl{
    {.name = "nacl",
     .text = "queries at the prompt's end vote, a share of the budget is drawn by lot",
     .source = "arXiv:2408.03675 (30 % drawn)",
     .family = "F1",
     .entry = "S10"},
    {.select = SelectSpec{.score = window("64", "1", "max"), .recent = 64, .random = Ratio{0.3}},
     .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kQFilters{
    {.name = "q-filters",
     .text = "keys along the queries' main direction, found offline",
     .source = "arXiv:2503.02812",
     .family = "F1",
     .entry = "S21"},
    {.select = SelectSpec{.score = {"key-filter"}, .trigger = Trigger::step, .recent = 32},
     .budget = BudgetSpec{.size = {1024, 0}}}};
const RegisterSystem kExpected{
    {.name = "expected-attention",
     .text = "attention that future queries are expected to pay, times the value's length",
     .source = "arXiv:2510.00636; github.com/NVIDIA/kvpress",
     .family = "F1",
     .entry = "S21"},
    {.select = SelectSpec{.score = {"expected-attention"}, .sinks = 4},
     .budget = BudgetSpec{.size = {0, 0.5}}}};
const RegisterSystem kCriticalKv{
    {.name = "criticalkv",
     .text = "half by SnapKV's votes, half by votes times the value's length",
     .source = "arXiv:2502.03805 (first half, 1e-4; the output projection is not applied)",
     .family = "F1 F3",
     .entry = "S28"},
    {.select = SelectSpec{.score = window("32", "7", "max"), .recent = 32, .refine = Ratio{0.5}},
     .budget = BudgetSpec{.size = {1024, 0}, .by = {"pooled-heads"}}}};

// While decoding.
const RegisterSystem kStreaming{
    {.name = "streaming-llm",
     .text = "the first four and the newest tokens, positions counted in the cache",
     .source = "arXiv:2309.17453; github.com/mit-han-lab/streaming-llm (start 4, recent 1024)",
     .family = "F1",
     .entry = "S05"},
    {.select = SelectSpec{.trigger = Trigger::step, .sinks = 4, .recent = 1024, .reindex = true},
     .budget = BudgetSpec{.size = {1028, 0}}}};
const RegisterSystem kRecentOnly{
    {.name = "recent-only",
     .text = "the newest tokens alone: what a sliding window without sinks keeps",
     .source = "a baseline (arXiv:2309.17453, window attention)",
     .family = "F1",
     .entry = "S05"},
    {.select = SelectSpec{.trigger = Trigger::step}, .budget = BudgetSpec{.size = {1028, 0}}}};
const RegisterSystem kRandom{{.name = "random",
                              .text = "tokens drawn by lot",
                              .source = "a baseline",
                              .family = "F1",
                              .entry = "-"},
                             {.select = SelectSpec{.score = {"random"}, .trigger = Trigger::step},
                              .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kH2o{
    {.name = "h2o",
     .text = "heavy hitters by accumulated attention, and the newest tokens",
     .source = "arXiv:2306.14048; github.com/FMInference/H2O (10 % heavy, 10 % recent)",
     .family = "F1",
     .entry = "S06"},
    {.select =
         SelectSpec{.score = kAccumulated, .trigger = Trigger::step, .recent_share = Ratio{0.5}},
     .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kScissorhands{
    {.name = "scissorhands",
     .text = "tokens that get little attention for long leave, half the buffer at once",
     .source = "arXiv:2305.17118 (history 400, newest 10, half: from memory)",
     .family = "F1",
     .entry = "S07"},
    {.select = SelectSpec{.score = {"low-count", parameters({{"history", "400"}})},
                          .trigger = Trigger::full,
                          .evict = Ratio{0.5},
                          .recent = 10},
     .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kTova{
    {.name = "tova",
     .text = "the token that the newest query heeds least leaves, all heads alike",
     .source = "arXiv:2401.06104; github.com/schwartz-lab-NLP/TOVA",
     .family = "F1",
     .entry = "S08"},
    {.select = SelectSpec{.score = {"window-attention",
                                    parameters({{"window", "1"}, {"follow", "true"}})},
                          .trigger = Trigger::step,
                          .scope = Scope::layer},
     .budget = BudgetSpec{.size = {0, 0.25}}}};
const RegisterSystem kKeyformer{
    {.name = "keyformer",
     .text = "accumulated attention of noisy logits at a growing temperature",
     .source = "arXiv:2403.09054; github.com/d-matrix-ai/keyformer-llm (60 %, window 30 %)",
     .family = "F1",
     .entry = "S09"},
    {.select =
         SelectSpec{
             .score = {"noisy-attention"}, .trigger = Trigger::step, .recent_share = Ratio{0.5}},
     .budget = BudgetSpec{.size = {0, 0.6}}}};
const RegisterSystem kBuzz{
    {.name = "buzz",
     .text = "first and newest tokens, and of the middle the best of every few",
     .source = "arXiv:2410.23079 (sizes from memory)",
     .family = "F1",
     .entry = "S11"},
    {.select = SelectSpec{.score = kAccumulated,
                          .trigger = Trigger::full,
                          .evict = Ratio{0.3},
                          .sinks = 4,
                          .recent_share = Ratio{0.3},
                          .stride = 3},
     .budget = BudgetSpec{.size = {0, 0.4}}}};
const RegisterSystem kSepLlm{
    {.name = "sepllm",
     .text = "first and newest tokens, and separators for what they end",
     .source = "arXiv:2412.12094; github.com/HKUDS/SepLLM (sinks 4; one token in ten separates)",
     .family = "F1",
     .entry = "S12"},
    {.select = SelectSpec{.trigger = Trigger::step,
                          .sinks = 4,
                          .recent = 256,
                          .protect = Protect::separators,
                          .protected_share = Ratio{0.1}},
     .budget = BudgetSpec{.by = {"protected"}}}};
const RegisterSystem kLoopServe{
    {.name = "loopserve",
     .text = "votes of the newest output queries, taken again every few steps",
     .source = "arXiv:2507.13681 (interval from memory)",
     .family = "F1",
     .entry = "S20"},
    {.select =
         SelectSpec{
             .score = {"window-attention",
                       parameters({{"window", "16"}, {"pool_width", "5"}, {"follow", "true"}})},
             .trigger = Trigger::interval,
             .every = 16,
             .recent = 16},
     .budget = BudgetSpec{.size = {1024, 0}}}};
const RegisterSystem kAlisa{
    {.name = "alisa",
     .text = "sparse window: half newest tokens, half by the last queries' attention",
     .source = "arXiv:2403.17312 (selection only; its tiers are the scenario's)",
     .family = "F1",
     .entry = "S105"},
    {.select = SelectSpec{.score = {"window-attention",
                                    parameters({{"window", "4"}, {"follow", "true"}})},
                          .trigger = Trigger::step,
                          .recent_share = Ratio{0.5},
                          .scope = Scope::layer},
     .budget = BudgetSpec{.size = {0, 0.2}}}};

// Budgets by layer.
const RegisterSystem kPyramidKv{
    {.name = "pyramidkv",
     .text = "SnapKV with less in every higher layer",
     .source = "arXiv:2406.02069; github.com/Zefan-Cai/PyramidKV (beta 20, window 64)",
     .family = "F1 F3",
     .entry = "S22"},
    {.select = SelectSpec{.score = window("64", "5", "mean"), .recent = 64},
     .budget = BudgetSpec{.size = {2048, 0}, .by = {"pyramid", parameters({{"beta", "20"}})}}}};
const RegisterSystem kPyramidInfer{
    {.name = "pyramidinfer",
     .text = "higher layers compute and keep only tokens that lower ones kept",
     .source = "arXiv:2405.12532; github.com/mutonix/pyramidinfer (schedule from memory)",
     .family = "F1 F3",
     .entry = "S23"},
    {.select = SelectSpec{.score = {"window-attention",
                                    parameters({{"window", "64"}, {"follow", "true"}})},
                          .trigger = Trigger::step,
                          .recent_share = Ratio{0.2},
                          .scope = Scope::layer,
                          .nested = true},
     .budget = BudgetSpec{.size = {0, 0.46}, .by = {"decay", parameters({{"last", "0.2"}})}}}};
const RegisterSystem kDynamicKv{
    {.name = "dynamickv",
     .text = "SnapKV with the share that each layer has of the best tokens of all",
     .source = "arXiv:2412.14838 (cap from memory)",
     .family = "F1 F3",
     .entry = "S24"},
    {.select = SelectSpec{.score = window("32", "7", "max"), .recent = 32},
     .budget = BudgetSpec{.size = {1024, 0}, .by = {"pooled-layers"}}}};
const RegisterSystem kPrefixKv{
    {.name = "prefixkv",
     .text = "every layer keeps the same share of its importance",
     .source = "arXiv:2412.03409; github.com/THU-MIG/PrefixKV",
     .family = "F1 F3",
     .entry = "S25"},
    {.select = SelectSpec{.score = kAccumulated, .recent_share = Ratio{0.1}, .scope = Scope::layer},
     .budget = BudgetSpec{.size = {0, 0.2}, .by = {"mass-threshold"}}}};
const RegisterSystem kSimLayerKv{
    {.name = "simlayerkv",
     .text = "lazy layers keep first and newest tokens, the others all",
     .source = "arXiv:2410.13846; github.com/sail-sg/SimLayerKV (4 + 1024; 0.9 for Llama-3)",
     .family = "F1 F3",
     .entry = "S26"},
    {.select = SelectSpec{.trigger = Trigger::step},
     .budget = BudgetSpec{.by = {"lazy-layers", parameters({{"threshold", "0.9"}})}}}};

// Budgets by head.
const RegisterSystem kAdaKv{
    {.name = "ada-kv",
     .text = "SnapKV with the best tokens of a layer's heads together",
     .source = "arXiv:2407.11550; github.com/FFY0/AdaKV (floor 0.2)",
     .family = "F1 F3",
     .entry = "S27"},
    {.select = SelectSpec{.score = window("32", "7", "max"), .recent = 32},
     .budget =
         BudgetSpec{.size = {1024, 0}, .by = {"pooled-heads", parameters({{"floor", "20 %"}})}}}};
const RegisterSystem kRazor{
    {.name = "razorattention",
     .text = "retrieval heads keep all; others a buffer and one token for the rest",
     .source = "arXiv:2407.15891 (14 % + 1 % of heads, buffer max(4000, n/5) from memory)",
     .family = "F1 F3",
     .entry = "S30"},
    {.select = SelectSpec{.trigger = Trigger::step},
     .budget = BudgetSpec{.by = {"head-classes", parameters({{"retrieval", "15 %"},
                                                             {"sinks", "4"},
                                                             {"recent", "4000"},
                                                             {"recent_share", "20 %"},
                                                             {"compensate", "true"}})}}}};
const RegisterSystem kHeadKv{
    {.name = "headkv",
     .text = "SnapKV with budgets by what each head is worth for retrieval",
     .source = "arXiv:2410.19258; github.com/FYYFU/HeadKV (beta 1.2 to 2)",
     .family = "F1 F3",
     .entry = "S31"},
    {.select = SelectSpec{.score = window("32", "7", "max"), .recent = 32},
     .budget = BudgetSpec{.size = {1024, 0}, .by = {"head-share", parameters({{"beta", "1.5"}})}}}};
const RegisterSystem kDuo{
    {.name = "duoattention",
     .text = "retrieval heads keep all; streaming heads first and newest tokens",
     .source = "arXiv:2410.10819; github.com/mit-han-lab/duo-attention (64 + 256; half for GQA)",
     .family = "F1 F3",
     .entry = "S32"},
    {.select = SelectSpec{.trigger = Trigger::step, .stream_prompt = true},
     .budget = BudgetSpec{
         .by = {"head-classes",
                parameters({{"retrieval", "50 %"}, {"sinks", "64"}, {"recent", "256"}})}}}};

}  // namespace
}  // namespace kvsim::token
