// Tokens in each window of fixed length: what is left of one does not go over into the next.
#include <utility>

#include "policies/quota/quota.h"

namespace kvsim {
namespace {

class Window final : public Quota {
 public:
  struct Params {
    std::int64_t tokens = 100'000;
    Duration window = std::chrono::minutes(1);
    static constexpr Rows kFields{
        field("tokens", &Params::tokens, between<std::int64_t>(1, std::int64_t{1} << 40),
              "prompt and output tokens that are let in during a window"),
        field("window", &Params::window,
              between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(24 * 31)),
              "its length; windows follow each other from the start of the run")};
  };
  Window(Params p, const Context&) : params_(p) {}

  [[nodiscard]] const char* never(std::int64_t tokens) const override {
    return tokens > params_.tokens ? "asks for more tokens than its tenant has in a window"
                                   : nullptr;
  }
  [[nodiscard]] const char* over(std::int64_t tokens, const Use&, Time now) override {
    turn(now);
    return used_ + tokens > params_.tokens ? "its tenant has used its tokens of this window"
                                           : nullptr;
  }
  void let_in(std::int64_t tokens, Time now) override {
    turn(now);
    used_ += tokens;
  }
  [[nodiscard]] Time ready(std::int64_t tokens, Time now) override {
    turn(now);
    return used_ + tokens > params_.tokens ? Time{params_.window * (number_ + 1)} : kNever;
  }

 private:
  void turn(Time now) {
    const std::int64_t number = now.time_since_epoch() / params_.window;
    if (std::exchange(number_, number) != number) used_ = 0;
  }

  Params params_;
  std::int64_t number_ = 0, used_ = 0;
};

const Register<Window> kSelf{"window", "tokens in each window of fixed length",
                             "fixed-window rate limits of API gateways (Kong, Envoy)"};

}  // namespace
}  // namespace kvsim
