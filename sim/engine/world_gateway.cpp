// Quotas: who is let in when, and what the world does about it.
#include <algorithm>

#include "sim/base/check.h"
#include "sim/engine/world.h"

namespace kvsim {

namespace {
std::int64_t tokens_of(const Request& r) { return r.prompt_tokens + r.output_tokens; }
}  // namespace

// ---- the quotas

Gateway::Tenant& Gateway::tenant(std::uint32_t id) {
  const auto [at, is_new] = tenants_.try_emplace(id);
  Tenant& t = at->second;
  if (!is_new) return t;
  const QuotaPlan* plan = nullptr;
  for (const QuotaPlan& p : plans_) {
    const bool named = std::find(p.tenants.begin(), p.tenants.end(), id) != p.tenants.end();
    if (named || (p.tenants.empty() && plan == nullptr)) plan = &p;
    if (named) break;
  }
  if (plan != nullptr && plan->make) {
    t.quota = plan->make();
    t.delays = plan->delays;
  }
  return t;
}

void Gateway::let_in(Tenant& t, const Request& r, Time now) {
  const std::int64_t tokens = tokens_of(r);
  t.quota->let_in(tokens, now);
  ++t.use.requests;
  t.use.tokens += tokens;
  inside_[r.index] = {tokens, now - std::min(now, r.arrival)};
}

Gateway::Answer Gateway::ask(const Request& r, Time now) {
  Tenant& t = tenant(r.tenant);
  if (!t.quota) return {};
  if (const char* reason = t.quota->never(tokens_of(r))) return {reason, false};
  const char* reason = t.quota->over(tokens_of(r), t.use, now);
  if (reason == nullptr && t.held.empty()) {
    let_in(t, r, now);
    return {};
  }
  if (!t.delays) return {reason, false};
  t.held.push_back(r);
  return {nullptr, true};
}

std::optional<Request> Gateway::release(std::uint32_t id, Time now) {
  Tenant& t = tenant(id);
  if (t.held.empty() || t.quota->over(tokens_of(t.held.front()), t.use, now) != nullptr)
    return std::nullopt;
  std::optional<Request> r = std::move(t.held.front());
  t.held.pop_front();
  let_in(t, *r, now);
  return r;
}

Time Gateway::ready(std::uint32_t id, Time now) {
  Tenant& t = tenant(id);
  return t.held.empty() ? kNever : t.quota->ready(tokens_of(t.held.front()), now);
}

Duration Gateway::over(std::uint32_t id, std::uint64_t request) {
  const auto at = inside_.find(request);
  if (at == inside_.end()) return {};
  const Inside was = at->second;
  inside_.erase(at);
  Tenant& t = tenants_.at(id);
  --t.use.requests;
  t.use.tokens -= was.tokens;
  return was.held;
}

bool Gateway::holds(std::uint32_t id) const {
  const auto at = tenants_.find(id);
  return at != tenants_.end() && !at->second.held.empty();
}

std::vector<Request> Gateway::take_all() {
  std::vector<Request> all;
  for (auto& [id, t] : tenants_) {
    all.insert(all.end(), t.held.begin(), t.held.end());
    t.held.clear();
  }
  return all;
}

// ---- in the world

// scratch_ may go on to the router.
bool World::pass_gateway(Time now) {
  const Gateway::Answer answer = gateway_->ask(scratch_, now);
  if (answer.refused != nullptr) refuse_at_gateway(scratch_, answer.refused);
  if (answer.held) await_quota(scratch_.tenant, now);
  return answer.refused == nullptr && !answer.held;
}

// As if it had been placed, so that the counts agree.
void World::refuse_at_gateway(const Request& r, const char* reason) {
  charge(0, outcome_of(r, 0, {}));
  reject(r, 0, {}, reason);
}

void World::await_quota(std::uint32_t tenant, Time now) {
  const Time at = gateway_->ready(tenant, now);
  if (at != kNever) queue_.push({at, Phase::arrival, EventKind::gateway, tenant, 0, 0});
}

void World::on_gateway(std::uint32_t tenant, Time now) {
  while (std::optional<Request> r = gateway_->release(tenant, now)) {
    std::swap(scratch_, *r);
    admit(now);
  }
  await_quota(tenant, now);
}

// Its place may be another's of its tenant.
void World::leave_gateway(RequestOutcome& o) {
  if (!gateway_) return;
  o.held_ns = to_ns(gateway_->over(o.tenant, o.index));
  if (gateway_->holds(o.tenant))
    queue_.push({now_, Phase::arrival, EventKind::gateway, o.tenant, 0, 0});
}

void World::reject_held() {
  if (!gateway_) return;
  for (const Request& r : gateway_->take_all()) refuse_at_gateway(r, "no instance was up");
}

}  // namespace kvsim
