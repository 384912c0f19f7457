#pragma once
// Batch sizes that an engine captures as CUDA graphs when the user names none.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "hardware/device.h"

namespace kvsim {

// engine-semantics section 2: 1, 2, 4, then 8..255 by 8, then 256..max by 16.
inline std::vector<std::int64_t> default_graph_sizes(std::int64_t max_running,
                                                     std::int64_t max_batched, bool blackwell) {
  const std::int64_t most =
      std::min({2 * max_running, std::int64_t{blackwell ? 1024 : 512}, max_batched});
  std::vector<std::int64_t> sizes;
  for (const std::int64_t n : {1, 2, 4})
    if (n <= most) sizes.push_back(n);
  for (std::int64_t n = 8; n < 256 && n <= most; n += 8) sizes.push_back(n);
  for (std::int64_t n = 256; n <= most; n += 16) sizes.push_back(n);
  return sizes;
}

inline bool is_blackwell(const DeviceSpec& d) {
  return d.name.starts_with("b2") || d.name.starts_with("b3") ||
         d.name.starts_with("rtx-pro-6000") || d.name.starts_with("gb");
}

}  // namespace kvsim
