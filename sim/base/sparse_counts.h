#pragma once
// N counts by kind of which few are not 0. Reads like std::array<std::int64_t, N>; has room for
// `Few` kinds in place, and takes memory for all of them once more have been counted.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace kvsim {
namespace detail {

// Pairs of kind and count, in the order in which kinds came.
template <std::size_t Few>
class FewCounts {
 public:
  [[nodiscard]] const std::int64_t* find(std::size_t kind) const {
    for (std::size_t i = 0; i < used_; ++i)
      if (kinds_[i] == kind) return &counts_[i];
    return nullptr;
  }
  std::int64_t* find(std::size_t kind) {
    return const_cast<std::int64_t*>(std::as_const(*this).find(kind));
  }
  // False: there is no room.
  bool insert(std::size_t kind, std::int64_t n) {
    if (used_ == Few) return false;
    kinds_[used_] = static_cast<std::uint8_t>(kind);
    counts_[used_++] = n;
    return true;
  }
  template <class Hear>
  void each(Hear hear) const {
    for (std::size_t i = 0; i < used_; ++i) hear(std::size_t{kinds_[i]}, counts_[i]);
  }

 private:
  std::array<std::int64_t, Few> counts_{};
  std::array<std::uint8_t, Few> kinds_{};
  std::uint8_t used_ = 0;
};

template <>
class FewCounts<0> {
 public:
  [[nodiscard]] static std::int64_t* find(std::size_t) { return nullptr; }
  static bool insert(std::size_t, std::int64_t) { return false; }
  template <class Hear>
  void each(Hear) const {}
};

}  // namespace detail

template <std::size_t N, std::size_t Few>
class SparseCounts {
  static_assert(Few < N && N <= 256);

 public:
  using All = std::array<std::int64_t, N>;

  // Stands for a count that may be changed; one that stays 0 takes no room.
  class Ref {
   public:
    Ref(SparseCounts& of, std::size_t kind) : of_(&of), kind_(kind) {}
    Ref(const Ref&) = default;
    operator std::int64_t() const { return std::as_const(*of_)[kind_]; }
    Ref& operator=(std::int64_t n) {
      of_->set(kind_, n);
      return *this;
    }
    Ref& operator=(const Ref& other) { return *this = static_cast<std::int64_t>(other); }
    Ref& operator+=(std::int64_t n) { return *this = *this + n; }
    Ref& operator-=(std::int64_t n) { return *this = *this - n; }

   private:
    SparseCounts* of_;
    std::size_t kind_;
  };
  class Iterator {
   public:
    Iterator(const SparseCounts& of, std::size_t kind) : of_(&of), kind_(kind) {}
    std::int64_t operator*() const { return (*of_)[kind_]; }
    Iterator& operator++() {
      ++kind_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const SparseCounts* of_;
    std::size_t kind_;
  };

  SparseCounts() = default;
  SparseCounts(const SparseCounts& o)
      : all_(o.all_ ? std::make_unique<All>(*o.all_) : nullptr), few_(o.few_) {}
  SparseCounts(SparseCounts&&) noexcept = default;
  SparseCounts& operator=(const SparseCounts& o) { return *this = SparseCounts(o); }
  SparseCounts& operator=(SparseCounts&&) noexcept = default;
  ~SparseCounts() = default;

  [[nodiscard]] std::int64_t operator[](std::size_t kind) const {
    if (all_) return (*all_)[kind];
    const std::int64_t* at = few_.find(kind);
    return at == nullptr ? 0 : *at;
  }
  Ref operator[](std::size_t kind) { return {*this, kind}; }
  void set(std::size_t kind, std::int64_t n) {
    if (all_) {
      (*all_)[kind] = n;
    } else if (std::int64_t* at = few_.find(kind)) {
      *at = n;
    } else if (n != 0 && !few_.insert(kind, n)) {
      all_ = std::make_unique<All>(all());
      (*all_)[kind] = n;
    }
  }
  [[nodiscard]] All all() const {
    if (all_) return *all_;
    All a{};
    few_.each([&](std::size_t kind, std::int64_t n) { a[kind] = n; });
    return a;
  }
  // Of all kinds.
  [[nodiscard]] std::int64_t sum() const {
    std::int64_t s = 0;
    if (all_)
      for (const std::int64_t n : *all_) s += n;
    else
      few_.each([&](std::size_t, std::int64_t n) { s += n; });
    return s;
  }
  [[nodiscard]] static constexpr std::size_t size() { return N; }
  [[nodiscard]] Iterator begin() const { return {*this, 0}; }
  [[nodiscard]] Iterator end() const { return {*this, N}; }
  bool operator==(const SparseCounts& o) const { return all() == o.all(); }

 private:
  std::unique_ptr<All> all_;  // instead of the few
  [[no_unique_address]] detail::FewCounts<Few> few_;
};

}  // namespace kvsim
