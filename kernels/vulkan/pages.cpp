#include <array>

#include "kernels/quantize.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/kv_arguments.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

namespace {

struct Pages {
  const Buffer *source, *target, *items;
  std::size_t count = 0;  // head pages
};

void add_scales(Call& call, const PageQuantization& a, const Pages& at, bool of_values) {
  const KvFormat &from = a.source.format, &to = a.format;
  const int pairs =
      of_values ? to.page_tokens / 2 : to.page_tokens / to.group_tokens * to.k_dim / 2;
  const std::size_t count = at.count * static_cast<std::size_t>(pairs);
  Step step{
      "page_scales",
      kv_constants(call.width(), from),
      {at.source, at.target, at.items},
      kv_push(from, {word(count), word(from.kv_heads), word(to.page_bytes() / 4),
                     word(to.head_page_bytes() / 4),
                     word((of_values ? to.value_scales_offset() : to.key_scales_offset()) / 4)}),
      {}};
  for (const int constant : {(1 << bits_of(to.element)) - 1, of_values ? 1 : 0, to.group_tokens})
    step.constants.push_back(word(constant));
  call.for_each(std::move(step), count, 0);
}

}  // namespace

void build(Call& call, const PageQuantization& a) {
  const KvFormat &from = a.source.format, &to = a.format;
  from.check();
  to.check();
  std::vector<std::array<std::int32_t, 4>> items;
  for (std::size_t i = 0; i < a.from_pages.size(); ++i)
    items.push_back(
        {a.from_pages[i], a.to_pages[i], a.tokens.empty() ? from.page_tokens : a.tokens[i], 0});
  const Pages at{&call.in(a.source.pages, "the pages"),
                 &call.out(a.target, "the converted pages", true),
                 &call.own<std::array<std::int32_t, 4>>(items, "the numbers of pages"),
                 items.size() * static_cast<std::size_t>(from.kv_heads)};
  if (is_quantised(to.element)) {
    add_scales(call, a, at, false);
    if (!to.values_in_keys) add_scales(call, a, at, true);
  }
  const int numbers = to.page_tokens * (to.k_dim + (to.values_in_keys ? 0 : to.v_dim));
  const std::size_t count = at.count * static_cast<std::size_t>(numbers * bits_of(to.element) / 32);
  Step step{"convert_pages",
            kv_constants(call.width(), from),
            {at.source, at.target, at.items},
            kv_push(from, {word(count), word(from.kv_heads), word(to.page_bytes() / 4),
                           word(to.head_page_bytes() / 4), word(to.values_offset() / 4),
                           word(to.key_scales_offset() / 4), word(to.value_scales_offset() / 4)}),
            {}};
  const int group = is_quantised(to.element)     ? to.group_tokens
                    : is_quantised(from.element) ? from.group_tokens
                                                 : from.page_tokens;
  for (const int constant : {bits_of(to.element), to.element == Element::bf16 ? 1 : 0, group})
    step.constants.push_back(word(constant));
  call.for_each(std::move(step), count, 0);
}

void once(const PageQuantization& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
