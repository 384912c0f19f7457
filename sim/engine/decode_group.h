#pragma once
// The sequences of one rank that decode, as aggregates: while all of them take part in every
// iteration, an iteration only advances a clock. A member computed `base + clock` tokens so far.
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sim/base/work.h"
#include "sim/engine/form_group.h"
#include "sim/engine/window_dues.h"

namespace kvsim {

class DecodeGroup {
 public:
  DecodeGroup(std::int64_t block_tokens, std::array<std::int64_t, kMaxWindows> windows,
              const HybridMemory& = {});

  // `slot` joins having computed `computed` tokens; it leaves by itself when it has computed
  // `last`. It has blocks for `covered` tokens whatever it computed (a multiple of the block).
  void add(std::uint32_t slot, std::int64_t computed, std::int64_t last, std::int64_t covered);
  // The same in a compressed form, with `computed` tokens of which so many were generated.
  void add(std::uint32_t slot, std::int64_t computed, std::int64_t last, const KvCurve&,
           std::int64_t generated);
  // Removes a member; gives the tokens it computed.
  std::int64_t remove(std::uint32_t slot);
  [[nodiscard]] bool contains(std::uint32_t slot) const {
    return slot < place_.size() && place_[slot] != kOut;
  }
  [[nodiscard]] std::int64_t computed(std::uint32_t slot) const {
    return members_[place_[slot]].base + clock_;
  }
  // Iterations that advanced it.
  [[nodiscard]] std::int64_t clock() const { return clock_; }
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(members_.size()); }
  [[nodiscard]] std::uint32_t slot_at(std::size_t i) const { return members_[i].slot; }
  // Changes whenever somebody joins or leaves.
  [[nodiscard]] std::uint64_t version() const { return version_; }

  // Blocks that the members need for their next token.
  [[nodiscard]] std::int64_t due() const { return due_after(0); }
  // The same after `n` iterations, n <= plain_iterations().
  [[nodiscard]] std::int64_t due_after(std::int64_t n) const {
    return opened_after(n) + (forms_ ? forms_->due(clock_ + n) : 0);
  }
  // Null: all have their KV as it was computed.
  [[nodiscard]] const FormGroup* forms() const { return forms_.get(); }
  // Places for tokens in the members' blocks that hold none; not counted of compressed ones, nor
  // in hybrid memory.
  [[nodiscard]] std::int64_t unfilled() const { return unfilled_; }
  // Fills the decode part of the shape of the iteration in which every member computes one token.
  void describe(StepShape&) const;
  // Every member computed one token. The members that thereby finished leave and are appended to
  // `finished`.
  void advance(std::vector<std::uint32_t>& finished);

  // Iterations that can follow without a member finishing, a window filling up or more than
  // `blocks` new blocks; at most `most`.
  [[nodiscard]] std::int64_t plain_iterations(std::int64_t blocks, std::int64_t most);
  // Blocks that the next n iterations need.
  [[nodiscard]] std::int64_t blocks_due(std::int64_t n) const;
  // The same by iteration, of as many as there is room for.
  void list_dues(std::span<std::int64_t> out) const;
  // n iterations at once, for which `blocks` = blocks_due(n); requires n <= plain_iterations().
  void advance_plain(std::int64_t n, std::int64_t blocks);
  // Of compressed members: shape and loads of the n-th iteration from now (the n-th before for
  // -n), no phase changing between. Contexts are what their attention reads.
  void describe_forms(std::int64_t n, StepShape&, TokenLoads&) const;
  // How the shape changes from one plain iteration to the next.
  void describe_growth(StepShape& per_iteration) const;

 private:
  static constexpr std::uint32_t kOut = 0xffffffffU;
  static constexpr std::int64_t kForm = -1;  // `covered` of compressed members
  struct Member {
    std::uint32_t slot = 0;
    std::int64_t base = 0, last = 0;
    std::int64_t covered = 0;  // 0: every further block is taken when it is due
    std::array<std::int64_t, kMaxWindows>
        window_clock{};  // clock at which its context reaches the window; 0 = full
    std::array<bool, kMaxWindows> growing{};
  };
  struct Due {  // heap entries: stale once the member left or joined anew
    std::int64_t clock = 0;
    std::uint32_t slot = 0, generation = 0;
  };
  [[nodiscard]] bool counts_places() const { return !forms_ && !window_dues_; }
  // Blocks that members open in the n-th iteration from now, compressed ones left out.
  [[nodiscard]] std::int64_t opened_after(std::int64_t n) const {
    const std::size_t b = bucket(-clock_ - n);
    return window_dues_ ? window_dues_->units(due_[b], b) : due_[b];
  }
  [[nodiscard]] std::size_t bucket(std::int64_t base) const {
    const std::int64_t r = base % block_tokens_;
    return static_cast<std::size_t>(r < 0 ? r + block_tokens_ : r);
  }
  template <class Hear>
  void for_dues(std::int64_t n, Hear hear) const;
  static bool later(const Due& a, const Due& b) {
    return a.clock != b.clock ? a.clock > b.clock : a.slot > b.slot;
  }
  bool stale(const Due& d) const {
    return place_[d.slot] == kOut || generation_[d.slot] != d.generation;
  }
  void push(std::vector<Due>& heap, std::int64_t clock, std::uint32_t slot);
  void drop_stale(std::vector<Due>& heap);
  void compact(std::vector<Due>& heap);
  void fill_windows();
  void use_up_covers();
  void join(std::uint32_t slot, std::int64_t computed, std::int64_t last, std::int64_t covered);
  void count_due(std::int64_t base, std::int64_t members) {
    due_[bucket(base)] += members;
    uncovered_ += members;
  }
  [[nodiscard]] std::int64_t places(std::int64_t computed, std::int64_t covered) const {
    const std::int64_t blocks = (computed + block_tokens_ - 1) / block_tokens_;
    return blocks * block_tokens_ > covered ? blocks * block_tokens_ : covered;
  }

  std::int64_t block_tokens_;
  std::array<std::int64_t, kMaxWindows> windows_;
  std::int64_t clock_ = 0, base_sum_ = 0, base_max_ = 0, unfilled_ = 0;
  std::vector<Member> members_;
  std::vector<std::uint32_t> place_, generation_;  // by slot
  std::uint64_t version_ = 0;
  std::int64_t uncovered_ = 0;     // members without cover
  std::vector<std::int64_t> due_;  // the same by base mod block size
  std::vector<Due> finishes_;
  std::vector<Due> covers_;  // when a member's cover is used up
  std::array<std::vector<Due>, kMaxWindows> fills_;
  std::unique_ptr<FormGroup> forms_;
  std::unique_ptr<WindowDues> window_dues_;  // null: a block for each member and block of tokens
  std::array<std::int64_t, kMaxWindows> window_sum_{},
      window_growing_{};  // of min(context of the next token, window)
};

}  // namespace kvsim
