// Least recently used.
#include "policies/eviction/eviction.h"

namespace kvsim {
namespace {

class Lru final : public EvictionPolicy {
 public:
  struct Params {
    static constexpr std::tuple<> kFields{};
  };
  Lru(Params, const Context& c) : EvictionPolicy(c) {}
  void on_hit(const Access& a) override {
    unlink(a.id);
    link(a.id);
  }
  void on_insert(const Access& a) override { link(a.id); }
  void on_remove(ObjectId id) override { unlink(id); }
  ObjectId evict(const Access&) override {
    ObjectId id = oldest_;
    while (id != kNoObject && pinned(id)) id = links_[id].newer;
    if (id != kNoObject) unlink(id);
    return id;
  }

 private:
  struct Link {
    ObjectId older = kNoObject, newer = kNoObject;
  };
  void link(ObjectId id) {
    if (links_.size() <= id) links_.resize(objects_->size());
    links_[id] = {newest_, kNoObject};
    (newest_ == kNoObject ? oldest_ : links_[newest_].newer) = id;
    newest_ = id;
  }
  void unlink(ObjectId id) {
    const Link l = links_[id];
    (l.older == kNoObject ? oldest_ : links_[l.older].newer) = l.newer;
    (l.newer == kNoObject ? newest_ : links_[l.newer].older) = l.older;
  }
  std::vector<Link> links_;
  ObjectId oldest_ = kNoObject, newest_ = kNoObject;
};

const Register<Lru> kSelf{"lru", "least recently used", "textbook"};

}  // namespace
}  // namespace kvsim
