// Attention on a Vulkan device against the double reference, on shapes drawn at random; what lies
// behind a sequence's end is NaN.
#include "kernels/vulkan/operations.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "sim/base/random.h"
#include "tests/kernels/vulkan_fixture.h"

namespace kvsim::kernels {
namespace {

using vulkan::Device;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
T pick(Rng& rng, std::initializer_list<T> from) {
  return from.begin()[rng.below(from.size())];
}
std::size_t z(std::int64_t n) { return static_cast<std::size_t>(n); }

// A cache with its own memory; every byte that no token uses is 0xff: NaN, or the largest code.
struct Batch {
  KvFormat format;
  std::vector<std::byte> storage;
  std::vector<std::int32_t> pages, lengths;
  std::int32_t max_pages = 0;

  // `shared` tokens (whole pages) of sequences 0 .. sharers - 1 are the same.
  Batch(KvFormat f, std::vector<std::int32_t> all_lengths, Rng& rng, std::int32_t shared = 0,
        std::size_t sharers = 0)
      : format(f), lengths(std::move(all_lengths)) {
    format.check();
    for (const std::int32_t n : lengths)
      max_pages = std::max(max_pages, (n + f.page_tokens - 1) / f.page_tokens);
    const std::size_t count = lengths.size() * z(max_pages) + 1;
    std::vector<std::int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    pages.assign(order.begin(), order.end() - 1);
    for (std::size_t s = 1; s < sharers; ++s)
      for (std::int32_t p = 0; p < shared / f.page_tokens; ++p)
        pages[s * z(max_pages) + z(p)] = pages[z(p)];
    storage.assign(count * f.page_bytes() + 64, std::byte{0xff});
    for (std::size_t s = 0; s < lengths.size(); ++s)
      for (std::int32_t p = 0; p * f.page_tokens < lengths[s]; ++p) {
        if (s > 0 && s < sharers && p * f.page_tokens < shared) continue;
        fill(s, p, std::min(f.page_tokens, lengths[s] - p * f.page_tokens), rng);
      }
  }
  [[nodiscard]] std::span<std::byte> bytes() {
    const auto address = reinterpret_cast<std::uintptr_t>(storage.data());
    return std::span(storage).subspan((64 - address % 64) % 64, storage.size() - 64);
  }
  [[nodiscard]] KvCache cache() { return {format, bytes()}; }
  [[nodiscard]] BlockTable table() const { return {pages, max_pages, lengths}; }

