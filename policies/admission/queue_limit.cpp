// A bound on the queue: newcomers are refused while so much waits already.
#include "policies/admission/admission.h"

namespace kvsim {
namespace {

class QueueLimit final : public Admission {
 public:
  struct Params {
    std::int64_t requests = 128;
    std::int64_t tokens = 0;
    static constexpr Rows kFields{
        field("requests", &Params::requests, between<std::int64_t>(0, 1 << 30),
              "most requests that wait in a rank; 0 = no limit"),
        field("tokens", &Params::tokens, between<std::int64_t>(0, std::int64_t{1} << 40),
              "most tokens that wait to be computed, the newcomer's included; 0 = no limit")};
  };
  QueueLimit(Params p, const Context&) : params_(p) {}
  const char* refuse(const AdmissionQuestion& q) override {
    if (params_.requests > 0 && q.waiting >= params_.requests) return "too many requests wait";
    if (params_.tokens > 0 && q.waiting_tokens + q.prompt > params_.tokens)
      return "too many tokens wait";
    return nullptr;
  }

 private:
  Params params_;
};

const Register<QueueLimit> kSelf{"queue-limit", "refuses newcomers while the queue is long",
                                 "SGLang, max_queued_requests"};

}  // namespace
}  // namespace kvsim
