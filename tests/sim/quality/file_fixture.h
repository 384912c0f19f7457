#pragma once
// Files of weights and tensors written by hand, and a random Llama in the three formats.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/element.h"
#include "sim/base/random.h"

namespace kvsim::quality {

template <class T>
void put(std::string& to, T v) {
  to.append(reinterpret_cast<const char*>(&v), sizeof v);
}
inline void put_text(std::string& to, const std::string& text) {
  put(to, std::uint64_t{text.size()});
  to += text;
}

inline std::string npy(const std::string& shape, const std::vector<float>& values,
                       const std::string& type = "<f4") {
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", type, shape);
  header.resize((header.size() + 10 + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string out = std::string("\x93NUMPY\x01\x00", 8);
  put(out, static_cast<std::uint16_t>(header.size()));
  out += header;
  for (const float v : values) put(out, v);
  return out;
}

struct NamedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// type: F32, F16 or BF16.
inline std::string encoded(const std::vector<float>& values, const std::string& type) {
  std::string out;
  for (const float v : values) {
    if (type == "F32")
      put(out, v);
    else
      put(out, type == "F16" ? kernels::to_f16(v) : kernels::to_bf16(v));
  }
  return out;
}

inline std::string safetensors(const std::vector<NamedTensor>& tensors,
                               const std::string& type = "F32") {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}", data;
  for (const NamedTensor& t : tensors) {
    const std::string bytes = encoded(t.values, type);
    header +=
        fmt::format(",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", t.name,
                    type, fmt::join(t.shape, ","), data.size(), data.size() + bytes.size());
    data += bytes;
  }
  header += "}";
  std::string out;
  put_text(out, header);
  return out + data;
}

inline std::string gguf(const std::vector<std::pair<std::string, std::uint32_t>>& numbers,
                        const std::vector<NamedTensor>& tensors, const std::string& type = "F32") {
  std::string out = "GGUF", data;
  put(out, std::uint32_t{3});
  put(out, std::uint64_t{tensors.size()});
  put(out, std::uint64_t{numbers.size() + 2});
  put_text(out, "general.architecture"), put(out, std::uint32_t{8}), put_text(out, "llama");
  put_text(out, "some.list"), put(out, std::uint32_t{9}), put(out, std::uint32_t{8});
  put(out, std::uint64_t{2}), put_text(out, "a"), put_text(out, "bc");
  for (const auto& [key, value] : numbers) {
    put_text(out, key);
    put(out, std::uint32_t{4});
    put(out, value);
  }
  for (const NamedTensor& t : tensors) {
    put_text(out, t.name);
    put(out, static_cast<std::uint32_t>(t.shape.size()));
    for (auto d = t.shape.rbegin(); d != t.shape.rend(); ++d)
      put(out, static_cast<std::uint64_t>(*d));
    put(out, std::uint32_t{type == "F32" ? 0U : type == "F16" ? 1U : 30U});
    put(out, std::uint64_t{data.size()});
    data += encoded(t.values, type);
    data.resize((data.size() + 31) / 32 * 32, '\0');
  }
  out.resize((out.size() + 31) / 32 * 32, '\0');
  return out + data;
}

// Sizes of a random Llama.
struct SmallLlama {
  std::int64_t dim = 16, hidden = 24, layers = 2, heads = 4, kv_heads = 2, vocabulary = 20,
               context = 32;
  [[nodiscard]] std::int64_t head() const { return dim / heads; }

  [[nodiscard]] std::vector<float> weights(const std::string& name, std::int64_t n) const {
    Rng rng(7, name);
    std::vector<float> out;
    for (std::int64_t i = 0; i < n; ++i)
      out.push_back(kernels::from_f16(kernels::to_f16(static_cast<float>(
          name.find("norm") != std::string::npos ? 1 + 0.1 * rng.normal() : 0.3 * rng.normal()))));
    return out;
  }
  // Rows of rotary halves to rows of neighbours: number i of a head goes to 2i, i + half to 2i + 1.
  [[nodiscard]] std::vector<float> halves(const std::vector<float>& adjacent) const {
    std::vector<float> out(adjacent.size());
    const auto d = static_cast<std::size_t>(dim), h = static_cast<std::size_t>(head());
    for (std::size_t row = 0; row < adjacent.size() / d; ++row) {
      const std::size_t first = row / h * h, i = row % h;
      const std::size_t to = first + (i % 2 == 0 ? i / 2 : h / 2 + i / 2);
      std::copy_n(&adjacent[row * d], d, &out[to * d]);
    }
    return out;
  }
  [[nodiscard]] std::string llama2c() const {
    std::string out;
    for (const std::int64_t n : {dim, hidden, layers, heads, kv_heads, vocabulary, context})
      put(out, static_cast<std::int32_t>(n));
    const auto add = [&](const std::string& name, std::int64_t n) {
      for (const float v : weights(name, n)) put(out, v);
    };
    const auto each = [&](const char* name, std::int64_t n) {
      for (std::int64_t l = 0; l < layers; ++l) add(fmt::format("{}{}", name, l), n);
    };
    const std::int64_t kv = kv_heads * head();
    add("embedding", vocabulary * dim);
    each("norm_attention", dim), each("q", dim * dim), each("k", dim * kv), each("v", dim * kv);
    each("o", dim * dim), each("norm_ffn", dim), each("gate", dim * hidden);
    each("down", dim * hidden), each("up", dim * hidden);
    add("norm_last", dim);
    for (std::int64_t i = 0; i < context * head(); ++i) put(out, 0.0F);
    return out;
  }
  // is_hf: names and rotary halves of Hugging Face; else those of GGUF.
  [[nodiscard]] std::vector<NamedTensor> tensors(bool is_hf) const {
    std::vector<NamedTensor> all;
    const auto add = [&](const std::string& name, const std::string& from,
                         std::vector<std::int64_t> shape, bool turned = false) {
      std::int64_t n = 1;
      for (const std::int64_t d : shape) n *= d;
      std::vector<float> w = weights(from, n);
      all.push_back({name, std::move(shape), turned ? halves(w) : w});
    };
    const std::int64_t kv = kv_heads * head();
    add(is_hf ? "model.embed_tokens.weight" : "token_embd.weight", "embedding", {vocabulary, dim});
    add(is_hf ? "model.norm.weight" : "output_norm.weight", "norm_last", {dim});
    for (std::int64_t l = 0; l < layers; ++l) {
      const std::string at = is_hf ? fmt::format("model.layers.{}.", l) : fmt::format("blk.{}.", l);
      const auto one = [&](const char* hf, const char* other, const char* from,
                           std::vector<std::int64_t> shape, bool turned = false) {
        add(at + (is_hf ? hf : other) + ".weight", fmt::format("{}{}", from, l), std::move(shape),
            turned && is_hf);
      };
      one("input_layernorm", "attn_norm", "norm_attention", {dim});
      one("self_attn.q_proj", "attn_q", "q", {dim, dim}, true);
      one("self_attn.k_proj", "attn_k", "k", {kv, dim}, true);
      one("self_attn.v_proj", "attn_v", "v", {kv, dim});
      one("self_attn.o_proj", "attn_output", "o", {dim, dim});
      one("post_attention_layernorm", "ffn_norm", "norm_ffn", {dim});
      one("mlp.gate_proj", "ffn_gate", "gate", {hidden, dim});
      one("mlp.up_proj", "ffn_up", "up", {hidden, dim});
      one("mlp.down_proj", "ffn_down", "down", {dim, hidden});
    }
    return all;
  }
  [[nodiscard]] std::string config() const {
    return fmt::format(
        R"({{"hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
 "num_attention_heads": {}, "num_key_value_heads": {}, "vocab_size": {},
 "max_position_embeddings": {}, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null}})",
        dim, hidden, layers, heads, kv_heads, vocabulary, context);
  }
  [[nodiscard]] std::string gguf_file(const std::string& type = "F32") const {
    const auto n = [](std::int64_t v) { return static_cast<std::uint32_t>(v); };
    return gguf({{"llama.embedding_length", n(dim)},
                 {"llama.feed_forward_length", n(hidden)},
                 {"llama.block_count", n(layers)},
                 {"llama.attention.head_count", n(heads)},
                 {"llama.attention.head_count_kv", n(kv_heads)},
                 {"llama.context_length", n(context)}},
                tensors(false), type);
  }
};

// A folder that goes away with the object.
class Folder {
 public:
  Folder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("kvsim_quality_{}_{}", ::getpid(), count++);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return (path_ / name).string();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace kvsim::quality
