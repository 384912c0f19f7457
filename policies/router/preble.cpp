// E2 (exploit and explore): where more of the prompt is cached than not, it goes to the least
// loaded of those who have most of it; else to whoever it costs least, history included. Who is
// loaded far more than the lightest hands its share of exploits to it.
#include <deque>

#include "policies/router/router.h"

namespace kvsim {
namespace {

class Preble final : public Router {
 public:
  struct Params {
    Duration window = std::chrono::minutes(3);
    double imbalance = 2;
    static constexpr Rows kFields{
        field("window", &Params::window,
              between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(24)),
              "of the history that counts as load"),
        field("imbalance", &Params::imbalance, between(1.0, 1e6),
              "an exploit goes to the lightest instance when its own has more than this many times "
              "as much load")};
  };
  Preble(Params p, const Context& c) : params_(p), load_(c.instances) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.index = Traits::Index::exact;
    t.estimates = true;
    return t;
  }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    for (; !history_.empty() && r.now - history_.front().at > params_.window; history_.pop_front())
      load_[history_.front().instance] -= history_.front().work;
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < instances.size(); ++i)
      if (instances[i].up) longest = std::max(longest, r.hits(i));
    const auto lightest = least(instances, {}, [&](std::size_t i) { return to_ns(load_[i]); });
    std::size_t chosen = kNoInstance;
    if (2 * longest > r.prompt_tokens) {
      for (std::size_t i = 0; i < instances.size(); ++i) {
        if (!instances[i].up || r.hits(i) < longest) continue;
        if (!scores.empty()) scores[i] = static_cast<double>(to_ns(load_[i]));
        if (chosen == kNoInstance || load_[i] < load_[chosen]) chosen = i;
      }
      if (static_cast<double>(to_ns(load_[chosen])) >
          params_.imbalance * static_cast<double>(to_ns(load_[lightest] + r.prefill(lightest, 0))))
        chosen = lightest;
    } else {
      chosen = least(instances, scores, [&](std::size_t i) {
        return to_ns(load_[i] + r.prefill(i, r.hits(i)) + evicted(r, instances[i], i));
      });
    }
    const Duration work = r.prefill(chosen, r.hits(chosen));
    load_[chosen] += work;
    history_.push_back({r.now, chosen, work});
    return chosen;
  }

 private:
  struct Sent {
    Time at{};
    std::size_t instance = 0;
    Duration work{};
  };
  // What computing again costs of that which must leave, when its memory is full: as much as comes.
  static Duration evicted(const RoutedRequest& r, const InstanceView& v, std::size_t i) {
    const bool full = v.prompt_tokens + r.prompt_tokens > v.kv_tokens;
    return full ? r.prefill(i, r.hits(i)) : Duration{0};
  }

  Params params_;
  std::vector<Duration> load_;
  std::deque<Sent> history_;
};

const Register<Preble> kSelf{"preble",
                             "E2: exploit a prefix of more than half the prompt, else explore the "
                             "least cost",
                             "Preble, arXiv:2407.00023"};

}  // namespace
}  // namespace kvsim
