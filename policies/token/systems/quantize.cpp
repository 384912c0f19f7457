// Systems that store codes or coordinates (F5, F6).
#include "policies/token/system.h"

namespace kvsim::token {
namespace {

// Keys per channel, values per token (KIVI).
QuantizeSpec channel_keys(double bits, std::int64_t group, std::int64_t residual) {
  QuantizeSpec q;
  q.key_bits = q.value_bits = bits;
  q.key_group = q.value_group = group;
  q.residual = residual;
  return q;
}
// Keys and values per token.
QuantizeSpec token_rows(double bits, std::int64_t group) {
  QuantizeSpec q = channel_keys(bits, group, 0);
  q.key_axis = q.value_axis = Axis::token;
  return q;
}
// Salient tokens at `high`, the others at `low` bits.
QuantizeSpec by_importance(double high, double low, double share) {
  QuantizeSpec q = token_rows(high, 0);
  q.salient = Ratio{share};
  q.low_key_bits = q.low_value_bits = low;
  return q;
}
QuantizeSpec with(QuantizeSpec q, void (*change)(QuantizeSpec&)) {
  change(q);
  return q;
}

const RegisterSystem kFlexGen4{{.name = "flexgen-int4",
                                .text = "4 bits in groups of 64 along a token",
                                .source = "arXiv:2303.06865; github.com/FMInference/FlexLLMGen",
                                .family = "F5",
                                .entry = "S43"},
                               {.quantize = token_rows(4, 64)}};
const RegisterSystem kInt8{{.name = "int8",
                            .text = "8 bits, one scale a token and head",
                            .source = "arXiv:2206.01861 (ZeroQuant style)",
                            .family = "F5",
                            .entry = "S43"},
                           {.quantize = token_rows(8, 0)}};
const RegisterSystem kQjl{
    {.name = "qjl",
     .text = "signs of random projections of keys, 2-bit values",
     .source = "arXiv:2406.03482; github.com/amirzandieh/QJL (m = 2 d, 8 channels, buffer 128)",
     .family = "F5",
     .entry = "S44"},
    {.quantize = with(channel_keys(2, 32, 128), [](QuantizeSpec& q) {
       q.key_code = Code::sign;
       q.key_axis = Axis::token;
       q.outlier_channels = 8;
     })}};
const RegisterSystem kKivi{
    {.name = "kivi",
     .text = "2 bits, keys per channel and values per token, newest tokens exact",
     .source = "arXiv:2402.02750; github.com/jy-yuan/KIVI (group 32, residual 128)",
     .family = "F5",
     .entry = "S45"},
    {.quantize = channel_keys(2, 32, 128)}};
const RegisterSystem kKivi4{{.name = "kivi-4",
                             .text = "KIVI with 4 bits",
                             .source = "arXiv:2402.02750; github.com/jy-yuan/KIVI",
                             .family = "F5",
                             .entry = "S45"},
                            {.quantize = channel_keys(4, 32, 128)}};
const RegisterSystem kKvQuant{
    {.name = "kvquant-3",
     .text = "3-bit codebooks, keys before their position, 1 % outliers apart",
     .source = "arXiv:2401.18079; github.com/SqueezeAILab/KVQuant (first token exact)",
     .family = "F5",
     .entry = "S46"},
    {.quantize = with(channel_keys(3, 128, 0), [](QuantizeSpec& q) {
       q.key_code = q.value_code = Code::codebook;
       q.value_group = 0;
       q.scale_bits = 0;  // the scales are the model's, found offline
       q.sinks = 1;
       q.outliers = Ratio{0.01};
       q.pre_rope = true;
     })}};
const RegisterSystem kKvQuant2{{.name = "kvquant-2",
                                .text = "KVQuant with 2 bits",
                                .source = "arXiv:2401.18079; github.com/SqueezeAILab/KVQuant",
                                .family = "F5",
                                .entry = "S46"},
                               {.quantize = with(channel_keys(2, 128, 0), [](QuantizeSpec& q) {
                                  q.key_code = q.value_code = Code::codebook;
                                  q.value_group = 0;
                                  q.scale_bits = 0;
                                  q.sinks = 1;
                                  q.outliers = Ratio{0.01};
                                  q.pre_rope = true;
                                })}};
const RegisterSystem kSkvq{
    {.name = "skvq",
     .text = "channels of like range grouped and clipped, 2-bit keys, 1.5-bit values",
     .source = "arXiv:2405.06219; github.com/cat538/SKVQ (group 128, window 128, 5 sinks)",
     .family = "F5",
     .entry = "S47"},
    {.quantize = with(token_rows(2, 128), [](QuantizeSpec& q) {
       q.value_bits = 1.5;
       q.scale_bits = 8;
       q.residual = 128;
       q.sinks = 5;
       q.transform = Transform::reorder;
       q.clip = 0.94;
     })}};
const RegisterSystem kGear{
    {.name = "gear",
     .text = "2 bits, 2 % outliers apart, and the rest of the error in rank 4",
     .source = "arXiv:2403.05527; github.com/opengear-project/GEAR (group 64, buffer 64)",
     .family = "F5 F6",
     .entry = "S48"},
    {.quantize = with(channel_keys(2, 64, 64), [](QuantizeSpec& q) {
       q.outliers = Ratio{0.02};
       q.error_rank = 4;
     })}};
const RegisterSystem kMiKv{{.name = "mikv",
                            .text = "heavy hitters at 4 bits, the others at 2 instead of leaving",
                            .source = "arXiv:2402.18096 (a fifth important: from memory)",
                            .family = "F1 F5",
                            .entry = "S49"},
                           {.quantize = by_importance(4, 2, 0.2)}};
const RegisterSystem kZipCache{
    {.name = "zipcache",
     .text = "salient tokens by normalised attention of probe rows at 4 bits, others at 2",
     .source = "arXiv:2405.14256; github.com/ThisisBillhe/ZipCache (60 %, 10 % probes)",
     .family = "F1 F5",
     .entry = "S49"},
    {.quantize = with(by_importance(4, 2, 0.6), [](QuantizeSpec& q) {
       q.importance = {"accumulated-attention",
                       parameters({{"normalised", "true"}, {"probes", "10 %"}})};
       q.transform = Transform::smooth;
       q.residual = 100;
     })}};
const RegisterSystem kMiniKv{
    {.name = "minikv",
     .text = "pyramid of heavy hitters once, then 2-bit KIVI",
     .source = "arXiv:2411.18077 (half kept; group 16, residual 128)",
     .family = "F1 F3 F5",
     .entry = "S49"},
    {.select =
         SelectSpec{.score = {"accumulated-attention", Tree::map()}, .recent_share = Ratio{0.5}},
     .budget = BudgetSpec{.size = {0, 0.5}, .by = {"pyramid", parameters({{"beta", "5"}})}},
     .quantize = channel_keys(2, 16, 128)}};
const RegisterSystem kLeanKv{
    {.name = "leankv",
     .text = "by significance K8V4, K4V2 or gone, per head; keys get more bits",
     .source = "arXiv:2412.03131 (shares of the classes from memory)",
     .family = "F1 F3 F5",
     .entry = "S29"},
    {.select = SelectSpec{.score = {"accumulated-attention", parameters({{"normalised", "true"}})},
                          .trigger = Trigger::step,
                          .recent_share = Ratio{0.1}},
     .budget = BudgetSpec{.size = {0, 0.8}, .by = {"pooled-heads"}},
     .quantize = with(by_importance(8, 4, 0.3), [](QuantizeSpec& q) {
       q.value_bits = 4;
       q.low_key_bits = 4;
       q.low_value_bits = 2;
       q.importance = {"accumulated-attention", parameters({{"normalised", "true"}})};
     })}};
const RegisterSystem kIntactKv{
    {.name = "intactkv",
     .text = "4 bits, the first tokens exact",
     .source = "arXiv:2403.01241; PrefixQuant arXiv:2410.05265",
     .family = "F5",
     .entry = "S50"},
    {.quantize = with(token_rows(4, 128), [](QuantizeSpec& q) { q.sinks = 4; })}};
const RegisterSystem kK4V2{
    {.name = "k4v2",
     .text = "4-bit keys and 2-bit values, which beats the reverse",
     .source = "arXiv:2502.15075 (keys have the larger norms)",
     .family = "F5",
     .entry = "S50"},
    {.quantize = with(channel_keys(4, 32, 32), [](QuantizeSpec& q) { q.value_bits = 2; })}};
const RegisterSystem kWkvQuant{{.name = "wkvquant",
                                .text = "4 bits with smoothed channels, the current token exact",
                                .source = "arXiv:2402.12065",
                                .family = "F5",
                                .entry = "S50"},
                               {.quantize = with(token_rows(4, 128), [](QuantizeSpec& q) {
                                  q.transform = Transform::smooth;
                                  q.residual = 1;
                                })}};
const RegisterSystem kSmooth{
    {.name = "smoothquant-kv",
     .text = "4-bit keys over max^0.5 of their channels, folded into the projections",
     .source = "arXiv:2211.10438; OS+ arXiv:2304.09145, AffineQuant arXiv:2403.12544",
     .family = "F5",
     .entry = "S51"},
    {.quantize =
         with(token_rows(4, 128), [](QuantizeSpec& q) { q.transform = Transform::smooth; })}};
const RegisterSystem kQuaRot{
    {.name = "quarot",
     .text = "4 bits after a Hadamard rotation, which spreads outliers",
     .source = "arXiv:2404.00456; github.com/spcl/QuaRot; SpinQuant arXiv:2405.16406",
     .family = "F5",
     .entry = "S52"},
    {.quantize = with(token_rows(4, 128), [](QuantizeSpec& q) {
       q.transform = Transform::hadamard;
       q.operations = 9;  // 2, and log2(128) for the query's and the output's rotation
     })}};
const RegisterSystem kQServe{
    {.name = "qserve-kv4",
     .text = "4 bits a head and token, keys smoothed; scales lie in the page",
     .source = "arXiv:2405.04532; github.com/mit-han-lab/omniserve",
     .family = "F5",
     .entry = "S53"},
    {.quantize = with(token_rows(4, 0), [](QuantizeSpec& q) {
       q.transform = Transform::smooth;
       q.operations = 3;
     })}};

const RegisterSystem kPalu{
    {.name = "palu",
     .text = "half rank per group of 4 heads, rotated and stored in 3 bits",
     .source = "arXiv:2407.21118; github.com/shadowpa0327/Palu (50 %, 3 bits)",
     .family = "F6 F5",
     .entry = "S54"},
    {.low_rank = LowRankSpec{.heads = 4, .absorb_values = true},
     .quantize =
         with(token_rows(3, 0), [](QuantizeSpec& q) { q.transform = Transform::hadamard; })}};
const RegisterSystem kPaluPlain{{.name = "palu-16",
                                 .text = "half rank per group of 4 heads, exact coordinates",
                                 .source = "arXiv:2407.21118; github.com/shadowpa0327/Palu (50 %)",
                                 .family = "F6",
                                 .entry = "S54"},
                                {.low_rank = LowRankSpec{.heads = 4, .absorb_values = true}}};
const RegisterSystem kEigen{
    {.name = "eigen-attention",
     .text = "scores and outputs on coordinates of 60 % rank, nothing is rebuilt",
     .source = "arXiv:2408.05646 (without rotary positions)",
     .family = "F6",
     .entry = "S55"},
    {.low_rank = LowRankSpec{.key_share = Ratio{0.6},
                             .value_share = Ratio{0.6},
                             .pre_rope = false,
                             .absorb_keys = true,
                             .absorb_values = true}}};
const RegisterSystem kLorc{
    {.name = "lorc",
     .text = "SVD of the key and value projections, all heads of a layer together",
     .source = "arXiv:2410.03111 (60 %; progressive over layers there)",
     .family = "F6",
     .entry = "S55"},
    {.low_rank = LowRankSpec{.key_share = Ratio{0.6}, .value_share = Ratio{0.6}, .heads = 0}}};
const RegisterSystem kZdc{
    {.name = "zdc",
     .text = "SVD fused into the projections, so nothing is rebuilt apart",
     .source = "arXiv:2408.04107 (half rank)",
     .family = "F6",
     .entry = "S56"},
    {.low_rank =
         LowRankSpec{.heads = 0, .pre_rope = false, .absorb_keys = true, .absorb_values = true}}};
const RegisterSystem kDecoQuant{
    {.name = "decoquant",
     .text = "a small exact factor takes the outliers, the large one goes to 4 bits",
     .source = "arXiv:2405.12591 (two factors; by SVD here)",
     .family = "F6 F5",
     .entry = "S58"},
    {.low_rank = LowRankSpec{.key_share = Ratio{1}, .value_share = Ratio{1}, .flat = true},
     .quantize = token_rows(4, 128)}};

}  // namespace
}  // namespace kvsim::token
