#include "models/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace kvsim {

namespace {

// Keys of the text part, with those of the enclosing file behind them.
class Config {
 public:
  Config(const Tree& file, Reader& r) : file_(file), text_(file), reader_(r) {
    const Tree* nested = file.find("text_config");
    if (nested != nullptr && nested->is_map()) text_ = *nested;
  }
  [[nodiscard]] const Tree* find(const char* key) const {
    const Tree* t = text_.find(key);
    if (t == nullptr || t->is_null()) t = file_.find(key);
    return t == nullptr || t->is_null() ? nullptr : t;
  }
  std::int64_t number(const char* key, std::int64_t absent) const {
    const Tree* t = find(key);
    std::int64_t v = absent;
    if (t == nullptr) return absent;
    const Reader::Scope scope(reader_, key);
    if (!detail::read_int(*t, v, reader_)) return absent;
    if (v >= 0 && v <= kMost) return v;
    reader_.error(*t, fmt::format("'{}' is out of bounds: 0 to {}", t->text(), kMost));
    return absent;
  }
  std::int64_t need(const char* key, const char* other = nullptr) const {
    if (find(key) != nullptr) return number(key, 0);
    if (other != nullptr && find(other) != nullptr) return number(other, 0);
    const Reader::Scope scope(reader_, key);
    reader_.error(text_, "missing", "a config.json of this model_type has it");
    return 1;
  }
  bool flag(const char* key, bool absent) const {
    const Tree* t = find(key);
    bool v = absent;
    if (t == nullptr) return absent;
    const Reader::Scope scope(reader_, key);
    detail::read_bool(*t, v, reader_);
    return v;
  }
  [[nodiscard]] std::string word(const char* key) const {
    const Tree* t = find(key);
    return t != nullptr && t->is_scalar() ? t->text() : std::string{};
  }
  std::vector<std::int64_t> numbers(const char* key) const {
    std::vector<std::int64_t> all;
    if (const Tree* t = find(key)) {
      const Reader::Scope scope(reader_, key);
      Codec<std::vector<std::int64_t>>::read(*t, all, reader_);
    }
    return all;
  }
  void error(const char* key, std::string message, std::string hint = {}) const {
    const Tree* t = find(key);
    const Reader::Scope scope(reader_, key);
    reader_.error(t != nullptr ? *t : text_, std::move(message), std::move(hint));
  }

