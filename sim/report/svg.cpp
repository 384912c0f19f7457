// Charts as SVG, for papers and for the heat maps of the page. Plain on purpose: axes, marks, a
// legend; fonts are those of whoever shows the file.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/report/render.h"

namespace kvsim::report {
namespace {

constexpr double kWidth = 720, kPlot = 300, kTop = 44, kRight = 24;
constexpr double kLetter = 6.6;  // mean width of a letter of 12 px

struct Range {
  double low = 0, high = 1;
  bool is_log = false;
  [[nodiscard]] double at(double v) const {  // 0 to 1
    if (is_log) return (std::log10(v) - std::log10(low)) / (std::log10(high) - std::log10(low));
    return (v - low) / (high - low);
  }
  [[nodiscard]] bool holds(double v) const { return std::isfinite(v) && (!is_log || v > 0); }
};

std::string tick_text(double v) {
  const double size = std::abs(v);
  if (size >= 1e9) return fmt::format("{:.4g}G", v / 1e9);
  if (size >= 1e6) return fmt::format("{:.4g}M", v / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g}k", v / 1e3);
  return fmt::format("{:.4g}", size < 1e-12 ? 0 : v);
}

// 1, 2 or 5 times a power of ten, so that about five of them fit.
double tick_step(double span) {
  const double rough = span / 5, power = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

std::vector<double> ticks(const Range& r) {
  std::vector<double> all;
  if (r.is_log) {
    const int first = static_cast<int>(std::floor(std::log10(r.low) + 1e-9)),
              last = static_cast<int>(std::ceil(std::log10(r.high) - 1e-9));
    for (int e = first; e <= last; ++e)
      for (const double lead : {1.0, 2.0, 5.0}) {
        const double v = lead * std::pow(10, e);
        if ((last - first < 3 || lead == 1) && v >= r.low * 0.999 && v <= r.high * 1.001)
          all.push_back(v);
      }
    return all;
  }
  const double step = tick_step(r.high - r.low);
  for (double v = std::ceil(r.low / step - 1e-9) * step; v <= r.high + step * 1e-9; v += step)
    all.push_back(v);
  return all;
}

// From the values; a log axis ends where they do, others at a tick.
Range range_of(const Axis& axis, const std::vector<double>& values) {
  Range r{0, 1, axis.is_log};
  bool is_first = true;
  for (const double v : values) {
    if (!r.holds(v)) continue;
    r.low = is_first ? v : std::min(r.low, v);
    r.high = is_first ? v : std::max(r.high, v);
    is_first = false;
  }
  if (axis.is_log) {
    if (!(r.high > r.low)) r.low = is_first ? 0.1 : r.low / 2, r.high = is_first ? 1 : r.high * 2;
    return r;
  }
  if (axis.least) r.low = std::min(*axis.least, r.low);
  if (axis.most) r.high = std::max(*axis.most, r.high);
  if (!(r.high > r.low)) r.high = r.low + 1;
  const double step = tick_step(r.high - r.low);
  r.low = axis.least.value_or(std::floor(r.low / step + 1e-9) * step);
  r.high = axis.most.value_or(std::ceil(r.high / step - 1e-9) * step);
  return r;
}

class Drawing {
 public:
  Drawing(const Chart& c, bool in_page) : chart_(c), in_page_(in_page) {}

  std::string finish(double height) const {
    std::string head = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:.0f}\" width=\"{0:g}\" "
        "height=\"{1:.0f}\" role=\"img\" aria-label=\"{2}\" font-family=\"sans-serif\" "
        "font-size=\"12\" fill=\"{3}\">\n",
        kWidth, height, escaped(chart_.title), in_page_ ? "currentColor" : "#1c2430");
    if (!in_page_)
      head += fmt::format(
          "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"22\" "
          "font-size=\"15\" font-weight=\"bold\">{}</text>\n",
          escaped(chart_.title));
    return head + body_ + "</svg>\n";
  }

  void text(double x, double y, std::string_view text, const char* anchor, const char* more = "") {
    body_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                         anchor, more, escaped(text));
  }
  void line(double x1, double y1, double x2, double y2, double opacity) {
    body_ += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-opacity=\"{}\"/>\n",
        x1, y1, x2, y2, in_page_ ? "currentColor" : "#1c2430", opacity);
  }
  void box(double x, double y, double w, double h, const std::string& fill,
           const std::string& tip) {
    body_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\">"
        "<title>{}</title></rect>\n",
        x, y, std::max(w, 0.0), h, fill, escaped(tip));
  }
  void raw(const std::string& element) { body_ += element; }

  // Names of the series below the plot; the y where they end.
  double legend(double y) {
    if (chart_.series.size() < 2) return y;
    double x = 20;
    y += 18;
    for (const Series& s : chart_.series) {
      const double width = 34 + kLetter * static_cast<double>(s.name.size());
      if (x + width > kWidth && x > 20) x = 20, y += 18;
      const char* paint = kPalette[s.color % kColors];
      raw(
          fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{1:.1f}\" "
                      "stroke=\"{3}\" stroke-width=\"{4}\"{5}/>\n",
                      x, y - 4, x + 18, paint, chart_.kind == Chart::Kind::bars ? 9 : 2.5,
                      s.is_dashed ? " stroke-dasharray=\"6 4\"" : ""));
      text(x + 23, y, s.name, "start");
      x += width;
    }
    return y + 6;
  }

 private:
  const Chart& chart_;
  bool in_page_;
  std::string body_;
};

