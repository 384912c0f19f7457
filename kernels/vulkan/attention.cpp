#include "kernels/vulkan/attention.h"

#include <array>
#include <map>
#include <numbers>
#include <optional>

#include "kernels/vulkan/attention_plan.h"
#include "kernels/vulkan/compute.h"
#include "sim/base/check.h"

namespace kvsim::kernels::vulkan {

namespace {

// A few per core of the device.
int workgroups_for(const DeviceInfo& info) {
  return info.software ? 32 : info.kind == DeviceKind::discrete ? 2048 : 256;
}

using Caches = std::map<const std::byte*, Buffer>;

// The arguments of one call on the device, and the recorded steps.
template <class Arguments>
class Call {
 public:
  Call(Device& device, const Arguments& a, const Buffer& pages, const AttentionPlan& p,
       const Blocking& own, const std::optional<Blocking>& shared)
      : arguments_(a),
        pages_(pages),
        table_(filled(device, a.table.pages, "the block table")),
        queries_(filled<float>(device, a.q, "the queries")),
        slots_(filled<AttentionPlan::Slots>(device, p.slots, "the list of parts")),
        mask_(mask(device, a)),
        stats_(device, bytes(p, 2), "maxima and sums of the parts"),
        sums_(device, bytes(p, a.cache.format.v_dim), "the parts of the result"),
        out_(device, std::max<std::size_t>(16, a.out.size_bytes()), "the result") {
    std::vector<Step> steps;
    items_ = filled<AttentionItem>(device, p.items, "the list of work");
    add_steps(steps, device.info(), items_, p.items.size(), own);
    if (shared) {
      shared_items_ = filled<AttentionItem>(device, p.shared, "the list of shared work");
      add_steps(steps, device.info(), shared_items_, p.shared.size(), *shared);
    }
    add_merge(steps, device.info(), p.slots.size());
    recording_.emplace(device, steps);
  }
  void run() { recording_->run(); }
  [[nodiscard]] double seconds() const { return recording_->seconds(); }
  void fetch() const { out_.get(arguments_.out); }

 private:
  [[nodiscard]] std::size_t bytes(const AttentionPlan& p, int floats) const {
    return std::max<std::size_t>(16, std::size_t{p.total_slots} *
                                         static_cast<std::size_t>(arguments_.q_heads * floats) * 4);
  }
  static Buffer mask(Device& device, const DecodeAttention&) {
    return Buffer(device, 16, "no mask");
  }
  static Buffer mask(Device& device, const PrefillAttention& a) {
    return filled(device, a.mask, "the block mask");
  }
  static int mask_words(const DecodeAttention&) { return 0; }
  static int mask_words(const PrefillAttention& a) { return a.mask.empty() ? 0 : a.mask_words; }

  void add_steps(std::vector<Step>& steps, const DeviceInfo& info, const Buffer& items,
                 std::size_t count, const Blocking& b) const {
    const KvFormat& f = arguments_.cache.format;
    Step step;
    step.shader = "attention";
    step.constants = {word(b.width),
                      word(bits_of(f.element)),
                      word(f.element == Element::bf16),
                      word(f.key_order == KeyOrder::dim_major),
                      word(f.values_in_keys),
                      word(f.k_dim),
                      word(f.v_dim),
                      word(f.page_tokens),
                      word(is_quantised(f.element) ? f.group_tokens : f.page_tokens),
                      word(b.queries),
                      word(b.heads),
                      word(b.tokens),
                      word(b.groups),
                      word(mask_words(arguments_) > 0)};
    step.buffers = {&pages_, &table_, &items, &slots_, &queries_, &mask_, &stats_, &sums_};
    step.push = {0,
                 word(f.page_bytes() / 16),
                 word(f.head_page_bytes() / 16),
                 word(f.values_offset() / 16),
                 word(f.key_scales_offset() / 4),
                 word(f.value_scales_offset() / 4),
                 word(arguments_.table.max_pages),
                 word(arguments_.q_heads),
                 word(arguments_.q_heads / f.kv_heads),
                 word(b.head_blocks),
                 word(arguments_.scale * std::numbers::log2e_v<float>),
                 word(arguments_.visible.window),
                 word(arguments_.visible.sinks),
                 word(mask_words(arguments_))};
    step.groups[1] = word(f.kv_heads * b.head_blocks);
    for (std::size_t first = 0; first < count; first += info.max_groups) {
      step.push[0] = word(first);
      step.groups[0] = word(std::min<std::size_t>(count - first, info.max_groups));
      steps.push_back(step);
    }
  }

