#pragma once
// The elements of a vector by their `key`: a set of their numbers, which reads the keys where they
// stand. A third of what a map would take.
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <vector>

namespace kvsim {

template <class T>
class KeyIndex {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffU;

  // The vector outlives the index and stays where it is; its elements may move.
  explicit KeyIndex(const std::vector<T>& elements)
      : numbers_(0, Hash{&elements}, Equal{&elements}) {}

  [[nodiscard]] std::uint32_t find(std::uint64_t key) const {
    const auto at = numbers_.find(key);
    return at == numbers_.end() ? kNone : *at;
  }
  // The number of the element with this one's key: its own when there was none.
  std::uint32_t insert(std::uint32_t number) { return *numbers_.insert(number).first; }
  void erase(std::uint32_t number) { numbers_.erase(number); }

 private:
  struct Hash {
    using is_transparent = void;
    const std::vector<T>* elements;
    std::size_t operator()(std::uint64_t key) const { return boost::hash<std::uint64_t>{}(key); }
    std::size_t operator()(std::uint32_t number) const { return (*this)((*elements)[number].key); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<T>* elements;
    bool operator()(std::uint32_t a, std::uint32_t b) const {
      return (*elements)[a].key == (*elements)[b].key;
    }
    bool operator()(std::uint64_t key, std::uint32_t b) const { return key == (*elements)[b].key; }
    bool operator()(std::uint32_t a, std::uint64_t key) const { return key == (*elements)[a].key; }
  };
  boost::unordered_flat_set<std::uint32_t, Hash, Equal> numbers_;
};

}  // namespace kvsim
