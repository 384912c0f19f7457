// Block copies between layouts, and the order of keys.
#include <numeric>

#include "kernels/blocks.h"
#include "kernels/cases/plain_case.h"

namespace kvsim::kernels {
namespace {

class CopyBlocksCase final : public PlainCase<std::byte> {
 public:
  struct Params {
    BlockOrder from = BlockOrder::layer_first;
    BlockOrder to = BlockOrder::page_first;
    std::int32_t layers = 4;
    std::int32_t blocks = 16;
    std::int32_t pool = 32;
    std::int32_t heads = 8;
    Bytes head_bytes{8192};
    static constexpr Rows kFields{
        field("from", &Params::from, any, "layout that is read"),
        field("to", &Params::to, any, "layout that is written"),
        field("layers", &Params::layers, between(1, 1024), "layers"),
        field("blocks", &Params::blocks, between(0, 1'000'000), "blocks copied"),
        field("pool", &Params::pool, between(1, 1'000'000), "blocks of the layout that is read"),
        field("heads", &Params::heads, between(1, 1024), "kv heads"),
        field("head_bytes", &Params::head_bytes, between(Bytes{64}, Bytes{1 << 26}),
              "of one head's part of a block in one layer, a multiple of 64")};
  };

  CopyBlocksCase(Params p, const Context& c) : p_(p) {
    if (p.blocks > p.pool) throw InputError("blocks must not exceed pool");
    if (p.head_bytes.count() % 64 != 0) throw InputError("head_bytes must be a multiple of 64");
    const auto bytes = static_cast<std::size_t>(layout(p.from, p.pool).bytes());
    const std::int64_t copies = copies_within(c.footprint, bytes);
    in_ = Copies<std::byte>(bytes, copies);
    Rng rng(c.seed, "copy-blocks");
    draw_bytes(rng, in_[0]);
    in_.repeat_first(copies);
    from_.resize(static_cast<std::size_t>(p.pool));
    std::iota(from_.begin(), from_.end(), 0);
    for (std::size_t i = from_.size(); i > 1; --i) std::swap(from_[i - 1], from_[rng.below(i)]);
    from_.resize(static_cast<std::size_t>(p.blocks));
    to_.resize(from_.size());
    std::iota(to_.begin(), to_.end(), 0);
    set_output(static_cast<std::size_t>(layout(p.to, p.blocks).bytes()), copies);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto order = {BlockOrder::layer_first, BlockOrder::page_first, BlockOrder::head_first};
    const auto odd = [&](Rng& r) {
      Params p{pick(r, order),    pick(r, order), pick(r, {1, 2, 5}), pick(r, {0, 1, 3, 7}), 7,
               pick(r, {1, 2, 3})};
      p.head_bytes = Bytes{pick(r, {64, 192, 4096, 65536})};
      return p;
    };
    using enum BlockOrder;
    return shapes_of<Params>(purpose, rng, count, odd,
                             {{layer_first, page_first, 32, 16, 64, 8},
                              {page_first, layer_first, 32, 16, 64, 8},
                              {layer_first, head_first, 32, 16, 64, 8},
                              {layer_first, layer_first, 1, 512, 2048, 1, Bytes{4096}}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const auto bytes = static_cast<double>(layout(p_.to, p_.blocks).bytes());
    return {bytes, bytes, 0};
  }

 private:
  [[nodiscard]] BlockLayout layout(BlockOrder order, std::int32_t blocks) const {
    return {order, p_.layers, blocks, p_.heads, p_.head_bytes.count()};
  }
  void call(std::int64_t copy, const Where& where) override {
    const BlockCopy a{
        layout(p_.from, p_.pool), layout(p_.to, p_.blocks), in_[copy], out_[copy], from_, to_};
    where.run(a, cpu::copy_blocks, reference::copy_blocks);
  }

  Params p_;
  Copies<std::byte> in_;
  std::vector<std::int32_t> from_, to_;
};

class ReorderKeysCase final : public PlainCase<std::byte> {
 public:
  struct Params {
    std::int32_t context = 4096;
    Element element = Element::f16;
    KeyOrder from = KeyOrder::dim_major;
    int kv_heads = 8;
    int k_dim = 128;
    int v_dim = 128;
    int page_tokens = 64;
    static constexpr Rows kFields{
        field("context", &Params::context, between(1, 4'000'000), "tokens"),
        field("element", &Params::element, any, "how a number is stored"),
        field("from", &Params::from, any, "order that is read; the other is written"),
        field("kv_heads", &Params::kv_heads, between(1, 1024), "heads"),
        field("k_dim", &Params::k_dim, between(16, 1024), "numbers of a key, a multiple of 64"),
        field("v_dim", &Params::v_dim, between(16, 1024), "numbers of a value"),
        field("page_tokens", &Params::page_tokens, between(16, 1024), "tokens of a page")};
  };

  ReorderKeysCase(Params p, const Context& c) : p_(p) {
    format_ = {p.element,     p.kv_heads,    p.k_dim, p.v_dim,
               p.page_tokens, p.page_tokens, p.from,  false};
    format_.check();
    if (p.k_dim % 64 != 0) throw InputError("k_dim must be a multiple of 64");
    const auto pages = static_cast<std::size_t>((p.context + p.page_tokens - 1) / p.page_tokens);
    const std::size_t bytes = pages * format_.page_bytes();
    const std::int64_t copies = copies_within(c.footprint, bytes);
    in_ = Copies<std::byte>(bytes, copies);
    Rng rng(c.seed, "reorder-keys");
    draw_bytes(rng, in_[0]);
    in_.repeat_first(copies);
    set_output(bytes, copies);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      Params p;
      p.context = pick(r, {1, 17, 100});
      p.element = enum_names(Element{})[r.below(6)].first;
      p.from = pick(r, {KeyOrder::dim_major, KeyOrder::chunk_major});
      p.kv_heads = pick(r, {1, 2, 3});
      p.k_dim = pick(r, {64, 128, 192});
      p.v_dim = pick(r, {16, 64, 80});
      p.page_tokens = pick(r, {16, 32, 64});
      return p;
    };
    Params i4, back;
    i4.element = Element::i4;
    back.from = KeyOrder::chunk_major;
    return shapes_of<Params>(purpose, rng, count, odd, {Params{}, i4, back});
  }
  [[nodiscard]] Traffic traffic() const override {
    const auto bytes = static_cast<double>(in_[0].size());
    return {bytes, bytes, 0};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const KeyOrder to =
        p_.from == KeyOrder::dim_major ? KeyOrder::chunk_major : KeyOrder::dim_major;
    const KeyReorder a{{format_, in_[copy]}, to, out_[copy]};
    where.run(a, cpu::reorder_keys, reference::reorder_keys);
  }

  Params p_;
  KvFormat format_;
  Copies<std::byte> in_;
};

const Register<CopyBlocksCase> kCopy{"copy-blocks",
                                     "KV blocks from one memory layout to another (gather)",
                                     "layouts of vLLM, LMCache and Mooncake; formula: none"};
const Register<ReorderKeysCase> kReorder{
    "reorder-keys", "whole pages with keys in the other order of a tile", "kernels/kv_cache.h"};

}  // namespace
}  // namespace kvsim::kernels
