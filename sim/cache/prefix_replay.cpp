#include "sim/cache/prefix_replay.h"

#include <algorithm>

#include "sim/base/check.h"

namespace kvsim {

PrefixReplay::PrefixReplay(const BlockStream& stream, PrefixReplayOptions options,
                           std::uint64_t seed)
    : stream_(stream), options_(options), seed_(seed), objects_(stream.objects) {
  check_prefix_ids(stream);
}

void PrefixReplay::start(std::string_view policy, const Tree& params, std::int64_t capacity) {
  KVSIM_CHECK(capacity >= 1, "capacity {}", capacity);
  std::fill(objects_.children.begin(), objects_.children.end(), 0U);
  std::fill(objects_.queued.begin(), objects_.queued.end(), 0U);
  resident_.assign(objects_.size(), 0);
  residents_ = 0;
  capacity_ = capacity;
  queued_to_ = 0;
  const EvictionPolicy::Context context{&objects_, capacity, Rng(seed_, policy)};
  policy_ = Registry::instance().make<EvictionPolicy>(policy, params, context);
  if (policy_->needs_future() && next_use_.empty()) next_use_ = next_uses(stream_);
}

void PrefixReplay::leave(ObjectId id) {
  KVSIM_CHECK(id < resident_.size() && resident_[id] != 0, "evicts {}, which is not there", id);
  KVSIM_CHECK(objects_.pins[id] == 0, "evicts {}, which is in use", id);
  resident_[id] = 0;
  --residents_;
  if (objects_.parent[id] != kNoObject) --objects_.children[objects_.parent[id]];
}

void PrefixReplay::insert(const Access& a) {
  policy_->on_miss(a);
  if (!policy_->admits(a)) return;
  while (policy_->must_evict(a, residents_)) {
    const ObjectId victim = policy_->evict(a);
    if (victim == kNoObject) return;
    leave(victim);
  }
  resident_[a.id] = 1;
  ++residents_;
  KVSIM_CHECK(residents_ <= capacity_, "{} blocks in a cache of {}", residents_, capacity_);
  objects_.pins[a.id] = 1;
  if (objects_.parent[a.id] != kNoObject) ++objects_.children[objects_.parent[a.id]];
  policy_->on_insert(a);
}

void PrefixReplay::touch(Access& a, std::size_t access) {
  a.id = stream_.access[access];
  a.tick = static_cast<std::int64_t>(access);
  if (!next_use_.empty()) a.next_use = next_use_[access];
  if (resident_[a.id] != 0)
    policy_->on_hit(a);
  else
    insert(a);
}

void PrefixReplay::serve(std::size_t request) {
  const std::size_t first = stream_.begin[request], end = stream_.begin[request + 1];
  std::size_t run = first;
  while (run < end && resident_[stream_.access[run]] != 0) ++run;
  for (std::size_t i = first; i < end; ++i)
    objects_.pins[stream_.access[i]] = resident_[stream_.access[i]] != 0 ? 1 : 0;

  const BlockStream::Origin& origin = stream_.request[request];
  Access a;
  a.now = origin.arrival;
  a.session = origin.session;
  a.tenant = origin.tenant;
  a.priority = origin.priority;
  const std::size_t fits = std::min(end, first + static_cast<std::size_t>(capacity_));
  for (std::size_t i = first; i < fits; ++i)
    touch(a, options_.tail_first ? first + (fits - 1 - i) : i);
  for (std::size_t i = first; i < end; ++i) objects_.pins[stream_.access[i]] = 0;
  out_.hits.push_back(static_cast<std::uint32_t>(run - first));
  out_.total += run - first;
}

void PrefixReplay::move_queue(std::size_t request) {
  const std::size_t to =
      std::min(stream_.requests(), request + 1 + static_cast<std::size_t>(options_.queue));
  for (; queued_to_ < to; ++queued_to_)
    for (std::size_t i = stream_.begin[queued_to_]; i < stream_.begin[queued_to_ + 1]; ++i)
      ++objects_.queued[stream_.access[i]];
  for (std::size_t i = stream_.begin[request]; i < stream_.begin[request + 1]; ++i)
    --objects_.queued[stream_.access[i]];
}

PrefixHits PrefixReplay::run() {
  KVSIM_CHECK(policy_ != nullptr, "run() without start()");
  out_ = {};
  for (std::size_t r = 0; r < stream_.requests(); ++r) {
    if (options_.queue > 0) move_queue(r);
    serve(r);
  }
  return std::move(out_);
}

}  // namespace kvsim
