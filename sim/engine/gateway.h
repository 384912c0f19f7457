#pragma once
// Quotas of tenants, in front of the router: tokens by a bucket that refills, requests at a time,
// KV memory. Who is over its quota is refused, or held back until it is not; those held back of a
// tenant go on in their order.
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "sim/base/time.h"
#include "traces/trace_source.h"

namespace kvsim {

// One quota for each of some tenants by itself; 0 = no limit.
struct QuotaPlan {
  std::vector<std::uint32_t> tenants;  // empty: all that no other quota names
  std::int64_t tokens_per_minute = 0;  // prompt and output, counted when a request is let in
  std::int64_t burst = 0;              // tokens that the bucket holds
  std::int64_t requests = 0;           // let in and not over
  std::int64_t kv_tokens = 0;          // of these requests, prompt and output
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
  // Tokens times the nanoseconds of a minute: a rate a minute fills it without rounding.
  __extension__ typedef __int128 Level;
  struct Inside {
    std::int64_t tokens = 0;
    Duration held{};
  };
  struct Tenant {
    const QuotaPlan* plan = nullptr;  // null: no limits
    Level level = 0;
    Time filled{};  // level is of then
    std::int64_t requests = 0, tokens = 0;
    std::deque<Request> held;
  };
  Tenant& tenant(std::uint32_t id, Time now);
  static void fill(Tenant&, Time now);
  // What it is over; null: nothing.
  static const char* over_quota(const Tenant&, std::int64_t tokens);
  // Of a request that can never go on.
  static const char* hopeless(const QuotaPlan&, std::int64_t tokens);
  void let_in(Tenant&, const Request&, Time now);

  std::vector<QuotaPlan> plans_;
  std::map<std::uint32_t, Tenant> tenants_;
  std::map<std::uint64_t, Inside> inside_;
};

}  // namespace kvsim
