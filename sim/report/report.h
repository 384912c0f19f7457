#pragma once
// What a report holds, apart from how it looks: sections of charts, tables and texts. The renderers
// (render.h) turn one value of this into a page, markdown, CSV or SVG; the sections (sections.h)
// fill it from result files. Texts are raw: every renderer escapes what it writes.
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace kvsim::report {

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();  // no value: a gap

struct Axis {
  std::string title;  // with the unit: "TTFT, ms"
  bool is_log = false;
  std::optional<double> least, most;    // otherwise from the data
  std::vector<std::string> categories;  // names instead of numbers
};

struct Series {
  std::string name;
  // lines, points: same length. bars: y[i] is the end of the bar of category i. heat: y[i] is the
  // value of the cell i % columns, i / columns.
  std::vector<double> x, y;
  std::vector<double> base;         // bars: where each begins; empty: at 0
  std::vector<std::string> labels;  // one a point, for its tooltip; may be empty
  std::size_t color = 0;            // index into kPalette, modulo its size
  bool is_dashed = false;
};

struct Chart {
  enum class Kind {
    lines,   // x and y are numbers
    points,  // the same; joined where is_joined says so
    bars,    // horizontal: categories on the y axis
    heat     // categories on both axes, one series
  };
  std::string id;  // letters, digits, '-': also the name of its SVG file
  std::string title, text;
  Kind kind = Kind::lines;
  Axis x, y;
  std::vector<Series> series;
  bool is_stacked = false;     // bars of one category lie end to end
  bool is_by_index = false;    // lines: points of equal index belong together (same quantile)
  bool is_joined = false;      // points: those of a series are a curve, in their order
  std::string heat_unit = {};  // heat: of the values
};

struct Cell {
  std::string text;
  double number = kNone;  // sorts by it and goes into CSV; kNone: the text does
};

struct Table {
  std::string id, title, text;
  std::vector<std::string> columns;  // with units
  std::vector<std::vector<Cell>> rows;
};

struct Text {  // shown as it is, folded
  std::string id, title, body;
};

struct Section {
  std::string id, title, text;
  std::vector<std::variant<Chart, Table, Text>> parts;
};

struct Report {
  std::string title, subtitle;
  std::vector<std::string> warnings;  // unfinished runs, runs that were left out
  std::vector<Section> sections;      // none is empty
};

// Paul Tol's "bright" scheme and three of his "light" one: told apart by people who see colours
// differently, and on white as on black. https://personal.sron.nl/~pault/ (2021)
inline constexpr const char* kPalette[] = {"#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE",
                                           "#AA3377", "#BBBBBB", "#EE8866", "#44BB99", "#AAAA00"};
inline constexpr std::size_t kColors = std::size(kPalette);
inline constexpr std::size_t kGrey = 6;  // what stands apart from the series

}  // namespace kvsim::report
