// Alibaba's Qwen-Bailian traces: hashes of 16-token blocks by themselves, turns of chats that name
// their parent.
#include <fmt/format.h>

#include <unordered_map>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"

namespace kvsim {
namespace {

class QwenBailian final : public RecordSource {
 public:
  struct Params {
    Tokens hash_block{16};
    ZeroLengths zero_lengths = ZeroLengths::error;
    static constexpr Rows kFields{
        field("hash_block", &Params::hash_block, between(Tokens{1}, Tokens{1 << 20}),
              "tokens of one hashed block"),
        field("zero_lengths", &Params::zero_lengths, any, kZeroLengthsText)};
  };

  QwenBailian(Params params, const Context& context)
      : RecordSource(context),
        zero_lengths_(params.zero_lengths),
        block_(params.hash_block.count()) {}

 private:
  struct Fields {
    std::optional<double> at;
    std::optional<std::int64_t> input, output, chat, parent, turn;
    bool has_ids = false;
  };
  static constexpr std::uint64_t kSalt = hash_text("qwen-bailian");

  bool parse(std::string_view record, Request& out) override {
    Fields f;
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    parser_.parse(record, [&](std::string_view key, JsonValue& v) {
      if (key == "hash_ids")
        v.ids(ids_), f.has_ids = true;
      else if (key == "timestamp")
        f.at = v.number(0, kMaxSeconds);
      else if (key == "input_length")
        f.input = v.tokens(0);
      else if (key == "output_length")
        f.output = v.tokens(0);
      else if (key == "chat_id")
        f.chat = v.whole(0, kMost);
      else if (key == "parent_chat_id")
        f.parent = v.whole(-1, kMost);
      else if (key == "turn")
        f.turn = v.whole(1, 1'000'000);
    });
    if (!f.at) missing_field("timestamp");
    if (!f.input) missing_field("input_length");
    if (!f.output) missing_field("output_length");
    if (!f.chat) missing_field("chat_id");
    out.arrival = Time{duration_of_seconds(*f.at)};
    if (!set_lengths(out, *f.input, *f.output, zero_lengths_, "input_length", "output_length"))
      return false;
    if (f.has_ids && *f.input > 0)
      set_blocks(out);
    else
      set_unknown_content(out, kSalt, ++unknown_);
    set_session(f, out);
    return true;
  }

  // A chat belongs to the session of its parent; a root (parent -1, or one from before the trace)
  // begins one.
  void set_session(const Fields& f, Request& out) {
    const auto parent = f.parent && *f.parent >= 0 ? chats_.find(*f.parent) : chats_.end();
    const std::uint64_t root = parent != chats_.end()
                                   ? parent->second.first
                                   : hash_combine(kSalt, static_cast<std::uint64_t>(*f.chat)) | 1;
    const std::uint32_t turn = f.turn                   ? static_cast<std::uint32_t>(*f.turn - 1)
                               : parent != chats_.end() ? parent->second.second + 1
                                                        : 0;
    chats_[*f.chat] = {root, turn};
    out.session = root;
    out.turn = turn;
  }

  // The partial block at the end may have a hash or not.
  void set_blocks(Request& out) {
    const auto full = static_cast<std::uint64_t>(out.prompt_tokens / block_);
    const std::uint64_t all = full + (out.prompt_tokens % block_ != 0 ? 1 : 0);
    if (ids_.size() != full && ids_.size() != all)
      throw BadRecord{"hash_ids", fmt::format("read {} hashes, expected {} for {} prompt tokens in "
                                              "blocks of {} (parameter hash_block)",
                                              ids_.size(), all, out.prompt_tokens, block_)};
    std::uint64_t key = kSalt;
    std::int64_t left = out.prompt_tokens;
    for (const std::uint64_t id : ids_) {  // a hash names its block alone: chain them
      key = hash_combine(key, id);
      out.segments.push_back({key, std::min(left, block_)});
      left -= block_;
    }
    if (left > 0) out.segments.push_back({unique_key(kSalt, ++unknown_), left});
  }

  ZeroLengths zero_lengths_;
  std::int64_t block_;
  JsonParser parser_;
  std::vector<std::uint64_t> ids_;
  std::unordered_map<std::int64_t, std::pair<std::uint64_t, std::uint32_t>>
      chats_;  // chat: its session and turn
  std::uint64_t unknown_ = 0;
};

const Register<QwenBailian> kSelf{
    "qwen-bailian",
    "JSON lines with hashes of 16-token blocks, each by itself, and chat_id, parent_chat_id",
    "Wang et al., KVCache in the wild, USENIX ATC 2025; "
    "github.com/alibaba-edu/qwen-bailian-usagetraces-anon"};

}  // namespace
}  // namespace kvsim
