#pragma once
// Named systems: published methods as parameter sets of the families. One line registers one:
//
//   const RegisterSystem kSnapKv{{.name = "snapkv", ...}, {.select = SelectSpec{...}, ...}};
//
// It is a plug-in of kind "token-policy" whose parameters are the sections that it sets.
#include <string>
#include <vector>

#include "policies/token/spec.h"

namespace kvsim::token {

struct SystemInfo {
  std::string name{}, text{}, source{};
  std::string family{};  // "F1 F3": families of mechanisms, in order
  std::string entry{};   // of the taxonomy, "S01"
};
struct TokenSystem {
  SystemInfo info;
  TokenPolicies policies;
};

// All, sorted by name.
std::vector<const TokenSystem*> token_systems();
const TokenSystem* find_token_system(std::string_view name);
// What a system sets differently from its sections' defaults: "window 32, size 1024".
std::string parameter_summary(const TokenPolicies&);

class RegisterSystem {
 public:
  RegisterSystem(SystemInfo, TokenPolicies);
};

}  // namespace kvsim::token
