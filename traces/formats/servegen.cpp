// ServeGen: statistics of the clients of a production service, from which requests are drawn.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/record_source.h"

namespace kvsim {
namespace {

constexpr double kWindow = 600;  // s, of the published rates

struct Pdf {  // of whole numbers
  std::vector<std::int64_t> values;
  std::vector<double> cumulative;
  [[nodiscard]] bool empty() const { return values.empty(); }
  [[nodiscard]] std::int64_t draw(Rng& rng) const {
    const double u = rng.uniform() * cumulative.back();
    const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), u) - cumulative.begin();
    return values[std::min(static_cast<std::size_t>(at), values.size() - 1)];
  }
};

struct Lengths {
  double from = 0;
  Pdf input, text, image, image_count, output;
};

struct Window {
  double from = 0, rate = 0, shape = 1;
  bool gamma = true;
};

struct Client {
  std::uint64_t id = 0;  // place in the file; names its random streams
  std::vector<Window> windows;
  std::vector<Lengths> lengths;
  std::size_t window = 0;     // whose arrivals are in `times`
  std::vector<double> times;  // s, of one window
  std::size_t next = 0;
  std::uint64_t drawn = 0;
};

class ServeGen final : public TraceSource {
 public:
  struct Params {
    Duration start{0};
    Duration duration{std::chrono::hours(1)};
    int clients = 0;
    static constexpr Rows kFields{
        field("start", &Params::start, any,
              "first instant drawn, from the start of the published period; becomes time 0"),
        field("duration", &Params::duration, any, "span that is drawn"),
        field("clients", &Params::clients, between(0, 1'000'000),
              "only the first so many clients of the file; 0 = all")};
  };

  ServeGen(Params params, const Context& context)
      : file_(std::make_unique<LineReader>(context.path), context),
        scale_(context.rate_scale),
        limit_(context.limit),
        start_(to_seconds(params.start)),
        end_(to_seconds(params.start) + to_seconds(params.duration)),
        arrivals_(context.seed, "traces/servegen/arrivals"),
        lengths_(context.seed, "traces/servegen/lengths") {
    const auto most = static_cast<std::size_t>(params.clients);
    while ((most == 0 || clients_.size() < most) &&
           file_.next([&](std::string_view line) { return parse(line); })) {
    }
    for (std::size_t c = 0; c < clients_.size(); ++c)
      if (advance(clients_[c])) push(c);
  }

  std::optional<Time> next_arrival() override {
    if (heap_.empty() || (limit_ > 0 && delivered_ >= static_cast<std::uint64_t>(limit_)))
      return std::nullopt;
    const Client& c = clients_[heap_.front().second];
    return scale_.at(duration_of_seconds(c.times[c.next] - start_));
  }

  void pop(Request& out) override {
    const auto at = next_arrival();
    if (!at) throw InputError("the trace has no further request");
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const std::size_t index = heap_.back().second;
    heap_.pop_back();
    Client& c = clients_[index];
    out = Request{0, {}, 0, 0, 0, 0, 0, 0, std::move(out.segments), {}};
    out.segments.clear();
    out.index = delivered_++;
    out.arrival = *at;
    out.tenant = static_cast<std::uint32_t>(index);
    draw_lengths(c, out);
    set_unknown_content(out, hash_text("servegen"), out.index);
    if (advance(c)) push(index);
  }

  [[nodiscard]] Skipped skipped() const override { return file_.skipped(); }

 private:
  static constexpr std::size_t kMaxValues = 50'000'000;  // of all distributions
  static constexpr double kMaxRate = 1e4;                // requests/s of one client

  void read_pdf(JsonValue& v, Pdf& out) {
    std::vector<std::pair<std::int64_t, double>> all;
    v.fields([&](std::string_view key, JsonValue& p) {
      all.emplace_back(parse_tokens("value", key, 0), p.number(0, 1));
    });
    std::sort(all.begin(), all.end());
    double sum = 0;
    for (const auto& [value, probability] : all) {
      out.values.push_back(value);
      out.cumulative.push_back(sum += probability);
    }
    if (!(sum > 0.99 && sum < 1.01))
      throw BadRecord{"", fmt::format("the probabilities sum to {:.6g}, expected 1", sum)};
    if ((values_ += all.size()) > kMaxValues)
      file_.fail("lengths", fmt::format("more than {} values in all", kMaxValues));
  }

  void read_rates(JsonValue& list, Client& c) {
    list.items([&](JsonValue& row) {
      Window w;
      int column = 0;
      row.items([&](JsonValue& v) {
        if (column == 0)
          w.from = v.number(0, kMaxSeconds);
        else if (column == 1)
          w.rate = v.number(0, kMaxRate);
        else if (column == 2)
          (void)v.number(0, 1e6);
        else if (column == 3)
          w.gamma = is_gamma(v.text());
        else if (column == 4)
          w.shape = v.number(1e-4, 1e6);
        else
          (void)v.number(0, 1e12);
        ++column;
      });
      if (column != 6)
        throw BadRecord{
            "",
            fmt::format("read {} values, expected [t, rate, cv, pattern, shape, scale]", column)};
      if (!c.windows.empty() && w.from < c.windows.back().from + kWindow)
        throw BadRecord{
            "[0]", fmt::format("read {}, expected at least {}: windows of 600 s in order", w.from,
                               c.windows.back().from + kWindow)};
      c.windows.push_back(w);
    });
  }

