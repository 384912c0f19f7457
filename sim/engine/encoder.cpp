#include "sim/engine/encoder.h"

#include <algorithm>
#include <cmath>

namespace kvsim {

std::int64_t EncoderRules::time_ns(std::int64_t tokens) const {
  const auto n = static_cast<double>(tokens);
  return static_cast<std::int64_t>(
      std::ceil(std::max(floor_ns, n * token_ns + n * n * square_ns) + launch_ns));
}

bool EncoderCache::use(std::uint64_t hash) {
  const auto at = entries_.find(hash);
  if (at == entries_.end()) return false;
  by_use_.erase(at->second.used);
  at->second.used = ++tick_;
  by_use_[tick_] = hash;
  return true;
}

void EncoderCache::insert(std::uint64_t hash, std::int64_t tokens) {
  if (use(hash)) return;
  while (tokens > room_ && !by_use_.empty()) {
    const auto oldest = by_use_.begin();
    room_ += entries_.at(oldest->second).tokens;
    entries_.erase(oldest->second);
    by_use_.erase(oldest);
  }
  if (tokens > room_) return;
  room_ -= tokens;
  entries_[hash] = {tokens, ++tick_};
  by_use_[tick_] = hash;
}

void EncoderCache::clear() {
  for (const auto& [hash, entry] : entries_) room_ += entry.tokens;
  entries_.clear();
  by_use_.clear();
}

std::int64_t PromptEncoder::encode(std::uint64_t request, std::int64_t from, std::int64_t to,
                                   EncoderTotals& totals) {
  const auto found = images_.find(request);
  if (found == images_.end()) return 0;
  std::int64_t ns = 0;
  for (const Image& image : found->second) {
    if (image.first >= to || image.first + image.tokens <= from) continue;
    if (cache_.use(image.hash)) {
      // Later pieces of one image are no hits.
      totals.hits += image.first >= from ? 1 : 0;
      continue;
    }
    ns += rules_.time_ns(image.tokens);
    ++totals.images;
    totals.tokens += image.tokens;
    cache_.insert(image.hash, image.tokens);
  }
  totals.busy_ns += ns;
  return ns;
}

EncoderPool::EncoderPool(const EncodeStage& stage) : stage_(stage) {
  totals_.encoders = stage.encoders;
  for (std::int64_t i = 0; i < stage.encoders; ++i)
    encoders_.push_back({EncoderCache{stage.rules.cache_tokens}, {}, {}, {}});
}

Time EncoderPool::ready(std::span<const Image> images, Time now) {
  Time all = now;
  for (const Image& image : images) {
    const auto has = [&](const Encoder& e) { return e.cache.holds(image.hash); };
    auto at = std::find_if(encoders_.begin(), encoders_.end(), has);
    const bool hit = at != encoders_.end();
    if (!hit)
      at = std::min_element(encoders_.begin(), encoders_.end(),
                            [](const Encoder& a, const Encoder& b) { return a.free < b.free; });
    Encoder& e = *at;
    Time done = now;
    if (hit) {
      ++totals_.hits;
      e.cache.use(image.hash);
      // It may be cached by name although it is not computed yet.
      if (const auto soon = e.coming.find(image.hash); soon != e.coming.end()) {
        if (soon->second > now)
          done = soon->second;
        else
          e.coming.erase(soon);
      }
    } else {
      const std::int64_t ns = stage_.rules.time_ns(image.tokens);
      done = std::max(now, e.free) + Duration{ns};
      e.free = done;
      ++totals_.images;
      totals_.tokens += image.tokens;
      totals_.busy_ns += ns;
      e.cache.insert(image.hash, image.tokens);
      if (e.cache.holds(image.hash)) e.coming[image.hash] = done;
    }
    const std::int64_t bytes = image.tokens * stage_.token_bytes;
    const auto sending = static_cast<std::int64_t>(
        std::ceil(static_cast<double>(bytes) / stage_.bytes_per_second * 1e9));
    e.link_free = std::max(done, e.link_free) + Duration{sending};
    totals_.sent_bytes += bytes;
    all = std::max(all, e.link_free + stage_.latency);
  }
  if (!images.empty()) totals_.wait_ns += to_ns(all - now);
  totals_.requests += images.empty() ? 0 : 1;
  return all;
}

}  // namespace kvsim
