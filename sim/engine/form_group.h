#pragma once
// The members of a DecodeGroup whose KV is in a compressed form, as aggregates: blocks that become
// due, and sums of what a step takes. Everything is linear between two changes of phase.
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/engine/kv_form.h"

namespace kvsim {

class FormGroup {
 public:
  // At `clock` the member has generated so many tokens.
  void add(std::uint32_t slot, const KvCurve&, std::int64_t generated, std::int64_t clock);
  void remove(std::uint32_t slot, std::int64_t clock);
  // Phases that begin at `clock` (called for every clock at which next_change() falls).
  void change(std::int64_t clock);
  [[nodiscard]] std::int64_t next_change();  // clock; beyond every clock when there is none

  // Blocks due for the step at this clock; for the n steps from there. No phase changes between.
  [[nodiscard]] std::int64_t due(std::int64_t clock) const;
  [[nodiscard]] std::int64_t due(std::int64_t clock, std::int64_t n) const;
  [[nodiscard]] TokenLoads loads(std::int64_t clock) const;
  // Sums over the steps of members that left; nanoseconds and tokens.
  [[nodiscard]] const TokenLoads& done() const { return done_; }

  static constexpr std::int64_t kNoChange = std::numeric_limits<std::int64_t>::max();

 private:
  struct Member {
    const KvCurve* curve = nullptr;
    std::size_t phase = 0;
    std::int64_t shift = 0;  // generated tokens - clock
    std::int64_t since = 0;  // clock from which the present phase is to be summed up
    std::uint32_t generation = 0;
  };
  struct Change {
    std::int64_t clock = 0;
    std::uint32_t slot = 0, generation = 0;
  };
  // Members that take a block every `period` steps, by the clock at which, mod period.
  struct Gear {
    std::int64_t period = 0, members = 0;
    std::vector<std::int64_t> due;
  };
  static bool later(const Change& a, const Change& b) {
    return a.clock != b.clock ? a.clock > b.clock : a.slot > b.slot;
  }
  void enter(std::uint32_t slot, std::int64_t clock);
  void leave(std::uint32_t slot, std::int64_t clock);
  void count(const Member&, std::int64_t sign);
  Gear& gear(std::int64_t period);
  void drop_stale();

  std::vector<Member> members_;  // by slot
  std::vector<Gear> gears_;
  std::vector<Change> changes_;
  TokenLoads base_{}, slope_{};  // sums are base + slope * clock
  TokenLoads done_{};
};

}  // namespace kvsim
