#pragma once
// Which instruction set the SIMD twins use. Chosen from the processor's feature bits; can be forced
// for tests and comparisons.
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kvsim::kernels {

enum class Isa : std::uint8_t { best, avx512, avx2, portable };
constexpr auto enum_names(Isa) {
  return std::array{std::pair{Isa::best, "best"}, std::pair{Isa::avx512, "avx512"},
                    std::pair{Isa::avx2, "avx2"}, std::pair{Isa::portable, "portable"}};
}

// Those that this processor executes, widest first; never `best`; always `portable`.
std::vector<Isa> supported_isas();
// For every later call of a cpu twin in this process, any thread. Not while one runs. Throws
// InputError when the processor lacks it.
void force_isa(Isa);
// What the next call uses, as "avx512".
std::string current_isa();
// "AMD EPYC 9B14" or the like, as the operating system says.
std::string cpu_name();

}  // namespace kvsim::kernels
