// Placement as online bin packing: a request goes to the fullest instance that has room for it, so
// that few instances are used; live requests leave one that runs over, and one that the others have
// room for all of.
#include <algorithm>

#include "policies/router/router.h"

namespace kvsim {
namespace {

class Mell final : public Router {
 public:
  struct Params {
    Duration every = std::chrono::milliseconds(100);
    Ratio full{0.85};
    std::int64_t growth = 256;
    double ease = 1.5;
    MoveBy by = MoveBy::cheaper;
    static constexpr Rows kFields{
        field("every", &Params::every,
              between<Duration>(std::chrono::milliseconds(1), std::chrono::hours(1)),
              "instances are looked at for migration this often"),
        field("full", &Params::full, between(Ratio{0.01}, Ratio{1}),
              "share of an instance's KV memory that is handed out"),
        field("growth", &Params::growth, between<std::int64_t>(0, 1 << 30),
              "tokens of room kept for each request's output"),
        field("ease", &Params::ease, between(1.0, 1e6),
              "an instance is emptied when the others in use have this many times the room"),
        field(
            "by", &Params::by, any,
            "a request that moves: its KV is copied, its tokens are computed again, or what takes "
            "less time")};
  };
  Mell(Params p, const Context&) : params_(p) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.every = params_.every;
    t.estimates = params_.by == MoveBy::cheaper;
    return t;
  }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    const double needs = static_cast<double>(r.prompt_tokens + params_.growth);
    return least(instances, scores, [&](std::size_t i) {
      const double used = load(instances[i]);
      return room(instances[i]) >= needs ? -used : kOver + used;
    });
  }
  void balance(std::span<const InstanceView> instances, std::vector<Migration>& out) override {
    std::size_t emptiest = kNoInstance;
    double rooms = 0;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      const InstanceView& v = instances[i];
      if (!v.up || v.in_flight == 0) continue;
      if (room(v) < 0) move(instances, i, true, out);
      rooms += std::max(0.0, room(v));
      if (emptiest == kNoInstance || load(v) < load(instances[emptiest])) emptiest = i;
    }
    if (emptiest == kNoInstance) return;
    const InstanceView& v = instances[emptiest];
    rooms -= std::max(0.0, room(v));
    if (rooms >= params_.ease * load(v)) move(instances, emptiest, false, out);
  }

 private:
  static constexpr double kOver = 1e15;  // above any load

  [[nodiscard]] double load(const InstanceView& v) const {
    return static_cast<double>(v.prompt_tokens + v.in_flight * params_.growth);
  }
  [[nodiscard]] double room(const InstanceView& v) const {
    return params_.full.value * static_cast<double>(v.kv_tokens) - load(v);
  }
  // One request of mean size to the fullest other that has room for it; an unused one only if it
  // may be opened.
  void move(std::span<const InstanceView> instances, std::size_t from, bool may_open,
            std::vector<Migration>& out) const {
    const double needs = load(instances[from]) /
                         static_cast<double>(std::max<std::int64_t>(1, instances[from].in_flight));
    std::size_t to = kNoInstance;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      const InstanceView& v = instances[i];
      if (i == from || !v.up || room(v) < needs || (v.in_flight == 0 && !may_open)) continue;
      if (to == kNoInstance || load(v) > load(instances[to])) to = i;
    }
    if (to != kNoInstance) out.push_back({from, to, params_.by});
  }

  Params params_;
};

const Register<Mell> kSelf{"mell",
                           "bin packing: the fullest instance with room; migration empties others",
                           "Liu et al., Mell, INFOCOM 2025, arXiv:2501.06709"};

}  // namespace
}  // namespace kvsim
