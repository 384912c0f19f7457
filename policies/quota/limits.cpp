// Three limits at once: tokens by a bucket that fills evenly, requests at a time, and a share of
// the KV memory.
#include <algorithm>

#include "policies/quota/quota.h"
#include "sim/base/diagnostics.h"

namespace kvsim {
namespace {

constexpr std::int64_t kMinute = 60'000'000'000;  // ns

class Limits final : public Quota {
 public:
  struct Params {
    std::int64_t tokens_per_minute = 0, burst = 0, requests = 0;
    Ratio kv_share{1.0};
    static constexpr Rows kFields{
        field("tokens_per_minute", &Params::tokens_per_minute,
              between<std::int64_t>(0, std::int64_t{1} << 40),
              "prompt and output tokens, from a bucket that fills evenly; a request takes all of "
              "its own when it is let in; 0 = no limit"),
        field("burst", &Params::burst, between<std::int64_t>(0, std::int64_t{1} << 40),
              "tokens that the bucket holds; 0 = those of a minute"),
        field("requests", &Params::requests, between<std::int64_t>(0, 1 << 30),
              "let in and not over; 0 = no limit"),
        field("kv_share", &Params::kv_share, between(Ratio{0}, Ratio{1}),
              "of the KV memory of all instances, by prompt and output of requests that are let "
              "in and not over")};
  };
  Limits(Params p, const Context& c) : params_(p) {
    if (p.burst > 0 && p.tokens_per_minute == 0)
      throw InputError("burst: a bucket that never fills", "set tokens_per_minute");
    if (p.burst == 0) params_.burst = p.tokens_per_minute;
    // At least one token, so that a share of nothing is a limit.
    if (p.kv_share < Ratio{1.0})
      kv_tokens_ = std::max<std::int64_t>(
          1, static_cast<std::int64_t>(p.kv_share.value * static_cast<double>(c.kv_tokens)));
    level_ = Level{params_.burst} * kMinute;
  }

  [[nodiscard]] const char* never(std::int64_t tokens) const override {
    if (params_.tokens_per_minute > 0 && tokens > params_.burst)
      return "asks for more tokens than its tenant's burst";
    if (kv_tokens_ > 0 && tokens > kv_tokens_)
      return "needs more KV memory than its tenant's share";
    return nullptr;
  }
  [[nodiscard]] const char* over(std::int64_t tokens, const Use& use, Time now) override {
    fill(now);
    if (params_.requests > 0 && use.requests >= params_.requests)
      return "its tenant has too many requests inside";
    if (kv_tokens_ > 0 && use.tokens + tokens > kv_tokens_)
      return "its tenant uses its share of the KV memory";
    if (params_.tokens_per_minute > 0 && level_ < Level{tokens} * kMinute)
      return "its tenant has used its tokens per minute";
    return nullptr;
  }
  void let_in(std::int64_t tokens, Time now) override {
    fill(now);
    if (params_.tokens_per_minute > 0) level_ -= Level{tokens} * kMinute;
  }
  [[nodiscard]] Time ready(std::int64_t tokens, Time now) override {
    if (params_.tokens_per_minute == 0) return kNever;
    fill(now);
    const Level missing = Level{tokens} * kMinute - level_;
    if (missing <= 0) return kNever;  // it waits for something else
    const Level rate = params_.tokens_per_minute;
    return now + Duration{static_cast<std::int64_t>((missing + rate - 1) / rate)};
  }

 private:
  // Tokens times the nanoseconds of a minute: a rate a minute fills it without rounding.
  __extension__ typedef __int128 Level;
  void fill(Time now) {
    if (!begun_) filled_ = now;
    begun_ = true;
    level_ = std::min(Level{params_.burst} * kMinute,
                      level_ + Level{params_.tokens_per_minute} * to_ns(now - filled_));
    filled_ = now;
  }

  Params params_;
  std::int64_t kv_tokens_ = 0;  // 0 = no limit
  Level level_ = 0;
  Time filled_{};  // level_ is of then
  bool begun_ = false;
};

const Register<Limits> kSelf{"limits",
                             "tokens per minute from a bucket, requests at a time, a share of KV",
                             "tokens per minute and requests at a time, as hosted APIs limit them"};

}  // namespace
}  // namespace kvsim
