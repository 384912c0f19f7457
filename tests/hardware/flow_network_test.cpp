// Closed forms for a few flows; random networks against a naive solver that is written from the
// definition; conservation.
#include "hardware/flow_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "sim/base/random.h"

namespace kvsim {
namespace {

using Use = FlowNetwork::Use;
using Done = FlowNetwork::Done;

constexpr double kGB = 1e9;
constexpr Time at(std::int64_t ns) { return Time{Duration{ns}}; }
constexpr Duration kNone{0};

std::vector<Done> run_all(FlowNetwork& net) {
  std::vector<Done> done;
  for (Time t = net.next_completion(); t != kNever; t = net.next_completion()) net.advance(t, done);
  return done;
}

std::vector<std::pair<std::uint64_t, std::int64_t>> ends(const std::vector<Done>& done) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> all;
  for (const Done& d : done) all.emplace_back(d.tag, to_ns(d.end));
  return all;
}
using Ends = std::vector<std::pair<std::uint64_t, std::int64_t>>;

TEST(FlowNetwork, OneFlowTakesLatencyAndBytesOverTheNarrowestLink) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(10 * kGB)}, {net.add_link(2 * kGB)}};
  net.start(at(100), route, 2000, Duration{50}, 7);
  EXPECT_EQ(net.next_completion(), at(150));  // the bytes begin to move
  const auto done = run_all(net);
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].tag, 7U);
  EXPECT_EQ(done[0].started, at(100));
  EXPECT_EQ(done[0].end, at(100 + 50 + 1000));
  EXPECT_EQ(net.next_completion(), kNever);
}

TEST(FlowNetwork, EndsAreRoundedUp) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(3 * kGB)}};
  net.start(at(0), route, 10, kNone, 1);  // 3.33 ns
  net.start(at(0), {}, 10, kNone, 2, 4 * kGB);
  net.start(at(0), {}, 10, kNone, 3);  // nothing bounds it
  EXPECT_EQ(ends(run_all(net)), (Ends{{3, 0}, {2, 3}, {1, 4}}));
}

TEST(FlowNetwork, TwoFlowsShareALinkEquallyWhateverTheirWeights) {
  // Equal rates r with r (1 + 3) = 4 GB/s: 1 byte/ns each until the short one is over.
  FlowNetwork net;
  const LinkId link = net.add_link(4 * kGB);
  net.start(at(0), std::vector<Use>{{link, 1}}, 1000, kNone, 1);
  net.start(at(0), std::vector<Use>{{link, 3}}, 3000, kNone, 2);
  // then 2000 bytes at 4/3 byte/ns
  EXPECT_EQ(ends(run_all(net)), (Ends{{1, 1000}, {2, 1000 + 1500}}));
}

TEST(FlowNetwork, ALaterFlowSlowsTheFirst) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(kGB)}};
  net.start(at(0), route, 1000, kNone, 1);
  std::vector<Done> done;
  net.advance(at(400), done);
  EXPECT_TRUE(done.empty());
  net.start(at(400), route, 1000, kNone, 2);
  // 600 left at half speed until 1600; then 400 of the second at full speed.
  net.advance(at(10'000), done);
  EXPECT_EQ(ends(done), (Ends{{1, 1600}, {2, 2000}}));
}

TEST(FlowNetwork, CapsLeaveTheirRestToOthers) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(10 * kGB)}};
  const FlowId slow = net.start(at(0), route, 1000, kNone, 1, 1 * kGB);
  const FlowId a = net.start(at(0), route, 9000, kNone, 2, 4 * kGB);
  const FlowId b = net.start(at(0), route, 9000, kNone, 3);
  EXPECT_DOUBLE_EQ(net.rate(slow), kGB);
  EXPECT_DOUBLE_EQ(net.rate(a), 4 * kGB);
  EXPECT_DOUBLE_EQ(net.rate(b), 5 * kGB);
}

TEST(FlowNetwork, TheClassicLine) {
  // One flow over two links, one more on each: the narrow link gives 1 and 1, the wide one 1 and 3.
  FlowNetwork net;
  const LinkId narrow = net.add_link(2 * kGB), wide = net.add_link(4 * kGB);
  const FlowId both = net.start(at(0), std::vector<Use>{{narrow}, {wide}}, 1000, kNone, 1);
  const FlowId first = net.start(at(0), std::vector<Use>{{narrow}}, 1000, kNone, 2);
  const FlowId second = net.start(at(0), std::vector<Use>{{wide}}, 1000, kNone, 3);
  EXPECT_DOUBLE_EQ(net.rate(both), 1 * kGB);
  EXPECT_DOUBLE_EQ(net.rate(first), 1 * kGB);
  EXPECT_DOUBLE_EQ(net.rate(second), 3 * kGB);
}

