// Tensors that the user took from a model: one array each of queries, keys and values.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "sim/base/hash.h"
#include "sim/quality/array_file.h"
#include "sim/quality/source.h"
#include "sim/scenario/catalog.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

class Tensors final : public Source {
 public:
  struct Params {
    std::string file, queries = "queries", keys = "keys", values = "values";
    double scale = 0;
    double rope_theta = 0;
    kernels::RopePairs rope_pairs = kernels::RopePairs::halves;
    static constexpr Rows kFields{
        field("file", &Params::file, any,
              "safetensors that holds all three; empty: each is a .npy file"),
        field("queries", &Params::queries, any,
              "tensor or file: [layers][tokens][query heads][dim], rotated; f16, bf16 or f32"),
        field("keys", &Params::keys, any, "[layers][tokens][KV heads][dim], rotated"),
        field("values", &Params::values, any, "[layers][tokens][KV heads][dim]"),
        field("scale", &Params::scale, between(0.0, 1000.0),
              "of query times key; 0 = 1 / sqrt(dim)"),
        field("rope_theta", &Params::rope_theta, between(0.0, 1e12),
              "base of the rotary positions in keys, for policies that work before them; 0 = none"),
        field("rope_pairs", &Params::rope_pairs, any, "halves (Hugging Face) or adjacent")};
  };

  Tensors(Params p, const Context& c) : p_(std::move(p)) {
    if (c.sequences != 1)
      throw InputError("quality.sequences: tensors are one sequence", "sequences: 1");
    if (p_.file.empty()) {
      queries_ = npy(p_.queries, c), keys_ = npy(p_.keys, c), values_ = npy(p_.values, c);
    } else {
      const std::string path = resolve_path(c.base_dir, p_.file);
      const TensorFile file(path);
      queries_ = file.load(p_.queries), keys_ = file.load(p_.keys), values_ = file.load(p_.values);
      digest_ = file_digest(path);
    }
    check(c);
  }
  [[nodiscard]] token::KvShape shape() const override { return shape_; }
  [[nodiscard]] std::int32_t prompt() const override { return static_cast<std::int32_t>(prompt_); }
  [[nodiscard]] std::int32_t steps() const override { return static_cast<std::int32_t>(steps_); }
  [[nodiscard]] std::int32_t sequences() const override { return 1; }
  [[nodiscard]] std::uint64_t digest() const override { return digest_; }
  [[nodiscard]] Sequence sequence(std::int32_t, const Compute&) const override {
    Sequence s;
    s.shape = shape_;
    s.scale = static_cast<float>(p_.scale > 0 ? p_.scale
                                              : 1 / std::sqrt(static_cast<double>(shape_.k_dim)));
    if (p_.rope_theta > 0) s.rope = token::RopeShape{p_.rope_pairs, p_.rope_theta};
    s.prompt = prompt();
    s.steps = steps();
    s.keys = by_layer(keys_);
    s.values = by_layer(values_);
    s.queries = by_layer(queries_);
    return s;
  }

 private:
  Array npy(const std::string& name, const Context& c) {
    const std::string path =
        resolve_path(c.base_dir, name.ends_with(".npy") ? name : name + ".npy");
    digest_ = hash_combine(digest_, file_digest(path));
    return load_npy(path);
  }
  void check(const Context& c) {
    const auto bad = [&](const Array& a, const char* what, const std::string& why) {
      throw InputError(
          fmt::format("quality.source.{}: its shape [{}] {}", what, fmt::join(a.shape, ", "), why),
          "queries [layers][tokens][query heads][dim], keys and values [layers]"
          "[tokens][KV heads][dim]");
    };
    for (const auto& [a, what] : {std::pair(&queries_, "queries"), std::pair(&keys_, "keys"),
                                  std::pair(&values_, "values")}) {
      if (a->shape.size() != 4) bad(*a, what, "has not four dimensions");
      for (const std::int64_t d : a->shape)
        if (d < 1) bad(*a, what, "is empty");
      if (a->shape[3] > 4096 || a->shape[2] > 4096 || a->shape[1] > 1 << 24)
        bad(*a, what, "is larger than any model's");
      for (const float x : a->values)
        if (!std::isfinite(x)) bad(*a, what, "holds numbers that are not finite");
    }
    const auto &q = queries_.shape, &k = keys_.shape, &v = values_.shape;
    if (k[0] != q[0] || k[1] != q[1]) bad(keys_, "keys", "has other layers or tokens than queries");
    if (v[0] != k[0] || v[1] != k[1] || v[2] != k[2])
      bad(values_, "values", "has other layers, tokens or heads than keys");
    if (k[3] != q[3]) bad(keys_, "keys", "has another dim than queries");
    if (q[2] % k[2] != 0) bad(queries_, "queries", "has no multiple of the KV heads");
    if (p_.rope_theta > 0 && k[3] % 2 != 0)
      bad(keys_, "keys", "has an odd dim, which no rotation has");
    shape_.layers = k[0];
    shape_.q_heads = q[2];
    shape_.kv_heads = k[2];
    shape_.k_dim = k[3];
    shape_.v_dim = v[3];
    const std::int64_t tokens = k[1];
    steps_ = c.steps > 0 ? c.steps : std::min<std::int64_t>(32, tokens - 1);
    prompt_ = c.prompt > 0 ? c.prompt : tokens - steps_;
    if (prompt_ < 1 || steps_ < 1 || prompt_ + steps_ > tokens)
      throw InputError(
          fmt::format("quality: {} + {} tokens, but the tensors have {}", prompt_, steps_, tokens),
          "lower quality.prompt or quality.steps");
  }
  // The first tokens that are used, of each layer.
  [[nodiscard]] std::vector<std::vector<float>> by_layer(const Array& a) const {
    const std::size_t row = size(a.shape[2] * a.shape[3]), layer = row * size(a.shape[1]);
    std::vector<std::vector<float>> out;
    for (std::size_t l = 0; l < size(a.shape[0]); ++l) {
      const auto from = a.values.begin() + static_cast<std::ptrdiff_t>(l * layer);
      out.emplace_back(from, from + static_cast<std::ptrdiff_t>(row * size(prompt_ + steps_)));
    }
    return out;
  }

  Params p_;
  Array queries_, keys_, values_;
  token::KvShape shape_;
  std::int64_t prompt_ = 0, steps_ = 0;
  std::uint64_t digest_ = 0;
};

const Register<Tensors> kSelf{"tensors", "queries, keys and values that you saved from a model",
                              "numpy.save, safetensors"};

}  // namespace

}  // namespace kvsim::quality
