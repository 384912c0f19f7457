#pragma once
// Mixing and digests that are the same on every compiler and machine. Not cryptographic.
#include <bit>
#include <cstdint>
#include <string_view>

namespace kvsim {

// SplitMix64's finaliser: a bijection of 64-bit words that spreads every input bit.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr std::uint64_t hash_combine(std::uint64_t seed, std::uint64_t value) {
  return mix64(std::rotl(seed, 23) ^ mix64(value));
}

constexpr std::uint64_t hash_text(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(h);
}

// Running digest of an event stream; order matters.
class Digest {
 public:
  constexpr void add(std::uint64_t v) { state_ = hash_combine(state_, v); }
  constexpr void add(std::int64_t v) { add(static_cast<std::uint64_t>(v)); }
  [[nodiscard]] constexpr std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0x6b7673696d303031ULL;
};

}  // namespace kvsim
