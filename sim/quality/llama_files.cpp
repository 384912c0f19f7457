// Weights of Llama-like models in the three file formats.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "sim/quality/array_file.h"
#include "sim/quality/byte_reader.h"
#include "sim/quality/llama.h"
#include "sim/scenario/yaml.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Bounds that no small model passes: what is larger would not fit the memory as f32 either.
void check_shape(const LlamaShape& s, const std::string& path) {
  const auto in = [](std::int64_t v, std::int64_t most) { return v >= 1 && v <= most; };
  const bool good = in(s.dim, 65536) && in(s.hidden, 1 << 20) && in(s.layers, 1024) &&
                    in(s.heads, 1024) && in(s.kv_heads, s.heads) && in(s.head_dim, 1024) &&
                    in(s.vocabulary, 1 << 20) && in(s.context, 1 << 24) &&
                    s.heads % s.kv_heads == 0 && s.head_dim % 2 == 0 && std::isfinite(s.theta) &&
                    s.theta > 1;
  if (!good)
    throw InputError(
        fmt::format("{}: no Llama has these sizes: {} wide, {} layers, {} query and "
                    "{} KV heads of {}, {} tokens",
                    path, s.dim, s.layers, s.heads, s.kv_heads, s.head_dim, s.vocabulary));
}

// llama2.c, legacy: seven int32, then all layers of one kind after the other.
LlamaWeights load_llama2c(const std::string& path) {
  ByteReader in(path);
  LlamaWeights w;
  LlamaShape& s = w.shape;
  const auto number = [&] { return std::int64_t{in.number<std::int32_t>()}; };
  s.dim = number(), s.hidden = number(), s.layers = number(), s.heads = number();
  s.kv_heads = number();
  const std::int64_t vocabulary = number();  // negative: the output has weights of its own
  s.vocabulary = std::abs(vocabulary);
  s.context = number();
  s.head_dim = s.heads > 0 ? s.dim / s.heads : 0;
  check_shape(s, path);
  const std::int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  const std::int64_t layer = 2 * s.dim + 2 * s.dim * q + 2 * s.dim * kv + 3 * s.dim * s.hidden;
  const std::int64_t rope = s.context * s.head_dim;
  const std::int64_t numbers =
      s.vocabulary * s.dim * (vocabulary < 0 ? 2 : 1) + s.layers * layer + s.dim + rope;
  if (in.left() != static_cast<std::uint64_t>(numbers) * 4)
    in.fail(
        fmt::format("has {} bytes of weights where its header needs {}", in.left(), numbers * 4),
        "a checkpoint of llama2.c in its legacy format, safetensors or GGUF");
  const auto take = [&](std::int64_t n) {
    std::vector<float> all(size(n));
    in.bytes(all.data(), size(n) * 4);
    return all;
  };
  w.embedding = take(s.vocabulary * s.dim);
  w.layers.resize(size(s.layers));
  const auto each = [&](std::vector<float> LlamaLayer::*member, std::int64_t n) {
    for (LlamaLayer& l : w.layers) l.*member = take(n);
  };
  each(&LlamaLayer::norm_attention, s.dim);
  each(&LlamaLayer::q, s.dim * q);
  each(&LlamaLayer::k, s.dim * kv);
  each(&LlamaLayer::v, s.dim * kv);
  each(&LlamaLayer::o, s.dim * q);
  each(&LlamaLayer::norm_ffn, s.dim);
  each(&LlamaLayer::gate, s.dim * s.hidden);
  each(&LlamaLayer::down, s.dim * s.hidden);
  each(&LlamaLayer::up, s.dim * s.hidden);
  w.norm_last = take(s.dim);
  in.seek(in.at() + static_cast<std::uint64_t>(rope) * 4);
  if (vocabulary < 0) w.output = take(s.vocabulary * s.dim);
  return w;
}

// What the tensors are called, with {} for the layer.
struct Names {
  const char *embedding, *norm_last, *output;
  const char *norm_attention, *q, *k, *v, *o, *norm_ffn, *gate, *up, *down;
};
constexpr Names kHuggingFace{"model.embed_tokens.weight",
                             "model.norm.weight",
                             "lm_head.weight",
                             "model.layers.{}.input_layernorm.weight",
                             "model.layers.{}.self_attn.q_proj.weight",
                             "model.layers.{}.self_attn.k_proj.weight",
                             "model.layers.{}.self_attn.v_proj.weight",
                             "model.layers.{}.self_attn.o_proj.weight",
                             "model.layers.{}.post_attention_layernorm.weight",
                             "model.layers.{}.mlp.gate_proj.weight",
                             "model.layers.{}.mlp.up_proj.weight",
                             "model.layers.{}.mlp.down_proj.weight"};
constexpr Names kGguf{
    "token_embd.weight",       "output_norm.weight",        "output.weight",
    "blk.{}.attn_norm.weight", "blk.{}.attn_q.weight",      "blk.{}.attn_k.weight",
    "blk.{}.attn_v.weight",    "blk.{}.attn_output.weight", "blk.{}.ffn_norm.weight",
    "blk.{}.ffn_gate.weight",  "blk.{}.ffn_up.weight",      "blk.{}.ffn_down.weight"};

