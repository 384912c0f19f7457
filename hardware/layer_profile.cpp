// layer-profile: an iteration from measured times of one layer's operators (hardware/README.md says
// what is added up). Table folder: <path>/tp<tensor parallel
// size>/{dense,per_sequence,attention,moe,skew}.csv[.gz].
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "hardware/attention_table.h"
#include "hardware/collectives.h"
#include "hardware/cost_model.h"
#include "hardware/csv_table.h"
#include "hardware/decode_line.h"
#include "hardware/skew_table.h"

namespace kvsim {

namespace {

enum class Uneven : std::uint8_t { table, mean };
constexpr auto enum_names(Uneven) {
  return std::array{std::pair{Uneven::table, "table"}, std::pair{Uneven::mean, "mean"}};
}

// An operator's time over a count (tokens or sequences), and how often it runs in an iteration.
struct Row {
  std::string name;
  Curve ns;
  double calls = 0;
};

std::vector<Row> read_rows(const std::string& path, std::string_view axis) {
  std::vector<Row> rows;
  const std::array<std::string_view, 3> columns{"layer", axis, "time_us"};
  read_csv(path, columns, [&](const CsvRow& r) {
    const std::string name(r.text(0));
    auto it =
        std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
    if (it == rows.end()) {
      if (rows.size() == 64 || name.empty() || name.size() > 64)
        return r.error("too many layers, or a name that is none");
      it = rows.insert(rows.end(), Row{name, {}, 0});
    }
    bool is_new = false;
    double& slot = it->ns.slot(static_cast<double>(r.whole(1, 1, std::int64_t{1} << 40)), is_new);
    if (!is_new)
      return r.error(fmt::format("layer {}: this number of {} appears twice", name, axis));
    slot = 1e3 * r.number(2, 0, 1e8);
  });
  for (const Row& row : rows)
    if (row.ns.x.size() < 2)
      throw InputError(fmt::format("{}: layer {} has one row", path, row.name),
                       "a line needs at least two points");
  return rows;
}

Nested<Curve> read_moe(const std::string& path) {
  static constexpr std::array<std::string_view, 3> kColumns{"tokens", "activated_experts",
                                                            "time_us"};
  Nested<Curve> table;
  read_csv(path, kColumns, [&](const CsvRow& r) {
    bool is_new = false;
    const auto tokens = static_cast<double>(r.whole(0, 1, std::int64_t{1} << 40));
    double& slot = table.slot(tokens).slot(static_cast<double>(r.whole(1, 1, 1 << 20)), is_new);
    if (!is_new) return r.error("this grid point appears twice");
    slot = 1e3 * r.number(2, 0, 1e8);
  });
  if (table.x.size() < 2)
    throw InputError(path + ": fewer than two values of tokens",
                     "a line needs at least two points");
  return table;
}

class LayerProfile final : public CostModel {
 public:
  struct Params {
    std::string path = "profile";
    Uneven uneven = Uneven::table;
    std::map<std::string, double> calls;
    static constexpr Rows kFields{
        field("path", &Params::path, any, "folder with tp<N>/*.csv.gz, relative to the scenario"),
        field("uneven", &Params::uneven, any,
              "decodes of different lengths: by skew.csv, or as if all had the mean"),
        field("calls", &Params::calls, any,
              "operator: how often a layer (embedding and final_ ones: an iteration) runs it, "
              "where the rule does not fit")};
  };

  LayerProfile(Params p, const Context& c)
      : params_(std::move(p)),
        context_(checked(c)),
        facts_(c.model->facts()),
        folder_(find_folder()),
        link_(c.interconnect),
        dense_(read_rows(table("dense"), "tokens")),
        sequence_(read_rows(table("per_sequence"), "sequences")),
        attention_(table("attention")),
        skew_(params_.uneven == Uneven::table ? read_skew(table("skew")) : std::vector<SkewRow>{}) {
    if (facts_.moe_layers > 0) moe_ = read_moe(table("moe"));
    set_calls();
    bases_.resize(kBases);
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    double ns = 0;
    price(s, [&](const char*, double part) { ns += part; });
    return from_ns_ceil(ns);
  }

