#include "sim/engine/decode_group.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

DecodeGroup::DecodeGroup(std::int64_t block_tokens, std::array<std::int64_t, kMaxWindows> windows,
                         const HybridMemory& hybrid)
    : block_tokens_(block_tokens),
      windows_(windows),
      due_(static_cast<std::size_t>(block_tokens), 0) {
  if (hybrid.on) window_dues_ = std::make_unique<WindowDues>(block_tokens, hybrid);
}

void DecodeGroup::push(std::vector<Due>& heap, std::int64_t clock, std::uint32_t slot) {
  heap.push_back({clock, slot, generation_[slot]});
  std::push_heap(heap.begin(), heap.end(), later);
}

void DecodeGroup::drop_stale(std::vector<Due>& heap) {
  while (!heap.empty() && stale(heap.front())) {
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
  }
}

// Stale entries must not pile up when sequences come and go again and again.
void DecodeGroup::compact(std::vector<Due>& heap) {
  if (heap.size() <= 2 * members_.size() + 64) return;
  std::erase_if(heap, [&](const Due& d) { return stale(d); });
  std::make_heap(heap.begin(), heap.end(), later);
}

void DecodeGroup::add(std::uint32_t slot, std::int64_t computed, std::int64_t last,
                      std::int64_t covered) {
  join(slot, computed, last, covered > computed ? covered : 0);
  if (window_dues_) {
    window_dues_->add(computed - clock_, clock_);
  } else {
    unfilled_ += places(computed, covered) - computed;
  }
}

void DecodeGroup::add(std::uint32_t slot, std::int64_t computed, std::int64_t last,
                      const KvCurve& curve, std::int64_t generated) {
  join(slot, computed, last, kForm);
  if (!forms_) forms_ = std::make_unique<FormGroup>();
  forms_->add(slot, curve, generated, clock_);
}

void DecodeGroup::join(std::uint32_t slot, std::int64_t computed, std::int64_t last,
                       std::int64_t covered) {
  KVSIM_CHECK(last > computed, "sequence {} joins with {} tokens, ends at {}", slot, computed,
              last);
  if (slot >= place_.size()) {
    place_.resize(slot + 1, kOut);
    generation_.resize(slot + 1, 0);
  }
  KVSIM_CHECK(place_[slot] == kOut, "sequence {} joins twice", slot);
  ++version_;
  Member m{slot, computed - clock_, last, covered, {}, {}};
  base_max_ = members_.empty() ? m.base : std::max(base_max_, m.base);
  base_sum_ += m.base;
  if (m.covered == 0) count_due(m.base, 1);
  ++generation_[slot];
  place_[slot] = static_cast<std::uint32_t>(members_.size());
  for (std::size_t w = 0; w < kMaxWindows; ++w) {
    if (windows_[w] == 0) continue;
    const std::int64_t context = computed + 1;
    window_sum_[w] += std::min(context, windows_[w]);
    m.growing[w] = context < windows_[w];
    if (!m.growing[w]) continue;
    ++window_growing_[w];
    m.window_clock[w] = windows_[w] - 1 - m.base;
  }
  members_.push_back(m);
  push(finishes_, last - m.base, slot);
  if (m.covered > 0 && m.covered < last) push(covers_, m.covered - m.base, slot);
  for (std::size_t w = 0; w < kMaxWindows; ++w)
    if (m.growing[w]) push(fills_[w], m.window_clock[w], slot);
}

std::int64_t DecodeGroup::remove(std::uint32_t slot) {
  const std::uint32_t at = place_[slot];
  const Member m = members_[at];
  const std::int64_t computed = m.base + clock_;
  base_sum_ -= m.base;
  if (window_dues_) window_dues_->remove(m.base, clock_);
  if (m.covered == kForm) {
    forms_->remove(slot, clock_);
  } else if (!window_dues_) {
    unfilled_ -= places(computed, m.covered) - computed;
  }
  if (m.covered == 0) count_due(m.base, -1);
  for (std::size_t w = 0; w < kMaxWindows; ++w) {
    if (windows_[w] == 0) continue;
    window_sum_[w] -= std::min(computed + 1, windows_[w]);
    if (m.growing[w]) --window_growing_[w];
  }
  members_[at] = members_.back();
  place_[members_[at].slot] = at;
  members_.pop_back();
  place_[slot] = kOut;
  if (m.base == base_max_) {
    base_max_ = members_.empty() ? 0 : members_[0].base;
    for (const Member& other : members_) base_max_ = std::max(base_max_, other.base);
  }
  ++version_;
  compact(finishes_);
  compact(covers_);
  for (std::vector<Due>& fills : fills_) compact(fills);
  return computed;
}

void DecodeGroup::describe(StepShape& s) const {
  s.decodes = size();
  s.decode_context_sum = base_sum_ + size() * (clock_ + 1);
  s.decode_context_max = members_.empty() ? 0 : base_max_ + clock_ + 1;
  s.decode_window_sum = window_sum_;
}

