// Systems that fold tokens or layers into each other (F4).
#include "policies/token/system.h"

namespace kvsim::token {
namespace {

const Choice<"token-score", "by"> kAccumulated{"accumulated-attention", Tree::map()};

SelectSpec heavy_hitters(double recent_share) {
  SelectSpec s;
  s.score = kAccumulated;
  s.trigger = Trigger::step;
  s.recent_share = Ratio{recent_share};
  return s;
}

const RegisterSystem kCam{
    {.name = "cam",
     .text = "an evicted value goes to the next kept tokens, by chance as it mattered",
     .source = "CaM, ICML 2024; github.com/zyxxmu/cam (over H2O; 4 sinks)",
     .family = "F1 F4",
     .entry = "S33"},
    {.select = heavy_hitters(0.5),
     .budget = BudgetSpec{.size = {0, 0.2}},
     .merge = MergeSpec{
         .target = MergeTarget::next, .weight = MergeWeight::bernoulli, .keys = false, .span = 4}}};
const RegisterSystem kD2o{
    {.name = "d2o",
     .text = "heavy hitters; what leaves merges into its most similar kept token, if similar",
     .source = "arXiv:2406.13035; github.com/AIoT-MLSys-Lab/d2o (0.1 + 0.1)",
     .family = "F1 F3 F4",
     .entry = "S34"},
    {.select = heavy_hitters(0.5),
     .budget = BudgetSpec{.size = {0, 0.2}, .by = {"flat-layers"}},
     .merge = MergeSpec{
         .target = MergeTarget::nearest, .weight = MergeWeight::similarity, .moving_gate = true}}};
const RegisterSystem kKvMerger{
    {.name = "kvmerger",
     .text = "runs of similar keys merge around their most attended token",
     .source = "arXiv:2407.08454 (cosine 0.75; half of the tokens)",
     .family = "F1 F4",
     .entry = "S35"},
    {.select = SelectSpec{.score = kAccumulated, .recent_share = Ratio{0.17}},
     .budget = BudgetSpec{.size = {0, 0.5}},
     .merge =
         MergeSpec{.target = MergeTarget::pivot, .weight = MergeWeight::gaussian, .gate = 0.75}}};
const RegisterSystem kDmc{
    {.name = "dmc",
     .text = "a token opens a slot or joins the last one (learned; here by runs)",
     .source = "arXiv:2403.09636 (ratio 4; learned decisions are taken as runs of that length)",
     .family = "F4",
     .entry = "S36"},
    {.merge =
         MergeSpec{.target = MergeTarget::previous, .weight = MergeWeight::count, .ratio = 4}}};
const RegisterSystem kLookM{
    {.name = "look-m",
     .text = "text stays, image tokens merge into their most similar kept one",
     .source = "arXiv:2406.18139; github.com/SUSTechBruce/LOOK-M (10 % + 10 %)",
     .family = "F1 F4",
     .entry = "S37"},
    {.select = SelectSpec{.score = kAccumulated,
                          .recent_share = Ratio{0.5},
                          .protect = Protect::text,
                          .protected_share = Ratio{0.1}},
     .budget = BudgetSpec{.size = {0, 0.2}},
     .merge = MergeSpec{.target = MergeTarget::nearest, .weight = MergeWeight::count, .gate = -1}}};
const RegisterSystem kZeroMerge{
    {.name = "zeromerge",
     .text = "what leaves folds into a few residual slots, which count what they hold",
     .source = "arXiv:2503.10714; split of the budget from memory",
     .family = "F1 F4",
     .entry = "S38"},
    {.select = heavy_hitters(0.4),
     .budget = BudgetSpec{.size = {0, 0.2}},
     .merge = MergeSpec{.target = MergeTarget::residual,
                        .weight = MergeWeight::count,
                        .counted = true,
                        .gate = -1,
                        .slots = Ratio{0.2}}}};
const RegisterSystem kLoma{
    {.name = "loma",
     .text = "every few tokens become one memory token (learned; here their mean)",
     .source = "arXiv:2401.09486; CCM arXiv:2312.03414 (five to one)",
     .family = "F4",
     .entry = "S40"},
    {.merge = MergeSpec{.target = MergeTarget::previous,
                        .weight = MergeWeight::count,
                        .counted = true,
                        .ratio = 5}}};
const RegisterSystem kMiniCache{
    {.name = "minicache",
     .text = "pairs of layers share a direction per token, and keep their lengths",
     .source = "arXiv:2405.14366 (from mid-depth, t 0.6, 5 % apart)",
     .family = "F4",
     .entry = "S41"},
    {.merge = MergeSpec{.target = MergeTarget::layer, .at = 0.6, .apart = Ratio{0.05}}}};
const RegisterSystem kKvSharer{
    {.name = "kvsharer",
     .text = "layers read the cache of a dissimilar layer",
     .source = "arXiv:2410.18517; github.com/yangyifei729/KVSharer (a quarter of the layers)",
     .family = "F4 F7",
     .entry = "S42"},
    {.merge = MergeSpec{.target = MergeTarget::share, .from_depth = Ratio{0.75}}}};

}  // namespace
}  // namespace kvsim::token