  // Mean and longest context lie on two segments of one curve; alpha weighs them. The cell ends
  // where the first of them reaches its next knot or alpha changes.
  DecodeLine decode_line(const StepShape& s) override {
    const std::int64_t n = s.decodes, sum = s.decode_context_sum, max = s.decode_context_max;
    RealLine r{base(s), 0, 0, {}};
    if (n == 0) return to_integers(r, s, 1);
    const auto layers = static_cast<double>(facts_.layers);
    const double a = skew_.alpha(n, 0, 0, sum, max);
    const AttentionTable::Decode d = attention_.decode(n);
    const std::vector<double>& knots = attention_.lengths();
    // The cell of the mean by sum / n >= knot: the quotient of whole numbers, so exact at the
    // knots.
    const std::size_t mean_cell = cell_of(knots, sum / n), max_cell = cell_of(knots, max);
    const LineSegment mean = attention_.decode_line(d, mean_cell),
                      longest = attention_.decode_line(d, max_cell);
    r.base += layers * ((1 - a) * mean.at_zero + a * longest.at_zero);
    r.per_context = layers * (1 - a) * mean.slope / static_cast<double>(n);
    r.per_max = layers * a * longest.slope;
    std::int64_t steps = skew_.iterations(n, sum, max);
    const auto until = [&](std::size_t cell, std::int64_t context) {
      if (cell < knots.size())
        steps = std::min(steps, static_cast<std::int64_t>(knots[cell]) - context);
    };
    until(mean_cell, sum / n);
    until(max_cell, max);
    return to_integers(r, s, steps);
  }

  // Attention of a few queries over one context takes the time of one.
  [[nodiscard]] bool verifies_drafts() const override { return true; }

  std::vector<Part> explain(const StepShape& s) override {
    std::vector<Part> parts;
    price(s, [&](const char* name, double ns) {
      if (ns != 0) parts.push_back({name, ns});
    });
    return parts;
  }

 private:
  static const Context& checked(const Context& c) {
    if (c.model == nullptr) throw InputError("cost model layer-profile needs a model");
    if (c.parallel.gpus() > 1 &&
        (c.interconnect == nullptr || !(c.interconnect->bandwidth.value > 0)))
      throw InputError("several GPUs per instance, but the link between them has no bandwidth",
                       "set deployment.interconnect");
    return c;
  }

  // Tables are measured per tensor-parallel size: a rank's share of a product is not a scaled
  // product.
  std::string find_folder() const {
    namespace fs = std::filesystem;
    const fs::path root = fs::path(context_.base_dir) / params_.path;
    const fs::path folder = root / fmt::format("tp{}", context_.parallel.tensor);
    std::error_code code;
    if (fs::is_directory(folder, code)) return folder.string();
    if (!fs::is_directory(root, code))
      throw InputError(fmt::format("layer-profile: no folder '{}'", root.string()),
                       "cost.path is relative to the scenario file");
    std::vector<std::string> found;
    for (const auto& e : fs::directory_iterator(root, code))
      if (e.path().filename().string().starts_with("tp"))
        found.push_back(e.path().filename().string());
    std::sort(found.begin(), found.end());
    throw InputError(
        fmt::format("layer-profile: '{}' has no tables for tensor parallel size {}", root.string(),
                    context_.parallel.tensor),
        fmt::format("expected the folder tp{}; there: {}", context_.parallel.tensor,
                    found.empty() ? "none" : fmt::format("{}", fmt::join(found, ", "))));
  }
  std::string table(const char* name) const {
    std::string path = find_csv(folder_, name);
    if (!path.empty()) return path;
    throw InputError(
        fmt::format("layer-profile: no table '{}.csv.gz' or '{}.csv' in {}", name, name, folder_),
        std::string_view(name) == "skew" ? "measure it, or set cost.uneven: mean"
                                         : "see hardware/README.md for the tables");
  }

