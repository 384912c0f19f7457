#include "sim/base/huge_pages.h"

#include <array>
#include <climits>
#include <cstdint>
#include <cstdlib>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <malloc.h>
#include <sys/mman.h>
#endif

namespace kvsim {

void prefer_huge_pages() {
#ifdef MADV_HUGEPAGE
  // The heap grows by what is asked of it here, in pieces below the size from which the C library
  // maps memory apart, and keeps it when that is given back. Only what is touched takes memory.
  constexpr std::size_t kPiece = std::size_t{16} << 20, kPage = 4096;
  mallopt(M_MMAP_THRESHOLD, 2 * static_cast<int>(kPiece));
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  std::array<void*, 64> pieces{};
  for (void*& piece : pieces) {
    piece = std::malloc(kPiece);
    if (piece == nullptr) break;
    const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(piece) / kPage * kPage;
    madvise(reinterpret_cast<void*>(page), kPiece, MADV_HUGEPAGE);
  }
  for (void* piece : pieces) std::free(piece);
#endif
}

}  // namespace kvsim