struct Frame {
  double left = 66, top = kTop, width = kWidth - 66 - kRight, height = kPlot;
  Range x, y;
  [[nodiscard]] double px(double v) const { return left + width * x.at(v); }
  [[nodiscard]] double py(double v) const { return top + height * (1 - y.at(v)); }
};

void x_axis(Drawing& d, const Frame& f, const std::string& title) {
  for (const double v : ticks(f.x)) {
    d.line(f.px(v), f.top, f.px(v), f.top + f.height, 0.12);
    d.text(f.px(v), f.top + f.height + 16, tick_text(v), "middle");
  }
  d.line(f.left, f.top + f.height, f.left + f.width, f.top + f.height, 0.6);
  d.text(f.left + f.width / 2, f.top + f.height + 36, title, "middle");
}

void y_title(Drawing& d, const Frame& f, const std::string& title) {
  d.text(
      0, 0, title, "middle",
      fmt::format(" transform=\"translate(16,{:.0f}) rotate(-90)\"", f.top + f.height / 2).c_str());
}

std::string xy_chart(const Chart& c, bool in_page) {
  Drawing d(c, in_page);
  Frame f;
  std::vector<double> xs, ys;
  for (const Series& s : c.series) {
    xs.insert(xs.end(), s.x.begin(), s.x.end());
    ys.insert(ys.end(), s.y.begin(), s.y.end());
  }
  f.x = range_of(c.x, xs);
  f.y = range_of(c.y, ys);
  x_axis(d, f, c.x.title);
  for (const double v : ticks(f.y)) {
    d.line(f.left, f.py(v), f.left + f.width, f.py(v), 0.12);
    d.text(f.left - 6, f.py(v) + 4, tick_text(v), "end");
  }
  y_title(d, f, c.y.title);
  for (const Series& s : c.series) {
    const char* paint = kPalette[s.color % kColors];
    std::string path;
    bool is_down = false;
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const bool is_there = f.x.holds(s.x[i]) && f.y.holds(s.y[i]);
      if (is_there)
        path += fmt::format("{}{:.1f} {:.1f}", is_down ? "L" : "M", f.px(s.x[i]), f.py(s.y[i]));
      is_down = is_there;
      if (is_there && c.kind == Chart::Kind::points)
        d.raw(fmt::format(
            "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>{}</title></circle>\n",
            f.px(s.x[i]), f.py(s.y[i]), paint,
            escaped(i < s.labels.size() ? s.labels[i] : s.name)));
    }
    if (c.kind == Chart::Kind::lines || c.is_joined || s.is_dashed)
      d.raw(fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", path,
                        paint, s.is_dashed ? " stroke-dasharray=\"6 4\"" : ""));
  }
  const double end = d.legend(f.top + f.height + 42);
  return d.finish(end + 8);
}

double widest(const std::vector<std::string>& names, double most) {
  std::size_t letters = 0;
  for (const std::string& n : names) letters = std::max(letters, n.size());
  return std::min(most, kLetter * static_cast<double>(letters));
}