LlamaWeights load_named(const TensorFile& file, const LlamaShape& s, const Names& names) {
  check_shape(s, file.path());
  LlamaWeights w;
  w.shape = s;
  const auto take = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
    Array a = file.load(name);
    const std::vector<std::int64_t> wanted =
        columns > 0 ? std::vector{rows, columns} : std::vector{rows};
    if (a.shape != wanted)
      throw InputError(fmt::format("{}: tensor '{}' is [{}], expected [{}]", file.path(), name,
                                   fmt::join(a.shape, ", "), fmt::join(wanted, ", ")));
    return std::move(a.values);
  };
  const auto of_layer = [](const char* name, std::int64_t l) {
    return fmt::format(fmt::runtime(name), l);
  };
  const std::int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  w.embedding = take(names.embedding, s.vocabulary, s.dim);
  w.norm_last = take(names.norm_last, s.dim, 0);
  if (file.has(names.output)) w.output = take(names.output, s.vocabulary, s.dim);
  for (std::int64_t l = 0; l < s.layers; ++l) {
    LlamaLayer layer;
    layer.norm_attention = take(of_layer(names.norm_attention, l), s.dim, 0);
    layer.q = take(of_layer(names.q, l), q, s.dim);
    layer.k = take(of_layer(names.k, l), kv, s.dim);
    layer.v = take(of_layer(names.v, l), kv, s.dim);
    layer.o = take(of_layer(names.o, l), s.dim, q);
    layer.norm_ffn = take(of_layer(names.norm_ffn, l), s.dim, 0);
    layer.gate = take(of_layer(names.gate, l), s.hidden, s.dim);
    layer.up = take(of_layer(names.up, l), s.hidden, s.dim);
    layer.down = take(of_layer(names.down, l), s.dim, s.hidden);
    w.layers.push_back(std::move(layer));
  }
  return w;
}

double number_at(const Tree& config, const char* key, double otherwise, const std::string& path) {
  const Tree* t = config.find(key);
  if (t == nullptr || t->is_null()) {
    if (std::isnan(otherwise))
      throw InputError(fmt::format("{}: lacks '{}'", path, key), "the config.json of the model");
    return otherwise;
  }
  std::string error;
  const auto v = t->is_scalar() ? parse_quantity(Dimension::none, t->text(), error) : std::nullopt;
  if (!v) throw InputError(fmt::format("{}: '{}' is no number", path, key));
  return *v;
}

LlamaShape shape_of_config(const std::string& path) {
  Diagnostics d;
  const Tree config = load_yaml(path, d);
  d.throw_if_any();
  const double required = std::nan("");
  const auto whole = [&](const char* key, double otherwise) {
    return static_cast<std::int64_t>(
        std::clamp(number_at(config, key, otherwise, path), -1.0, 1e9));
  };
  if (const Tree* scaling = config.find("rope_scaling"); scaling != nullptr && !scaling->is_null())
    throw InputError(path + ": 'rope_scaling' is not supported", "a model without it");
  LlamaShape s;
  s.dim = whole("hidden_size", required);
  s.hidden = whole("intermediate_size", required);
  s.layers = whole("num_hidden_layers", required);
  s.heads = whole("num_attention_heads", required);
  s.kv_heads = whole("num_key_value_heads", static_cast<double>(s.heads));
  s.head_dim = whole("head_dim", static_cast<double>(s.dim / std::max<std::int64_t>(1, s.heads)));
  s.vocabulary = whole("vocab_size", required);
  s.context = whole("max_position_embeddings", 2048);
  s.epsilon = static_cast<float>(number_at(config, "rms_norm_eps", 1e-5, path));
  s.theta = number_at(config, "rope_theta", 10000, path);
  s.pairs = kernels::RopePairs::halves;
  return s;
}

LlamaShape shape_of_gguf(const TensorFile& f) {
  const auto architecture = f.texts().find("general.architecture");
  if (architecture == f.texts().end() || architecture->second != "llama")
    throw InputError(f.path() + ": its architecture is not llama");
  const auto number = [&](const std::string& key, double otherwise) {
    const auto found = f.numbers().find("llama." + key);
    if (found != f.numbers().end()) return std::clamp(found->second, -1.0, 1e12);
    if (std::isnan(otherwise)) throw InputError(fmt::format("{}: lacks llama.{}", f.path(), key));
    return otherwise;
  };
  const double required = std::nan("");
  LlamaShape s;
  s.dim = static_cast<std::int64_t>(number("embedding_length", required));
  s.hidden = static_cast<std::int64_t>(number("feed_forward_length", required));
  s.layers = static_cast<std::int64_t>(number("block_count", required));
  s.heads = static_cast<std::int64_t>(number("attention.head_count", required));
  s.kv_heads =
      static_cast<std::int64_t>(number("attention.head_count_kv", static_cast<double>(s.heads)));
  s.head_dim = static_cast<std::int64_t>(number(
      "attention.key_length", static_cast<double>(s.dim / std::max<std::int64_t>(1, s.heads))));
  s.context = static_cast<std::int64_t>(number("context_length", 2048));
  s.epsilon = static_cast<float>(number("attention.layer_norm_rms_epsilon", 1e-5));
  s.theta = number("rope.freq_base", 10000);
  const auto embedding = f.entries().find(kGguf.embedding);
  if (embedding != f.entries().end() && !embedding->second.shape.empty())
    s.vocabulary = embedding->second.shape[0];
  return s;  // its rotary pairs are neighbours
}

bool is_llama2c(const std::string& path) {
  ByteReader in(path);
  if (in.size() < 28) return false;
  // Seven small numbers; a safetensors header is text from the ninth byte on, GGUF has its magic.
  std::string magic = in.text(4);
  in.seek(8);
  return magic != "GGUF" && in.number<char>() != '{';
}

}  // namespace

LlamaWeights load_llama(const std::string& path) {
  if (is_llama2c(path)) return load_llama2c(path);
  const TensorFile file(path);
  if (file.is_gguf()) return load_named(file, shape_of_gguf(file), kGguf);
  const auto config = std::filesystem::path(path).parent_path() / "config.json";
  return load_named(file, shape_of_config(config.string()), kHuggingFace);
}

}  // namespace kvsim::quality
