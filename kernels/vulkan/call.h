#pragma once
// How a twin is written: a function build(Call&, const Arguments&) puts the arguments on the device
// and adds the steps. once() and class Calls do the rest.
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kernels/kv_cache.h"
#include "kernels/operation.h"
#include "kernels/vulkan/compute.h"
#include "kernels/vulkan/device.h"

namespace kvsim::kernels::vulkan {

// Inputs that several calls share are put on the device once.
using Residents = std::map<std::pair<const void*, std::size_t>, std::unique_ptr<Buffer>>;

class Call {
 public:
  Call(Device&, Residents&);

  template <class T>
  const Buffer& in(std::span<const T> values, const char* what) {
    return resident(std::as_bytes(values), what);
  }
  // Values made for this call only.
  template <class T>
  const Buffer& own(std::span<const T> values, const char* what) {
    return keep(filled(device_, values, what));
  }
  const Buffer& scratch(std::size_t bytes, const char* what);
  // Copied back by fetch(). `keep`: what it holds now goes to the device first, before every run.
  template <class T>
  const Buffer& out(std::span<T> values, const char* what, bool keep = false) {
    return result(std::as_writable_bytes(values), what, keep);
  }
  // A cache and its block table (-1 for pages that no sequence has). A cache larger than a shader
  // can see is cut to the pages of the table.
  struct Paged {
    const Buffer* pages = nullptr;
    const Buffer* table = nullptr;
  };
  Paged paged(const KvCache&, const BlockTable&);

  // One invocation per item of x, y and z; `step` has everything but groups. Items in x beyond what
  // one dispatch may have are given to further ones: `first` = word of step.push that gets the
  // first item's number.
  void for_each(Step step, std::size_t items, std::size_t first, std::uint32_t y = 1,
                std::uint32_t z = 1);
  // One workgroup per item.
  void for_groups(Step step, std::size_t items, std::size_t first, std::uint32_t y = 1,
                  std::uint32_t z = 1);

  [[nodiscard]] const DeviceInfo& info() const { return device_.info(); }
  // Invocations of a workgroup that suit the device.
  [[nodiscard]] std::uint32_t width() const { return info().software ? 32 : 128; }

  void finish();
  void run();
  [[nodiscard]] double seconds() const { return recording_->seconds(); }
  void fetch() const;

 private:
  struct Result {
    std::span<std::byte> host;
    const Buffer* device = nullptr;
  };
  const Buffer& resident(std::span<const std::byte>, const char* what);
  const Buffer& keep(Buffer);
  const Buffer& result(std::span<std::byte>, const char* what, bool keep);

  Device& device_;
  Residents& residents_;
  std::vector<std::unique_ptr<Buffer>> owned_;
  std::vector<Result> results_;
  std::vector<std::pair<Buffer*, std::span<const std::byte>>> kept_;
  std::vector<Step> steps_;
  std::optional<Recording> recording_;
};

// Calls on one device, made one after the other; run(copy) runs the copy-th.
class Calls final : public Bound {
 public:
  explicit Calls(Device& device) : device_(device) {}
  // build(Call&, const Arguments&) as operations.h declares it.
  template <class Arguments>
  void add(const Arguments& arguments) {
    calls_.push_back(std::make_unique<Call>(device_, residents_));
    build(*calls_.back(), arguments);
    calls_.back()->finish();
  }
  void run(std::int64_t copy) override {
    last_ = static_cast<std::size_t>(copy);
    calls_[last_]->run();
  }
  [[nodiscard]] double device_seconds() const override { return calls_[last_]->seconds(); }
  void fetch() override { calls_[last_]->fetch(); }

 private:
  Device& device_;
  Residents residents_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::size_t last_ = 0;
};

// What once() of every operation does.
template <class Arguments>
void run_once(const Arguments& arguments, Device& device) {
  Calls calls(device);
  calls.add(arguments);
  calls.run(0);
  calls.fetch();
}

}  // namespace kvsim::kernels::vulkan
