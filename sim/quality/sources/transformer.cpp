// A small real transformer on a text: its own queries, keys and values, and its text under each
// policy. Sequence i is tokens i * (prompt + steps) on of all texts back to back.
#include <fmt/format.h>

#include <filesystem>
#include <sstream>

#include "sim/base/hash.h"
#include "sim/quality/array_file.h"
#include "sim/quality/byte_reader.h"
#include "sim/quality/llama.h"
#include "sim/quality/source.h"
#include "sim/quality/tokenizer.h"
#include "sim/scenario/catalog.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

class Transformer final : public Source, private TextModel {
 public:
  struct Params {
    std::string weights, tokenizer, text, ids;
    std::string separator = "<|endoftext|>";
    static constexpr Rows kFields{
        field("weights", &Params::weights, any,
              "Llama: llama2.c .bin, .safetensors with its config.json beside it, or .gguf (f32, "
              "f16, bf16)"),
        field("tokenizer", &Params::tokenizer, any, "tokenizer.bin of llama2.c, for `text`"),
        field("text", &Params::text, any, "a file of text"),
        field("ids", &Params::ids, any,
              "instead of both: a file of token ids, blanks or commas between them"),
        field("separator", &Params::separator, any,
              "a line of the text file that ends one text; each begins with the begin token")};
  };

  Transformer(Params p, const Context& c) : p_(std::move(p)), context_(c), model_(load()) {
    const LlamaShape& s = model_.shape();
    const std::int64_t fitting = s.context;
    prompt_ = c.prompt > 0 ? c.prompt : fitting / 2;
    steps_ = c.steps > 0 ? c.steps : fitting - prompt_;
    if (prompt_ + steps_ > fitting)
      throw InputError(fmt::format("quality: {} + {} tokens, but the model's context is {}",
                                   prompt_, steps_, fitting),
                       "lower quality.prompt or quality.steps");
    read_text();
  }
  [[nodiscard]] token::KvShape shape() const override {
    const LlamaShape& s = model_.shape();
    token::KvShape out;
    out.layers = s.layers;
    out.q_heads = s.heads;
    out.kv_heads = s.kv_heads;
    out.k_dim = out.v_dim = s.head_dim;
    return out;
  }
  [[nodiscard]] std::int32_t prompt() const override { return static_cast<std::int32_t>(prompt_); }
  [[nodiscard]] std::int32_t steps() const override { return static_cast<std::int32_t>(steps_); }
  [[nodiscard]] std::int32_t sequences() const override {
    return static_cast<std::int32_t>(context_.sequences);
  }
  [[nodiscard]] std::uint64_t digest() const override { return digest_; }
  [[nodiscard]] const TextModel* model() const override { return this; }

