// Loops of the probes for every instruction set.
#include "kernels/probe_loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/probes.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSE4 | HWY_SSSE3)
#include <hwy/foreach_target.h>
// After foreach_target.h, as it sets the target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsim::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

std::uint64_t ReadStreams(const std::byte* data, std::size_t bytes) {
  static_assert(kStreams == 4);
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t stream = bytes / kStreams / 8;
  const auto* at = reinterpret_cast<const std::uint64_t*>(data);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (std::size_t i = 0; i + hn::Lanes(d) <= stream; i += hn::Lanes(d)) {
    s0 = hn::Add(s0, hn::LoadU(d, at + i));
    s1 = hn::Add(s1, hn::LoadU(d, at + stream + i));
    s2 = hn::Add(s2, hn::LoadU(d, at + 2 * stream + i));
    s3 = hn::Add(s3, hn::LoadU(d, at + 3 * stream + i));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

void CopyNonTemporal(const std::byte* from, std::byte* to, std::size_t bytes) {
  const hn::CappedTag<std::uint32_t, 16> d;
  const std::size_t stream = bytes / kStreams / 4;
  const auto* source = reinterpret_cast<const std::uint32_t*>(from);
  auto* target = reinterpret_cast<std::uint32_t*>(to);
  // A line of each stream at a time: a line that is stored in parts between others is written
  // twice.
  for (std::size_t i = 0; i < stream; i += 16)
    for (std::size_t s = 0; s < kStreams; ++s)
      for (std::size_t part = 0; part < 16; part += hn::Lanes(d)) {
        const std::size_t at = s * stream + i + part;
        hn::Stream(hn::Load(d, source + at), d, target + at);
      }
  hwy::FlushStream();
}

void CopyPlain(const std::byte* from, std::byte* to, std::size_t bytes) {
  const hn::ScalableTag<std::uint32_t> d;
  const auto* source = reinterpret_cast<const std::uint32_t*>(from);
  auto* target = reinterpret_cast<std::uint32_t*>(to);
  for (std::size_t i = 0; i < bytes / 4; i += hn::Lanes(d))
    hn::Store(hn::Load(d, source + i), d, target + i);
}

constexpr std::size_t kChains = 12;  // two FMA pipes, latency 4, and some to spare

double MultiplyAddFlops() {
  return 2.0 * kChains * static_cast<double>(hn::Lanes(hn::ScalableTag<float>()));
}

float MultiplyAdd(std::int64_t rounds) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999F), b = hn::Set(d, 0.001F);
  // Different starts: equal chains would be computed once.
  const auto start = [&](int i) { return hn::Set(d, static_cast<float>(i)); };
  auto s0 = start(0), s1 = start(1), s2 = start(2), s3 = start(3), s4 = start(4), s5 = start(5);
  auto s6 = start(6), s7 = start(7), s8 = start(8), s9 = start(9), s10 = start(10), s11 = start(11);
  for (std::int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, a, b), s1 = hn::MulAdd(s1, a, b), s2 = hn::MulAdd(s2, a, b);
    s3 = hn::MulAdd(s3, a, b), s4 = hn::MulAdd(s4, a, b), s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b), s7 = hn::MulAdd(s7, a, b), s8 = hn::MulAdd(s8, a, b);
    s9 = hn::MulAdd(s9, a, b), s10 = hn::MulAdd(s10, a, b), s11 = hn::MulAdd(s11, a, b);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
}

}  // namespace kvsim::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsim::kernels::cpu {

HWY_EXPORT(ReadStreams);
HWY_EXPORT(CopyNonTemporal);
HWY_EXPORT(CopyPlain);
HWY_EXPORT(MultiplyAddFlops);
HWY_EXPORT(MultiplyAdd);

std::uint64_t read_streams(const std::byte* data, std::size_t bytes) {
  return HWY_DYNAMIC_DISPATCH(ReadStreams)(data, bytes);
}
void copy_non_temporal(const std::byte* from, std::byte* to, std::size_t bytes) {
  HWY_DYNAMIC_DISPATCH(CopyNonTemporal)(from, to, bytes);
}
void copy_plain(const std::byte* from, std::byte* to, std::size_t bytes) {
  HWY_DYNAMIC_DISPATCH(CopyPlain)(from, to, bytes);
}
double multiply_add_flops() { return HWY_DYNAMIC_DISPATCH(MultiplyAddFlops)(); }
float multiply_add(std::int64_t rounds) { return HWY_DYNAMIC_DISPATCH(MultiplyAdd)(rounds); }

}  // namespace kvsim::kernels::cpu
#endif
