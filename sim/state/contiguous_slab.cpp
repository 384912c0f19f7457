#include "sim/state/contiguous_slab.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

ContiguousSlab::ContiguousSlab(std::int64_t size, bool best_fit)
    : free_(size), best_fit_(best_fit) {
  if (size > 0) holes_.push_back({0, size});
}

std::optional<std::size_t> ContiguousSlab::find(std::int64_t n) const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < holes_.size(); ++i) {
    if (holes_[i].size < n) continue;
    if (!best_fit_) return i;
    if (!found || holes_[i].size < holes_[*found].size) found = i;
  }
  return found;
}

std::int64_t ContiguousSlab::take(std::int64_t n) {
  const std::optional<std::size_t> i = find(n);
  KVSIM_CHECK(n > 0 && i.has_value(), "no hole of {} units, {} free", n, free_);
  Hole& hole = holes_[*i];
  const std::int64_t at = hole.at;
  hole.at += n;
  hole.size -= n;
  if (hole.size == 0) holes_.erase(holes_.begin() + static_cast<std::ptrdiff_t>(*i));
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
