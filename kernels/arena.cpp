#include "kernels/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#include "sim/base/diagnostics.h"

namespace kvsim::kernels {

namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
std::size_t mapped_bytes(std::size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}
}  // namespace

// Maps one huge page more than needed and gives the ends back, so that the start is aligned to one.
Arena::Arena(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const std::size_t kept = mapped_bytes(bytes);
  void* raw =
      mmap(nullptr, kept + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED)
    throw InputError(fmt::format("no {} MiB of memory to be had", kept >> 20),
                     "take a smaller shape or footprint");
  auto* first = static_cast<std::byte*>(raw);
  const std::size_t skip =
      (kHugePage - reinterpret_cast<std::uintptr_t>(first) % kHugePage) % kHugePage;
  if (skip > 0) munmap(first, skip);
  if (skip < kHugePage) munmap(first + skip + kept, kHugePage - skip);
  data_ = first + skip;
  madvise(data_, kept, MADV_HUGEPAGE);  // advice: without it everything works, slower
#ifdef MADV_POPULATE_WRITE
  if (madvise(data_, kept, MADV_POPULATE_WRITE) == 0) return;  // new pages are zero
#endif
  std::memset(data_, 0, kept);  // before Linux 5.14
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, mapped_bytes(size_));
}

}  // namespace kvsim::kernels