 private:
  static constexpr std::int64_t kMost =
      1 << 30;  // no dimension comes near; keeps later products in range
  const Tree& file_;
  Tree text_;
  Reader& reader_;
};

constexpr std::int64_t kMostLayers = 1024;

void dimensions(const Config& c, ModelSpec& m) {
  m.layers = c.need("num_hidden_layers");
  m.hidden = c.need("hidden_size");
  m.heads = c.need("num_attention_heads");
  m.kv_heads = c.number("num_key_value_heads", 0);
  m.head_dim = c.number("head_dim", 0);
  m.intermediate = c.need("intermediate_size");
  m.vocab = c.need("vocab_size");
  m.max_context = c.number("max_position_embeddings", 4096);
  m.tied_embeddings = c.flag("tie_word_embeddings", m.tied_embeddings);
  if (c.flag("attention_bias", false) && m.bias == Bias::none) m.bias = Bias::qkv;
}

// The kinds named by layer_types; false when the file has no such list.
bool listed_kinds(const Config& c, ModelSpec& m) {
  const Tree* list = c.find("layer_types");
  if (list == nullptr || !list->is_list()) return false;
  static const std::map<std::string, AttentionKind> kKinds{
      {"full_attention", AttentionKind::full},
      {"sliding_attention", AttentionKind::sliding},
      {"chunked_attention", AttentionKind::chunked},
      {"linear_attention", AttentionKind::recurrent}};
  for (const Tree& t : list->items()) {
    const auto it = kKinds.find(t.is_scalar() ? t.text() : std::string{});
    if (it == kKinds.end()) {
      c.error("layer_types",
              "a layer is none of full_attention, sliding_attention, chunked_attention, "
              "linear_attention",
              "describe the model in a catalogue file");
      break;
    }
    m.attention.push_back(it->second);
  }
  return true;
}

// One full layer after every `period - 1` windowed ones.
void every_nth_full(ModelSpec& m, AttentionKind windowed, std::int64_t period) {
  if (period < 1 || period > kMostLayers) return;
  m.attention.assign(static_cast<std::size_t>(period), windowed);
  m.attention.back() = AttentionKind::full;
}

void slide_all(const Config& c, ModelSpec& m) {
  m.window = c.number("sliding_window", 0);
  if (!listed_kinds(c, m) && m.window > 0) m.attention = {AttentionKind::sliding};
}

void llama(const Config& c, ModelSpec& m) { dimensions(c, m); }

void mistral(const Config& c, ModelSpec& m) {
  dimensions(c, m);
  slide_all(c, m);
}

void experts(const Config& c, ModelSpec& m, const char* count, const char* active,
             std::int64_t width) {
  MoeSpec e;
  e.experts = c.need(count);
  e.active = c.need(active);
  e.intermediate = width;
  m.moe = e;
}

void mixtral(const Config& c, ModelSpec& m) {
  mistral(c, m);
  experts(c, m, "num_local_experts", "num_experts_per_tok", m.intermediate);
  m.intermediate = 0;
}

// Layers from max_window_layers on slide, and only if use_sliding_window says so.
void qwen(const Config& c, ModelSpec& m) {
  dimensions(c, m);
  if (!c.flag("use_sliding_window", false)) return;
  m.window = c.number("sliding_window", 4096);
  if (listed_kinds(c, m) || m.window == 0 || m.layers < 1 || m.layers > kMostLayers) return;
  const std::int64_t first =
      std::clamp<std::int64_t>(c.number("max_window_layers", 28), 0, m.layers);
  m.attention.assign(static_cast<std::size_t>(m.layers), AttentionKind::full);
  std::fill(m.attention.begin() + first, m.attention.end(), AttentionKind::sliding);
}

void qwen2(const Config& c, ModelSpec& m) {
  m.bias = Bias::qkv;
  qwen(c, m);
}
void qwen3(const Config& c, ModelSpec& m) {
  m.qk_norm = true;
  if (c.find("head_dim") == nullptr) m.head_dim = 128;
  qwen(c, m);
  if (m.head_dim == 0) m.head_dim = 128;
}

void sparse_steps(const Config& c, ModelSpec& m) {
  experts(c, m, "num_experts", "num_experts_per_tok", c.need("moe_intermediate_size"));
  m.moe->every = std::max<std::int64_t>(1, c.number("decoder_sparse_step", 1));
  m.moe->offset = m.moe->every - 1;
  m.moe->dense_layers = c.numbers("mlp_only_layers");
}
void qwen2_moe(const Config& c, ModelSpec& m) {
  qwen2(c, m);
  sparse_steps(c, m);
  m.moe->shared_intermediate = c.number("shared_expert_intermediate_size", 5632);
}
void qwen3_moe(const Config& c, ModelSpec& m) {
  qwen3(c, m);
  sparse_steps(c, m);
}

void gemma(const Config& c, ModelSpec& m) {
  m.tied_embeddings = true;
  dimensions(c, m);
  if (m.head_dim == 0) m.head_dim = 256;
}
void gemma2(const Config& c, ModelSpec& m) {
  gemma(c, m);
  m.norms_per_layer = 4;
  m.window = c.number("sliding_window", 4096);
  if (!listed_kinds(c, m)) m.attention = {AttentionKind::sliding, AttentionKind::full};
}
// Published files leave out whatever equals the library's defaults.
void gemma3(const Config& c, ModelSpec& m) {
  m.tied_embeddings = c.flag("tie_word_embeddings", true);
  m.layers = c.number("num_hidden_layers", 26);
  m.hidden = c.number("hidden_size", 2304);
  m.heads = c.number("num_attention_heads", 8);
  m.kv_heads = c.number("num_key_value_heads", 4);
  m.head_dim = c.number("head_dim", 256);
  m.intermediate = c.number("intermediate_size", 9216);
  m.vocab = c.number("vocab_size", 262208);
  m.max_context = c.number("max_position_embeddings", 131072);
  m.window = c.number("sliding_window", 4096);
  m.qk_norm = true;
  m.norms_per_layer = 4;
  if (!listed_kinds(c, m))
    every_nth_full(m, AttentionKind::sliding, c.number("sliding_window_pattern", 6));
}

void phi(const Config& c, ModelSpec& m) {
  m.bias = Bias::all;
  m.gated = false;
  m.parallel_residual = true;
  m.norms_per_layer = 1;
  dimensions(c, m);
  m.qk_norm = c.flag("qk_layernorm", false);
}

void falcon(const Config& c, ModelSpec& m) {
  m.layers = c.need("num_hidden_layers", "n_layer");
  m.hidden = c.need("hidden_size");
  m.heads = c.need("num_attention_heads", "n_head");
  m.vocab = c.need("vocab_size");
  m.max_context = c.number("max_position_embeddings", 2048);
  const bool grouped = c.flag("new_decoder_architecture", false);
  const std::int64_t kv = c.number("num_kv_heads", c.number("n_head_kv", m.heads));
  m.kv_heads = grouped || !c.flag("multi_query", true) ? kv : 1;
  m.intermediate =
      c.number("ffn_hidden_size", 4 * std::clamp<std::int64_t>(m.hidden, 0, ModelSpec::kMaxWidth));
  m.gated = false;
  m.tied_embeddings = c.flag("tie_word_embeddings", true);
  m.parallel_residual = c.flag("parallel_attn", true);
  m.norms_per_layer =
      m.parallel_residual ? c.number("num_ln_in_parallel_attn", grouped ? 2 : 1) : 2;
  if (c.flag("bias", false)) m.bias = Bias::all;
}

void opt(const Config& c, ModelSpec& m) {
  m.layers = c.need("num_hidden_layers");
  m.hidden = c.need("hidden_size");
  m.heads = c.need("num_attention_heads");
  m.intermediate = c.need("ffn_dim");
  m.vocab = c.need("vocab_size");
  m.max_context = c.number("max_position_embeddings", 2048);
  m.learned_positions =
      std::min<std::int64_t>(m.max_context, 1 << 20) + 2;  // the table starts two rows late
  m.gated = false;
  m.tied_embeddings = c.flag("tie_word_embeddings", true);
  m.bias = c.flag("enable_bias", true) ? Bias::all : Bias::none;
  if (c.number("word_embed_proj_dim", m.hidden) != m.hidden)
    c.error("word_embed_proj_dim", "an embedding narrower than hidden_size is not supported",
            "use another OPT size");
}

void deepseek(const Config& c, ModelSpec& m) {
  dimensions(c, m);
  m.kv_heads = 0;
  m.head_dim = 0;
  MlaSpec a;
  a.q_lora_rank = c.number("q_lora_rank", 0);
  a.kv_lora_rank = c.need("kv_lora_rank");
  a.qk_nope_head_dim = c.need("qk_nope_head_dim");
  a.qk_rope_head_dim = c.need("qk_rope_head_dim");
  a.v_head_dim = c.need("v_head_dim");
  m.mla = a;
  if (c.find("n_routed_experts") == nullptr) return;
  const std::int64_t width = c.need("moe_intermediate_size");
  experts(c, m, "n_routed_experts", "num_experts_per_tok", width);
  m.moe->shared_intermediate = std::clamp<std::int64_t>(c.number("n_shared_experts", 0), 0, 1024) *
                               std::clamp<std::int64_t>(width, 0, ModelSpec::kMaxWidth);
  m.moe->first_dense = c.number("first_k_dense_replace", 0);
  m.moe->every = c.number("moe_layer_freq", 1);
}

void gpt_oss(const Config& c, ModelSpec& m) {
  m.bias = Bias::all;
  dimensions(c, m);
  m.window = c.number("sliding_window", 128);
  if (!listed_kinds(c, m)) m.attention = {AttentionKind::sliding, AttentionKind::full};
  experts(c, m, "num_local_experts",
          c.find("num_experts_per_tok") != nullptr ? "num_experts_per_tok" : "experts_per_token",
          m.intermediate);
  m.intermediate = 0;
}

// no_rope_layers: 1 = rotary inside chunks, 0 = full attention without positions.
void llama4(const Config& c, ModelSpec& m) {
  dimensions(c, m);
  m.qk_norm = c.flag("use_qk_norm", true);
  m.window = c.number("attention_chunk_size", 8192);
  const auto no_rope = c.numbers("no_rope_layers");
  if (!listed_kinds(c, m)) {
    if (no_rope.empty())
      every_nth_full(m, AttentionKind::chunked, c.number("no_rope_layer_interval", 4));
    for (const std::int64_t rope : no_rope)
      m.attention.push_back(rope != 0 ? AttentionKind::chunked : AttentionKind::full);
  }
  experts(c, m, "num_local_experts", "num_experts_per_tok", m.intermediate);
  m.moe->shared_intermediate = m.intermediate;
  m.moe->every = std::max<std::int64_t>(1, c.number("interleave_moe_layer_step", 1));
  m.moe->offset = m.moe->every - 1;
  if (c.find("intermediate_size_mlp") != nullptr)
    m.intermediate = c.number("intermediate_size_mlp", 0);
}

// Widths that a hostile file could multiply beyond 64 bits are bounded first.
std::int64_t width(const Config& c, const char* key, std::int64_t absent) {
  return std::clamp<std::int64_t>(c.number(key, absent), 0, ModelSpec::kMaxWidth);
}
std::int64_t expanded(const Config& c, const char* key) {
  return std::clamp<std::int64_t>(c.number(key, 2), 1, 64) * width(c, "hidden_size", 0);
}

void jamba(const Config& c, ModelSpec& m) {
  dimensions(c, m);
  m.tied_embeddings = c.flag("tie_word_embeddings", false);
  const std::int64_t period = c.number("attn_layer_period", 8),
                     at = c.number("attn_layer_offset", 4);
  if (period < 1 || period > kMostLayers || at >= period)
    return c.error("attn_layer_period", "no layer lies at attn_layer_offset of this period");
  m.attention.assign(static_cast<std::size_t>(period), AttentionKind::recurrent);
  m.attention[static_cast<std::size_t>(at)] = AttentionKind::full;
  experts(c, m, "num_experts", "num_experts_per_tok", m.intermediate);
  m.moe->every = std::max<std::int64_t>(1, c.number("expert_layer_period", 2));
  m.moe->offset = c.number("expert_layer_offset", 1);
  RecurrentSpec r;
  r.mixer = Mixer::mamba;
  r.inner = expanded(c, "mamba_expand");
  r.state = c.number("mamba_d_state", 16);
  r.conv = c.number("mamba_d_conv", 4);
  r.rank = c.find("mamba_dt_rank") != nullptr && c.word("mamba_dt_rank") != "auto"
               ? c.number("mamba_dt_rank", 0)
               : 0;
  m.recurrent = r;
}

void recurrent_only(const Config& c, ModelSpec& m, const RecurrentSpec& r) {
  m.layers = c.need("num_hidden_layers");
  m.hidden = c.need("hidden_size");
  m.vocab = c.need("vocab_size");
  m.heads = 1;
  m.max_context = 1 << 20;
  m.attention = {AttentionKind::recurrent};
  m.ffn_layers = {0};
  m.norms_per_layer = 1;
  m.tied_embeddings = c.flag("tie_word_embeddings", m.tied_embeddings);
  m.recurrent = r;
}

void mamba(const Config& c, ModelSpec& m) {
  RecurrentSpec r;
  r.mixer = Mixer::mamba;
  r.inner = c.find("intermediate_size") != nullptr ? c.number("intermediate_size", 0)
                                                   : expanded(c, "expand");
  r.state = c.number("state_size", 16);
  r.conv = c.number("conv_kernel", 4);
  if (c.find("time_step_rank") != nullptr && c.word("time_step_rank") != "auto")
    r.rank = c.number("time_step_rank", 0);
  m.tied_embeddings = c.word("model_type") == "mamba";
  recurrent_only(c, m, r);
}

void mamba2(const Config& c, ModelSpec& m) {
  RecurrentSpec r;
  r.mixer = Mixer::mamba_2;
  r.heads = c.number("num_heads", 128);
  r.inner = std::clamp<std::int64_t>(r.heads, 0, 65536) * width(c, "head_dim", 64);
  r.state = c.number("state_size", 128);
  r.conv = c.number("conv_kernel", 4);
  r.groups = c.number("n_groups", 8);
  recurrent_only(c, m, r);
}

// Published files state the width of gate and up projection together.
void recurrent_gemma(const Config& c, ModelSpec& m) {
  m.tied_embeddings = true;
  dimensions(c, m);
  m.intermediate = c.number("intermediate_size", 15360) / 2;
  if (m.head_dim == 0) m.head_dim = 256;
  m.max_context = 1 << 20;
  m.window = c.number("attention_window_size", 2048);
  m.attention = {AttentionKind::recurrent, AttentionKind::recurrent, AttentionKind::sliding};
  RecurrentSpec r;
  r.mixer = Mixer::rg_lru;
  r.inner = c.number("lru_width", m.hidden);
  r.heads = m.heads;
  r.conv = c.number("conv1d_width", 4);
  r.dtype = Dtype::fp32;
  m.recurrent = r;
}

void qwen3_next(const Config& c, ModelSpec& m) {
  qwen3(c, m);
  sparse_steps(c, m);
  m.moe->shared_intermediate = c.number("shared_expert_intermediate_size", 512);
  const std::int64_t period = c.number("full_attention_interval", 4);
  m.attention.clear();
  if (!listed_kinds(c, m)) every_nth_full(m, AttentionKind::recurrent, period);
  RecurrentSpec r;
  r.mixer = Mixer::gated_delta;
  r.heads = c.number("linear_num_value_heads", 32);
  r.key_heads = c.number("linear_num_key_heads", 16);
  r.key_dim = c.number("linear_key_head_dim", 128);
  r.value_dim = c.number("linear_value_head_dim", 128);
  r.conv = c.number("linear_conv_kernel_dim", 4);
  r.dtype = Dtype::fp32;
  m.recurrent = r;
}

const std::map<std::string, void (*)(const Config&, ModelSpec&)>& families() {
  static const std::map<std::string, void (*)(const Config&, ModelSpec&)> all{
      {"llama", llama},
      {"mistral", mistral},
      {"mixtral", mixtral},
      {"qwen2", qwen2},
      {"qwen2_moe", qwen2_moe},
      {"qwen3", qwen3},
      {"qwen3_moe", qwen3_moe},
      {"gemma", gemma},
      {"gemma2", gemma2},
      {"gemma3_text", gemma3},
      {"gemma3", gemma3},
      {"phi", phi},
      {"phi3", mistral},
      {"falcon", falcon},
      {"opt", opt},
      {"deepseek_v2", deepseek},
      {"deepseek_v3", deepseek},
      {"kimi_k2", deepseek},
      {"jamba", jamba},
      {"mamba", mamba},
      {"falcon_mamba", mamba},
      {"mamba2", mamba2},
      {"recurrent_gemma", recurrent_gemma},
      {"qwen3_next", qwen3_next},
      {"gpt_oss", gpt_oss},
      {"llama4_text", llama4},
      {"llama4", llama4}};
  return all;
}

void unquantised_precision(const Config& c, ModelSpec& m) {
  const std::string dtype = c.word("torch_dtype").empty() ? c.word("dtype") : c.word("torch_dtype");
  if (dtype == "float16") m.weights = Dtype::fp16;
  if (dtype == "float32") m.weights = Dtype::fp32;
}

// Bits and number type of the first group of a compressed-tensors file, or bits of GPTQ and AWQ.
void quantised_precision(const Config& c, ModelSpec& m) {
  const Tree* q = c.find("quantization_config");
  if (q == nullptr || !q->is_map()) return;
  const auto word = [](const Tree* t, const char* key) {
    const Tree* v = t != nullptr ? t->find(key) : nullptr;
    return v != nullptr && v->is_scalar() ? v->text() : std::string{};
  };
  const std::string method = word(q, "quant_method");
  std::string width = word(q, "bits"), type;
  if (method == "fp8" || method == "fbgemm_fp8") width = "8", type = "float";
  if (method == "mxfp4") {
    m.expert_bits = 4.25;  // 4 bits and an 8-bit scale for every 32
    return;
  }
  if (method == "compressed-tensors") {
    const Tree* groups = q->find("config_groups");
    const Tree* weights = groups != nullptr && groups->is_map() && !groups->entries().empty()
                              ? groups->entries().front().value.find("weights")
                              : nullptr;
    width = word(weights, "num_bits");
    type = word(weights, "type");
  }
  if (width == "8")
    m.weights = type == "float" ? Dtype::fp8 : Dtype::int8;
  else if (width == "4")
    m.weights = type == "float" ? Dtype::fp4 : Dtype::int4;
  else
    c.error("quantization_config",
            fmt::format("method '{}' with '{}' bits is not known", method, width),
            "known: fp8, mxfp4, gptq, awq, compressed-tensors, with 4 or 8 bits");
}

// Puts every value through the bounds and checks that a catalogue file meets.
ModelSpec checked(const ModelSpec& m, const Tree& json, Reader& r) {
  Tree t = write_fields(m);
  t.set_place(json.place());
  std::vector<std::string> keys;
  for (const Tree::Entry& e : t.entries()) keys.push_back(e.key);
  for (const std::string& k : keys) t.find(k)->set_place(json.place());
  ModelSpec out;
  read_model(t, out, r);
  return out;
}

}  // namespace

