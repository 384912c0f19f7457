#include "sim/state/block_pool.h"

#include <algorithm>
#include <limits>

#include "sim/base/check.h"
#include "sim/state/seen_blocks.h"

namespace kvsim {

BlockPool::BlockPool(Options options) : KvPool(options.blocks), options_(options) {
  KVSIM_CHECK(options.blocks <= std::numeric_limits<std::uint32_t>::max(), "{} blocks in one pool",
              options.blocks);
  add_blank(options.blocks);
}

std::uint32_t BlockPool::new_run() {
  if (!free_runs_.empty()) {
    const std::uint32_t r = free_runs_.back();
    free_runs_.pop_back();
    if (free_runs_.size() >= kAhead)
      __builtin_prefetch(&runs_[free_runs_[free_runs_.size() - kAhead]], 1);
    runs_[r] = Run{};
    return r;
  }
  runs_.emplace_back();
  return static_cast<std::uint32_t>(runs_.size() - 1);
}

void BlockPool::drop_run(std::uint32_t r) { free_runs_.push_back(r); }

std::uint32_t BlockPool::node_of(std::uint64_t key, std::uint32_t before, std::int64_t begin,
                                 bool own) {
  if (is_node_of(key, before + 1)) return before + 1;
  constexpr std::uint32_t kLongest = 0x3fffffffU;  // ten times kMaxTokens of a request
  KVSIM_CHECK(begin <= kLongest, "a sequence goes on behind {} blocks", begin);
  Node fresh;
  fresh.key = key;
  fresh.begin = static_cast<std::uint32_t>(begin) & kLongest;
  fresh.own = own;
  // A key is chained: whoever asks for this one comes from `before`, which is there for good.
  if (!own && before != kNone && !nodes_[before].own && before + 1 == nodes_.size()) {
    const std::uint32_t other = index_.find(key);
    if (other != kNone) return other;
    fresh.listed = 1;
    nodes_.push_back(fresh);
    return before + 1;
  }
  // A place for it first: the index reads its key there.
  const bool reuses = !free_nodes_.empty();
  const auto next = reuses ? free_nodes_.back() : static_cast<std::uint32_t>(nodes_.size());
  if (!reuses) nodes_.emplace_back();
  nodes_[next] = fresh;
  const std::uint32_t node = index_.insert(next);
  const bool is_new = node == next;
  nodes_[next].listed = is_new;
  if (reuses && is_new) free_nodes_.pop_back();
  if (!reuses && !is_new) nodes_.pop_back();
  return node;
}

void BlockPool::forget(std::uint32_t node) {
  index_.erase(node);
  nodes_[node].own = nodes_[node].listed = 0;
  free_nodes_.push_back(node);
}

void BlockPool::append_to_node(std::uint32_t r) {
  Node& n = nodes_[runs_[r].node];
  if (n.last == kNone) {
    n.first = r;
  } else {
    runs_[n.last].node_next = r;
  }
  n.last = r;
}

void BlockPool::unlink_from_node(std::uint32_t r) {
  Node& n = nodes_[runs_[r].node];
  std::uint32_t previous = kNone;
  for (std::uint32_t i = n.first; i != r; i = runs_[i].node_next) previous = i;
  (previous == kNone ? n.first : runs_[previous].node_next) = runs_[r].node_next;
  if (n.last == r) n.last = previous;
}

void BlockPool::insert_before(std::uint32_t r, std::uint32_t next) {
  const std::uint32_t previous = next == kNone ? tail_ : runs_[next].queue_previous;
  runs_[r].queue_previous = previous;
  runs_[r].queue_next = next;
  (previous == kNone ? head_ : runs_[previous].queue_next) = r;
  (next == kNone ? tail_ : runs_[next].queue_previous) = r;
}

void BlockPool::enqueue_back(std::uint32_t r) { insert_before(r, kNone); }
void BlockPool::enqueue_front(std::uint32_t r) { insert_before(r, head_); }

void BlockPool::dequeue(std::uint32_t r) {
  Run& run = runs_[r];
  (run.queue_previous == kNone ? head_ : runs_[run.queue_previous].queue_next) = run.queue_next;
  (run.queue_next == kNone ? tail_ : runs_[run.queue_next].queue_previous) = run.queue_previous;
}

// Blank blocks go where freed unhashed blocks go; they melt into a blank run that is already there.
void BlockPool::add_blank(std::int64_t n) {
  if (n == 0) return;
  free_ += n;
  const std::uint32_t neighbour = options_.unhashed_first ? head_ : tail_;
  if (neighbour != kNone && runs_[neighbour].node == kNone) {
    runs_[neighbour].grow(n);
    return;
  }
  const std::uint32_t r = new_run();
  runs_[r].grow(n);
  options_.unhashed_first ? enqueue_front(r) : enqueue_back(r);
}

// Cuts `r` into [0, at) and [at, end); the second part is younger in no respect: it stands right
// before the first in the free queue (later blocks are evicted first) and right behind it among the
// node's runs.
void BlockPool::split(std::uint32_t r, std::int64_t at) {
  const std::uint32_t s = new_run();
  Run& a = runs_[r];
  Run& b = runs_[s];
  b.node = a.node;
  b.refs = a.refs;
  b.start = static_cast<std::uint32_t>(a.start + at);
  b.blocks = static_cast<std::uint32_t>(a.blocks - at);
  b.split_next = a.split_next;
  b.node_next = a.node_next;
  a.blocks = static_cast<std::uint32_t>(at);
  a.split_next = s;
  a.node_next = s;
  if (nodes_[a.node].last == r) nodes_[a.node].last = s;
  if (a.refs == 0) insert_before(s, r);
}

// Appends to found_ what covers blocks [from, end) of the node, as far as it goes without a gap.
// Where copies overlap, the one inserted first is used.
bool BlockPool::find_in_node(const Node& node, std::int64_t from, std::int64_t end,
                             std::int64_t& reached) {
  std::int64_t at = from;
  while (at < end) {
    std::int64_t until = end;
    std::uint32_t r = node.first;
    for (; r != kNone; r = runs_[r].node_next) {
      const Run& run = runs_[r];
      if (run.has(at)) break;
      if (run.start > at) until = std::min(until, run.first());  // an older copy takes over there
    }
    if (r == kNone) break;
    until = std::min(until, runs_[r].end());
    found_.push_back({r, at - runs_[r].first(), until - at});
    at = until;
  }
  reached = at;
  return at == end;
}

BlockPool::Hit BlockPool::look_up(std::span<const ContentChunk> content, std::int64_t most) {
  found_.clear();
  Hit hit;
  if (!options_.caching) return hit;
  std::int64_t begin = 0;
  std::uint32_t node = kNone;
  for (const ContentChunk& c : content) {
    if (begin >= most) break;
    const std::int64_t end = std::min(c.end, most);
    if (end > begin) {
      node = find(c.key, node);
      if (node == kNone) break;
      std::int64_t reached = 0;
      const bool whole = find_in_node(nodes_[node], 0, end - begin, reached);
      hit.blocks = begin + reached;
      if (!whole) break;
    }
    begin = c.end;
  }
  for (const Found& f : found_)
    if (runs_[f.run].refs == 0) hit.queued += f.blocks;
  return hit;
}

std::int64_t BlockPool::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                                    std::int64_t most) const {
  std::uint32_t node = kNone;
  std::int64_t begin = 0;
  for (const ContentChunk& c : content) {  // those that are not asked for lead to the others
    if (c.end > from) break;
    if (c.end > begin) node = find(c.key, node);
    begin = c.end;
  }
  return seen_blocks_of(content, from, most, [&](std::uint64_t key) {
    node = find(key, node);
    return node == kNone ? std::int64_t{0} : std::int64_t{nodes_[node].seen};
  });
}