  void add_merge(std::vector<Step>& steps, const DeviceInfo& info, std::size_t queries) const {
    const std::size_t rows = queries * static_cast<std::size_t>(arguments_.q_heads);
    for (std::size_t first = 0; first < rows; first += info.max_groups)
      steps.push_back({"attention_merge",
                       {info.software ? 16U : 64U},
                       {&slots_, &stats_, &sums_, &out_},
                       {word(first), word(arguments_.q_heads), word(arguments_.cache.format.v_dim)},
                       {word(std::min<std::size_t>(rows - first, info.max_groups)), 1, 1}});
  }

  Arguments arguments_;
  const Buffer& pages_;
  Buffer table_, queries_, slots_, mask_, stats_, sums_, out_, items_, shared_items_;
  std::optional<Recording> recording_;
};

AttentionPlan plan_for(const DeviceInfo& info, const DecodeAttention& a, const Blocking& own,
                       std::optional<Blocking>& shared) {
  const Blocking many = blocking(info, a.cache.format, a.q_heads, true);
  AttentionPlan p = plan(a, own, many, workgroups_for(info));
  if (!p.shared.empty()) shared = many;
  return p;
}
AttentionPlan plan_for(const DeviceInfo& info, const PrefillAttention& a, const Blocking& own,
                       std::optional<Blocking>&) {
  return plan(a, own, workgroups_for(info));
}

template <class Arguments>
class BoundAttention final : public Bound {
 public:
  BoundAttention(Device& device, std::span<const Arguments> copies) {
    constexpr bool kManyQueries = std::is_same_v<Arguments, PrefillAttention>;
    for (const Arguments& a : copies) {
      a.cache.format.check();
      KVSIM_CHECK(a.q_heads % a.cache.format.kv_heads == 0, "query heads share kv heads evenly");
      auto pages = caches_.find(a.cache.pages.data());
      if (pages == caches_.end())
        pages = caches_
                    .emplace(a.cache.pages.data(),
                             filled(device, a.cache.pages, "the pages of the KV cache"))
                    .first;
      const Blocking own = blocking(device.info(), a.cache.format, a.q_heads, kManyQueries);
      std::optional<Blocking> shared;
      const AttentionPlan p = plan_for(device.info(), a, own, shared);
      calls_.push_back(
          std::make_unique<Call<Arguments>>(device, a, pages->second, p, own, shared));
    }
  }
  void run(std::int64_t copy) override {
    last_ = static_cast<std::size_t>(copy);
    calls_[last_]->run();
  }
  [[nodiscard]] double device_seconds() const override { return calls_[last_]->seconds(); }
  void fetch() override { calls_[last_]->fetch(); }

 private:
  Caches caches_;
  std::vector<std::unique_ptr<Call<Arguments>>> calls_;
  std::size_t last_ = 0;
};

template <class Arguments>
void call(const Arguments& a, Device& device) {
  if (a.out.empty()) return;
  BoundAttention<Arguments> bound(device, std::span(&a, 1));
  bound.run(0);
  bound.fetch();
}

}  // namespace

void attend(const DecodeAttention& a, Device& device) { call(a, device); }
void attend(const PrefillAttention& a, Device& device) { call(a, device); }

std::unique_ptr<Bound> bind(Device& device, std::span<const DecodeAttention> copies) {
  return std::make_unique<BoundAttention<DecodeAttention>>(device, copies);
}
std::unique_ptr<Bound> bind(Device& device, std::span<const PrefillAttention> copies) {
  return std::make_unique<BoundAttention<PrefillAttention>>(device, copies);
}

}  // namespace kvsim::kernels::vulkan
