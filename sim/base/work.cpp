#include "sim/base/work.h"

namespace kvsim {

namespace {

constexpr std::array<const char*, kOperators> kNames{
    "embedding", "norm",    "qkv_proj",   "rotary",     "attention_prefill", "attention_decode",
    "o_proj",    "ffn_up",  "ffn_act",    "ffn_down",   "moe_router",        "experts",
    "lm_head",   "sampler", "all_reduce", "all_to_all", "stage_transfer",
    "attention_merge"};

}  // namespace

const char* operator_name(Operator op) { return kNames[static_cast<std::size_t>(op)]; }

}  // namespace kvsim