void BlockPool::take_hit(Hold& hold, std::span<const ContentChunk> content) {
  for (std::size_t i = 0; i < found_.size(); ++i) {
    Found f = found_[i];
    // An earlier part of this hit may have split the run.
    while (f.offset >= runs_[f.run].blocks) {
      f.offset -= runs_[f.run].blocks;
      f.run = runs_[f.run].split_next;
    }
    if (f.offset > 0) {
      split(f.run, f.offset);
      f.run = runs_[f.run].split_next;
    }
    if (f.blocks < runs_[f.run].blocks) split(f.run, f.blocks);
    Run& run = runs_[f.run];
    if (run.refs++ == 0) {
      dequeue(f.run);
      free_ -= run.blocks;
      cached_free_ -= run.blocks;
    }
    hold.pieces.push_back({f.run, f.blocks});
    hold.hashed += f.blocks;
  }
  found_.clear();
  while (hold.chunk < content.size() && content[hold.chunk].end <= hold.hashed) ++hold.chunk;
}

// The first block at or behind `at` that no run of the node holds.
std::int64_t BlockPool::covered_from(const Node& node, std::int64_t at) const {
  for (std::uint32_t r = node.first; r != kNone;) {
    const Run& run = runs_[r];
    const bool here = run.has(at);
    if (here) at = run.end();
    r = here ? node.first : run.node_next;
  }
  return at;
}

