#pragma once
// `cache.token_policies`: read, checked against what surrounds them, and made into what the engine
// asks for.
#include <memory>

#include "policies/token/compose.h"
#include "sim/run/build.h"
#include "sim/run/token_forms.h"

namespace kvsim {

// Whether a scenario names any.
bool has_token_policies(const Scenario&);
// Of a scenario; nothing when it names none. Mistakes go to Diagnostics, under their place.
std::optional<token::TokenPolicies> read_token_policies(const Scenario&, Diagnostics&);
// The cache of a model as policies see it, on one of so many tensor-parallel ranks. Layers without
// a cache are not counted; a latent is one head of keys.
token::KvShape token_shape(const ModelSpec&, Dtype kv, std::int64_t block_tokens, int tensor = 1);

// Null without token policies. Requires a run whose model, hardware and settings are known; what
// holds at a price goes to `run.notes`.
std::unique_ptr<TokenForms> build_tokens(BuiltRun&, const Tree& scenario, Diagnostics&);

}  // namespace kvsim
