#include "kernels/quantize.h"

#include <algorithm>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels {

namespace {
std::int32_t up(std::int32_t n, std::int32_t part) { return (n + part - 1) / part; }
}  // namespace

int Codec::levels() const {
  switch (width) {
    case CodeWidth::bits8:
      return 256;
    case CodeWidth::bits4:
      return 16;
    case CodeWidth::bits3:
      return 8;
    case CodeWidth::bits2:
      return 4;
    case CodeWidth::ternary:
      return 3;
  }
  return 0;
}
std::size_t Codec::row_bytes() const {
  switch (width) {
    case CodeWidth::bits8:
      return static_cast<std::size_t>(dims);
    case CodeWidth::bits4:
      return static_cast<std::size_t>(up(dims, 2));
    case CodeWidth::bits3:
      return static_cast<std::size_t>(up(dims, 8)) * 3;
    case CodeWidth::bits2:
      return static_cast<std::size_t>(up(dims, 4));
    case CodeWidth::ternary:
      return static_cast<std::size_t>(up(dims, 5));
  }
  return 0;
}
std::int32_t Codec::groups_per_row() const {
  if (grain == Grain::channel) return dims;
  return group == 0 ? std::min(dims, 1) : up(dims, group);
}
std::size_t Codec::groups() const {
  const std::int32_t rows = grain == Grain::token ? tokens
                            : group == 0          ? std::min(tokens, 1)
                                                  : up(tokens, group);
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(groups_per_row());
}
std::size_t Codec::group_of(std::int32_t token, std::int32_t dim) const {
  const std::int32_t row = grain == Grain::token ? token : (group == 0 ? 0 : token / group);
  const std::int32_t place = grain == Grain::channel ? dim : (group == 0 ? 0 : dim / group);
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(groups_per_row()) +
         static_cast<std::size_t>(place);
}
double Codec::effective_bits() const {
  const double numbers = static_cast<double>(tokens) * dims;
  if (numbers == 0) return 0;
  return (static_cast<double>(code_bytes()) * 8 +
          static_cast<double>(groups()) * (symmetric ? 16 : 32)) /
         numbers;
}
void Codec::check() const {
  if (tokens < 0 || dims < 0 || group < 0)
    throw InputError("tokens, dims and group must not be negative");
  if (codebook.empty()) return;
  if (levels() > 16) throw InputError("a codebook has at most 16 entries", "width: 4, 3, 2");
  if (codebook.size() != static_cast<std::size_t>(levels()))
    throw InputError("the codebook must have one entry per code",
                     "width 4: 16, 3: 8, 2: 4, ternary: 3");
  if (!std::is_sorted(codebook.begin(), codebook.end()) || !(codebook.front() < codebook.back()))
    throw InputError("the codebook must ascend");
}

void PageQuantization::check() const {
  const KvFormat &from = source.format, &to = format;
  KVSIM_CHECK(from.kv_heads == to.kv_heads && from.k_dim == to.k_dim && from.v_dim == to.v_dim &&
                  from.page_tokens == to.page_tokens && from.key_order == to.key_order &&
                  from.values_in_keys == to.values_in_keys,
              "formats differ in more than the element");
  KVSIM_CHECK(is_quantised(from.element) != is_quantised(to.element), "one side holds codes");
  KVSIM_CHECK(from_pages.size() == to_pages.size(), "{} pages to {}", from_pages.size(),
              to_pages.size());
}

}  // namespace kvsim::kernels
