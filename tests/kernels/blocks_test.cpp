#include "kernels/blocks.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/twins.h"

namespace kvsim::kernels {
namespace {

std::vector<std::byte> noise(Rng& rng, std::size_t n) {
  std::vector<std::byte> v(n);
  for (std::byte& b : v) b = static_cast<std::byte>(rng.next());
  return v;
}

std::span<std::byte> aligned(std::vector<std::byte>& v, std::int64_t bytes) {
  v.resize(static_cast<std::size_t>(bytes) + 64, std::byte{0xcc});
  const auto at = reinterpret_cast<std::uintptr_t>(v.data());
  return std::span(v).subspan((64 - at % 64) % 64, static_cast<std::size_t>(bytes));
}

std::vector<std::int32_t> some(Rng& rng, std::int32_t of, std::int32_t count) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(of));
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[rng.below(i)]);
  all.resize(static_cast<std::size_t>(count));
  return all;
}

// Every pair of layouts; the larger ones take the path past the caches.
TEST(Blocks, CopiesEqualTheReferenceBetweenAllLayouts) {
  Rng rng(1, "blocks");
  for (const auto& [from, from_name] : enum_names(BlockOrder{}))
    for (const auto& [to, to_name] : enum_names(BlockOrder{}))
      for (const std::int64_t head_bytes : {64, 192, 65536}) {
        SCOPED_TRACE(std::string(from_name) + " to " + std::string(to_name));
        const auto layers = static_cast<std::int32_t>(1 + rng.below(3));
        const auto heads = static_cast<std::int32_t>(1 + rng.below(3));
        const BlockLayout a{from, layers, 19, heads, head_bytes};
        const BlockLayout b{to, layers, 17, heads, head_bytes};
        const auto count = head_bytes > 1000 ? 17 : static_cast<std::int32_t>(rng.below(18));
        const auto froms = some(rng, 19, count), tos = some(rng, 17, count);
        std::vector<std::byte> source_storage =
            noise(rng, static_cast<std::size_t>(a.bytes()) + 64);
        std::vector<std::byte> expected_storage, got_storage;
        const auto source = aligned(source_storage, a.bytes());
        const auto expected = aligned(expected_storage, b.bytes());
        reference::copy_blocks({a, b, source, expected, froms, tos});
        test::on_every_path([&](Threads& threads) {
          got_storage.clear();
          const auto got = aligned(got_storage, b.bytes());
          cpu::copy_blocks({a, b, source, got, froms, tos}, threads);
          EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin()));
        });
      }
}

TEST(Blocks, GatherThenScatterGivesTheSameBlocksBack) {
  Rng rng(2, "blocks");
  const BlockLayout pool{BlockOrder::layer_first, 3, 8, 2, 128};
  const BlockLayout pages{BlockOrder::page_first, 3, 4, 2, 128};
  std::vector<std::byte> a = noise(rng, static_cast<std::size_t>(pool.bytes())), b, c;
  const auto source = aligned(a, pool.bytes()), middle = aligned(b, pages.bytes());
  const auto back = aligned(c, pool.bytes());
  const std::vector<std::int32_t> where{6, 0, 7, 3}, packed{0, 1, 2, 3};
  Threads threads(2);
  cpu::copy_blocks({pool, pages, source, middle, where, packed}, threads);
  cpu::copy_blocks({pages, pool, middle, back, packed, where}, threads);
  for (std::int64_t layer = 0; layer < 3; ++layer)
    for (const std::int32_t block : where)
      for (std::int64_t head = 0; head < 2; ++head) {
        const auto at = static_cast<std::size_t>(pool.offset(layer, block, head));
        EXPECT_TRUE(std::equal(&source[at], &source[at] + 128, &back[at]));
      }
}

// The order of keys is a matter of place only: the numbers stay, and turning twice gives the bytes.
TEST(Blocks, KeysKeepTheirNumbersInEitherOrder) {
  Rng rng(3, "blocks");
  for (const auto& [element, name] : enum_names(Element{}))
    for (int round = 0; round < 4; ++round) {
      SCOPED_TRACE(name);
      KvFormat f = test::draw_format(rng, element);
      f.k_dim = 64 * (1 + round % 2);
      f.values_in_keys = false;
      KvFormat turned = f;
      turned.key_order =
          f.key_order == KeyOrder::dim_major ? KeyOrder::chunk_major : KeyOrder::dim_major;
      test::Pool source(f, 3), expected(turned, 3);
      for (std::int32_t p = 0; p < 3; ++p) source.fill(rng, p, f.page_tokens);
      reference::reorder_keys({source.cache(), turned.key_order, expected.bytes()});
      for (int h = 0; h < f.kv_heads; ++h)
        for (int t = 0; t < f.page_tokens; ++t) {
          for (int d = 0; d < f.k_dim; ++d)
            ASSERT_EQ(source.cache().key(1, h, t, d), expected.cache().key(1, h, t, d));
          ASSERT_EQ(source.cache().value(2, h, t, 3), expected.cache().value(2, h, t, 3));
        }
      test::on_every_path([&](Threads& threads) {
        test::Pool got(turned, 3, std::byte{1}), back(f, 3, std::byte{2});
        cpu::reorder_keys({source.cache(), turned.key_order, got.bytes()}, threads);
        EXPECT_TRUE(std::equal(got.bytes().begin(), got.bytes().end(), expected.bytes().begin()));
        cpu::reorder_keys({got.cache(), f.key_order, back.bytes()}, threads);
        EXPECT_TRUE(std::equal(back.bytes().begin(), back.bytes().end(), source.bytes().begin()));
      });
    }
}

}  // namespace
}  // namespace kvsim::kernels
