#pragma once
// An operation at one shape, as the harness sees it: inputs drawn from a seed, a reference, twins
// on devices, the bytes and flops that a call needs, and the error that a twin may make. One file
// in kernels/cases/ per operation registers it:
//
//   const Register<DecodeCase> kSelf{"decode-attention", "formula", "source"};
//
// Its Params are the shape, so that `kvsim show decode-attention` lists them and
// `kvsim kernels bench decode-attention --shape '{context: 4096, element: i4}'` sets them.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "sim/base/random.h"
#include "sim/base/registry.h"

namespace kvsim::kernels {

class Threads;
namespace vulkan {
class Device;
}

// Where a twin runs. Exactly one of the two is set.
struct Target {
  Threads* cpu = nullptr;
  vulkan::Device* vulkan = nullptr;
};

// A twin bound to a device, inputs in place.
class Bound {
 public:
  virtual ~Bound() = default;
  // One call on copy `copy` of the inputs (0 .. Operation::copies() - 1), waited for.
  virtual void run(std::int64_t copy) = 0;
  // Device time of the last run() in seconds where the device has a clock of its own; < 0: use the
  // wall clock.
  [[nodiscard]] virtual double device_seconds() const { return -1; }
  // Brings the last run's results into the operation's outputs (a copy from the device; nothing on
  // a CPU).
  virtual void fetch() {}
};

class Operation {
 public:
  using Contract = Operation;
  static constexpr const char* kKind = "kernel";
  enum class Purpose : std::uint8_t { check, bench, calibrate };
  struct Context {
    std::uint64_t seed = 0;
    // Bytes that all copies of the inputs should fill together, so that nothing is served from a
    // cache by accident; 0 = one copy.
    std::int64_t footprint = 0;
  };
  // What a call must read, write and compute; padding and repeated reads do not count.
  struct Traffic {
    double bytes_read = 0, bytes_written = 0, flops = 0;
  };
  // The largest of the errors of one output against the reference, as a multiple of what is allowed
  // (> 1 fails), and in words ("relative L2 4.1e-7 of 2e-5").
  struct Difference {
    double of_bound = 0;
    std::string text;
  };

  virtual ~Operation() = default;
  // Shapes worth running, as parameter maps for the registry. Asked of an operation made with its
  // defaults. check: `count` drawn from `rng`, odd ones included (one token, one head, empty, long,
  // unaligned tails, extreme magnitudes). bench and calibrate: fixed lists; `rng` and `count` are
  // not used.
  [[nodiscard]] virtual std::vector<Tree> shapes(Purpose, Rng rng, std::size_t count) const = 0;
  [[nodiscard]] virtual Traffic traffic() const = 0;
  [[nodiscard]] virtual std::int64_t copies() const { return 1; }
  // Computes what copy 0 must give; call once before difference().
  virtual void reference() = 0;
  // Fills outputs with NaN (or an impossible code), so that what a twin does not write shows.
  virtual void poison() = 0;
  // Null when there is no twin for this target or shape; `why` then says so.
  virtual std::unique_ptr<Bound> bind(Target, std::string& why) = 0;
  // After bind, poison, run(0), fetch.
  [[nodiscard]] virtual Difference difference() const = 0;
};

}  // namespace kvsim::kernels