TEST(FlowNetwork, AFlowWithoutBytesTakesItsLatency) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(kGB)}};
  net.start(at(5), route, 0, Duration{30}, 1);
  net.start(at(5), route, 0, kNone, 2);
  EXPECT_EQ(ends(run_all(net)), (Ends{{2, 5}, {1, 35}}));
  EXPECT_EQ(net.totals(LinkId{0}, at(35)).peak_flows, 0);
}

TEST(FlowNetwork, EqualEndsComeInOrderOfStart) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(2 * kGB)}};
  for (std::uint64_t tag = 0; tag < 200; ++tag) net.start(at(0), route, 100, kNone, tag);
  const auto done = run_all(net);
  ASSERT_EQ(done.size(), 200U);
  for (std::uint64_t tag = 0; tag < 200; ++tag) {
    EXPECT_EQ(done[tag].tag, tag);
    EXPECT_EQ(done[tag].end, at(10'000));
  }
}

TEST(FlowNetwork, CancelReturnsBandwidthAndWhatMoved) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(2 * kGB)}};
  const FlowId gone = net.start(at(0), route, 1000, kNone, 1);
  net.start(at(0), route, 1000, kNone, 2);
  const FlowId waiting = net.start(at(0), route, 1000, Duration{5000}, 3);
  EXPECT_EQ(net.cancel(gone, at(300)), 300);
  EXPECT_EQ(net.cancel(gone, at(300)), 0);
  EXPECT_EQ(net.cancel(waiting, at(300)), 0);
  EXPECT_FALSE(net.active(gone));
  EXPECT_EQ(ends(run_all(net)), (Ends{{2, 300 + 350}}));
  const FlowNetwork::Totals t = net.totals();
  EXPECT_EQ(t.offered, 3000);
  EXPECT_EQ(t.delivered, 1300);
  EXPECT_EQ(t.dropped, 1700);
  EXPECT_EQ(t.cancelled, 2);
}

TEST(FlowNetwork, AStaleIdCancelsNobody) {
  FlowNetwork net;
  const std::vector<Use> route{{net.add_link(kGB)}};
  const FlowId old = net.start(at(0), route, 10, kNone, 1);
  run_all(net);
  const FlowId fresh = net.start(at(10), route, 10, kNone, 2);
  EXPECT_EQ(fresh.slot, old.slot);
  net.cancel(old, at(10));
  EXPECT_TRUE(net.active(fresh));
}

