#pragma once
// What decode and prefill attention share as operations of the harness: reference, twins, bounds.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cases/kv_inputs.h"
#include "kernels/operation.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels {

template <class Arguments>
class AttentionCase : public Operation {
 public:
  [[nodiscard]] std::int64_t copies() const override { return inputs().copies(); }
  void reference() override {
    want_.resize(out_.size());
    Arguments a = arguments(0);
    a.out = want_;
    reference::attend(a);
  }
  void poison() override {
    std::fill(out_.begin(), out_.end(), std::numeric_limits<float>::quiet_NaN());
  }
  std::unique_ptr<Bound> bind(Target target, std::string& why) override {
    is_vulkan_ = target.vulkan != nullptr;
    if (is_vulkan_) return bind_vulkan(*target.vulkan, why);
    return std::make_unique<OnCpu>(*this, *target.cpu);
  }
  [[nodiscard]] Difference difference() const override {
    const KvFormat& f = inputs().shape().format;
    const double allowed = is_quantised(f.element) ? 2e-4 : is_vulkan_ ? 1e-5 : 2e-5;
    const double error = worst_relative_l2(out_, want_, static_cast<std::size_t>(f.v_dim));
    return {error / allowed, fmt::format("relative L2 {:.1e} of {:.0e}", error, allowed)};
  }

 protected:
  [[nodiscard]] virtual const KvInputs& inputs() const = 0;
  virtual Arguments arguments(std::int64_t copy) = 0;
  std::vector<float> q_, out_, want_;

 private:
  class OnCpu final : public Bound {
   public:
    OnCpu(AttentionCase& c, Threads& t) : case_(c), threads_(t) {}
    void run(std::int64_t copy) override { cpu::attend(case_.arguments(copy), threads_); }

   private:
    AttentionCase& case_;
    Threads& threads_;
  };

  std::unique_ptr<Bound> bind_vulkan(vulkan::Device& device, std::string& why) {
    auto calls = std::make_unique<vulkan::Calls>(device);
    try {
      for (std::int64_t copy = 0; copy < copies(); ++copy) calls->add(arguments(copy));
    } catch (const InputError& e) {
      why = e.what();
      return nullptr;
    }
    return calls;
  }

  bool is_vulkan_ = false;
};

}  // namespace kvsim::kernels
