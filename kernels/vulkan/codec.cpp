#include <algorithm>

#include "kernels/quantize.h"
#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

namespace {

// A step on all `count` items, `per` of them to an invocation.
void add(Call& call, const char* shader, const Codec& c, std::vector<const Buffer*> buffers,
         std::size_t count, std::size_t per) {
  if (count == 0 || c.tokens == 0 || c.dims == 0) return;
  const bool has_book = !c.codebook.empty();
  const int half = (c.levels() - 1) / 2;
  const float low = has_book ? c.codebook.front() : c.symmetric ? static_cast<float>(-half) : 0.0F;
  const float high = has_book      ? c.codebook.back()
                     : c.symmetric ? static_cast<float>(half)
                                   : static_cast<float>(c.levels() - 1);
  const std::int32_t line = c.grain == Grain::channel ? c.tokens : c.dims;
  call.for_each({shader,
                 {call.width(), word(c.width), word(c.grain == Grain::channel), word(c.symmetric),
                  word(has_book), word(c.levels())},
                 std::move(buffers),
                 {0, word(count), word(c.tokens), word(c.dims), word(c.group == 0 ? line : c.group),
                  word(c.groups_per_row()), word(c.row_bytes()), word(low), word(high)},
                 {}},
                (count + per - 1) / per, 0);
}

}  // namespace

void build(Call& call, const Quantization& a) {
  a.codec.check();
  const Buffer &x = call.in(a.in, "the numbers"), &codes = call.out(a.out.codes, "the codes"),
               &scales = call.out(a.out.scales, "the scales"),
               &zeros = call.out(a.out.zeros, "the zeros"),
               &book = call.own(a.codec.codebook, "the codebook");
  add(call, "codec_scales", a.codec, {&x, &scales, &zeros}, a.codec.groups(), 2);
  add(call, "codec_codes", a.codec, {&x, &scales, &zeros, &book, &codes}, a.codec.code_bytes(), 4);
}

void build(Call& call, const Dequantization& a) {
  a.codec.check();
  add(call, "codec_values", a.codec,
      {&call.in(a.in.codes, "the codes"), &call.in(a.in.scales, "the scales"),
       &call.in(a.in.zeros, "the zeros"), &call.own(a.codec.codebook, "the codebook"),
       &call.out(a.out, "the numbers")},
      a.out.size(), 1);
}

void once(const Quantization& a, Device& device) { run_once(a, device); }
void once(const Dequantization& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