  // How often each operator runs in an iteration of all layers.
  void set_calls() {
    const auto layers = static_cast<double>(facts_.layers),
               moe = static_cast<double>(facts_.moe_layers);
    std::vector<std::string> names;
    for (Row& r : dense_) {
      names.push_back(r.name);
      const bool once = r.name == "embedding" || r.name.starts_with("final_");
      const bool ffn = r.name == "gate_up_proj" || r.name == "act_fn" || r.name == "down_proj";
      const auto given = params_.calls.find(r.name);
      const double per =
          given != params_.calls.end() ? given->second : (r.name == "layernorm" ? 2 : 1);
      r.calls = per * (once ? 1 : (ffn ? layers - moe : layers));
    }
    for (Row& r : sequence_) {
      names.push_back(r.name);
      const auto given = params_.calls.find(r.name);
      r.calls = given != params_.calls.end() ? given->second : 1;
    }
    // A missing operator would silently make every iteration cheaper, so leaving one out takes an
    // explicit 0.
    std::vector<std::string> needed{"embedding", "layernorm",       "qkv_proj",
                                    "o_proj",    "final_layernorm", "lm_head"};
    if (facts_.layers > facts_.moe_layers)
      needed.insert(needed.end(), {"gate_up_proj", "act_fn", "down_proj"});
    for (const std::string& n : needed)
      if (std::find(names.begin(), names.end(), n) == names.end() && !params_.calls.contains(n))
        throw InputError(
            fmt::format("layer-profile: {} has no rows of layer '{}'", folder_, n),
            fmt::format("there: {}; if the model has no such operator, set cost.calls.{}: 0",
                        fmt::join(names, ", "), n));
    for (const auto& [n, times] : params_.calls) {
      if (std::find(names.begin(), names.end(), n) == names.end() && times != 0)
        throw InputError(fmt::format("cost.calls.{}: no such layer in {}", n, folder_),
                         name_hint(n, names));
      if (!(times >= 0 && times <= 1000))
        throw InputError(fmt::format("cost.calls.{}: {} is out of bounds: 0 to 1000", n, times));
    }
  }

  // Tokens that the dense operators see: decode-only iterations run on the captured graph's size.
  static std::int64_t dense_tokens(const StepShape& s) {
    return s.prefills.empty() ? std::max(s.padded_decodes, s.decodes) + s.draft_tokens : s.tokens();
  }

  template <class Sink>
  void price(const StepShape& s, const Sink& sink) {
    price_base(s, sink);
    sink("attention", static_cast<double>(facts_.layers) * attention(s));
  }

  // Everything that does not depend on context lengths.
  template <class Sink>
  void price_base(const StepShape& s, const Sink& sink) const {
    const auto tokens = static_cast<double>(dense_tokens(s));
    const auto sampling = static_cast<double>(s.sampling());
    if (tokens > 0)
      for (const Row& r : dense_) sink(r.name.c_str(), r.calls * r.ns.at(tokens));
    if (sampling > 0)
      for (const Row& r : sequence_) sink(r.name.c_str(), r.calls * r.ns.at(sampling));
    if (facts_.moe_layers > 0)
      sink("moe", static_cast<double>(facts_.moe_layers) * moe_ns(s, tokens));
    price_links(s, tokens, sink);
  }

  // One MoE layer: distinct experts that the tokens of all ranks touch here under uniform routing,
  // and as many tokens as bring this rank's share of expert calls at full fan-out.
  [[nodiscard]] double moe_ns(const StepShape& s, double tokens) const {
    if (s.group_tokens > 0) tokens = static_cast<double>(std::max(s.group_tokens, s.tokens()));
    if (!(tokens > 0) || facts_.experts == 0) return 0;
    const auto experts = static_cast<double>(facts_.experts),
               active = static_cast<double>(facts_.active_experts);
    const double ranks =
        context_.parallel.expert ? context_.parallel.tensor * context_.parallel.data : 1;
    const double touched = experts / ranks * (1 - std::pow(1 - active / experts, tokens));
    return moe_.at(std::max(tokens / ranks, 1.0), std::max(touched, 1.0));
  }