void BlockPool::tell(Node& node, std::int64_t leading, bool grew) {
  const bool tells = grew || (hears_all_ && leading != node.leading);
  node.leading = static_cast<std::uint32_t>(leading);
  if (tells) cached_(node.key, node.place, leading, node.seen);
}

void BlockPool::foresee(std::uint32_t leaving) const {
  const std::uint32_t near = leaving - kAhead, far = near - kAhead;  // beyond all where none is
  if (far < nodes_.size()) __builtin_prefetch(&nodes_[far], 1);
  if (near < nodes_.size() && nodes_[near].last != kNone)
    __builtin_prefetch(&runs_[nodes_[near].last], 1);
}

void BlockPool::pop(std::int64_t n) {
  KVSIM_CHECK(n >= 0 && n <= free_, "taking {} blocks of {} free", n, free_);
  free_ -= n;
  while (n > 0) {
    const std::uint32_t r = head_;
    Run& run = runs_[r];
    foresee(run.node);
    const std::int64_t k = std::min<std::int64_t>(n, run.blocks);
    if (run.node != kNone) {
      evicted_ += k;
      cached_free_ -= k;
      if (leaving_) {
        const Node& node = nodes_[run.node];
        const std::int64_t first = run.end() - k;
        leaving_(node.key, first, k, node.begin + first);
      }
    }
    run.grow(-k);  // the last blocks of a run go first
    n -= k;
    const std::uint32_t node = run.node;
    const std::int64_t gone = run.end();
    if (run.blocks == 0) {
      dequeue(r);
      if (node != kNone) unlink_from_node(r);
      drop_run(r);
    }
    if (node == kNone) continue;
    if (hears_all_ && gone < nodes_[node].leading)
      tell(nodes_[node], covered_from(nodes_[node], gone), false);
    if (nodes_[node].own && nodes_[node].first == kNone) forget(node);
  }
}

void BlockPool::publish(Hold& hold, std::span<const ContentChunk> content, std::int64_t full) {
  if (!options_.caching) return;
  while (hold.hashed < full) {
    KVSIM_CHECK(hold.chunk < content.size() && hold.blank > 0,
                "publishing block {} of {}: no content or no block", hold.hashed, full);
    const std::int64_t begin = hold.chunk == 0 ? 0 : content[hold.chunk - 1].end;
    const std::int64_t end = std::min(content[hold.chunk].end, full);
    const std::int64_t n = end - hold.hashed;
    if (n > 0) {
      const bool own = hold.chunk >= hold.own;
      const std::uint64_t key = content[hold.chunk].key;
      const std::uint32_t last = hold.pieces.empty() ? kNone : hold.pieces.back().run;
      // Mostly the sequence goes on in the chunk of its last run: no look-up then.
      std::uint32_t node = last == kNone ? kNone : runs_[last].node;
      if (node == kNone || nodes_[node].key != key) node = node_of(key, node, begin, own);
      const std::int64_t start = hold.hashed - begin;
      const bool grew = start + n > nodes_[node].seen;
      if (grew) nodes_[node].seen = static_cast<std::uint32_t>(start + n);
      hold.hashed += n;
      hold.blank -= n;
      // Grow the sequence's last run when nobody else can tell the difference.
      if (last != kNone && nodes_[node].last == last && runs_[last].node == node &&
          runs_[last].refs == 1 && runs_[last].blocks == hold.pieces.back().blocks &&
          runs_[last].end() == start) {
        runs_[last].grow(n);
        hold.pieces.back().blocks += n;
      } else {
        const std::uint32_t r = new_run();
        runs_[r].node = node;
        runs_[r].refs = 1;
        runs_[r].start = static_cast<std::uint32_t>(start);
        runs_[r].grow(n);
        append_to_node(r);
        hold.pieces.push_back({r, n});
      }
      if (cached_ && !own && (grew || hears_all_)) {
        Node& told = nodes_[node];
        tell(told, start <= told.leading ? covered_from(told, told.leading) : told.leading, grew);
      }
    }
    if (hold.hashed == content[hold.chunk].end) ++hold.chunk;
  }
}

