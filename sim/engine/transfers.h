#pragma once
// Transfers of one world: flows over the links, and who hears when one ends.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "hardware/flow_network.h"
#include "sim/base/time.h"

namespace kvsim {

// One direction between two memories: what the flow uses of which link.
struct TransferPath {
  std::vector<FlowNetwork::Use> uses;
  Duration latency{};
  double rate_cap = 0;  // bytes/s of one flow; 0 = none
  double convert = 0;   // ns per byte to change the precision, before or after the transfer
};

// A rank's store of a tier, and the way there.
struct TierWay {
  std::uint32_t store = 0;
  TransferPath in, out;
  std::vector<TransferPath> pool;  // of a pooled tier: `in` from each of its stores, by number
};

class Transfers {
 public:
  class Listener {
   public:
    virtual void transfer_ended(std::uint32_t job, Time at) = 0;

   protected:
    ~Listener() = default;
  };

  explicit Transfers(FlowNetwork& network) : network_(network) {}
  std::uint32_t add_listener(Listener& l) {
    listeners_.push_back(&l);
    return static_cast<std::uint32_t>(listeners_.size() - 1);
  }
  FlowId start(Time now, const TransferPath& path, std::int64_t bytes, std::uint32_t listener,
               std::uint32_t job) {
    const double convert = std::ceil(path.convert * static_cast<double>(bytes));
    return network_.start(now, path.uses, bytes,
                          path.latency + Duration{static_cast<std::int64_t>(convert)},
                          (std::uint64_t{listener} << 32) | job, path.rate_cap);
  }
  // Whole bytes that had arrived.
  std::int64_t cancel(FlowId flow, Time now) { return network_.cancel(flow, now); }
  // Bytes/s of a transfer that has the path for itself, conversion included; infinite when nothing
  // limits it.
  [[nodiscard]] double bandwidth(const TransferPath& path) const {
    double most = path.rate_cap > 0 ? path.rate_cap : std::numeric_limits<double>::infinity();
    for (const FlowNetwork::Use& u : path.uses)
      most = std::min(most, network_.bandwidth(u.link) / u.weight);
    return path.convert > 0 ? 1 / (1 / most + path.convert * 1e-9) : most;
  }
  [[nodiscard]] Time next() { return network_.next_completion(); }
  // Tells the listeners of every transfer that has ended; true when there was one.
  bool advance(Time now) {
    done_.clear();
    network_.advance(now, done_);
    for (const FlowNetwork::Done& d : done_)
      listeners_[d.tag >> 32]->transfer_ended(static_cast<std::uint32_t>(d.tag), d.end);
    return !done_.empty();
  }
  [[nodiscard]] FlowNetwork& network() { return network_; }

 private:
  FlowNetwork& network_;
  std::vector<Listener*> listeners_;
  std::vector<FlowNetwork::Done> done_;
};

}  // namespace kvsim
