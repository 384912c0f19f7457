#include "kernels/vulkan/call.h"

#include <algorithm>

#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

Call::Call(Device& device, Residents& residents) : device_(device), residents_(residents) {}

const Buffer& Call::keep(Buffer b) {
  owned_.push_back(std::make_unique<Buffer>(std::move(b)));
  return *owned_.back();
}

const Buffer& Call::scratch(std::size_t bytes, const char* what) {
  return keep(Buffer(device_, std::max<std::size_t>(16, bytes), what));
}

const Buffer& Call::resident(std::span<const std::byte> bytes, const char* what) {
  auto& buffer = residents_[{bytes.data(), bytes.size()}];
  if (buffer == nullptr) buffer = std::make_unique<Buffer>(filled(device_, bytes, what));
  return *buffer;
}

const Buffer& Call::result(std::span<std::byte> bytes, const char* what, bool is_kept) {
  const Buffer& buffer = scratch(bytes.size(), what);
  results_.push_back({bytes, &buffer});
  if (is_kept) kept_.emplace_back(owned_.back().get(), bytes);
  return buffer;
}

Call::Paged Call::paged(const KvCache& cache, const BlockTable& table) {
  if (cache.pages.size() <= std::min(info().max_range, info().max_allocation))
    return {&in(cache.pages, "the pages of the KV cache"), &own(table.pages, "the block table")};
  std::vector<std::int32_t> used(table.pages.begin(), table.pages.end());
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  used.erase(used.begin(), std::lower_bound(used.begin(), used.end(), 0));
  const std::size_t size = cache.format.page_bytes();
  Buffer pages(device_, std::max<std::size_t>(16, used.size() * size),
               "the pages of the KV cache that the sequences use");
  for (std::size_t i = 0; i < used.size(); ++i)
    pages.write(cache.pages.subspan(static_cast<std::size_t>(used[i]) * size, size), i * size);
  std::vector<std::int32_t> renamed(table.pages.begin(), table.pages.end());
  for (std::int32_t& page : renamed)
    if (page >= 0)
      page = static_cast<std::int32_t>(std::lower_bound(used.begin(), used.end(), page) -
                                       used.begin());
  return {&keep(std::move(pages)), &own<std::int32_t>(renamed, "the block table")};
}

namespace {
// What every device has in y and z.
void expect_few(std::uint32_t y, std::uint32_t z) {
  if (y > 65535 || z > 65535)
    throw InputError("Vulkan: more than 65535 rows in one call", "cut the batch into several");
}
}  // namespace

void Call::for_groups(Step step, std::size_t items, std::size_t first, std::uint32_t y,
                      std::uint32_t z) {
  if (y == 0 || z == 0) return;
  expect_few(y, z);
  for (std::size_t at = 0; at < items; at += info().max_groups) {
    step.push[first] = word(at);
    step.groups = {word(std::min<std::size_t>(items - at, info().max_groups)), y, z};
    steps_.push_back(step);
  }
}

void Call::for_each(Step step, std::size_t items, std::size_t first, std::uint32_t y,
                    std::uint32_t z) {
  if (y == 0 || z == 0) return;
  expect_few(y, z);
  const std::size_t wide = step.constants[0];
  const std::size_t most = std::size_t{info().max_groups} * wide;
  for (std::size_t at = 0; at < items; at += most) {
    step.push[first] = word(at);
    const std::size_t n = std::min(items - at, most);
    step.groups = {word((n + wide - 1) / wide), y, z};
    steps_.push_back(step);
  }
}

void Call::finish() { recording_.emplace(device_, steps_); }

void Call::run() {
  for (const auto& [buffer, bytes] : kept_) buffer->write(bytes);
  recording_->run();
}

void Call::fetch() const {
  for (const Result& r : results_) r.device->read(r.host);
}

}  // namespace kvsim::kernels::vulkan
