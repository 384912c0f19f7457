#pragma once
// Asks the processor for memory that the next event will read while the present one is dealt with.
// The instances of a fleet take turns, and between two of its turns the caches have given away most
// of an instance's state. Changes nothing but time.
#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace kvsim {

class Foresight {
 public:
  // Where the state of one instance lies and stays.
  using Pieces = std::array<std::span<const std::byte>, 4>;
  void add(const Pieces& p) { owners_.push_back(p); }
  // Of the owner that was added as the `owner`-th, from 0.
  void ask(std::size_t owner) const {
    for (const std::span<const std::byte>& piece : owners_[owner])
      for (std::size_t at = 0; at < piece.size(); at += kLine) __builtin_prefetch(&piece[at], 1);
  }

 private:
  static constexpr std::size_t kLine = 64;
  std::vector<Pieces> owners_;
};

}  // namespace kvsim
