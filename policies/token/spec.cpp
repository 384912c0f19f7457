#include "policies/token/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kvsim {

// "1024", "20 %" or "unlimited".
bool Codec<token::Size>::read(const Tree& t, token::Size& out, Reader& r) {
  if (!detail::expect_scalar(t, r, "tokens (1024), a share of the prompt (20 %) or unlimited"))
    return false;
  if (t.text() == "unlimited") return out = {}, true;
  if (const auto n = parse_int(t.text())) {
    if (*n < 1) return r.error(t, fmt::format("read '{}', expected at least 1 token", *n)), false;
    return out = {*n, 0}, true;
  }
  double share = 0;
  if (!detail::read_quantity(Dimension::ratio, t, share, r)) return false;
  if (!(share > 0 && share <= 1)) {
    r.error(t, fmt::format("'{}' is out of bounds: above 0 %, at most 100 %", t.text()));
    return false;
  }
  return out = {0, share}, true;
}
Tree Codec<token::Size>::write(const token::Size& v) {
  if (v.unlimited()) return Tree::scalar("unlimited");
  return v.tokens > 0
             ? Tree::scalar(std::to_string(v.tokens))
             : Tree::scalar(fmt::format("{} %", print_quantity(Dimension::none, v.share * 100)));
}
TypeInfo Codec<token::Size>::info() {
  return detail::scalar_type("tokens, a share of the prompt, or unlimited", "");
}

KVSIM_FIELDS_HERE(token::BudgetSpec)
KVSIM_FIELDS_HERE(token::SelectSpec)
KVSIM_FIELDS_HERE(token::RetrieveSpec)
KVSIM_FIELDS_HERE(token::MergeSpec)
KVSIM_FIELDS_HERE(token::QuantizeSpec)
KVSIM_FIELDS_HERE(token::LowRankSpec)
KVSIM_FIELDS_HERE(token::TokenPolicies)

namespace token {

std::int64_t Size::of(std::int64_t prompt) const {
  if (unlimited()) return std::numeric_limits<std::int64_t>::max();
  if (tokens > 0) return tokens;
  // 0.2 * 1000 is 200.00000000000003: not 201.
  const double exact = share * static_cast<double>(prompt);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(exact - 1e-9 * exact)));
}

Tree parameters(std::initializer_list<std::pair<const char*, const char*>> all) {
  Tree t = Tree::map();
  for (const auto& [key, value] : all) t.set(key, Tree::scalar(value));
  return t;
}

}  // namespace token
}  // namespace kvsim
