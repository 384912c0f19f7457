#include "sim/state/contiguous_slab.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

ContiguousSlab::ContiguousSlab(std::int64_t size, HoleFit fit) : free_(size), fit_(fit) {
  if (size > 0) holes_.push_back({0, size});
}

std::optional<std::size_t> ContiguousSlab::find(std::int64_t n) const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < holes_.size(); ++i) {
    if (place(holes_[i], n) + n > holes_[i].at + holes_[i].size) continue;
    if (fit_ == HoleFit::first) return i;
    if (!found || holes_[i].size < holes_[*found].size) found = i;
  }
  return found;
}

std::int64_t ContiguousSlab::take(std::int64_t n) {
  const std::optional<std::size_t> i = find(n);
  KVSIM_CHECK(n > 0 && i.has_value(), "no hole of {} units, {} free", n, free_);
  const Hole hole = holes_[*i];
  const std::int64_t at = place(hole, n);
  const Hole before{hole.at, at - hole.at}, behind{at + n, hole.at + hole.size - at - n};
  const auto where = holes_.begin() + static_cast<std::ptrdiff_t>(*i);
  if (before.size == 0 && behind.size == 0) {
    holes_.erase(where);
  } else {
    *where = before.size > 0 ? before : behind;
    if (before.size > 0 && behind.size > 0) holes_.insert(where + 1, behind);
  }
  free_ -= n;
  return at;
}

void ContiguousSlab::give_back(std::int64_t at, std::int64_t n) {
  auto next = std::lower_bound(holes_.begin(), holes_.end(), at,
                               [](const Hole& h, std::int64_t place) { return h.at < place; });
  KVSIM_CHECK((next == holes_.end() || at + n <= next->at) &&
                  (next == holes_.begin() || (next - 1)->at + (next - 1)->size <= at),
              "region [{}, {}) is free already", at, at + n);
  free_ += n;
  if (next != holes_.end() && at + n == next->at) {
    next->at = at;
    next->size += n;
  } else {
    next = holes_.insert(next, {at, n});
  }
  if (next == holes_.begin()) return;
  const auto before = next - 1;
  if (before->at + before->size != next->at) return;
  before->size += next->size;
  holes_.erase(next);
}

std::int64_t ContiguousSlab::largest_hole() const {
  std::int64_t most = 0;
  for (const Hole& h : holes_) most = std::max(most, h.size);
  return most;
}

}  // namespace kvsim