void DecodeGroup::describe_forms(std::int64_t n, StepShape& s, TokenLoads& loads) const {
  __extension__ typedef __int128 Wide;
  s.decodes = size();
  s.decode_context_max = members_.empty() ? 0 : base_max_ + clock_ + n + 1;
  const std::int64_t all = base_sum_ + size() * (clock_ + n + 1);
  loads = forms_->loads(clock_ + n);
  const std::int64_t read = loads[static_cast<std::size_t>(TokenLoad::context)] / kLoadOne;
  s.decode_context_sum = read;
  // The longest and the windows shrink as the sum does.
  const auto shrunk = [&](std::int64_t tokens) {
    return all > 0 ? static_cast<std::int64_t>(Wide{tokens} * read / all) : 0;
  };
  s.decode_context_max = shrunk(s.decode_context_max);
  for (std::size_t w = 0; w < kMaxWindows; ++w)
    s.decode_window_sum[w] = shrunk(window_sum_[w] + n * window_growing_[w]);
}

void DecodeGroup::describe_growth(StepShape& s) const {
  s.decode_context_sum = size();
  s.decode_context_max = 1;
  s.decode_window_sum = window_growing_;
}

// Members whose context reached the window stop growing in its sum.
void DecodeGroup::fill_windows() {
  for (std::size_t w = 0; w < kMaxWindows; ++w) {
    for (drop_stale(fills_[w]); !fills_[w].empty() && fills_[w].front().clock <= clock_;
         drop_stale(fills_[w])) {
      Member& m = members_[place_[fills_[w].front().slot]];
      std::pop_heap(fills_[w].begin(), fills_[w].end(), later);
      fills_[w].pop_back();
      if (!m.growing[w]) continue;
      m.growing[w] = false;
      --window_growing_[w];
    }
  }
}

// From now on their further blocks are taken when they are due.
void DecodeGroup::use_up_covers() {
  for (drop_stale(covers_); !covers_.empty() && covers_.front().clock <= clock_;
       drop_stale(covers_)) {
    Member& m = members_[place_[covers_.front().slot]];
    std::pop_heap(covers_.begin(), covers_.end(), later);
    covers_.pop_back();
    m.covered = 0;
    count_due(m.base, 1);
  }
}

void DecodeGroup::advance(std::vector<std::uint32_t>& finished) {
  if (counts_places()) unfilled_ += due() * block_tokens_ - size();
  ++clock_;
  use_up_covers();
  if (window_dues_) window_dues_->advance(clock_);
  if (forms_) forms_->change(clock_);
  for (std::size_t w = 0; w < kMaxWindows; ++w) window_sum_[w] += window_growing_[w];
  fill_windows();
  for (drop_stale(finishes_); !finishes_.empty() && finishes_.front().clock <= clock_;
       drop_stale(finishes_)) {
    const std::uint32_t slot = finishes_.front().slot;
    std::pop_heap(finishes_.begin(), finishes_.end(), later);
    finishes_.pop_back();
    remove(slot);
    finished.push_back(slot);
  }
}

std::int64_t DecodeGroup::blocks_due(std::int64_t n) const {
  const std::int64_t round = window_dues_ ? window_dues_->units(uncovered_) : uncovered_;
  std::int64_t blocks = n / block_tokens_ * round;
  if (window_dues_) {
    for (std::int64_t i = 0; i < n % block_tokens_; ++i) blocks += opened_after(i);
  } else {
    for_dues(n % block_tokens_, [&](std::int64_t due) { blocks += due; });
  }
  return forms_ ? blocks + forms_->due(clock_, n) : blocks;
}

// Members whose next block is due in each of the next n iterations: the bucket before that of the
// iteration before.
template <class Hear>
void DecodeGroup::for_dues(std::int64_t n, Hear hear) const {
  for (std::size_t b = bucket(-clock_); n > 0; --n) {
    hear(due_[b]);
    b = (b == 0 ? due_.size() : b) - 1;
  }
}

void DecodeGroup::list_dues(std::span<std::int64_t> out) const {
  const auto n = static_cast<std::int64_t>(out.size());
  std::size_t i = 0;
  if (!forms_ && !window_dues_) return for_dues(n, [&](std::int64_t due) { out[i++] = due; });
  for (; i < out.size(); ++i) out[i] = due_after(static_cast<std::int64_t>(i));
}

std::int64_t DecodeGroup::plain_iterations(std::int64_t blocks, std::int64_t most) {
  if (members_.empty()) return 0;
  drop_stale(finishes_);
  std::int64_t n = std::min(most, finishes_.front().clock - clock_ - 1);
  for (std::size_t w = 0; w < kMaxWindows; ++w) {
    drop_stale(fills_[w]);
    if (!fills_[w].empty()) n = std::min(n, fills_[w].front().clock - clock_ - 1);
  }
  drop_stale(covers_);
  if (!covers_.empty()) n = std::min(n, covers_.front().clock - clock_ - 1);
  if (window_dues_ && window_dues_->next() != WindowDues::kNoChange)
    n = std::min(n, window_dues_->next() - clock_ - 1);
  if (forms_ && forms_->next_change() != FormGroup::kNoChange)
    n = std::min(n, forms_->next_change() - clock_ - 1);
  if (n <= 0) return 0;
  if (blocks_due(n) <= blocks) return n;
  std::int64_t low = 0, high = n;  // blocks_due grows with n: the largest n that fits
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (blocks_due(middle) <= blocks ? low : high) = middle;
  }
  return low;
}

void DecodeGroup::advance_plain(std::int64_t n, std::int64_t blocks) {
  if (counts_places()) unfilled_ += blocks * block_tokens_ - n * size();
  clock_ += n;
  for (std::size_t w = 0; w < kMaxWindows; ++w) window_sum_[w] += n * window_growing_[w];
}

}  // namespace kvsim
