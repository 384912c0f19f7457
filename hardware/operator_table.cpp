// operator-table: an iteration from look-up tables of one layer's operators over their shapes,
// added up as the simulator Vidur does. Linear operators are read at the number of tokens rounded
// up to 8, attention at contexts rounded up to 64; prompts of one iteration count as one whose
// chunk is the root of the sum of squares.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "hardware/cost_model.h"
#include "hardware/csv_table.h"

namespace kvsim {

namespace {

constexpr std::int64_t kTokenGrain = 8, kContextGrain = 64;
// Of attention over several requests of a model with grouped queries.
constexpr double kGroupedExtra = 0.1;
constexpr std::int64_t kMostTokens = 1 << 20;

enum Linear : std::size_t {
  kPreProj,
  kPostProj,
  kRope,
  kSave,
  kInputNorm,
  kUp,
  kDown,
  kAct,
  kPostNorm,
  kAdd,
  kLinears
};
constexpr std::array<std::string_view, kLinears + 1> kLinearColumns{"num_tokens",
                                                                    "attn_pre_proj_ms",
                                                                    "attn_post_proj_ms",
                                                                    "attn_rope_ms",
                                                                    "attn_kv_cache_save_ms",
                                                                    "input_layernorm_ms",
                                                                    "mlp_up_proj_ms",
                                                                    "mlp_down_proj_ms",
                                                                    "mlp_act_ms",
                                                                    "post_attention_layernorm_ms",
                                                                    "add_ms"};

constexpr std::int64_t round_up(std::int64_t n, std::int64_t grain) {
  return (n + grain - 1) / grain * grain;
}

std::string table_file(const std::string& folder, const char* name) {
  std::string path = find_csv(folder, name);
  if (path.empty())
    throw InputError(fmt::format("{}: has no {}.csv.gz or {}.csv", folder, name, name),
                     "cost.path names the folder of the operator tables");
  return path;
}

[[noreturn]] void beyond(const char* what, std::int64_t asked, std::int64_t most) {
  throw InputError(
      fmt::format("operator table: {} {} is asked for, the table ends at {}", what, asked, most),
      "lower engine.max_batched_tokens, max_running or max_model_len, or give larger "
      "tables");
}

// Times over 1, 2, ... tokens.
class LinearTable {
 public:
  explicit LinearTable(const std::string& path) {
    read_csv(path, kLinearColumns, [&](const CsvRow& r) {
      const auto tokens = static_cast<std::size_t>(r.whole(0, 1, kMostTokens));
      if (tokens != rows_.size() + 1)
        return r.error(fmt::format("num_tokens: {} follows {}", tokens, rows_.size()),
                       "rows go 1, 2, 3, ...");
      std::array<double, kLinears> row{};
      for (std::size_t i = 0; i < kLinears; ++i) row[i] = r.number(i + 1, 0, 1e6);
      rows_.push_back(row);
    });
  }
  [[nodiscard]] double ms(Linear op, std::int64_t tokens) const {
    const auto last = static_cast<std::int64_t>(rows_.size());
    if (tokens > last) beyond("a batch of tokens", tokens, last);
    return rows_[static_cast<std::size_t>(tokens - 1)][op];
  }

