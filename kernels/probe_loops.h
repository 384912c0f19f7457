#pragma once
// The inner loops of the bandwidth probes: one thread's share, no timing.
#include <cstddef>
#include <cstdint>

namespace kvsim::kernels::cpu {

// Reads [data, data + bytes) in four streams; returns a number that depends on every byte. `bytes`
// is a multiple of 1024.
std::uint64_t read_streams(const std::byte* data, std::size_t bytes);
// Both 64-byte aligned, `bytes` a multiple of 64; past the caches.
void copy_non_temporal(const std::byte* from, std::byte* to, std::size_t bytes);
// `rounds` of multiply_add_flops() flops each; returns a number that depends on all.
float multiply_add(std::int64_t rounds);
double multiply_add_flops();

}  // namespace kvsim::kernels::cpu
