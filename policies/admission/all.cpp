// Everybody is taken in, however long the queue.
#include "policies/admission/admission.h"

namespace kvsim {
namespace {

class All final : public Admission {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  All(Params, const Context&) {}
  const char* refuse(const AdmissionQuestion&) override { return nullptr; }
};

const Register<All> kSelf{"all", "everybody is taken in", "vLLM v1, SGLang"};

}  // namespace
}  // namespace kvsim