TEST(FlowNetwork, ALinkThatIsDownStallsAndComesBack) {
  FlowNetwork net;
  const LinkId link = net.add_link(kGB), other = net.add_link(kGB);
  net.start(at(0), std::vector<Use>{{link}, {other}}, 1000, kNone, 1);
  net.start(at(0), std::vector<Use>{{other}}, 1000, kNone, 2);
  net.set_bandwidth(link, 0, at(200));  // 100 bytes of each have moved
  EXPECT_EQ(net.next_completion(), at(200 + 900));
  std::vector<Done> done;
  net.advance(at(1500), done);
  EXPECT_EQ(ends(done), (Ends{{2, 1100}}));
  EXPECT_EQ(net.next_completion(), kNever);
  net.set_bandwidth(link, kGB / 2, at(1500));
  net.advance(at(10'000), done);
  EXPECT_EQ(to_ns(done.back().end), 1500 + 1800);
}

TEST(FlowNetwork, StartsOfOneInstantAreOneBatch) {
  // Asking between two starts of an instant changes nothing.
  FlowNetwork asked, quiet;
  for (FlowNetwork* net : {&asked, &quiet}) {
    const std::vector<Use> route{{net->add_link(7 * kGB)}};
    for (std::uint64_t i = 0; i < 20; ++i) {
      net->start(at(3), route, 1000 + 37 * static_cast<std::int64_t>(i), kNone, i);
      if (net == &asked) net->next_completion();
    }
  }
  EXPECT_EQ(ends(run_all(asked)), ends(run_all(quiet)));
}

TEST(FlowNetwork, LinkTotals) {
  FlowNetwork net;
  const LinkId link = net.add_link(2 * kGB);
  const std::vector<Use> route{{link}};
  net.start(at(0), route, 1000, kNone, 1);
  net.start(at(0), route, 2000, kNone, 2);
  std::vector<Done> done;
  net.advance(at(3000), done);
  // both until 1000, the second alone until 1500, then idle
  const FlowNetwork::LinkTotals t = net.totals(link, at(3000));
  EXPECT_EQ(t.bytes, 3000);
  EXPECT_EQ(t.busy, Duration{1500});
  EXPECT_DOUBLE_EQ(t.flow_seconds, 2500e-9);
  EXPECT_EQ(t.peak_flows, 2);
  EXPECT_EQ(t.flows, 0);
}

struct NaiveFlow {
  std::vector<Use> route;
  double cap = 0;
};

// Raises the rate of all free flows together until a link is full or a cap is reached, fixes who
// is concerned, and goes on.
std::vector<double> naive_rates(const std::vector<double>& capacity,
                                const std::vector<NaiveFlow>& flows) {
  std::vector<double> rate(flows.size(), 0);
  std::vector<bool> fixed(flows.size(), false);
  while (std::find(fixed.begin(), fixed.end(), false) != fixed.end()) {
    double step = 1e300;
    std::vector<double> used(capacity.size(), 0), pull(capacity.size(), 0);
    for (std::size_t f = 0; f < flows.size(); ++f)
      for (const Use& u : flows[f].route) {
        used[u.link.index] += rate[f] * u.weight;
        if (!fixed[f]) pull[u.link.index] += u.weight;
      }
    for (std::size_t l = 0; l < capacity.size(); ++l)
      if (pull[l] > 0) step = std::min(step, std::max(0.0, capacity[l] - used[l]) / pull[l]);
    for (std::size_t f = 0; f < flows.size(); ++f)
      if (!fixed[f] && flows[f].cap > 0) step = std::min(step, flows[f].cap - rate[f]);
    for (std::size_t f = 0; f < flows.size(); ++f)
      if (!fixed[f]) rate[f] += step;
    for (std::size_t f = 0; f < flows.size(); ++f) {
      bool stop = flows[f].cap > 0 && rate[f] >= flows[f].cap * (1 - 1e-12);
      for (const Use& u : flows[f].route) {
        const double room = capacity[u.link.index] - used[u.link.index] - step * pull[u.link.index];
        stop = stop || room <= 1e-9 * capacity[u.link.index];
      }
      fixed[f] = fixed[f] || stop;
    }
  }
  return rate;
}

struct Net {
  std::vector<double> capacity;
  std::vector<std::vector<std::uint32_t>> routes;  // to draw from
};

// Leaves around one switch: up link of one, down link of another, now and then a core link.
Net star(Rng& rng) {
  Net n;
  const std::size_t leaves = 2 + rng.below(6);
  for (std::size_t i = 0; i < 2 * leaves + 1; ++i)
    n.capacity.push_back(static_cast<double>(1 + rng.below(8)) * kGB);
  for (std::uint32_t a = 0; a < leaves; ++a)
    for (std::uint32_t b = 0; b < leaves; ++b)
      if (a != b) n.routes.push_back({2 * a, static_cast<std::uint32_t>(2 * leaves), 2 * b + 1});
  return n;
}

// Two layers, k edge switches of k hosts, two spines chosen by destination.
Net fat_tree(Rng& rng) {
  Net n;
  const auto k = static_cast<std::uint32_t>(2 + rng.below(3));
  const std::uint32_t hosts = k * k;
  for (std::uint32_t i = 0; i < 2 * hosts + 4 * k; ++i)
    n.capacity.push_back(static_cast<double>(1 + rng.below(4)) * kGB);
  const std::uint32_t up = 2 * hosts, down = up + 2 * k;
  for (std::uint32_t a = 0; a < hosts; ++a)
    for (std::uint32_t b = 0; b < hosts; ++b) {
      if (a == b) continue;
      if (a / k == b / k)
        n.routes.push_back({2 * a, 2 * b + 1});
      else
        n.routes.push_back(
            {2 * a, up + 2 * (a / k) + b % 2, down + 2 * (b / k) + b % 2, 2 * b + 1});
    }
  return n;
}

NaiveFlow draw_flow(const Net& n, Rng& rng) {
  NaiveFlow f;
  for (const std::uint32_t link : n.routes[rng.below(n.routes.size())])
    f.route.push_back({LinkId{link}, rng.below(3) == 0 ? 1.0 + rng.uniform() : 1.0});
  if (rng.below(4) == 0) f.cap = (0.1 + rng.uniform()) * kGB;
  return f;
}

// Random starts, cancels, faults and ends; after each, all rates against the naive solver.
void compare_rates(Net n, Rng rng) {
  FlowNetwork net;
  for (const double c : n.capacity) net.add_link(c);
  std::map<std::uint64_t, std::pair<FlowId, NaiveFlow>> live;
  std::vector<Done> done;
  Time now{};
  for (std::uint64_t i = 0; i < 60; ++i) {
    const std::uint64_t what = rng.below(10);
    if (what < 6 || live.empty()) {
      const NaiveFlow f = draw_flow(n, rng);
      const auto bytes = static_cast<std::int64_t>(1 + rng.below(1'000'000));
      live[i] = {net.start(now, f.route, bytes, kNone, i, f.cap), f};
    } else if (what == 6) {
      net.cancel(live.begin()->second.first, now);
      live.erase(live.begin());
    } else if (what == 7) {
      const std::size_t link = rng.below(n.capacity.size());
      n.capacity[link] = static_cast<double>(rng.below(5)) * kGB;
      net.set_bandwidth(LinkId{static_cast<std::uint32_t>(link)}, n.capacity[link], now);
    } else if (net.next_completion() != kNever) {
      now = net.next_completion();
      done.clear();
      net.advance(now, done);
      for (const Done& d : done) EXPECT_EQ(live.erase(d.tag), 1U);
    }
    std::vector<NaiveFlow> flows;
    for (const auto& [tag, f] : live) flows.push_back(f.second);
    const std::vector<double> expected = naive_rates(n.capacity, flows);
    std::size_t k = 0;
    for (const auto& [tag, f] : live) {
      EXPECT_NEAR(net.rate(f.first), expected[k], 1e-6 * kGB) << "step " << i << " flow " << tag;
      ++k;
    }
  }
}

TEST(FlowNetwork, RatesEqualTheNaiveSolverOnStars) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "star");
    compare_rates(star(rng), rng);
  }
}