 private:
  void fill(std::size_t s, std::int32_t p, int tokens, Rng& rng) {
    std::byte* page = bytes().data() + z(pages[s * z(max_pages) + z(p)]) * format.page_bytes();
    std::vector<float> keys(z(format.page_tokens * format.k_dim)),
        values(z(format.page_tokens * format.v_dim));
    for (int h = 0; h < format.kv_heads; ++h) {
      for (float& x : keys) x = static_cast<float>(rng.normal());
      for (float& x : values) x = static_cast<float>(rng.normal() + 0.5);
      if (is_quantised(format.element)) {
        quantize_page(format, page, h, tokens, keys, values);
        continue;
      }
      for (int t = 0; t < tokens; ++t)
        store_token(format, page, h, t,
                    std::span(keys).subspan(z(t * format.k_dim), z(format.k_dim)),
                    std::span(values).subspan(z(t * format.v_dim), z(format.v_dim)));
    }
  }
};

std::vector<float> draw(std::size_t n, Rng& rng, double scale = 1) {
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(rng.normal() * scale);
  return v;
}

// The largest relative L2 of a vector of `width` numbers; infinite when one is not a number.
double worst(std::span<const float> result, std::span<const float> reference, std::size_t width) {
  double most = 0;
  for (std::size_t i = 0; i < result.size(); i += width) {
    double difference = 0, size = 0;
    for (std::size_t d = i; d < i + width; ++d) {
      difference += std::pow(static_cast<double>(result[d]) - static_cast<double>(reference[d]), 2);
      size += std::pow(static_cast<double>(reference[d]), 2);
    }
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    if (difference > 0) most = std::max(most, std::sqrt(difference / size));
  }
  return most;
}
double bound(Element e) { return is_quantised(e) ? 2e-4 : 1e-5; }

std::string text(const KvFormat& f, int group) {
  return fmt::format("element {} kv_heads {} group {} k {} v {} page {} scales {} {}{}",
                     static_cast<int>(f.element), f.kv_heads, group, f.k_dim, f.v_dim,
                     f.page_tokens, f.group_tokens,
                     f.key_order == KeyOrder::dim_major ? "dim-major" : "chunk-major",
                     f.values_in_keys ? " mla" : "");
}

template <class Arguments>
void expect_same(Arguments a, Device& device, const std::string& what) {
  std::vector<float> expected(a.out.size(), kNan);
  const std::span<float> out = a.out;
  a.out = expected;
  reference::attend(a);
  std::fill(out.begin(), out.end(), kNan);
  a.out = out;
  vulkan::once(a, device);
  EXPECT_LE(worst(out, expected, z(a.cache.format.v_dim)), bound(a.cache.format.element)) << what;
}

KvFormat draw_format(Rng& rng, Element element, KeyOrder order) {
  KvFormat f;
  f.element = element;
  f.key_order = order;
  f.values_in_keys = rng.below(4) == 0;
  f.kv_heads = f.values_in_keys ? 1 : 1 + static_cast<int>(rng.below(3));
  const int step = order == KeyOrder::chunk_major && element == Element::i2   ? 64
                   : order == KeyOrder::chunk_major && element == Element::i4 ? 32
                                                                              : 16;
  f.k_dim = step * (1 + static_cast<int>(rng.below(z(192 / step))));
  f.v_dim = 16 * (1 + static_cast<int>(rng.below(f.values_in_keys ? z(f.k_dim / 16) : 12)));
  f.page_tokens = pick(rng, {16, 32, 48, 64, 128});
  f.group_tokens = pick(rng, {16, f.page_tokens});
  return f;
}

using VulkanAttention = VulkanTest;

// Most of the time goes into the driver's compiler, so shapes are few.
TEST_F(VulkanAttention, DecodeOfRandomShapesEqualsTheReference) {
  Rng root(7, "vulkan decode");
  std::uint64_t round = 0;
  for (const auto& [element, name] : enum_names(Element{}))
    for (const KeyOrder order : {KeyOrder::chunk_major, KeyOrder::dim_major}) {
      Rng rng = root.at(round++);
      const KvFormat f = draw_format(rng, element, order);
      const int group = pick(rng, {1, 2, 3, 4, 5, 8, 11});
      const std::int32_t shared = rng.below(2) == 0 ? f.page_tokens * 2 : 0;
      std::vector<std::int32_t> lengths;
      for (int s = 0; s < 3; ++s)
        lengths.push_back(shared + static_cast<std::int32_t>(rng.below(300)));
      lengths.push_back(pick(rng, {0, 1, 700}));
      Batch batch(f, lengths, rng, shared, 3);
      const auto heads = z(f.kv_heads * group);
      const std::vector<float> q = draw(4 * heads * z(f.k_dim), rng);
      std::vector<float> out(4 * heads * z(f.v_dim));
      const std::vector<SharedPrefix> prefix{{0, 3, shared}};
      DecodeAttention a{
          batch.cache(), batch.table(), static_cast<int>(heads), 0.1F, {}, {}, q, out};
      for (const bool windowed : {false, true}) {
        a.visible = {};
        a.shared = {};
        if (windowed)
          a.visible = {static_cast<std::int32_t>(1 + rng.below(200)),
                       static_cast<std::int32_t>(rng.below(40))};
        else
          a.shared = prefix;
        expect_same(a, round % 3 == 0 ? plain_device() : device(),
                    fmt::format("{}: {}", round, text(f, group)));
      }
    }
}

// Values that lie within keys are unpacked otherwise than values of their own.
TEST_F(VulkanAttention, DecodeWithValuesWithinKeysEqualsTheReference) {
  Rng rng(7, "vulkan mla");
  for (const auto& [element, name] : enum_names(Element{}))
    for (const KeyOrder order : {KeyOrder::chunk_major, KeyOrder::dim_major}) {
      const KvFormat f{.element = element,
                       .kv_heads = 1,
                       .k_dim = 192,
                       .v_dim = 128,
                       .page_tokens = 32,
                       .group_tokens = 32,
                       .key_order = order,
                       .values_in_keys = true};
      Batch batch(f, {100, 33}, rng);
      const std::vector<float> q = draw(z(2 * 4 * f.k_dim), rng);
      std::vector<float> out(z(2 * 4 * f.v_dim));
      expect_same(DecodeAttention{batch.cache(), batch.table(), 4, 0.1F, {}, {}, q, out}, device(),
                  text(f, 4));
    }
}

// Chunks of prompts behind what is cached, sequences without queries, windows, block masks.
TEST_F(VulkanAttention, PrefillOfRandomShapesEqualsTheReference) {
  Rng root(7, "vulkan prefill");
  std::uint64_t round = 0;
  for (const Element element :
       {Element::f32, Element::f16, Element::bf16, Element::i8, Element::i4}) {
    Rng rng = root.at(round++);
    const KvFormat f = draw_format(rng, element, KeyOrder::chunk_major);
    const int group = pick(rng, {1, 2, 4, 5});
    std::vector<std::int32_t> lengths, starts{0};
    for (const int count : {1, 70, 0, static_cast<int>(rng.below(100))}) {
      lengths.push_back(count + static_cast<std::int32_t>(rng.below(200)));
      starts.push_back(starts.back() + count);
    }
    Batch batch(f, lengths, rng);
    const auto heads = z(f.kv_heads * group);
    const std::vector<float> q = draw(z(starts.back()) * heads * z(f.k_dim), rng);
    std::vector<float> out(z(starts.back()) * heads * z(f.v_dim));
    PrefillAttention a{
        batch.cache(), batch.table(), static_cast<int>(heads), 0.1F, {}, starts, {}, 0, q, out};
    if (round % 2 == 0)
      a.visible = {static_cast<std::int32_t>(1 + rng.below(100)),
                   static_cast<std::int32_t>(rng.below(40))};
    expect_same(a, round == 1 ? plain_device() : device(),
                fmt::format("{}: {}", round, text(f, group)));
    std::vector<std::uint64_t> mask(6);  // 1 + 2 + 0 + at most 2 blocks, and one that nobody reads
    for (std::uint64_t& row : mask) row = rng.next();
    a.mask = mask;
    a.mask_words = 1;
    if (round < 3) expect_same(a, device(), fmt::format("{} masked: {}", round, text(f, group)));
  }
}

// One query equal to a key far larger than the others: all weight on one token; and numbers near
// the ends of the range.
TEST_F(VulkanAttention, PeaksAndExtremesStayExact) {
  Rng rng(7, "vulkan peaks");
  KvFormat f{.element = Element::f32, .kv_heads = 2, .k_dim = 64, .v_dim = 64};
  f.key_order = KeyOrder::chunk_major;
  Batch batch(f, {1000, 17}, rng);
  std::vector<float> q(z(2 * 8 * 64));
  const KvCache cache = batch.cache();
  for (std::size_t i = 0; i < q.size(); ++i)
    q[i] = cache.key(batch.pages[3], 0, 5, static_cast<int>(i % 64)) * (i < 512 ? 100.0F : 1e-30F);
  std::vector<float> out(q.size());
  DecodeAttention a{cache, batch.table(), 8, 10.0F, {}, {}, q, out};
  expect_same(a, device(), "scores of tens of thousands");
  a.scale = 1e-30F;
  expect_same(a, device(), "scores of nothing");
}

// A cache that no shader can see as a whole: its unused pages stay behind.
TEST_F(VulkanAttention, OfALargeCacheOnlyTheNamedPagesAreCopied) {
  Rng rng(7, "vulkan large");
  KvFormat f{.kv_heads = 1, .k_dim = 64, .v_dim = 64};
  Batch batch(f, {40, 0, 5}, rng);
  const std::vector<float> q = draw(3 * 64, rng);
  std::vector<float> out(q.size());
  DecodeAttention a{batch.cache(), batch.table(), 1, 0.1F, {}, {}, q, out};
  for (std::int32_t& page : std::span(batch.pages).subspan(z(batch.max_pages), z(batch.max_pages)))
    page = -1;
  // Only the beginning is there; its size is what counts.
  a.cache.pages = {batch.bytes().data(), z(std::int64_t{1} << 40)};
  expect_same(a, device(), "cut");
}

TEST_F(VulkanAttention, NoSequencesAndPagesThatDoNotFit) {
  Rng rng(7, "vulkan none");
  KvFormat f;
  Batch batch(f, {}, rng);
  vulkan::once(DecodeAttention{batch.cache(), batch.table(), 8, 1, {}, {}, {}, {}}, device());
  f.kv_heads = f.k_dim = f.v_dim = 1024;
  std::vector<float> q(1024 * 1024), out(1024 * 1024);
  const std::vector<std::int32_t> lengths{1600};
  std::vector<std::int32_t> pages(100);
  std::iota(pages.begin(), pages.end(), 0);
  const std::span<const std::byte> huge(reinterpret_cast<const std::byte*>(q.data()),
                                        z(std::int64_t{1} << 40));
  EXPECT_THROW(
      vulkan::once(DecodeAttention{{f, huge}, {pages, 100, lengths}, 1024, 1, {}, {}, q, out},
                   device()),
      InputError);
}

}  // namespace
}  // namespace kvsim::kernels
