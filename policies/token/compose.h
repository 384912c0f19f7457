#pragma once
// From a scenario's list to one pipeline, and the rules of composing it. Items of the list:
//
//   snapkv                                     a named system as it is
//   {policy: minikv, quantize: {bits: 4}}      with other parameters, by section
//   {select: {policy: h2o, budget: 20 %}}      one stage of a system (select, budget, merge,
//   {quantize: {policy: kivi, bits: 2}}        low-rank, quantize), or `{quantize: kivi}`
//
// A stage `select` brings a system's select, retrieve and budget sections, `retrieve` its retrieve
// and budget sections. Two items must not fill
// the same section.
#include <string>
#include <vector>

#include "policies/token/shape.h"
#include "policies/token/spec.h"

namespace kvsim::token {

// Mistakes go to the reader; what could be read comes back.
TokenPolicies read_token_policies(const Tree&, Reader&);
// A list that reads as this value.
Tree write_token_policies(const TokenPolicies&);

// What surrounds the pipeline. Unknown parts: the defaults conflict with nothing.
struct Surroundings {
  KvShape shape;
  bool latent = false;  // MLA: one latent per token, no heads
  bool prefix_sharing = false;
  bool chunked_prefill = false;
  bool fused_attention = true;  // no attention rows without an extra pass
  bool per_head_lists = true;   // block lists per KV head and layer can be had
  bool recompute = false;       // preempted sequences are computed again
  std::int64_t tensor_parallel = 1;
  double host_bytes = -1;    // memory for KV off the GPU per sequence at its longest; < 0: enough
  std::int64_t longest = 0;  // context in tokens that must fit; 0 = unknown
};

// A rule that is broken (error), or holds at a price that the model charges.
struct Finding {
  int rule = 0;  // numbered as in the table of README.md
  bool error = false;
  std::string section;  // where to change it: "quantize"
  std::string text, hint;
};
std::vector<Finding> check_composition(const TokenPolicies&, const Surroundings&);

}  // namespace kvsim::token
