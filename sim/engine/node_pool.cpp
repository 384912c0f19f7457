#include "sim/engine/node_pool.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/base/hash.h"
#include "sim/state/seen_blocks.h"

namespace kvsim {

bool NodePool::Cursor::settle() {
  while (chunk < content.size() && content[chunk].end <= at) ++chunk;
  return chunk < content.size();
}

std::uint64_t NodePool::Cursor::identity() const {
  return hash_combine(content[chunk].key, static_cast<std::uint64_t>(start()));
}

NodePool::NodePool(Options options) : KvPool(options.blocks), options_(std::move(options)) {
  free_ = total_;
  objects_.add(0, kNoObject);
  nodes_.emplace_back();
  policy_ =
      options_.make_policy({&objects_, std::max<std::int64_t>(1, total_ / options_.share_blocks),
                            Rng(options_.seed, "kv-pool")});
}

ObjectId NodePool::intern(std::uint64_t last_block, std::int64_t depth) {
  const auto [at, fresh] = ids_.try_emplace(last_block, static_cast<ObjectId>(objects_.size()));
  if (fresh) {
    objects_.add(last_block, kRoot);
    objects_.depth.back() = static_cast<std::uint32_t>(depth);
    nodes_.emplace_back();
  }
  return at->second;
}

ObjectId NodePool::find(std::uint64_t last_block) const {
  const auto at = ids_.find(last_block);
  return at == ids_.end() || !nodes_[at->second].resident ? kNoObject : at->second;
}

Access NodePool::access(ObjectId id, const Owner& owner) {
  Access a;
  a.id = id;
  a.tick = tick_++;
  a.now = now_;
  a.session = owner.session;
  a.tenant = owner.tenant;
  a.priority = owner.priority;
  return a;
}

std::uint32_t NodePool::new_span(const Span& s) {
  if (free_spans_.empty()) {
    spans_.push_back(s);
    return static_cast<std::uint32_t>(spans_.size() - 1);
  }
  const std::uint32_t i = free_spans_.back();
  free_spans_.pop_back();
  spans_[i] = s;
  return i;
}

// ---- holding

void NodePool::lock(ObjectId id) {
  Node& n = nodes_[id];
  if (n.refs++ == 0) {
    free_ -= n.blocks;
    cached_free_ -= n.blocks;
  }
  ++objects_.pins[id];
}

void NodePool::move_to(Hold& hold, ObjectId id) {
  hold.hashed = nodes_[id].begin + nodes_[id].blocks;
  hold.pieces.assign(1, {id, hold.hashed});
}

// The deepest is touched first: by recency, a node then never is older than what continues it.
void NodePool::take_hit(Hold& hold, std::span<const ContentChunk> content) {
  if (path_.empty()) return;
  ObjectId& last = path_.back();
  if (path_last_ < nodes_[last].blocks) last = cut(last, path_last_);
  for (auto i = path_.rbegin(); i != path_.rend(); ++i) {
    lock(*i);
    policy_->on_hit(access(*i, hold.owner));
  }
  move_to(hold, last);
  Cursor c{content, hold.chunk, hold.hashed};
  c.settle();
  hold.chunk = c.chunk;
  path_.clear();
}

void NodePool::release(Hold& hold) {
  free_ += hold.blank;
  for (ObjectId id = deepest(hold); id != kRoot; id = objects_.parent[id]) {
    Node& n = nodes_[id];
    KVSIM_CHECK(n.refs > 0, "node {} is released once too often", id);
    --objects_.pins[id];
    if (--n.refs > 0) continue;
    free_ += n.blocks;
    cached_free_ += n.blocks;
    policy_->on_release(access(id, hold.owner));
  }
  hold.pieces.clear();
  hold.hashed = hold.blank = 0;
  hold.chunk = 0;
}

ObjectId NodePool::add(Hold& hold, Cursor& c, std::int64_t until) {
  const std::int64_t n = until - c.at;
  KVSIM_CHECK(n <= hold.blank, "{} blocks are to be cached, {} are held", n, hold.blank);
  const ObjectId parent = deepest(hold);
  std::uint32_t first = kNone, last = kNone;
  const std::int64_t begin = c.at;
  std::uint64_t last_block = 0;
  while (c.at < until) {
    KVSIM_CHECK(c.settle(), "block {} has no content", c.at);
    const ContentChunk& chunk = c.content[c.chunk];
    const Span s{chunk.key, c.start(), std::min(until, chunk.end) - c.at, kNone};
    const std::uint32_t i = new_span(s);
    (last == kNone ? first : spans_[last].next) = i;
    last = i;
    c.at += s.count - 1;
    last_block = c.identity();
    ++c.at;
    cached(s);
  }
  const ObjectId id = intern(last_block, until - 1);
  Node& node = nodes_[id];
  KVSIM_CHECK(!node.resident, "node {} is cached twice", id);
  node = {begin, n, first, 1, true};
  objects_.parent[id] = parent;
  objects_.pins[id] = 1;
  ++objects_.children[parent];
  if (options_.leaves_only) ++objects_.pins[parent];
  ++resident_;
  hold.blank -= n;
  move_to(hold, id);
  const Access a = access(id, hold.owner);
  policy_->on_miss(a);
  policy_->on_insert(a);
  return id;
}

void NodePool::cached(const Span& s) {
  Known& k = known_[s.key];
  const std::int64_t end = s.start + s.count;
  const bool grew = end > k.seen, longer = s.start <= k.leading && end > k.leading;
  if (grew) k.seen = end;
  if (longer) k.leading = end;
  if (cached_ && (grew || (hears_all_ && longer))) cached_(s.key, k.place, k.leading, k.seen);
}

void NodePool::left(const Span& s) {
  Known& k = known_[s.key];
  if (s.start >= k.leading) return;
  k.leading = s.start;
  if (hears_all_) cached_(s.key, k.place, k.leading, k.seen);
}

void NodePool::adopt(Hold& hold, ObjectId child) {
  const std::int64_t n = nodes_[child].blocks;
  KVSIM_CHECK(n <= hold.blank, "{} blocks were computed again, {} are held", n, hold.blank);
  lock(child);
  policy_->on_hit(access(child, hold.owner));
  hold.blank -= n;
  free_ += n;
  move_to(hold, child);
}

ObjectId NodePool::split(ObjectId id, std::int64_t at) {
  std::uint32_t i = nodes_[id].first;  // the upper part's last span, and its blocks of it
  std::int64_t inside = at;
  for (; inside > spans_[i].count; i = spans_[i].next) inside -= spans_[i].count;
  const Span s = spans_[i];
  const ObjectId upper =
      intern(hash_combine(s.key, static_cast<std::uint64_t>(s.start + inside - 1)),
             nodes_[id].begin + at - 1);
  Node &u = nodes_[upper], &n = nodes_[id];
  KVSIM_CHECK(!u.resident, "node {} is cached twice", upper);
  u = {n.begin, at, n.first, n.refs, true};
  n.begin += at;
  n.blocks -= at;
  n.first =
      inside == s.count ? s.next : new_span({s.key, s.start + inside, s.count - inside, s.next});
  spans_[i].count = inside;
  spans_[i].next = kNone;
  ++resident_;
  objects_.parent[upper] = objects_.parent[id];
  objects_.children[upper] = 1;
  objects_.pins[upper] = u.refs + (options_.leaves_only ? 1 : 0);
  objects_.parent[id] = upper;
  policy_->on_split(access(upper, {}), id);
  return upper;
}

// ---- leaving

void NodePool::pop(std::int64_t n) {
  KVSIM_CHECK(n >= 0 && n <= free_, "taking {} blocks of {} free", n, free_);
  while (free_ - cached_free_ < n) evict_one();
  free_ -= n;
}

void NodePool::evict_one() {
  Access incoming;
  incoming.id = kRoot;
  incoming.tick = tick_;
  incoming.now = now_;
  const ObjectId id = policy_->evict(incoming);
  KVSIM_CHECK(id != kNoObject, "{} cached blocks are free, but no node is", cached_free_);
  KVSIM_CHECK(nodes_[id].resident && objects_.pins[id] == 0,
              "the eviction policy chose node {} with {} pins", id, objects_.pins[id]);
  remove(id);
}

void NodePool::remove(ObjectId id) {
  forget(id);
  Node& n = nodes_[id];
  std::int64_t at = n.begin;
  for (std::uint32_t i = n.first; i != kNone; i = spans_[i].next) {
    const Span s = spans_[i];
    if (leaving_) leaving_(s.key, s.start, s.count, at);
    left(s);
    at += s.count;
    free_spans_.push_back(i);
  }
  evicted_ += n.blocks;
  cached_free_ -= n.blocks;
  n = Node{};
  --resident_;
  const ObjectId parent = objects_.parent[id];
  --objects_.children[parent];
  if (options_.leaves_only) --objects_.pins[parent];
}

void NodePool::runs(const Hold& hold, std::vector<Piece>& out) const {
  for (ObjectId id = deepest(hold); id != kRoot; id = objects_.parent[id])
    out.push_back({id, nodes_[id].blocks});
}

bool NodePool::reset() {
  if (free_ != total_) return false;
  for (ObjectId id = 1; id < nodes_.size(); ++id) {
    if (!nodes_[id].resident) continue;
    policy_->on_remove(id);
    for (std::uint32_t i = nodes_[id].first; i != kNone; i = spans_[i].next) left(spans_[i]);
  }
  std::fill(nodes_.begin(), nodes_.end(), Node{});
  std::fill(objects_.pins.begin(), objects_.pins.end(), 0);
  std::fill(objects_.children.begin(), objects_.children.end(), 0);
  spans_.clear();
  free_spans_.clear();
  path_.clear();
  forget_all();
  cached_free_ = resident_ = 0;
  ++resets_;
  return true;
}

// ---- knowing

std::int64_t NodePool::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                                   std::int64_t most) const {
  return seen_blocks_of(content, from, most, [this](std::uint64_t key) {
    const auto at = known_.find(key);
    return at == known_.end() ? std::int64_t{0} : std::int64_t{at->second.seen};
  });
}

