// First come, first served: vLLM's default. A preempted request goes back to the front.
#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class Fcfs final : public Scheduler {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Fcfs(Params, const Context&) {}
  [[nodiscard]] Traits traits() const override { return {}; }
};

const Register<Fcfs> kSelf{"fcfs", "in order of arrival; the last admitted is preempted",
                           "vLLM v1, scheduling policy fcfs"};

}  // namespace
}  // namespace kvsim