  template <class Sink>
  void price_links(const StepShape& s, double tokens, const Sink& sink) const {
    const Parallel& p = context_.parallel;
    const double row = static_cast<double>(facts_.hidden) * facts_.activation_element_bytes;
    const bool exchange = facts_.moe_layers > 0 && p.data > 1;
    const auto layers = static_cast<double>(facts_.layers),
               moe = static_cast<double>(facts_.moe_layers);
    const double reductions = 1 + 2 * layers - (exchange ? moe : 0);
    if (tokens > 0) sink("all_reduce", reductions * link_.all_reduce(tokens * row, p.tensor));
    const double logits = static_cast<double>(s.sampling()) * static_cast<double>(facts_.vocab) *
                          facts_.activation_element_bytes;
    if (logits > 0) sink("logits_gather", link_.all_gather(logits, p.tensor));
    if (exchange) {
      const double group =
          s.group_tokens > 0 ? static_cast<double>(s.group_tokens_max) * p.data : tokens;
      sink("all_to_all", moe * 2 * link_.all_gather(group * row, p.data * p.tensor));
    }
    // A stage hands over the branch's output and the residual stream.
    if (p.pipeline > 1 && tokens > 0)
      sink("stage_transfer", (p.pipeline - 1) * link_.send(2 * tokens * row));
  }

  // One layer's attention, ns. A prefill of one token is a decode to the kernel.
  double attention(const StepShape& s) {
    pieces_.clear();
    std::int64_t n = s.decodes, sum = s.decode_context_sum, max = s.decode_context_max;
    for (const PrefillPiece& p : s.prefills) {
      if (p.tokens > 1) {
        pieces_.push_back(p);
        continue;
      }
      ++n;
      sum += p.history + 1;
      max = std::max(max, p.history + 1);
    }
    const PrefillPoint point = combine(pieces_);
    const double mean = n > 0 ? static_cast<double>(sum) / static_cast<double>(n) : 0;
    const auto at = [&](double kv) {
      if (!pieces_.empty())
        return attention_.mixed(point.tokens, point.history, static_cast<double>(n), kv);
      return n == 0
                 ? 0.0
                 : attention_.decode_line(attention_.decode(n), cell_of(attention_.lengths(), kv))
                       .at(kv);
    };
    const double t = at(mean);
    if (n < 2) return t;
    const double a =
        skew_.alpha(n, std::llround(point.tokens), std::llround(point.history), sum, max);
    return t + a * (at(static_cast<double>(max)) - t);
  }

  // price_base of decode-only shapes, remembered by what it depends on.
  double base(const StepShape& s) {
    const std::int64_t tokens = dense_tokens(s);
    Base& b = bases_[static_cast<std::size_t>(s.decodes ^ (tokens << 3) ^ (s.group_tokens * 31)) %
                     kBases];
    if (b.decodes != s.decodes || b.tokens != tokens || b.drafts != s.draft_tokens ||
        b.group != s.group_tokens || b.group_max != s.group_tokens_max) {
      b = {s.decodes, tokens, s.draft_tokens, s.group_tokens, s.group_tokens_max, 0};
      price_base(s, [&](const char*, double ns) { b.ns += ns; });
    }
    return b.ns;
  }
  struct Base {
    std::int64_t decodes = -1, tokens = 0, drafts = 0, group = 0, group_max = 0;
    double ns = 0;
  };
  static constexpr std::size_t kBases = 4096;

  Params params_;
  Context context_;
  const ModelWork::Facts facts_;
  std::string folder_;
  Collectives link_;
  std::vector<Row> dense_, sequence_;
  AttentionTable attention_;
  SkewTable skew_;
  Nested<Curve> moe_;
  std::vector<Base> bases_;
  std::vector<PrefillPiece> pieces_;  // scratch
};

const Register<LayerProfile> kSelf{
    "layer-profile", "measured times of one layer's operators, interpolated",
    "tables as published with LLMServingSim (github.com/casys-kaist/LLMServingSim)"};

}  // namespace

}  // namespace kvsim