std::vector<std::string> hf_model_types() {
  std::vector<std::string> all;
  for (const auto& [name, fill] : families()) all.push_back(name);
  return all;
}

ModelSpec from_hf_config(const Tree& json, Reader& r) {
  ModelSpec m;
  if (!json.is_map()) {
    r.error(json, "expected a map of key: value, as in a config.json");
    return m;
  }
  const std::size_t before = r.diagnostics().all().size();
  const Config c(json, r);
  const std::string type = c.word("model_type");
  const auto it = families().find(type);
  if (it == families().end()) {
    std::string all;
    for (const std::string& name : hf_model_types()) all += (all.empty() ? "" : ", ") + name;
    c.error("model_type", type.empty() ? "missing" : fmt::format("unknown model type '{}'", type),
            "supported: " + all + "; or describe the model in a catalogue file");
    return m;
  }
  it->second(c, m);
  m.family = type;
  m.name = c.word("_name_or_path").empty() ? "hf-config" : c.word("_name_or_path");
  m.source = json.place().file ? *json.place().file : "config.json";
  if (m.window >= m.max_context) m.attention.clear(), m.window = 0;  // a window that never closes
  unquantised_precision(c, m);
  quantised_precision(c, m);
  return r.diagnostics().all().size() == before ? checked(m, json, r) : m;
}

}  // namespace kvsim