 private:
  std::vector<std::array<double, kLinears>> rows_;
};

// Times over batch 1, 2, ... and contexts 0, 64, 128, ...
class DecodeTable {
 public:
  explicit DecodeTable(const std::string& path) {
    static constexpr std::array<std::string_view, 3> kColumns{
        "decode_batch_size", "avg_kv_tokens_rounded64", "attn_decode_ms"};
    read_csv(path, kColumns, [&](const CsvRow& r) {
      const auto batch = static_cast<std::size_t>(r.whole(0, 1, 1 << 16));
      const std::int64_t context = r.whole(1, 0, kMostTokens);
      if (batch > rows_.size() + 1 || batch < rows_.size())
        return r.error(fmt::format("decode_batch_size: {} follows {}", batch, rows_.size()),
                       "sizes go 1, 2, 3, ...");
      if (batch > rows_.size()) rows_.emplace_back();
      if (context != static_cast<std::int64_t>(rows_.back().size()) * kContextGrain)
        return r.error(fmt::format("avg_kv_tokens_rounded64: {} after {} values", context,
                                   rows_.back().size()),
                       "contexts of a batch size go 0, 64, 128, ...");
      rows_.back().push_back(r.number(2, 0, 1e6));
    });
  }
  [[nodiscard]] double ms(std::int64_t batch, std::int64_t context) const {
    const auto sizes = static_cast<std::int64_t>(rows_.size());
    if (batch > sizes) beyond("a batch of decodes", batch, sizes);
    const std::vector<double>& row = rows_[static_cast<std::size_t>(batch - 1)];
    const auto at = static_cast<std::size_t>(context / kContextGrain);
    if (at >= row.size())
      beyond("a mean context", context, static_cast<std::int64_t>(row.size() - 1) * kContextGrain);
    return row[at];
  }

 private:
  std::vector<std::vector<double>> rows_;
};

// Times over contexts 0, 64, 128, ... and runs of chunk lengths.
class PrefillTable {
 public:
  explicit PrefillTable(const std::string& path) {
    static constexpr std::array<std::string_view, 4> kColumns{"kv_tokens_rounded64", "chunk_from",
                                                              "chunk_to", "attn_prefill_ms"};
    read_csv(path, kColumns, [&](const CsvRow& r) {
      const auto row = static_cast<std::size_t>(r.whole(0, 0, kMostTokens) / kContextGrain);
      const std::int64_t from = r.whole(1, 1, kMostTokens), to = r.whole(2, 1, kMostTokens);
      if (row > rows_.size() || row + 1 < rows_.size())
        return r.error("kv_tokens_rounded64: values go 0, 64, 128, ...");
      if (row == rows_.size()) rows_.emplace_back();
      const std::int64_t last = rows_[row].empty() ? 0 : rows_[row].back().to;
      if (from != last + 1 || to < from)
        return r.error(fmt::format("chunks {} to {} follow those up to {}", from, to, last),
                       "runs must follow each other without gaps");
      rows_[row].push_back({to, r.number(3, 0, 1e6)});
    });
  }
  [[nodiscard]] double ms(std::int64_t context, std::int64_t chunk) const {
    const auto at = static_cast<std::size_t>(context / kContextGrain);
    if (at >= rows_.size())
      beyond("KV of prompts", context, static_cast<std::int64_t>(rows_.size() - 1) * kContextGrain);
    const std::vector<Run>& row = rows_[at];
    const auto run = std::lower_bound(row.begin(), row.end(), chunk,
                                      [](const Run& a, std::int64_t n) { return a.to < n; });
    if (run == row.end()) beyond("a chunk", chunk, row.back().to);
    return run->ms;
  }

 private:
  struct Run {
    std::int64_t to;
    double ms;
  };
  std::vector<std::vector<Run>> rows_;
};

class OperatorTable final : public CostModel {
 public:
  struct Params {
    std::string path = "operator_times";
    static constexpr Rows kFields{
        field("path", &Params::path, any,
              "folder with linear_ops_by_num_tokens, attn_decode and attn_prefill_rle "
              "(.csv or .csv.gz), relative to the scenario")};
  };

  OperatorTable(const Params& p, const Context& c)
      : folder_(p.path.front() == '/' ? p.path : c.base_dir + "/" + p.path),
        linear_(table_file(folder_, "linear_ops_by_num_tokens")),
        decode_(table_file(folder_, "attn_decode")),
        prefill_(table_file(folder_, "attn_prefill_rle")),
        layers_(static_cast<double>(c.model->facts().layers)) {
    if (c.parallel.gpus() > 1)
      throw InputError("the operator tables are those of one GPU: they hold no collectives",
                       "set deployment.parallel: {tensor: 1}, or use cost: {model: roofline}");
    const AttentionShape& a = c.model->facts().decode_attention;
    extra_ = a.q_heads > a.kv_heads ? kGroupedExtra : 0;
  }