TEST(FlowNetwork, RatesEqualTheNaiveSolverOnFatTrees) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Rng rng(seed, "fat tree");
    compare_rates(fat_tree(rng), rng);
  }
}

TEST(FlowNetwork, BytesAreConserved) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed, "conservation");
    const Net n = star(rng);
    FlowNetwork net;
    for (const double c : n.capacity) net.add_link(c);
    std::vector<Done> done;
    std::vector<std::int64_t> carried(n.capacity.size(), 0), size;
    std::vector<std::vector<Use>> route;
    std::vector<FlowId> ids;
    Time now{};
    for (std::uint64_t i = 0; i < 300; ++i) {
      now += Duration{static_cast<std::int64_t>(rng.below(200'000))};
      net.advance(now, done);
      const NaiveFlow f = draw_flow(n, rng);
      size.push_back(static_cast<std::int64_t>(rng.below(1'000'000)));
      route.push_back(f.route);
      ids.push_back(net.start(now, f.route, size.back(),
                              Duration{static_cast<std::int64_t>(rng.below(2000))}, i, f.cap));
      if (rng.below(5) == 0) {
        const std::size_t victim = rng.below(ids.size());
        const std::int64_t moved = net.cancel(ids[victim], now);
        for (const Use& u : route[victim]) carried[u.link.index] += moved;
      }
      const FlowNetwork::Totals t = net.totals();
      ASSERT_EQ(t.offered, t.delivered + t.dropped + t.in_flight);
    }
    while (net.next_completion() != kNever) net.advance(net.next_completion(), done);
    for (const Done& d : done)
      for (const Use& u : route[d.tag]) carried[u.link.index] += size[d.tag];
    for (std::uint32_t l = 0; l < n.capacity.size(); ++l)
      EXPECT_EQ(net.totals(LinkId{l}, now).bytes, carried[l]);
    const FlowNetwork::Totals t = net.totals();
    EXPECT_EQ(t.in_flight, 0);
    EXPECT_EQ(t.started, t.finished + t.cancelled);
    // Capacity is respected: no link carried more than its busy time allows.
    for (std::uint32_t l = 0; l < n.capacity.size(); ++l) {
      const FlowNetwork::LinkTotals one = net.totals(LinkId{l}, now);
      EXPECT_LE(static_cast<double>(one.bytes),
                n.capacity[l] * to_seconds(one.busy) * (1 + 1e-6) + 300);
    }
    for (std::size_t i = 1; i < done.size(); ++i) EXPECT_LE(done[i - 1].end, done[i].end);
  }
}

}  // namespace
}  // namespace kvsim
