#include "sim/state/prefix_directory.h"

#include <algorithm>
#include <bit>

#include "sim/state/seen_blocks.h"

namespace kvsim {
namespace {
bool has(std::span<const std::uint64_t> bits, std::uint32_t i) {
  return i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
}
void set_bit(std::span<std::uint64_t> bits, std::uint32_t i) {
  bits[i / 64] |= std::uint64_t{1} << (i % 64);
}
template <class See>
void each(std::uint64_t word, std::size_t index, See&& see) {
  for (; word != 0; word &= word - 1)
    see(static_cast<std::uint32_t>(index * 64) +
        static_cast<std::uint32_t>(std::countr_zero(word)));
}
// A number that is free, or one behind the last.
template <class T>
std::uint32_t take(std::vector<std::uint32_t>& free, std::vector<T>& all) {
  if (free.empty()) {
    all.emplace_back();
    return static_cast<std::uint32_t>(all.size() - 1);
  }
  const std::uint32_t number = free.back();
  free.pop_back();
  return number;
}
}  // namespace

// ---- holders

PrefixDirectory::Holders::View PrefixDirectory::Holders::of(std::uint32_t place) const {
  if (place >= list_of_.size() || list_of_[place] == kNone) return {};
  const List& list = lists_[list_of_[place]];
  if (list.many == kNone) return {{&list.with_most, 1}, list.most, {list.few.data(), list.count}};
  const Many& m = many_[list.many];
  return {m.with_most, m.most, m.others};
}

void PrefixDirectory::Holders::List::remove(std::uint32_t instance) {
  if (has({&with_most, 1}, instance)) {
    with_most &= ~(std::uint64_t{1} << instance);
    return;
  }
  const auto last = few.begin() + count;
  const auto at =
      std::find_if(few.begin(), last, [&](const Holder& h) { return h.instance == instance; });
  if (at != last) *at = few[--count];
}

bool PrefixDirectory::Holders::List::add(Holder holder) {
  const auto blocks = static_cast<std::uint32_t>(holder.blocks);
  if (blocks > most) {
    if (count + static_cast<std::uint32_t>(std::popcount(with_most)) > kFew) return false;
    each(with_most, 0, [&](std::uint32_t i) {
      few[count++] = {i, static_cast<std::int32_t>(most)};
    });
    with_most = 0;
    most = blocks;
  }
  if (blocks == most && holder.instance < 64) {
    with_most |= std::uint64_t{1} << holder.instance;
    return true;
  }
  if (count == kFew) return false;
  few[count++] = holder;
  return true;
}

void PrefixDirectory::Holders::Many::remove(std::uint32_t instance) {
  if (has(with_most, instance)) {
    with_most[instance / 64] &= ~(std::uint64_t{1} << (instance % 64));
    --count;
    return;
  }
  const auto at = std::find_if(others.begin(), others.end(),
                               [&](const Holder& h) { return h.instance == instance; });
  if (at == others.end()) return;
  *at = others.back();
  others.pop_back();
  --count;
}

void PrefixDirectory::Holders::Many::add(Holder holder) {
  const auto blocks = static_cast<std::uint32_t>(holder.blocks);
  ++count;
  if (blocks > most) {
    for (std::size_t w = 0; w < with_most.size(); ++w)
      each(with_most[w], w, [&](std::uint32_t i) {
        others.push_back({i, static_cast<std::int32_t>(most)});
      });
    std::fill(with_most.begin(), with_most.end(), 0);
    most = blocks;
  }
  if (blocks < most) {
    others.push_back(holder);
    return;
  }
  if (holder.instance / 64 >= with_most.size()) with_most.resize(holder.instance / 64 + 1, 0);
  set_bit(with_most, holder.instance);
}

void PrefixDirectory::Holders::spill(List& list) {
  const std::uint32_t number = take(free_many_, many_);
  Many& many = many_[number];
  each(list.with_most, 0, [&](std::uint32_t i) {
    many.add({i, static_cast<std::int32_t>(list.most)});
  });
  for (std::uint32_t i = 0; i < list.count; ++i) many.add(list.few[i]);
  list = {};
  list.many = number;
}

void PrefixDirectory::Holders::set(std::uint32_t place, Holder holder) {
  if (place >= list_of_.size()) list_of_.resize(place + 1, kNone);
  std::uint32_t& number = list_of_[place];
  if (number == kNone) {
    if (holder.blocks == 0) return;
    number = take(free_lists_, lists_);
  }
  List& list = lists_[number];
  if (list.many == kNone) {
    list.remove(holder.instance);
    if (holder.blocks > 0 && !list.add(holder)) spill(list);
  }
  if (list.many != kNone) {
    Many& many = many_[list.many];
    many.remove(holder.instance);
    if (holder.blocks > 0) many.add(holder);
    if (many.count > 0) return;
    many.most = 0;
    free_many_.push_back(list.many);
  } else if (!list.empty()) {
    return;
  }
  list = {};
  free_lists_.push_back(number);
  number = kNone;
}

// ---- chunks

std::uint32_t PrefixDirectory::find(std::uint64_t key, std::uint32_t guess) const {
  return guess < entries_.size() && entries_[guess].key == key ? guess : index_.find(key);
}

void PrefixDirectory::changed(std::uint32_t instance, std::uint64_t key, std::uint32_t& place,
                              std::int64_t leading, std::int64_t seen) {
  if (place == kNone && last_ + 1 < entries_.size() && entries_[last_ + 1].key == key)
    place = last_ + 1;  // they come as they came
  if (place == kNone) {
    const auto next = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back({key, 0});
    place = index_.insert(next);
    if (place != next) entries_.pop_back();
  }
  ++changes_;
  instances_ = std::max(instances_, std::size_t{instance} + 1);
  // They leave in the order opposite to that in which they came.
  if (options_.holders) holders_.foresee(place < last_ ? place - kAhead : place + kAhead);
  last_ = place;
  Entry& entry = entries_[place];
  entry.seen = std::max(entry.seen, static_cast<std::uint32_t>(seen));
  const Holder holder{instance, static_cast<std::int32_t>(leading)};
  if (options_.holders) holders_.set(place, holder);
  if (options_.words) words_.push_back({place, holder});
}

void PrefixDirectory::publish(Time now) {
  if (words_.size() == sealed_) return;
  batches_.push_back({now + options_.lag, words_.size() - sealed_});
  sealed_ = words_.size();
}

// Who has something of the first chunk, which has `blocks`.
void PrefixDirectory::begin_with(const Holders::View& holders, std::int64_t blocks) {
  const auto begins = [&](std::uint32_t instance, std::int64_t has_blocks) {
    reached_[instance] = static_cast<std::int32_t>(std::min(has_blocks, blocks));
    set_bit(found_, instance);
    if (has_blocks >= blocks) set_bit(going_on_, instance);
  };
  for (std::size_t w = 0; w < holders.with_most.size(); ++w)
    each(holders.with_most[w], w, [&](std::uint32_t i) { begins(i, holders.most); });
  for (const Holder& h : holders.others) begins(h.instance, h.blocks);
}

// Those who had all `so_far` and have something of a chunk of `blocks`.
void PrefixDirectory::go_on_with(const Holders::View& holders, std::int64_t blocks,
                                 std::int64_t so_far) {
  std::fill(next_.begin(), next_.end(), 0);
  if (holders.most >= blocks)
    for (std::size_t w = 0; w < holders.with_most.size(); ++w)
      next_[w] = going_on_[w] & holders.with_most[w];
  for (const Holder& h : holders.others)
    if (h.blocks >= blocks && has(going_on_, h.instance)) set_bit(next_, h.instance);
  for (std::size_t w = 0; w < going_on_.size(); ++w) {
    each(going_on_[w] & ~next_[w], w, [&](std::uint32_t i) {
      const bool has_most = has(holders.with_most, i);
      reached_[i] = static_cast<std::int32_t>(so_far + (has_most ? holders.most : 0));
    });
  }
  for (const Holder& h : holders.others)
    if (h.blocks < blocks && has(going_on_, h.instance))
      reached_[h.instance] = static_cast<std::int32_t>(so_far + h.blocks);
  going_on_.swap(next_);
}

void PrefixDirectory::match_in(const Holders& all, std::span<const ContentChunk> content,
                               std::int64_t most, std::vector<Holder>& out) {
  const std::size_t words = (instances_ + 63) / 64;
  found_.assign(words, 0);
  going_on_.assign(words, 0);
  next_.assign(words, 0);
  reached_.resize(instances_);
  std::int64_t begin = 0, so_far = 0;
  std::uint32_t place = kNone;
  for (const ContentChunk& c : content) {
    const std::int64_t blocks = std::min(c.end, most) - begin;
    if (begin >= most) break;
    if (blocks == 0) continue;
    place = find(c.key, place + 1);
    const Holders::View holders = all.of(place);
    all.foresee(place + kAhead);
    if (so_far == 0) {
      begin_with(holders, blocks);
    } else {
      go_on_with(holders, blocks, so_far);
    }
    if (std::all_of(going_on_.begin(), going_on_.end(), [](std::uint64_t w) { return w == 0; }))
      break;
    so_far += blocks;
    begin = c.end;
  }
  out.clear();
  for (std::size_t w = 0; w < words; ++w) {
    each(found_[w], w, [&](std::uint32_t i) {
      out.push_back({i, has(going_on_, i) ? static_cast<std::int32_t>(so_far) : reached_[i]});
    });
  }
}

void PrefixDirectory::match(std::span<const ContentChunk> content, std::int64_t most,
                            std::vector<Holder>& out) {
  match_in(holders_, content, most, out);
}

void PrefixDirectory::match_words(std::span<const ContentChunk> content, std::int64_t most,
                                  Time now, std::vector<Holder>& out) {
  while (!batches_.empty() && batches_.front().visible <= now) {
    for (std::size_t i = 0; i < batches_.front().words; ++i) {
      told_.set(words_.front().place, words_.front().holder);
      words_.pop_front();
    }
    sealed_ -= batches_.front().words;
    batches_.pop_front();
  }
  match_in(told_, content, most, out);
}

std::int64_t PrefixDirectory::seen_blocks(std::span<const ContentChunk> content, std::int64_t from,
                                          std::int64_t most) const {
  return seen_blocks_of(content, from, most, [this, place = kNone](std::uint64_t key) mutable {
    place = find(key, place + 1);
    return place == kNone ? std::int64_t{0} : std::int64_t{entries_[place].seen};
  });
}

}  // namespace kvsim