  Duration mixed_step(const StepShape& s) override { return from_ns_ceil(layers_ns(s)); }
  std::int64_t mixed_price(const StepShape& s) override { return units(s); }

  // The price is the same until the mean context leaves its grain.
  DecodeLine decode_line(const StepShape& s) override {
    DecodeLine line;
    line.base = units(s);
    if (s.decodes > 0) {
      const std::int64_t mean = s.decode_context_sum / s.decodes;
      line.iterations = round_up(mean, kContextGrain) - mean + 1;
    }
    return line;
  }

  std::vector<Part> explain(const StepShape& s) override {
    const std::int64_t n = s.tokens();
    if (n == 0) return {};
    std::vector<Part> parts;
    const auto add = [&](std::string name, double ms) {
      parts.push_back({std::move(name), ms * layers_ * 1e6});
    };
    for (std::size_t i = 0; i < kLinears; ++i) {
      const std::string_view column = kLinearColumns[i + 1];
      add(std::string(column.substr(0, column.size() - 3)), linear(static_cast<Linear>(i), n));
    }
    add("attn_decode", decode_ms(s));
    add("attn_prefill", prefill_ms(s));
    return parts;
  }

 private:
  [[nodiscard]] double linear(Linear op, std::int64_t tokens) const {
    return linear_.ms(op, op == kSave ? tokens : round_up(tokens, kTokenGrain));
  }
  [[nodiscard]] double decode_ms(const StepShape& s) const {
    if (s.decodes == 0) return 0;
    const std::int64_t mean = s.decode_context_sum / s.decodes;
    return decode_.ms(s.decodes, round_up(mean, kContextGrain)) *
           (1 + (s.decodes > 1 ? extra_ : 0));
  }
  [[nodiscard]] double prefill_ms(const StepShape& s) const {
    if (s.prefills.empty()) return 0;
    std::int64_t context = 0, squares = 0;
    for (const PrefillPiece& p : s.prefills) {
      context += round_up(p.history, kContextGrain);
      squares += p.tokens * p.tokens;
    }
    const auto chunk =
        static_cast<std::int64_t>(std::nearbyint(std::sqrt(static_cast<double>(squares))));
    return prefill_.ms(context, chunk) * (1 + (s.prefills.size() > 1 ? extra_ : 0));
  }
  // Sums from left to right within each half of a layer, so that every bit is Vidur's.
  [[nodiscard]] double layers_ms(const StepShape& s) const {
    const std::int64_t n = s.tokens();
    if (n == 0) return 0;
    const auto op = [&](Linear i) { return linear(i, n); };
    const double attention = op(kPreProj) + op(kPostProj) + op(kRope) + op(kSave) + decode_ms(s) +
                             prefill_ms(s) + op(kInputNorm);
    const double mlp = op(kUp) + op(kDown) + op(kAct) + op(kPostNorm);
    return (attention + mlp + op(kAdd)) * layers_;
  }
  [[nodiscard]] double layers_ns(const StepShape& s) const { return layers_ms(s) * 1e-3 * 1e9; }
  [[nodiscard]] std::int64_t units(const StepShape& s) const {
    return std::llround(layers_ns(s) * static_cast<double>(std::int64_t{1} << DecodeLine::kShift));
  }

  std::string folder_;
  LinearTable linear_;
  DecodeTable decode_;
  PrefillTable prefill_;
  double layers_, extra_ = 0;
};

const Register<OperatorTable> kSelf{
    "operator-table",
    "look-up tables of one layer's operators over their shapes, as Vidur adds them",
    "Agrawal et al., Vidur, MLSys 2024; github.com/microsoft/vidur 7d47513"};

}  // namespace
}  // namespace kvsim