std::string cut(const std::string& text, double width) {
  const auto letters = static_cast<std::size_t>(width / kLetter);
  if (text.size() <= letters + 1) return text;
  std::size_t end = letters;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string bar_chart(const Chart& c, bool in_page) {
  Drawing d(c, in_page);
  Frame f;
  f.left = 20 + widest(c.y.categories, 220);
  f.width = kWidth - f.left - kRight;
  const std::size_t lanes = c.is_stacked ? 1 : std::max<std::size_t>(c.series.size(), 1);
  const double lane = lanes == 1 ? 18 : 12, row = lane * static_cast<double>(lanes) + 10;
  f.height = row * static_cast<double>(c.y.categories.size());
  std::vector<double> ends{0};
  for (std::size_t k = 0; k < c.y.categories.size(); ++k) {
    double stack = 0;
    for (const Series& s : c.series) {
      if (k >= s.y.size()) continue;
      stack += s.y[k];
      ends.push_back(c.is_stacked ? stack : s.y[k]);
    }
  }
  f.x = range_of(c.x, ends);
  x_axis(d, f, c.x.title);
  for (std::size_t k = 0; k < c.y.categories.size(); ++k) {
    const double top = f.top + row * static_cast<double>(k) + 5;
    d.text(f.left - 8, top + (row - 10) / 2 + 4, cut(c.y.categories[k], f.left - 20), "end");
    double stack = 0;
    for (std::size_t j = 0; j < c.series.size(); ++j) {
      const Series& s = c.series[j];
      if (k >= s.y.size() || !std::isfinite(s.y[k])) continue;
      const double from = c.is_stacked ? stack : s.base.empty() ? 0 : s.base[k];
      const double to = c.is_stacked ? stack += s.y[k] : s.y[k];
      const double y = top + (c.is_stacked ? 0 : lane * static_cast<double>(j));
      d.box(f.px(from), y, f.px(to) - f.px(from), lane - (lanes == 1 ? 0 : 1),
            kPalette[s.color % kColors],
            fmt::format("{}, {}: {}", c.y.categories[k], s.name, tick_text(to - from)));
    }
  }
  const double end = d.legend(f.top + f.height + 42);
  return d.finish(end + 8);
}

// From dark blue to yellow, evenly bright for all eyes: nine stations of matplotlib's viridis
// (van der Walt and Smith 2015, CC0).
std::string heat_color(double share, bool& is_dark) {
  struct Rgb {
    double r, g, b;
  };
  constexpr std::array<Rgb, 9> kStations{{{68, 1, 84},
                                          {71, 45, 123},
                                          {59, 82, 139},
                                          {44, 114, 142},
                                          {33, 145, 140},
                                          {40, 174, 128},
                                          {94, 201, 98},
                                          {173, 220, 48},
                                          {253, 231, 37}}};
  const double at = std::clamp(share, 0.0, 1.0) * (kStations.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(at), kStations.size() - 2);
  const double part = at - static_cast<double>(low);
  const auto mix = [&](double a, double b) { return static_cast<int>(a + (b - a) * part + 0.5); };
  const Rgb &a = kStations[low], &b = kStations[low + 1];
  is_dark = share < 0.55;
  return fmt::format("#{:02x}{:02x}{:02x}", mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b));
}

std::string heat_chart(const Chart& c, bool in_page) {
  Drawing d(c, in_page);
  Frame f;
  const std::size_t columns = c.x.categories.size(), rows = c.y.categories.size();
  f.top = (in_page ? 0 : kTop - 14) + 24;
  f.left = 40 + widest(c.y.categories, 200);
  f.width = kWidth - f.left - kRight;
  const double w = f.width / static_cast<double>(columns), h = 30;
  f.height = h * static_cast<double>(rows);
  const std::vector<double>& values = c.series.at(0).y;
  double low = kNone, high = kNone;
  for (const double v : values)
    if (std::isfinite(v))
      low = std::isnan(low) ? v : std::min(low, v), high = std::isnan(high) ? v : std::max(high, v);
  for (std::size_t i = 0; i < values.size() && i < columns * rows; ++i) {
    if (!std::isfinite(values[i])) continue;
    const double x = f.left + w * static_cast<double>(i % columns),
                 y = f.top + h * static_cast<double>(i / columns);
    bool is_dark = false;
    const std::string fill =
        heat_color(high > low ? (values[i] - low) / (high - low) : 0.5, is_dark);
    d.box(x, y, w - 1, h - 1, fill,
          fmt::format("{}, {}: {} {}", c.x.categories[i % columns], c.y.categories[i / columns],
                      tick_text(values[i]), c.heat_unit));
    if (w > 34)
      d.text(x + w / 2, y + h / 2 + 4, tick_text(values[i]), "middle",
             is_dark ? " fill=\"#ffffff\" pointer-events=\"none\""
                     : " fill=\"#101010\" pointer-events=\"none\"");
  }
  for (std::size_t k = 0; k < rows; ++k)
    d.text(f.left - 8, f.top + h * (static_cast<double>(k) + 0.5) + 4,
           cut(c.y.categories[k], f.left - 40), "end");
  for (std::size_t k = 0; k < columns; ++k)
    d.text(f.left + w * (static_cast<double>(k) + 0.5), f.top + f.height + 16,
           cut(c.x.categories[k], w), "middle");
  d.text(f.left + f.width / 2, f.top + f.height + 36, c.x.title, "middle");
  d.text(8, f.top - 8, c.y.title, "start");
  return d.finish(f.top + f.height + 48);
}

}  // namespace

std::string chart_svg(const Chart& c, bool in_page) {
  switch (c.kind) {
    case Chart::Kind::bars:
      return bar_chart(c, in_page);
    case Chart::Kind::heat:
      return heat_chart(c, in_page);
    case Chart::Kind::lines:
    case Chart::Kind::points:
      break;
  }
  return xy_chart(c, in_page);
}

std::vector<NamedFile> to_svg(const Report& r) {
  std::vector<NamedFile> files;
  for (const Section& s : r.sections)
    for (const auto& part : s.parts)
      if (const Chart* c = std::get_if<Chart>(&part))
        files.push_back({c->id + ".svg", chart_svg(*c, false)});
  return files;
}

}  // namespace kvsim::report