void BlockPool::release_piece(const Piece& piece) {
  chain_.clear();
  std::int64_t left = piece.blocks;
  for (std::uint32_t r = piece.run; left > 0; r = runs_[r].split_next) {
    chain_.push_back(r);
    left -= runs_[r].blocks;
  }
  KVSIM_CHECK(left == 0, "a hold ends inside a run ({} blocks over)", -left);
  for (auto i = chain_.rbegin(); i != chain_.rend(); ++i) {
    Run& run = runs_[*i];
    if (--run.refs > 0) continue;
    enqueue_back(*i);
    free_ += run.blocks;
    cached_free_ += run.blocks;
  }
}

void BlockPool::release(Hold& hold) {
  add_blank(hold.blank);
  for (auto i = hold.pieces.size(); i-- > 0;) {
    if (i >= kAhead) __builtin_prefetch(&runs_[hold.pieces[i - kAhead].run], 1);
    release_piece(hold.pieces[i]);
  }
  hold.pieces.clear();
  hold.hashed = hold.blank = 0;
  hold.chunk = 0;
}

void BlockPool::runs(const Hold& hold, std::vector<Piece>& out) const {
  for (const Piece& piece : hold.pieces) {
    std::int64_t left = piece.blocks;
    for (std::uint32_t r = piece.run; left > 0; r = runs_[r].split_next) {
      out.push_back({r, runs_[r].blocks});
      left -= runs_[r].blocks;
    }
  }
}

bool BlockPool::reset() {
  if (free_ != total_) return false;
  runs_.clear();
  free_runs_.clear();
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    Node& n = nodes_[i];
    n.first = n.last = kNone;
    if (hears_all_ && n.leading > 0) tell(n, 0, false);
    if (n.own) forget(i);
  }
  head_ = tail_ = kNone;
  free_ = cached_free_ = 0;
  ++resets_;
  add_blank(total_);
  return true;
}

void BlockPool::check(std::span<const Hold* const> holders) const {
  std::int64_t queued = 0, cached = 0;
  for (std::uint32_t r = head_; r != kNone; r = runs_[r].queue_next) {
    KVSIM_CHECK(runs_[r].refs == 0 && runs_[r].blocks > 0, "run {} in the free queue", r);
    queued += runs_[r].blocks;
    if (runs_[r].node != kNone) cached += runs_[r].blocks;
  }
  KVSIM_CHECK(queued == free_ && cached == cached_free_,
              "free queue holds {} ({} cached), counted {} ({})", queued, cached, free_,
              cached_free_);
  std::vector<std::uint32_t> references(runs_.size(), 0);
  std::int64_t used = 0;
  for (const Hold* h : holders) {
    used += h->blank;
    for (const Piece& p : h->pieces) {
      std::int64_t left = p.blocks;
      for (std::uint32_t r = p.run; left > 0; r = runs_[r].split_next) {
        if (references[r]++ == 0) used += runs_[r].blocks;
        left -= runs_[r].blocks;
      }
    }
  }
  for (std::uint32_t r = 0; r < runs_.size(); ++r)
    KVSIM_CHECK(references[r] == 0 || references[r] == runs_[r].refs,
                "run {} counts {} references, has {}", r, runs_[r].refs, references[r]);
  KVSIM_CHECK(used + free_ == total_, "{} used + {} free blocks of {}", used, free_, total_);
}

}  // namespace kvsim
