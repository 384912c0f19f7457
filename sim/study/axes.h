#pragma once
// One axis of a study: what its paths take at a level of a list, or at a coordinate of a range.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/units.h"
#include "sim/study/study.h"

namespace kvsim {

class Axis {
 public:
  // Mistakes go to the reader, with the places of `at` (the axis in the file). `is_grid`: a range
  // is cut into its steps, and must say how many.
  Axis(const AxisSpec&, const Tree& at, bool is_grid, Reader&);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<std::string>& paths() const { return paths_; }
  // Number of listed values; of a range that is not cut: 0.
  [[nodiscard]] std::size_t levels() const { return values_.size(); }
  // YAML, one for each path.
  [[nodiscard]] const std::vector<std::string>& at_level(std::size_t level) const {
    return values_[level];
  }
  // Of u in [0, 1]: a list is cut into equal parts. A range gives its ends exactly, and between
  // them values of six significant digits (bytes: multiples of a 1024th of their power of two).
  [[nodiscard]] std::vector<std::string> at(double u) const;
  [[nodiscard]] const Place& place_of(std::size_t level) const { return places_[level]; }
  [[nodiscard]] const Place& place() const { return place_; }

 private:
  struct Range {
    Dimension dimension;
    double from, to;
    std::string from_text, to_text;
    bool is_log, is_whole;
  };
  void read_paths(const AxisSpec&, const Tree& at, Reader&);
  void read_values(const AxisSpec&, const Tree& at, Reader&);
  void read_range(const RangeSpec&, const Tree& at, bool is_grid, Reader&);
  [[nodiscard]] std::string quantity_at(double u) const;

  std::string name_;
  std::vector<std::string> paths_;
  std::vector<std::vector<std::string>> values_;
  std::vector<Place> places_;  // of values_
  Place place_;
  std::optional<Range> range_;
};

// A tree as YAML of one line, for `path=value`.
std::string one_line(const Tree&);

}  // namespace kvsim
