#pragma once
// Encoders of images (and whatever else becomes tokens of a prompt): what one takes, which outputs
// are still there by the image's hash (vLLM's encoder cache), and encoders of their own before the
// prompts (EPD, arXiv:2501.05460).
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/outcome.h"
#include "traces/trace_source.h"

namespace kvsim {

struct EncoderRules {
  // An image of n tokens takes max(floor, n token + n^2 square) + launch.
  double floor_ns = 0, token_ns = 0, square_ns = 0, launch_ns = 0;
  std::int64_t cache_tokens = 0;  // outputs that are kept
  [[nodiscard]] std::int64_t time_ns(std::int64_t tokens) const;
};

// Outputs by hash, the least recently used leave first. One larger than the whole is not kept.
class EncoderCache {
 public:
  explicit EncoderCache(std::int64_t tokens) : room_(tokens) {}
  // Whether it is there; that counts as use.
  bool use(std::uint64_t hash);
  [[nodiscard]] bool holds(std::uint64_t hash) const { return entries_.contains(hash); }
  void insert(std::uint64_t hash, std::int64_t tokens);
  void clear();
  [[nodiscard]] std::int64_t free_tokens() const { return room_; }

 private:
  struct Entry {
    std::int64_t tokens = 0;
    std::uint64_t used = 0;
  };
  std::int64_t room_;
  std::uint64_t tick_ = 0;
  std::map<std::uint64_t, Entry> entries_;
  std::map<std::uint64_t, std::uint64_t> by_use_;
};

// Images by request, while it is inside.
using ImageTable = std::map<std::uint64_t, std::vector<Image>>;

// The encoder of an instance that computes prompts: an image is encoded in the iteration that
// computes its first tokens, unless its output is cached.
class PromptEncoder {
 public:
  PromptEncoder(const EncoderRules& rules, const ImageTable& images)
      : rules_(rules), images_(images), cache_(rules.cache_tokens) {}
  // GPU time before a piece of a request's prompt: the images in tokens [from, to).
  std::int64_t encode(std::uint64_t request, std::int64_t from, std::int64_t to, EncoderTotals&);
  void clear() { cache_.clear(); }

 private:
  const EncoderRules& rules_;
  const ImageTable& images_;
  EncoderCache cache_;
};

// Encoders of their own: an image goes to one that has it, else to the one that is free first, and
// waits there for those before it; what comes out goes over the encoder's link, one image after the
// other.
struct EncodeStage {
  EncoderRules rules;
  std::int64_t encoders = 0;  // 0 = there is no such stage
  double bytes_per_second = 0;
  Duration latency{};
  std::int64_t token_bytes = 0;  // of an output token
};
class EncoderPool {
 public:
  explicit EncoderPool(const EncodeStage&);
  // When the outputs of a request that comes at `now` (never before an earlier call's) are all
  // there.
  Time ready(std::span<const Image>, Time now);
  [[nodiscard]] const EncoderTotals& totals() const { return totals_; }

 private:
  struct Encoder {
    EncoderCache cache;
    Time free{}, link_free{};
    std::map<std::uint64_t, Time> coming;  // outputs not sent yet when they are asked for again
  };
  EncodeStage stage_;
  std::vector<Encoder> encoders_;
  EncoderTotals totals_;
};

}  // namespace kvsim
