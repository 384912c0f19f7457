#pragma once
// Concurrent transfers over shared links. Rates are max-min fair (Bertsekas and Gallager, Data
// Networks, section 6.5): no flow can gain but at the cost of one that is not faster. A flow of
// rate r uses r * weight of each link of its route (weight 1 / efficiency for small chunks,
// 1 / bandwidth on a device of capacity 1); flows that share a bottleneck get equal rates.
// A flow waits its latency, then its bytes move. Ends are rounded up to the nanosecond. Starts,
// ends and changes of one instant are priced together at the next question, and only flows that
// share a link that can be full with a changed one are priced anew.
//
// Time never falls from call to call, and start, cancel and set_bandwidth may not pass over
// next_completion(): advance() to it first.
#include <cstdint>
#include <span>
#include <vector>

#include "sim/base/id.h"
#include "sim/base/time.h"

namespace kvsim {

using LinkId = Id<struct LinkTag>;

// Stays unique: a slot that is used again has another generation.
struct FlowId {
  std::uint32_t slot = 0xffffffffU;
  std::uint32_t generation = 0;
  constexpr auto operator<=>(const FlowId&) const = default;
};

class FlowNetwork {
 public:
  struct Use {
    LinkId link;
    double weight = 1;  // > 0
    double share = 1;   // of the flow's bytes that pass here (striped over several links)
  };
  struct Done {
    FlowId flow;
    std::uint64_t tag = 0;
    Time end{}, started{};
  };
  struct LinkTotals {
    std::int64_t bytes = 0;   // of flows that ended, and what cancelled ones had moved
    Duration busy{};          // with at least one flow, stalled ones included
    double flow_seconds = 0;  // integral of the number of flows: / time = mean, / busy = queueing
    std::int64_t flows = 0, peak_flows = 0;  // now, and at most
  };
  // Bytes: offered = delivered + dropped + in_flight, always (invariant I3).
  struct Totals {
    std::int64_t started = 0, finished = 0, cancelled = 0;  // flows
    std::int64_t offered = 0, delivered = 0, dropped = 0, in_flight = 0;
  };

  // Bytes per second (or any unit that the weights convert to); 0 = down.
  LinkId add_link(double capacity);
  // `rate_cap` in bytes/s bounds this flow alone, 0 = nothing does. A flow without bytes takes its
  // latency.
  FlowId start(Time now, std::span<const Use> route, std::int64_t bytes, Duration latency,
               std::uint64_t tag, double rate_cap = 0);
  // When advance() is due: the next end, or before it the moment at which a flow's latency is over
  // and rates change (then advance() gives nothing). kNever when nothing moves.
  Time next_completion();
  // Appends the flows that end at or before `now`, in order of (end, start).
  void advance(Time now, std::vector<Done>& done);
  // Whole bytes that had moved; 0 when the flow is over already.
  std::int64_t cancel(FlowId, Time now);
  // Faults and degradation. On a link of capacity 0 flows stall.
  void set_bandwidth(LinkId, double capacity, Time now);

  [[nodiscard]] bool active(FlowId) const;
  [[nodiscard]] double rate(FlowId);  // bytes/s now; 0 while it waits, stalls or is over
  [[nodiscard]] double bandwidth(LinkId link) const { return links_[link.index].capacity; }
  [[nodiscard]] std::size_t links() const { return links_.size(); }
  [[nodiscard]] LinkTotals totals(LinkId, Time now) const;
  [[nodiscard]] Totals totals() const;

 private:
  enum class State : std::uint8_t { free, waiting, moving };
  struct Hop {
    std::uint32_t link = 0, position = 0;  // position: in the link's list of members
    double weight = 1, part = 1;
    std::int64_t share = 0;  // of the link that the flow may need at most, in 2^-40, rounded up
  };
  struct Flow {
    std::vector<Hop> hops;
    double rate = 0, next_rate = 0;  // bytes/s
    double bound = 0;                // no rate above it is possible: links alone, own cap
    double remaining = 0;            // bytes at `settled`
    double rate_cap = 0;
    Time settled{}, started{};
    std::int64_t bytes = 0;
    std::uint64_t order = 0, tag = 0;  // order: of starts
    std::uint32_t generation = 0;
    std::uint64_t visited = 0, frozen = 0;  // rounds of pricing
    State state = State::free;
  };
  struct Member {
    std::uint32_t slot = 0, hop = 0;
    double weight = 1;
  };
  struct Link {
    double capacity = 0;
    std::int64_t demand = 0;  // sum of shares
    std::vector<Member> members;
    bool dirty = false;
    std::uint64_t visited = 0, contested = 0;  // rounds of pricing
    std::uint32_t place = 0;                   // in contested_ in that round
    double left = 0, weight = 0;               // of flows without a rate yet
    std::uint32_t open = 0;                    // their number
    std::int64_t bytes = 0, peak = 0;
    Duration busy{};
    double flow_seconds = 0;
    Time counted{};  // busy and flow_seconds are right up to here
  };
  struct Wait {
    Time until;
    std::uint64_t order = 0;
    std::uint32_t slot = 0, generation = 0;
  };

  [[nodiscard]] static bool can_fill(const Link&);
  void move_to(Time now);
  void begin_moving(std::uint32_t slot);
  void leave_links(Flow&);
  void release(std::uint32_t slot);
  void set_bound(Flow&);
  void set_share(const Flow&, Hop&);
  void mark(std::uint32_t link);
  void count(Link&) const;
  void reprice();
  void collect();
  void visit_flow(std::uint32_t slot);
  void visit_link(std::uint32_t link);
  void fill();
  void freeze(std::uint32_t slot, double rate);
  void take_rate(std::uint32_t slot);
  void set_end(std::uint32_t slot, Time end);
  Time earliest_end();
  Time next_wait();
  void end_flows(Time at, std::vector<Done>& done);

  std::vector<Link> links_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> free_;
  std::vector<Wait> waits_;  // heap
  Time now_{};
  std::uint64_t orders_ = 0;
  std::uint64_t round_ = 0;
  Totals totals_;
  // Ends by slot, and the least of each run of 64, so that a new price costs no heap operation.
  std::vector<Time> ends_, least_;
  std::vector<std::uint8_t> stale_;
  // Scratch of pricing.
  std::vector<std::uint32_t> dirty_links_, dirty_flows_, touched_, contested_;
  std::vector<double> level_;  // of contested_: the equal rate of its open flows
  std::vector<std::uint32_t> ending_;
};

}  // namespace kvsim
