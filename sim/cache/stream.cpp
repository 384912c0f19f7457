#include "sim/cache/stream.h"

#include <algorithm>

#include "policies/eviction/eviction.h"
#include "sim/base/diagnostics.h"
#include "sim/base/hash.h"
#include "traces/key_table.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

class Loader {
 public:
  Loader(BlockStream& out, std::int64_t block_tokens) : out_(out), block_(block_tokens) {}
  void add(const Request& r) {
    before_ = kNoObject;
    if (block_ == 0)
      own_blocks(r);
    else
      cut_blocks(r);
    out_.begin.push_back(out_.access.size());
    out_.request.push_back({r.arrival, r.session, r.tenant, r.priority});
  }

 private:
  void own_blocks(const Request& r) {
    std::int64_t left = r.prompt_tokens;
    for (const Segment& s : r.segments) {
      if (left <= 0) return;
      access(s.key);
      left -= s.tokens;
    }
  }
  void cut_blocks(const Request& r) {
    std::int64_t begin = 0;  // of the segment that holds the last token of the block
    auto s = r.segments.begin();
    for (std::int64_t end = 0; end < r.prompt_tokens;) {
      end = std::min(end + block_, r.prompt_tokens);
      while (s != r.segments.end() && begin + s->tokens < end) begin += (s++)->tokens;
      if (s == r.segments.end()) return;
      const std::int64_t covered = end - begin;
      access(covered == s->tokens ? s->key
                                  : hash_combine(s->key, static_cast<std::uint64_t>(covered)));
    }
  }
  void access(std::uint64_t key) {
    if (ids_.size() >= kNoObject)
      throw InputError("the trace has more than 4294967294 distinct blocks", "set a limit");
    const auto [id, is_new] = ids_.insert(key, ids_.size());
    if (is_new) out_.objects.add(key, before_);
    before_ = static_cast<ObjectId>(id);
    out_.access.push_back(before_);
  }

  BlockStream& out_;
  std::int64_t block_;
  KeyTable ids_;
  ObjectId before_ = kNoObject;  // the block before in this prompt
};

}  // namespace

BlockStream load_stream(TraceSource& source, const StreamOptions& options) {
  if (options.block_tokens < 0) throw InputError("block_tokens has to be 0 or more");
  BlockStream out;
  Loader loader(out, options.block_tokens);
  for_each_request(source, options.service, [&](const Request& r) { loader.add(r); });
  return out;
}

std::vector<std::int64_t> next_uses(const BlockStream& stream) {
  std::vector<std::int64_t> next(stream.access.size());
  std::vector<std::int64_t> seen(stream.objects.size(), kNoNextUse);
  for (std::size_t i = next.size(); i-- > 0;) {
    std::int64_t& at = seen[stream.access[i]];
    next[i] = at;
    at = static_cast<std::int64_t>(i);
  }
  return next;
}

}  // namespace kvsim
