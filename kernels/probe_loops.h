#pragma once
// The inner loops of the bandwidth probes: one thread's share, no timing.
#include <cstddef>
#include <cstdint>

namespace kvsim::kernels::cpu {

// Places that one core reads or copies side by side: its own prefetchers follow one stream per page
// of 4 KiB, and one stream does not fill what it can have in flight.
inline constexpr std::size_t kStreams = 4;

// Reads [data, data + bytes) in kStreams streams; returns a number that depends on every byte.
// `bytes` is a multiple of 1024.
std::uint64_t read_streams(const std::byte* data, std::size_t bytes);
// Both 64-byte aligned, `bytes` a multiple of 1024: past the caches in kStreams streams, or as the
// STREAM benchmark copies, in one with stores that read each line first.
void copy_non_temporal(const std::byte* from, std::byte* to, std::size_t bytes);
void copy_plain(const std::byte* from, std::byte* to, std::size_t bytes);
// `rounds` of multiply_add_flops() flops each; returns a number that depends on all.
float multiply_add(std::int64_t rounds);
double multiply_add_flops();

}  // namespace kvsim::kernels::cpu
