#pragma once
// An operation whose inputs and one output are arrays in host memory: what the cases besides
// attention share. A case adds its Params, a constructor that fills inputs, call(), traffic() and
// the list of shapes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/arena.h"
#include "kernels/cases/kv_inputs.h"
#include "kernels/operation.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels {

// `count` arrays of n numbers, each from a multiple of 64 bytes on.
template <class T>
class Copies {
 public:
  Copies() = default;
  Copies(std::size_t n, std::int64_t count)
      : n_(n),
        stride_((n * sizeof(T) + 63) / 64 * 64),
        arena_(std::max<std::size_t>(64, stride_ * static_cast<std::size_t>(count))) {}
  [[nodiscard]] std::span<T> operator[](std::int64_t copy) const {
    return arena_.as<T>(static_cast<std::size_t>(copy) * stride_, n_);
  }
  // Drawing a gigabyte takes minutes, so all copies hold the numbers of the first.
  void repeat_first(std::int64_t count) {
    for (std::int64_t i = 1; i < count; ++i)
      std::copy((*this)[0].begin(), (*this)[0].end(), (*this)[i].begin());
  }

 private:
  std::size_t n_ = 0, stride_ = 0;
  Arena arena_;
};

inline std::int64_t copies_within(std::int64_t footprint, std::size_t bytes_per_copy) {
  return std::max<std::int64_t>(
      1, footprint / std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes_per_copy)));
}

// One of the values, by the next draw.
template <class T>
T pick(Rng& rng, std::initializer_list<T> choices) {
  return choices.begin()[rng.below(choices.size())];
}

// `fixed` for timing; for checks `count` shapes from odd(Rng&).
template <class Params, class Odd>
std::vector<Tree> shapes_of(Operation::Purpose purpose, const Rng& rng, std::size_t count, Odd odd,
                            std::initializer_list<Params> fixed) {
  std::vector<Tree> all;
  if (purpose != Operation::Purpose::check) {
    for (const Params& p : fixed) all.push_back(write_fields(p));
    return all;
  }
  for (std::size_t i = 0; i < count; ++i) {
    Rng draw = rng.at(i);
    all.push_back(write_fields(odd(draw)));
  }
  return all;
}

// Where call() computes: on threads, on a Vulkan device (which only takes the arguments in), or,
// with neither, by the reference.
struct Where {
  Threads* threads = nullptr;
  vulkan::Calls* vulkan = nullptr;

  template <class Arguments>
  void run(const Arguments& a, void (*cpu)(const Arguments&, Threads&),
           void (*reference)(const Arguments&)) const {
    if (vulkan != nullptr)
      vulkan->add(a);
    else
      run_on_host(a, cpu, reference);
  }
  // On threads or by the reference; for operations whose Vulkan twin has arguments of its own.
  template <class Arguments>
  void run_on_host(const Arguments& a, void (*cpu)(const Arguments&, Threads&),
                   void (*reference)(const Arguments&)) const {
    threads != nullptr ? cpu(a, *threads) : reference(a);
  }
};

// T: what the output holds. f32: relative L2 per row of `row` numbers within `bound`; whole
// numbers: equal.
template <class T>
class PlainCase : public Operation {
 public:
  [[nodiscard]] std::int64_t copies() const override { return copies_; }
  void reference() override {
    poison();
    call(0, {});
    const auto out = out_[0];
    want_.assign(out.begin(), out.end());
  }
  void poison() override {
    const auto out = out_[0];
    if (!out.empty()) std::memset(static_cast<void*>(out.data()), 0xff, out.size_bytes());
  }
  std::unique_ptr<Bound> bind(Target target, std::string& why) override {
    if (target.vulkan != nullptr) return bind_vulkan(*target.vulkan, why);
    return std::make_unique<OnCpu>(*this, *target.cpu);
  }
  [[nodiscard]] Difference difference() const override {
    const auto got = out_[0];
    if constexpr (std::is_same_v<T, float>) {
      // Equal infinities (masked scores) are right.
      std::vector<float> a(got.begin(), got.end()), b = want_;
      for (std::size_t i = 0; i < a.size(); ++i)
        if (std::isinf(a[i]) && a[i] == b[i]) a[i] = b[i] = 0;
      const double error = worst_relative_l2(a, b, row_);
      return {error / bound_, fmt::format("relative L2 {:.1e} of {:.0e}", error, bound_)};
    } else {
      std::size_t different = 0;
      for (std::size_t i = 0; i < want_.size(); ++i) different += got[i] != want_[i] ? 1 : 0;
      return {different == 0 ? 0.0 : INFINITY,
              fmt::format("{} of {} differ", different, want_.size())};
    }
  }

 protected:
  void set_output(std::size_t n, std::int64_t copies, std::size_t row = 1, double bound = 2e-5) {
    copies_ = copies;
    out_ = Copies<T>(n, copies);
    row_ = std::max<std::size_t>(1, row);
    bound_ = bound;
  }
  virtual void call(std::int64_t copy, const Where&) = 0;
  Copies<T> out_;
  std::vector<T> want_;

 private:
  class OnCpu final : public Bound {
   public:
    OnCpu(PlainCase& c, Threads& t) : case_(c), threads_(t) {}
    void run(std::int64_t copy) override { case_.call(copy, {&threads_, nullptr}); }

   private:
    PlainCase& case_;
    Threads& threads_;
  };

  std::unique_ptr<Bound> bind_vulkan(vulkan::Device& device, std::string& why) {
    auto calls = std::make_unique<vulkan::Calls>(device);
    try {
      for (std::int64_t copy = 0; copy < copies_; ++copy) call(copy, {nullptr, calls.get()});
    } catch (const InputError& e) {
      why = e.what();
      return nullptr;
    }
    return calls;
  }

  std::int64_t copies_ = 1;
  std::size_t row_ = 1;
  double bound_ = 0;
};

inline void draw_bytes(Rng& rng, std::span<std::byte> out) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < out.size(); ++i, word >>= 8) {
    if (i % 8 == 0) word = rng.next();
    out[i] = static_cast<std::byte>(word);
  }
}

}  // namespace kvsim::kernels
