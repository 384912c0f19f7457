// The measured-layer cost model: grid points come out as measured, the decode line is the same
// price in integers, collectives follow their formulas, and broken tables are refused with file,
// line and cure.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "hardware/attention_table.h"
#include "hardware/csv_table.h"
#include "hardware/skew_table.h"
#include "sim/base/random.h"
#include "tests/hardware/fake_model.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

const std::string kShared = KVSIM_SOURCE_DIR "/../shared/validation/";

// A profile on disk whose times are linear functions, so that every price has a closed form.
class Tables {
 public:
  explicit Tables(const std::string& name)
      : root_(fs::temp_directory_path() / fmt::format("kvsim_profile_{}_{}", name, getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_ / "tp1");
    fs::create_directories(root_ / "tp2");
    for (const char* tp : {"tp1/", "tp2/"}) {
      std::string dense = "layer,tokens,time_us\n";
      for (const char* layer : {"embedding", "layernorm", "qkv_proj", "rotary_emb", "o_proj",
                                "gate_up_proj", "act_fn", "down_proj", "final_layernorm"})
        for (const int t : {1, 64, 512}) dense += fmt::format("{},{},{}\n", layer, t, 10 + 0.5 * t);
      write(std::string(tp) + "dense.csv", dense);
      write(std::string(tp) + "per_sequence.csv",
            "layer,sequences,time_us\nlm_head,1,100\nlm_head,9,180\nsampler,1,20\nsampler,9,28\n");
      std::string attention = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n";
      for (const int c : {0, 16, 512})
        for (const int h : {0, 128, 4096})
          for (const int n : {0, 1, 8, 64})
            for (const int kv : {0, 16, 1024, 4096})
              if ((n > 0) == (kv > 0) && (c > 0 || (h == 0 && n > 0)))
                attention +=
                    fmt::format("{},{},{},{},{}\n", c, h, n, kv, attention_us(c, h, n, kv));
      write(std::string(tp) + "attention.csv", attention);
      write(std::string(tp) + "skew.csv",
            "regime,n,nb,ratio,skew,pc,kp,kvs,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us,alpha\n"
            "pure,8,1,0.1,4,0,0,256,1024,512,100,200,125,0.25\nmixed,8,1,0.1,4,16,0,256,1024,512,"
            "100,200,150,0.5\n");
      write(std::string(tp) + "moe.csv",
            "tokens,activated_experts,time_us\n1,2,12\n1,8,18\n64,2,75\n64,8,81\n");
    }
  }
  ~Tables() { fs::remove_all(root_); }
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
  static double attention_us(double c, double h, double n, double kv) {
    return 5 + 0.1 * c + 0.01 * h + 0.2 * n + 0.002 * kv;
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  void remove(const std::string& name) const { fs::remove_all(root_ / name); }
  [[nodiscard]] std::string path(const std::string& name = {}) const {
    return (root_ / name).string();
  }

 private:
  fs::path root_;
};

std::unique_ptr<CostModel> make(const std::string& path, const ModelWork& model,
                                Parallel parallel = {}, const LinkSpec* link = nullptr,
                                Tree params = Tree::map()) {
  params.set("path", Tree::scalar(path));
  CostModel::Context c;
  c.model = &model;
  c.parallel = parallel;
  c.interconnect = link;
  return Registry::instance().make<CostModel>("layer-profile", params, c);
}

double part(CostModel& m, const StepShape& s, const std::string& name) {
  double ns = 0;
  for (const CostModel::Part& p : m.explain(s))
    if (p.name == name) ns += p.ns;
  return ns;
}
double total(CostModel& m, const StepShape& s) {
  double ns = 0;
  for (const CostModel::Part& p : m.explain(s)) ns += p.ns;
  return ns;
}

TEST(LayerProfile, AddsUpTheLayerInClosedForm) {
  const Tables t("closed");
  const FakeModel model;
  const auto m = make(t.path(), model);
  // 64 tokens: embedding + final_layernorm + 32 x (2 layernorm + 6 others) = 258 rows of 10 + 32 us
  // each.
  const PrefillPiece piece{60, 100, true};
  StepShape s = decodes(4, 4 * 600, 600);
  s.prefills = {&piece, 1};
  const double dense = 258 * 42.0, sequences = 100 + 40 + 20 + 4;
  EXPECT_NEAR(total(*m, s), 1e3 * (dense + sequences + 32 * Tables::attention_us(60, 100, 4, 600)),
              1e-3);
  EXPECT_EQ(m->mixed_step(s), from_ns_ceil(total(*m, s)));
  // Decode only: dense operators run on the padded batch, sampling on the sequences.
  StepShape d = decodes(5, 5 * 700, 700);
  d.padded_decodes = 8;
  EXPECT_NEAR(total(*m, d),
              1e3 * (258 * 14.0 + 100 + 40 + 20 + 4 + 32 * Tables::attention_us(0, 0, 5, 700)),
              1e-3);
}

TEST(LayerProfile, UnevenDecodesLieBetweenMeanAndLongest) {
  const Tables t("uneven");
  const FakeModel model;
  const auto m = make(t.path(), model);
  const StepShape s = decodes(8, 8 * 512, 1024);
  EXPECT_NEAR(part(*m, s, "attention"),
              32e3 * (Tables::attention_us(0, 0, 8, 512) + 0.25 * 0.002 * 512), 1e-3);
  Tree mean = Tree::map();
  mean.set("uneven", Tree::scalar("mean"));
  const auto even = make(t.path(), model, {}, nullptr, mean);
  EXPECT_NEAR(part(*even, s, "attention"), 32e3 * Tables::attention_us(0, 0, 8, 512), 1e-3);
}

TEST(LayerProfile, CollectivesOfTheLink) {
  const Tables t("links");
  FakeModel model;
  const LinkSpec link{"pcie", Bandwidth{16e9}, Duration{20'000}, ""};
  const auto two = make(t.path(), model, {2, 1, 1, false}, &link);
  const StepShape s = decodes(64, 64 * 100, 100);
  // 2 per layer and the embedding's; between two ranks one exchange of the whole message is the
  // fastest.
  const double bytes = 64 * 4096 * 2;
  EXPECT_NEAR(part(*two, s, "all_reduce"), 65 * (bytes / 16.0 + 20'000), 1e-3);
  // The logits of 64 sequences, gathered from the ranks that own parts of the vocabulary.
  model.f.vocab = 1000;
  EXPECT_NEAR(part(*make(t.path(), model, {2, 1, 1, false}, &link), s, "logits_gather"),
              64 * 1000 * 2 / 2 / 16.0 + 20'000, 1e-3);
  const auto staged = make(t.path(), model, {1, 2, 1, false}, &link);
  EXPECT_NEAR(part(*staged, s, "stage_transfer"), 2 * bytes / 16.0 + 20'000, 1e-3);

  model.f.experts = 8;
  model.f.active_experts = 2;
  model.f.moe_layers = 32;
  const auto expert = make(t.path(), model, {1, 1, 2, true}, &link);
  StepShape g = s;
  g.group_tokens = 96;
  g.group_tokens_max = 64;
  EXPECT_EQ(part(*expert, g, "all_reduce"), 0);
  EXPECT_NEAR(part(*expert, g, "all_to_all"), 32 * 2 * (128 * 4096 * 2 / 2 / 16.0 + 20'000), 1e-3);
  // The rank owns 4 of 8 experts, all of them touched by 96 tokens, and computes as many calls as
  // 48 tokens bring.
  const double touched = 4 * (1 - std::pow(0.75, 96));
  EXPECT_NEAR(part(*expert, g, "moe"), 32e3 * (9 + touched + 48), 1e-3);
  EXPECT_THROW(make(t.path(), model, {2, 1, 1, false}, nullptr), InputError);
}

TEST(LayerProfile, OneTokenPieceIsADecode) {
  const Tables t("one");
  const FakeModel model;
  const auto m = make(t.path(), model);
  const PrefillPiece piece{1, 599, true};
  StepShape s = decodes(3, 3 * 600, 600);
  s.prefills = {&piece, 1};
  EXPECT_NEAR(part(*m, s, "attention"), part(*m, decodes(4, 4 * 600, 600), "attention"), 1e-6);
}

TEST(LayerProfile, CombinedPiecesKeepTheirPairs) {
  const PrefillPiece one[] = {{100, 37, false}};
  EXPECT_EQ(combine(one).tokens, 100);
  EXPECT_EQ(combine(one).history, 37);
  const PrefillPiece two[] = {{100, 1000, false}, {50, 400, true}};
  const PrefillPoint p = combine(two);
  EXPECT_EQ(p.tokens, 150);
  EXPECT_NEAR(p.tokens * (p.history + p.tokens / 2), 100 * 1050 + 50 * 425, 1e-6);
  const PrefillPiece fresh[] = {{64, 0, true}, {64, 0, true}};
  EXPECT_EQ(combine(fresh).history, 0);
  EXPECT_NEAR(combine(fresh).tokens, 64 * std::sqrt(2.0), 1e-9);
}

// Walks batches forward one token a step: inside the announced cell the coefficients stay, the
// integer price is the price of the doubles, and the cell's end is announced no later than it
// comes.
void walk(CostModel& m, std::uint64_t seed, int rounds) {
  Rng rng(seed, "walk");
  for (int round = 0; round < rounds; ++round) {
    const auto n = static_cast<std::int64_t>(1 + rng.below(300));
    const auto max =
        static_cast<std::int64_t>(1 + rng.below(std::uint64_t{1} << (4 + rng.below(12))));
    const std::int64_t sum =
        max + (n - 1) * static_cast<std::int64_t>(1 + rng.below(static_cast<std::uint64_t>(max)));
    StepShape s = decodes(n, sum, max);
    s.padded_decodes = (n + 7) / 8 * 8;
    DecodeLine line = m.decode_line(s);
    std::int64_t left = line.iterations;
    for (int step = 0; step < 300; ++step) {
      const DecodeLine now = m.decode_line(s);
      if (left > 0) {
        ASSERT_EQ(now.base, line.base)
            << n << ' ' << s.decode_context_sum << ' ' << s.decode_context_max;
        ASSERT_EQ(now.per_context, line.per_context);
        ASSERT_EQ(now.per_max, line.per_max);
        ASSERT_GE(now.iterations, std::min<std::int64_t>(left, 1 << 20));
      } else {
        line = now;
        left = line.iterations;
      }
      ASSERT_NEAR(static_cast<double>(line.at(s).count()), total(m, s), 1.5);
      ASSERT_EQ(m.mixed_step(s), line.at(s));
      --left;
      s.decode_context_sum += n;
      ++s.decode_context_max;
    }
  }
}

TEST(LayerProfile, DecodeLineIsTheSteppedPrice) {
  const Tables t("walk");
  const FakeModel model;
  walk(*make(t.path(), model), 7, 200);
}

struct BadTable {
  const char *file, *text, *message;
};
class LayerProfileBroken : public testing::TestWithParam<BadTable> {};

TEST_P(LayerProfileBroken, IsRefusedWithItsPlace) {
  const Tables t("broken");
  const BadTable& b = GetParam();
  if (b.text == nullptr)
    t.remove(b.file);
  else
    t.write(b.file, b.text);
  const FakeModel model;
  try {
    make(t.path(), model);
    FAIL() << "accepted";
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find(b.message), std::string::npos) << e.what();
  }
}

#define HEAD "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n"
INSTANTIATE_TEST_SUITE_P(
    Tables, LayerProfileBroken,
    testing::Values(
        BadTable{"tp1/attention.csv", nullptr, "no table 'attention.csv.gz'"},
        BadTable{"tp1/skew.csv", nullptr, "cost.uneven: mean"},
        BadTable{"tp1", nullptr, "expected the folder tp1; there: tp2"},
        BadTable{"tp1/dense.csv", "layer,token,time_us\nembedding,1,1\n",
                 "dense.csv:1:1: error: the header lacks the column 'tokens'"},
        BadTable{"tp1/dense.csv", "layer,tokens,tokens,time_us\nembedding,1,1,1\n",
                 "appears twice"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,fast\n",
                 "dense.csv:2:1: error: time_us: 'fast' is not a number"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,nan\n",
                 "dense.csv:2:1: error: time_us: 'nan' is not a number"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,-3\n", "-3 is out of bounds"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1.5,3\n",
                 "'1.5' is not a whole number"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,3\nembedding,1,4\n",
                 "dense.csv:3:1: error: layer embedding: this number of tokens appears twice"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,3\n",
                 "layer embedding has one row"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1,3\nembedding,2,3\n",
                 "no rows of layer 'layernorm'"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\nembedding,1\n",
                 "2 cells, but the header has 3"},
        BadTable{"tp1/dense.csv", "layer,tokens,time_us\n", "the table is empty"},
        BadTable{"tp1/dense.csv", "", "the table is empty"},
        BadTable{"tp1/skew.csv",
                 "n,pc,kp,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us\n2,0,0,8,9,1,1,1\n",
                 "kv_mean is above kv_big"},
        BadTable{"tp1/attention.csv", HEAD "0,0,1,16,1\n0,0,1,32,1\n0,0,2,16,1\n16,0,0,0,1\n",
                 "hole in the grid"},
        BadTable{"tp1/attention.csv", HEAD "0,0,1,16,1\n0,0,1,16,1\n",
                 "attention.csv:3:1: error: this grid point appears twice"},
        BadTable{"tp1/attention.csv", HEAD "0,0,1,0,1\n", "must both be 0 or both above 0"},
        BadTable{"tp1/attention.csv", HEAD "0,5,1,9,1\n", "without a prefill_chunk"}));

TEST(LayerProfile, TruncatedArchiveIsRefused) {
  const Tables t("gz");
  t.remove("tp1/per_sequence.csv");
  std::string text = "layer,sequences,time_us\n";
  for (int i = 1; i < 5000; ++i) text += fmt::format("lm_head,{},{}\n", i, 100 + i * 37 % 101);
  const std::string path = t.path("tp1/per_sequence.csv.gz");
  gzFile f = gzopen(path.c_str(), "wb");
  gzwrite(f, text.data(), static_cast<unsigned>(text.size()));
  gzclose(f);
  const FakeModel model;
  EXPECT_NO_THROW(make(t.path(), model));
  fs::resize_file(path, fs::file_size(path) / 2);
  try {
    make(t.path(), model);
    FAIL() << "accepted";
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("copy it again"), std::string::npos) << e.what();
  }
}

// ---- against the measured profiles, where they are at hand ----

class MeasuredProfile : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!fs::exists(folder())) GTEST_SKIP() << "no measured profile at " << folder();
  }
  static std::string folder() { return kShared + GetParam() + "/profile"; }
  static FakeModel model() {
    FakeModel m;
    if (std::string(GetParam()).find("30b") != std::string::npos) {
      m.f.layers = m.f.moe_layers = 48;
      m.f.hidden = 2048;
      m.f.experts = 128;
      m.f.active_experts = 8;
    }
    return m;
  }
};

TEST_P(MeasuredProfile, GridPointsComeOutAsMeasured) {
  const AttentionTable table(folder() + "/tp1/attention.csv.gz");
  // Two rows read off the files by eye: chunk 2048 behind 8192, and 64 decodes of 1024.
  const bool llama = std::string(GetParam()).find("llama") != std::string::npos;
  const double chunk = table.mixed(2048, 8192, 0, 0);
  const auto d = table.decode(64);
  const double decode = table.decode_line(d, cell_of(table.lengths(), 1024)).at(1024);
  if (llama) {
    EXPECT_DOUBLE_EQ(chunk, 1152270);
    EXPECT_NEAR(decode, 221237, 1e-6);
  }
  // Every row of the file, and midpoints in context: between their neighbours, hence monotone where
  // the table is.
  static constexpr std::array<std::string_view, 5> kColumns{"prefill_chunk", "kv_prefill",
                                                            "n_decode", "kv_decode", "time_us"};
  std::array<double, 5> last{-1, -1, -1, -1, -1};
  read_csv(folder() + "/tp1/attention.csv.gz", kColumns, [&](const CsvRow& r) {
    std::array<double, 5> v{};
    for (std::size_t i = 0; i < 5; ++i) v[i] = r.number(i, 0, 1e9);
    const auto price = [&](double kv) {
      if (v[0] > 0) return table.mixed(v[0], v[1], v[2], kv);
      const auto decode_row = table.decode(static_cast<std::int64_t>(v[2]));
      return table.decode_line(decode_row, cell_of(table.lengths(), kv)).at(kv);
    };
    ASSERT_NEAR(price(v[3]), 1e3 * v[4], 1e-6 * v[4]);
    if (v[0] == last[0] && v[1] == last[1] && v[2] == last[2]) {
      const double middle = price((v[3] + last[3]) / 2);
      ASSERT_GE(middle, 1e3 * std::min(v[4], last[4]) - 1e-6);
      ASSERT_LE(middle, 1e3 * std::max(v[4], last[4]) + 1e-6);
    }
    last = v;
  });
  EXPECT_GT(table.mixed(2048, 9000, 0, 0), chunk);
  EXPECT_GT(table.decode_line(d, cell_of(table.lengths(), 30000)).at(30000), decode);
}

TEST_P(MeasuredProfile, DecodeLineIsTheSteppedPrice) {
  const FakeModel f = model();
  walk(*make(folder(), f), 11, 100);
}

// Every fifth row is left out of the fit and predicted: the publishers' own bucket fit, judged on
// the rows it was fitted to, has relative errors p50 1.2 % and p90 6.4 %.
TEST_P(MeasuredProfile, UnevenBatchesAreReproducedOnRowsLeftOut) {
  const std::vector<SkewRow> all = read_skew(folder() + "/tp1/skew.csv.gz");
  std::vector<double> errors;
  for (std::size_t fold = 0; fold < 5; ++fold) {
    std::vector<SkewRow> kept, held;
    Rng rng(3, "folds");
    for (const SkewRow& r : all) (rng.below(5) == fold ? held : kept).push_back(r);
    SkewTable table(kept);
    for (const SkewRow& r : held) {
      const auto sum =
          static_cast<std::int64_t>(std::llround(r.kv_mean * static_cast<double>(r.decodes)));
      const double t = r.t_mean + table.alpha(r.decodes, r.chunk, r.history, sum, r.kv_max) *
                                      (r.t_max - r.t_mean);
      errors.push_back(std::abs(t - r.t_skew) / r.t_skew);
    }
  }
  std::sort(errors.begin(), errors.end());
  const double p50 = errors[errors.size() / 2], p90 = errors[errors.size() * 9 / 10],
               p99 = errors[errors.size() * 99 / 100];
  fmt::print("held-out relative error of t_skew, {}: p50 {:.2f} %, p90 {:.2f} %, p99 {:.1f} %\n",
             GetParam(), 100 * p50, 100 * p90, 100 * p99);
  EXPECT_LT(p50, 0.012);
  EXPECT_LT(p90, 0.064);
}

INSTANTIATE_TEST_SUITE_P(Shared, MeasuredProfile,
                         testing::Values("rtxpro6000-llama-3.1-8b", "rtxpro6000-qwen3-30b-a3b"));

}  // namespace
}  // namespace kvsim