  [[nodiscard]] Sequence sequence(std::int32_t index, const Compute& compute) const override {
    Sequence s;
    s.shape = shape();
    s.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.shape.k_dim)));
    s.rope = token::RopeShape{model_.shape().pairs, model_.shape().theta};
    s.prompt = prompt();
    s.steps = steps();
    Llama::Pass pass = model_.forward(tokens(index), compute);
    s.keys = std::move(pass.keys);
    s.values = std::move(pass.values);
    s.queries = std::move(pass.queries);
    for (std::int32_t t = 0; t < s.prompt; ++t)
      s.classes.push_back(class_of(tokens(index)[size(t)]));
    return s;
  }

 private:
  [[nodiscard]] std::span<const std::int32_t> tokens(std::int32_t index) const override {
    const std::size_t n = size(prompt_ + steps_);
    return std::span(ids_).subspan(size(index) * n, n);
  }
  [[nodiscard]] std::vector<float> next(std::int32_t id, std::int32_t position,
                                        const Attend& attend,
                                        const Compute& compute) const override {
    return model_.next(id, position, attend, compute);
  }
  [[nodiscard]] std::vector<float> logits(std::span<const std::int32_t> ids,
                                          const Compute& compute) const override {
    return model_.forward(ids, compute).logits;
  }
  [[nodiscard]] std::int32_t vocabulary() const override {
    return static_cast<std::int32_t>(model_.shape().vocabulary);
  }
  [[nodiscard]] std::int32_t context() const override {
    return static_cast<std::int32_t>(model_.shape().context);
  }
  [[nodiscard]] std::int32_t begin_token() const override {
    return tokenizer_ ? Tokenizer::kBegin : -1;
  }

  [[nodiscard]] std::string path(const std::string& file) const {
    return resolve_path(context_.base_dir, file);
  }
  LlamaWeights load() {
    if (p_.weights.empty())
      throw InputError("quality.source.weights: no file of weights is named",
                       "source: {kind: transformer, weights: stories260K.bin, tokenizer: "
                       "tok512.bin, text: stories.txt}");
    digest_ = file_digest(path(p_.weights));
    return load_llama(path(p_.weights));
  }
  [[nodiscard]] token::TokenClass class_of(std::int32_t id) const {
    if (!tokenizer_) return token::TokenClass::plain;
    const std::string& piece = tokenizer_->piece(id);
    const bool ends = piece.find_first_of(".,;:!?\n") != std::string::npos;
    return ends ? token::TokenClass::separator : token::TokenClass::plain;
  }
  void read_text() {
    const std::size_t wanted = size((prompt_ + steps_) * context_.sequences);
    if (p_.ids.empty() == (p_.text.empty() || p_.tokenizer.empty()))
      throw InputError("quality.source: expected `text` and `tokenizer`, or `ids`",
                       "text: stories.txt, tokenizer: tok512.bin");
    p_.ids.empty() ? encode_text(wanted) : read_ids(wanted);
    if (ids_.size() < wanted)
      throw InputError(
          fmt::format("quality.source: the text has {} tokens, but {} sequences of {} + {} are "
                      "wanted",
                      ids_.size(), context_.sequences, prompt_, steps_),
          "lower quality.sequences, prompt or steps, or give a longer text");
    ids_.resize(wanted);
    Digest d;
    d.add(digest_);
    for (const std::int32_t id : ids_) d.add(std::int64_t{id});
    digest_ = d.value();
  }
  [[nodiscard]] std::string whole(const std::string& file) const {
    ByteReader in(path(file));
    if (in.size() > std::uint64_t{1} << 30) in.fail("is larger than 1 GiB");
    return in.text(in.size());
  }
  void encode_text(std::size_t wanted) {
    tokenizer_.emplace(path(p_.tokenizer), model_.shape().vocabulary);
    std::istringstream lines(whole(p_.text));
    std::string text;
    const auto flush = [&] {
      if (text.empty()) return;
      const auto encoded = tokenizer_->encode(text);
      ids_.insert(ids_.end(), encoded.begin(), encoded.end());
      text.clear();
    };
    for (std::string line; ids_.size() < wanted && std::getline(lines, line);) {
      if (line == p_.separator)
        flush();
      else
        text += (text.empty() ? "" : "\n") + line;
    }
    if (ids_.size() < wanted) flush();
  }
  void read_ids(std::size_t wanted) {
    std::string all = whole(p_.ids);
    for (char& c : all)
      if (c == ',' || c == '[' || c == ']') c = ' ';
    std::istringstream in(all);
    for (std::int64_t id = 0; ids_.size() < wanted && in >> id;) {
      if (id < 0 || id >= model_.shape().vocabulary)
        throw InputError(fmt::format("{}: id {} is not in the model's vocabulary of {}", p_.ids, id,
                                     model_.shape().vocabulary));
      ids_.push_back(static_cast<std::int32_t>(id));
    }
  }

  Params p_;
  Context context_;
  std::uint64_t digest_ = 0;
  Llama model_;
  std::int64_t prompt_ = 0, steps_ = 0;
  std::optional<Tokenizer> tokenizer_;
  std::vector<std::int32_t> ids_;
};

const Register<Transformer> kSelf{
    "transformer", "a small Llama on a text: its own tensors, perplexity, what it writes",
    "arXiv:2302.13971 (Llama); github.com/karpathy/llama2.c (format of .bin)"};

}  // namespace

}  // namespace kvsim::quality
