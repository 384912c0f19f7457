#pragma once
// Quotas of tenants, in front of the router. What a quota counts is a plug-in's (policies/quota);
// who is over it is refused, or held back until it is not; those held back of a tenant go on in
// their order.
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "policies/quota/quota.h"
#include "sim/base/time.h"
#include "traces/trace_source.h"

namespace kvsim {

using MakeQuota = std::function<std::unique_ptr<Quota>()>;

// One quota for each of some tenants by itself.
struct QuotaPlan {
  std::vector<std::uint32_t> tenants;  // empty: all that no other quota names
  MakeQuota make;                      // none: no limits
  bool delays = false;
};

class Gateway {
 public:
  explicit Gateway(std::vector<QuotaPlan> plans) : plans_(std::move(plans)) {}

  struct Answer {
    const char* refused = nullptr;  // a static text
    bool held = false;              // neither: it may go on
  };
  // A request comes; it is kept when held.
  Answer ask(const Request&, Time now);
  // The next of a tenant's held requests that may go on now.
  std::optional<Request> release(std::uint32_t tenant, Time now);
  // When the first of those held may go on if nothing else happens; kNever.
  [[nodiscard]] Time ready(std::uint32_t tenant, Time now);
  // A request is over, whether it was let in or not; gives how long it had been held.
  Duration over(std::uint32_t tenant, std::uint64_t request);
  [[nodiscard]] bool holds(std::uint32_t tenant) const;
  // All held requests leave.
  std::vector<Request> take_all();

 private:
  struct Inside {
    std::int64_t tokens = 0;
    Duration held{};
  };
  struct Tenant {
    std::unique_ptr<Quota> quota;  // null: no limits
    bool delays = false;
    Quota::Use use;
    std::deque<Request> held;
  };
  Tenant& tenant(std::uint32_t id);
  void let_in(Tenant&, const Request&, Time now);

  std::vector<QuotaPlan> plans_;
  std::map<std::uint32_t, Tenant> tenants_;
  std::map<std::uint64_t, Inside> inside_;
};

}  // namespace kvsim
