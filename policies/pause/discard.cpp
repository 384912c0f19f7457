// KV is given up: what the prefix cache still has when the tool returns is a hit like any other.
#include "policies/pause/pause.h"

namespace kvsim {
namespace {

class Discard final : public PausePolicy {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Discard(Params, const Context&) {}
  PauseFate decide(const PauseQuestion&) override { return PauseFate::discard; }
};

const Register<Discard> kSelf{"discard", "KV is given up while the tool runs",
                              "vLLM (a call ends the request); INFERCEPT, arXiv:2402.01869"};

}  // namespace
}  // namespace kvsim