void NodePool::check(std::span<const Hold* const> holders) const {
  std::vector<std::uint32_t> refs(nodes_.size(), 0), children(nodes_.size(), 0);
  std::int64_t blank = 0, locked = 0, cached = 0, resident = 0;
  for (const Hold* h : holders) {
    blank += h->blank;
    std::int64_t held = 0;
    for (ObjectId id = deepest(*h); id != kRoot; id = objects_.parent[id]) {
      ++refs[id];
      held += nodes_[id].blocks;
    }
    KVSIM_CHECK(held == h->hashed, "a path of {} blocks is held as {}", held, h->hashed);
  }
  for (ObjectId id = 1; id < nodes_.size(); ++id) {
    const Node& n = nodes_[id];
    KVSIM_CHECK(n.refs == refs[id], "node {} counts {} holders, has {}", id, n.refs, refs[id]);
    if (!n.resident) continue;
    ++resident;
    (n.refs > 0 ? locked : cached) += n.blocks;
    const ObjectId parent = objects_.parent[id];
    ++children[parent];
    const Node& p = nodes_[parent];
    KVSIM_CHECK(n.begin == (parent == kRoot ? 0 : p.begin + p.blocks) ||
                    (!options_.leaves_only && !p.resident),
                "node {} begins at {}, which is not where its parent ends", id, n.begin);
    std::int64_t blocks = 0;
    for (std::uint32_t i = n.first; i != kNone; i = spans_[i].next) blocks += spans_[i].count;
    KVSIM_CHECK(blocks == n.blocks && blocks > 0, "node {} has {} blocks, spans of {}", id,
                n.blocks, blocks);
  }
  for (ObjectId id = 1; id < nodes_.size(); ++id)
    KVSIM_CHECK(
        children[id] == objects_.children[id] &&
            objects_.pins[id] == nodes_[id].refs + (options_.leaves_only ? children[id] : 0U),
        "node {} has {} children and {} pins, counts {}", id, children[id], objects_.pins[id],
        objects_.children[id]);
  KVSIM_CHECK(resident == resident_ && cached == cached_free_ && blank + locked + free_ == total_,
              "{} nodes ({} counted), {} cached free ({}), {} + {} held and {} free of {}",
              resident, resident_, cached, cached_free_, blank, locked, free_, total_);
}

}  // namespace kvsim
