// Systems that keep every token somewhere and read a few of them (F2).
#include "policies/token/system.h"

namespace kvsim::token {
namespace {

const RegisterSystem kQuest{
    {.name = "quest",
     .text = "reads the pages whose keys could match the query best",
     .source = "arXiv:2406.10774; github.com/mit-han-lab/Quest (page 16, layers 0 and 1 dense)",
     .family = "F2",
     .entry = "S13"},
    {.retrieve = RetrieveSpec{.index = {"min-max", parameters({{"unit", "16"}})},
                              .least_units = 3,
                              .dense_layers = 2},
     .budget = BudgetSpec{.size = {1024, 0}}}};
const RegisterSystem kInfLlm{
    {.name = "infllm",
     .text = "a window on the GPU, blocks from the CPU that their best keys stand for",
     .source = "arXiv:2402.04617; github.com/thunlp/InfLLM (Mistral: 128, 4096, 16 of 128)",
     .family = "F2",
     .entry = "S14"},
    {.retrieve =
         RetrieveSpec{.index = {"representatives", parameters({{"unit", "128"}, {"count", "4"}})},
                      .sinks = 128,
                      .recent = 4096,
                      .home = Home::cpu_fetch,
                      .gpu_tokens = 4096,
                      .hit_rate = Ratio{0.5}},
     .budget = BudgetSpec{.size = {6272, 0}}}};
const RegisterSystem kPqCache{
    {.name = "pqcache",
     .text = "product codes on the GPU find tokens that the CPU sends",
     .source = "arXiv:2407.12820 (2 parts of 6 bits, a fifth of the tokens: from memory)",
     .family = "F2",
     .entry = "S15"},
    {.retrieve =
         RetrieveSpec{.index = {"product-codes", parameters({{"parts", "2"}, {"bits", "6"}})},
                      .sinks = 4,
                      .recent = 64,
                      .home = Home::cpu_fetch,
                      .gpu_tokens = 4096,
                      .hit_rate = Ratio{0.6},
                      .ahead = true},
     .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kRetrievalAttention{
    {.name = "retrievalattention",
     .text = "the CPU searches a graph of keys and attends to what it finds",
     .source = "arXiv:2409.10516 (visits 1 to 3 % of the keys; 128 + 512 on the GPU)",
     .family = "F2",
     .entry = "S16"},
    {.retrieve = RetrieveSpec{.index = {"graph"},
                              .sinks = 128,
                              .recent = 512,
                              .home = Home::cpu_compute,
                              .read_share = Ratio{0.02}},
     .budget = BudgetSpec{.size = {740, 0}}}};
const RegisterSystem kSqueezed{
    {.name = "squeezed-attention",
     .text = "clusters of a fixed context whose share of the attention passes a threshold",
     .source = "arXiv:2411.09688; github.com/SqueezeAILab/SqueezedAttention (5 % centroids)",
     .family = "F2",
     .entry = "S17"},
    {.retrieve = RetrieveSpec{.index = {"centroids", parameters({{"tokens", "20"}})},
                              .recent = 64,
                              .threshold = 0.5,
                              .expected_share = Ratio{0.3}},
     .budget = BudgetSpec{.size = {0, 0.5}}}};
const RegisterSystem kClusterKv{
    {.name = "clusterkv",
     .text = "clusters of keys, fetched from the CPU",
     .source = "arXiv:2412.03213 (80 tokens a cluster, 1K budget)",
     .family = "F2",
     .entry = "S18"},
    {.retrieve = RetrieveSpec{.index = {"centroids", parameters({{"tokens", "80"}})},
                              .sinks = 16,
                              .recent = 64,
                              .home = Home::cpu_fetch,
                              .gpu_tokens = 1024,
                              .hit_rate = Ratio{0.6}},
     .budget = BudgetSpec{.size = {1024, 0}}}};
const RegisterSystem kLoki{
    {.name = "loki",
     .text = "scores from a quarter of the principal dimensions, then the best quarter exactly",
     .source = "arXiv:2406.02542; github.com/hpcgroup/loki (0.25, 0.25)",
     .family = "F2",
     .entry = "S19"},
    {.retrieve = RetrieveSpec{.index = {"leading-dims", parameters({{"share", "25 %"}})}},
     .budget = BudgetSpec{.size = {0, 0.25}}}};
const RegisterSystem kSparQ{
    {.name = "sparq",
     .text = "scores from the channels where the query is large, then the best exactly",
     .source = "arXiv:2312.04985 (rank 32 of 128, 128 tokens)",
     .family = "F2",
     .entry = "S19"},
    {.retrieve =
         RetrieveSpec{.index = {"query-dims", parameters({{"share", "25 %"}})}, .recent = 32},
     .budget = BudgetSpec{.size = {128, 0}}}};
const RegisterSystem kShadowKv{
    {.name = "shadowkv",
     .text = "low-rank keys on the GPU, values fetched for the chunks that landmarks pick",
     .source = "arXiv:2410.21465; github.com/bytedance/ShadowKV (160, 8, 2048, 48, last 4 chunks)",
     .family = "F6 F2",
     .entry = "S57"},
    {.retrieve =
         RetrieveSpec{.index = {"mean-key", parameters({{"unit", "8"}, {"outliers", "48"}})},
                      .recent = 32,
                      .home = Home::cpu_fetch,
                      .values_only = true,
                      .gpu_tokens = 384,
                      .hit_rate = Ratio{0.6}},
     .budget = BudgetSpec{.size = {2464, 0}},
     .low_rank =
         LowRankSpec{.value_share = Ratio{1}, .key_rank = 160, .heads = 0, .per_prompt = true}}};
const RegisterSystem kInfiniGen{
    {.name = "infinigen",
     .text = "scores guessed a layer ahead from a few skewed columns, tokens fetched from the CPU",
     .source = "arXiv:2406.19707; github.com/snu-comparch/InfiniGen (ratio 0.3, alpha 4, 20 %)",
     .family = "F2",
     .entry = "S120"},
    {.retrieve =
         RetrieveSpec{.index = {"leading-dims", parameters({{"share", "30 %"}, {"copy", "true"}})},
                      .margin = 4,
                      .expected_share = Ratio{0.1},
                      .home = Home::cpu_fetch,
                      .dense_layers = 1,
                      .ahead = true},
     .budget = BudgetSpec{.size = {0, 0.2}}}};
const RegisterSystem kInstInfer{
    {.name = "instinfer",
     .text = "drives score tokens by a few channels and attend to the best themselves",
     .source = "arXiv:2409.04992 (an eighth of the channels and of the tokens)",
     .family = "F2",
     .entry = "S124"},
    {.retrieve = RetrieveSpec{.index = {"query-dims", parameters({{"share", "12.5 %"}})},
                              .home = Home::ssd_compute},
     .budget = BudgetSpec{.size = {0, 0.125}}}};
const RegisterSystem kHeadInfer{
    {.name = "headinfer",
     .text = "all KV in host memory; the head in use and the next one on the GPU",
     .source = "arXiv:2502.12574; github.com/wdlctc/headinfer",
     .family = "F2",
     .entry = "S122"},
    {.retrieve =
         RetrieveSpec{.index = {"all"}, .home = Home::cpu_fetch, .gpu_heads = 2, .ahead = true}}};

}  // namespace
}  // namespace kvsim::token
