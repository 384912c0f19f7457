// Blocks of sessions that were active a short while ago stay: leaves of the session that has been
// silent longest go first. A block belongs to the session that used it last; without a session its
// own last use counts.
#include <unordered_map>

#include "policies/eviction/leaf_policy.h"

namespace kvsim {
namespace {

struct Owner {
  std::uint32_t session = 0;  // place in the column of last activity
  double tick = 0;
};

class SessionAlive final : public LeafColumns<Owner> {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  SessionAlive(Params, const Context& c) : LeafColumns(c) {}

 private:
  void note(const Access& a, bool) override {
    Owner& o = at(a.id);
    o = {0, static_cast<double>(a.tick)};
    if (a.session == 0) return;
    const auto place = static_cast<std::uint32_t>(active_.size());
    const auto [s, fresh] = place_.try_emplace(a.session, place);
    if (fresh) active_.push_back(0);
    o.session = s->second;
    active_[o.session] = o.tick;
  }
  void refresh(const Access& a) override { note(a, true); }
  [[nodiscard]] Rank rank(ObjectId id) const override {
    const Owner& o = at(id);
    return {o.session == 0 ? o.tick : active_[o.session], o.tick};
  }
  std::unordered_map<std::uint64_t, std::uint32_t> place_;
  std::vector<double> active_{0};  // tick of the last access; the first stands for no session
};

const Register<SessionAlive> kSelf{
    "session-alive", "of the leaves of the prefix tree, those of the session silent longest",
    "session-aware eviction, vllm-project/vllm pull request 50422"};

}  // namespace
}  // namespace kvsim
