// Nothing is loaded: the baseline without lower tiers, on the same requests.
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class Never final : public RestorePlanner {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Never(Params, const Context&) {}
  RestorePlan plan(const RestoreQuestion& q) override { return recompute_all(q); }
};

const Register<Never> kSelf{"never", "computes all again", "a baseline"};

}  // namespace
}  // namespace kvsim
