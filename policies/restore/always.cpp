// Whatever is stored is loaded: what engines with a CPU tier do.
#include "policies/restore/restore.h"

namespace kvsim {
namespace {

class Always final : public RestorePlanner {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Always(Params, const Context&) {}
  RestorePlan plan(const RestoreQuestion& q) override { return load_all(q); }
};

const Register<Always> kSelf{"always", "loads all that is stored", "vLLM native CPU offloading"};

}  // namespace
}  // namespace kvsim
