#pragma once
// A prepared statement that remembers what it is bound to. Most columns of a row are what they were
// in the row before (no tier, no tool, no time-out: 0), and to compare costs less than to bind.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/time.h"
#include "sim/record/database.h"

namespace kvsim {

class RowInsert {
 public:
  explicit RowInsert(Statement s)
      : statement_(std::move(s)), bound_(static_cast<std::size_t>(statement_.parameters()) + 1) {}
  // Parameter 1 of all rows.
  void bind_run(std::int64_t run_id) { statement_.bind(1, run_id); }

 private:
  friend class Row;
  struct Bound {
    enum class Kind : std::uint8_t { unknown, null, integer, text };
    Kind kind = Kind::unknown;
    std::int64_t integer = 0;
    const char* text = nullptr;
  };
  Statement statement_;
  std::vector<Bound> bound_;
};

// Binds one row in the order of the schema, from parameter 2 on.
class Row {
 public:
  explicit Row(RowInsert& s) : s_(&s) {}
  template <std::integral T>
  Row& operator<<(T v) {
    return integer(static_cast<std::int64_t>(v));
  }
  Row& operator<<(double v) {
    next().kind = RowInsert::Bound::Kind::unknown;
    s_->statement_.bind(at_, v);
    return *this;
  }
  Row& operator<<(Time t) { return t == kNever ? null() : integer(to_ns(t)); }
  Row& operator<<(std::optional<Duration> d) { return d ? integer(to_ns(*d)) : null(); }
  // The text must live until run().
  Row& operator<<(std::string_view text) {
    next().kind = RowInsert::Bound::Kind::unknown;
    s_->statement_.bind_static(at_, text);
    return *this;
  }
  Row& operator<<(const std::string& text) { return *this << std::string_view{text}; }
  // A text for ever: names of kinds, reasons.
  Row& operator<<(const char* text) {
    RowInsert::Bound& b = next();
    if (b.kind == RowInsert::Bound::Kind::text && b.text == text) return *this;
    b = {RowInsert::Bound::Kind::text, 0, text};
    s_->statement_.bind_static(at_, text);
    return *this;
  }
  Row& null() {
    RowInsert::Bound& b = next();
    if (b.kind == RowInsert::Bound::Kind::null) return *this;
    b.kind = RowInsert::Bound::Kind::null;
    s_->statement_.bind_null(at_);
    return *this;
  }
  void run() {
    s_->statement_.step();
    s_->statement_.reset();
  }

 private:
  RowInsert::Bound& next() { return s_->bound_[static_cast<std::size_t>(++at_)]; }
  Row& integer(std::int64_t v) {
    RowInsert::Bound& b = next();
    if (b.kind == RowInsert::Bound::Kind::integer && b.integer == v) return *this;
    b.kind = RowInsert::Bound::Kind::integer;
    b.integer = v;
    s_->statement_.bind(at_, v);
    return *this;
  }
  RowInsert* s_;
  int at_ = 1;
};

}  // namespace kvsim
