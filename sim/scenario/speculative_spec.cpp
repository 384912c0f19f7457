#include "sim/scenario/speculative_spec.h"

#include <fmt/format.h>

namespace kvsim {

bool Codec<Acceptance>::read(const Tree& t, Acceptance& out, Reader& r) {
  using List = std::vector<double>;
  std::vector<List> chances;
  const auto read_one = [&](const Tree& item) {
    List& list = chances.emplace_back();
    if (item.is_list()) return Codec<List>::read(item, list, r);
    return Codec<double>::read(item, list.emplace_back(), r);
  };
  bool good = true;
  if (t.is_list()) {
    for (const Tree& item : t.items()) good = read_one(item) && good;
  } else {
    good = read_one(t);
  }
  if (!good) return false;
  for (const List& list : chances) good = good && !list.empty();
  if (chances.empty() || !good) {
    r.error(t, "an empty list", "give a chance for each position, such as [0.8, 0.7]");
    return false;
  }
  for (const List& list : chances) {
    double sum = 0;
    for (const double a : list) {
      if (!(a >= 0 && a <= 1)) {
        r.error(t, fmt::format("{} is out of bounds: 0 to 1", a));
        return false;
      }
      sum += a;
    }
    if (sum <= 1 + 1e-9) continue;
    r.error(t, fmt::format("the branches of a position sum to {}", sum),
            "at most one of them is right: their chances sum to 1 or less");
    return false;
  }
  out.chances = std::move(chances);
  return true;
}

Tree Codec<Acceptance>::write(const Acceptance& v) {
  Tree list = Tree::list();
  for (const std::vector<double>& one : v.chances)
    list.push(one.size() == 1 ? Codec<double>::write(one[0])
                              : Codec<std::vector<double>>::write(one));
  const bool is_one = v.chances.size() == 1 && v.chances[0].size() == 1;
  return is_one ? Codec<double>::write(v.chances[0][0]) : list;
}

TypeInfo Codec<Acceptance>::info() {
  return detail::scalar_type("number, or list of numbers and lists", "number or array");
}

}  // namespace kvsim