  static bool is_gamma(std::string_view pattern) {
    if (pattern == "Gamma") return true;
    if (pattern == "Weibull") return false;
    bad_value("", pattern, "Gamma or Weibull");
  }

  void read_lengths(JsonValue& v, Client& c) {
    v.fields([&](std::string_view key, JsonValue& by_field) {
      Lengths l;
      l.from = parse_seconds("", key);
      by_field.fields([&](std::string_view name, JsonValue& pdf) {
        if (name == "input_tokens")
          read_pdf(pdf, l.input);
        else if (name == "text_tokens")
          read_pdf(pdf, l.text);
        else if (name == "image_tokens")
          read_pdf(pdf, l.image);
        else if (name == "image_count")
          read_pdf(pdf, l.image_count);
        else if (name == "output_tokens")
          read_pdf(pdf, l.output);
      });
      if (l.input.empty() && l.text.empty()) missing_field("input_tokens");
      if (l.output.empty()) missing_field("output_tokens");
      c.lengths.push_back(std::move(l));
    });
    std::sort(c.lengths.begin(), c.lengths.end(),
              [](const Lengths& a, const Lengths& b) { return a.from < b.from; });
  }

  bool parse(std::string_view line) {
    Client c;
    bool has_id = false;
    parser_.parse(line, [&](std::string_view key, JsonValue& v) {
      if (key == "client")
        (void)v.whole(0, INT64_MAX), has_id = true;
      else if (key == "rates")
        read_rates(v, c);
      else if (key == "lengths")
        read_lengths(v, c);
    });
    if (!has_id) missing_field("client");
    if (c.windows.empty()) missing_field("rates");
    if (c.lengths.empty()) missing_field("lengths");
    c.id = clients_.size();
    clients_.push_back(std::move(c));
    return true;
  }

  // Arrivals of one window: rate x 600 s of them (the fraction by chance), spaced by gaps of the
  // fitted pattern's shape and stretched to the window, so that the published rate is met without
  // bias however bursty the gaps are.
  void draw_window(Client& c, std::size_t w) const {
    const Window& window = c.windows[w];
    Rng rng = arrivals_.at(c.id).at(w);
    const auto count = static_cast<std::size_t>(window.rate * kWindow + rng.uniform());
    c.times.clear();
    c.next = 0;
    double sum = 0;
    for (std::size_t i = 0; i <= count; ++i) {
      sum += window.gamma ? rng.gamma(window.shape, 1.0) : rng.weibull(window.shape, 1.0);
      c.times.push_back(sum);
    }
    c.times.pop_back();
    for (std::size_t i = 0; i < count; ++i) {
      const double share =
          sum > 0 ? c.times[i] / sum : static_cast<double>(i) / static_cast<double>(count);
      c.times[i] = window.from + kWindow * std::min(share, 1.0);
    }
  }

  // Moves to the client's next arrival inside the span; false when there is none.
  bool advance(Client& c) const {
    if (c.next < c.times.size()) ++c.next;
    while (true) {
      for (; c.next < c.times.size(); ++c.next)
        if (c.times[c.next] >= start_) return c.times[c.next] < end_;
      while (c.window < c.windows.size() && c.windows[c.window].from + kWindow <= start_)
        ++c.window;
      if (c.window == c.windows.size() || c.windows[c.window].from >= end_) return false;
      draw_window(c, c.window++);
    }
  }

  void push(std::size_t client) {
    const Client& c = clients_[client];
    heap_.emplace_back(c.times[c.next], client);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  void draw_lengths(Client& c, Request& out) {
    const double now = c.times[c.next];
    const auto after = std::upper_bound(c.lengths.begin(), c.lengths.end(), now,
                                        [](double t, const Lengths& l) { return t < l.from; });
    const Lengths& l = after == c.lengths.begin() ? c.lengths.front() : *(after - 1);
    Rng rng = lengths_.at(c.id).at(c.drawn++);
    std::int64_t prompt = l.input.empty() ? l.text.draw(rng) : l.input.draw(rng);
    if (!l.image.empty()) {
      const std::int64_t each = l.image.draw(rng);
      const std::int64_t count =
          l.image_count.empty() ? 1 : std::min<std::int64_t>(l.image_count.draw(rng), 1000);
      prompt += each * count;
    }
    out.prompt_tokens = std::clamp<std::int64_t>(prompt, 1, kMaxTokens);
    out.output_tokens = std::max<std::int64_t>(1, l.output.draw(rng));
  }

  RecordFile file_;
  ArrivalScale scale_;
  std::int64_t limit_;
  double start_, end_;
  Rng arrivals_, lengths_;
  JsonParser parser_;
  std::vector<Client> clients_;
  std::vector<std::pair<double, std::size_t>> heap_;  // {next arrival, client}, earliest first
  std::uint64_t delivered_ = 0;
  std::size_t values_ = 0;
};

const Register<ServeGen> kSelf{
    "servegen",
    "JSON lines of per-client rates and length distributions: requests are drawn from them",
    "Xiang et al., ServeGen, arXiv:2505.09999; github.com/alibaba/ServeGen"};

}  // namespace
}  // namespace kvsim
