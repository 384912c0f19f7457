#include "sim/quality/array_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "kernels/element.h"
#include "sim/base/fields.h"
#include "sim/base/hash.h"
#include "sim/quality/byte_reader.h"
#include "sim/scenario/yaml.h"

namespace kvsim::quality {

namespace {

constexpr std::uint64_t kMostNumbers = std::uint64_t{1} << 32;
constexpr std::uint64_t kMostHeader = std::uint64_t{64} << 20;

// Product of the lengths; nothing when one is negative or there are more than kMostNumbers.
std::optional<std::uint64_t> count_of(const std::vector<std::int64_t>& shape) {
  std::uint64_t n = 1;
  for (const std::int64_t d : shape) {
    if (d < 0 || static_cast<std::uint64_t>(d) > kMostNumbers) return std::nullopt;
    n *= static_cast<std::uint64_t>(d);
    if (n > kMostNumbers) return std::nullopt;
  }
  return n;
}

std::uint64_t width_of(const std::string& type) {
  if (type == "F32") return 4;
  if (type == "F16" || type == "BF16") return 2;
  return type == "F64" ? 8 : 0;
}

// `count` numbers of a known type at the reader's place.
std::vector<float> read_numbers(ByteReader& in, const std::string& type, std::uint64_t count) {
  if (count * width_of(type) > in.left()) in.fail("is shorter than its header says");
  std::vector<float> out(static_cast<std::size_t>(count));
  if (type == "F32") {
    in.bytes(out.data(), count * 4);
    return out;
  }
  constexpr std::uint64_t kPiece = 1 << 16;
  std::vector<std::uint16_t> halves;
  std::vector<double> doubles;
  for (std::uint64_t from = 0; from < count; from += kPiece) {
    const auto n = static_cast<std::size_t>(std::min(kPiece, count - from));
    const auto at = static_cast<std::size_t>(from);
    if (type == "F64") {
      doubles.resize(n);
      in.bytes(doubles.data(), n * 8);
      for (std::size_t i = 0; i < n; ++i) out[at + i] = static_cast<float>(doubles[i]);
    } else {
      halves.resize(n);
      in.bytes(halves.data(), n * 2);
      for (std::size_t i = 0; i < n; ++i)
        out[at + i] = type == "F16" ? kernels::from_f16(halves[i]) : kernels::from_bf16(halves[i]);
    }
  }
  return out;
}

// The value of 'key' in .npy's header, a Python dictionary on one line.
std::string npy_value(const ByteReader& in, const std::string& header, const std::string& key) {
  const std::size_t at = header.find("'" + key + "'");
  const std::size_t colon = at == std::string::npos ? at : header.find(':', at);
  if (colon == std::string::npos) in.fail("its header lacks '" + key + "'");
  std::size_t from = colon + 1;
  while (from < header.size() && header[from] == ' ') ++from;
  const bool is_tuple = from < header.size() && header[from] == '(';
  std::size_t to = header.find_first_of(is_tuple ? ")" : ",}", from);
  if (to == std::string::npos) in.fail("its header is broken");
  return header.substr(from, to - from);
}

std::vector<std::int64_t> npy_shape(const ByteReader& in, const std::string& text) {
  std::vector<std::int64_t> shape;
  std::int64_t number = -1;
  for (const char c : text + ",") {
    if (c >= '0' && c <= '9') {
      if (number > (std::int64_t{1} << 40)) in.fail("its shape is too large");
      number = (number < 0 ? 0 : number) * 10 + (c - '0');
    } else if (c == ',') {
      if (number >= 0) shape.push_back(number);
      number = -1;
    } else if (c != '(' && c != ' ' && c != 'L') {
      in.fail("its shape is no tuple of numbers");
    }
    if (shape.size() > 8) in.fail("has more than 8 dimensions");
  }
  return shape;
}

}  // namespace

Array load_npy(const std::string& path) {
  ByteReader in(path);
  std::array<char, 8> magic{};
  if (in.size() < 10) in.fail("is no .npy file");
  in.bytes(magic.data(), 8);
  if (std::string_view(magic.data(), 6) != "\x93NUMPY") in.fail("is no .npy file");
  const std::uint64_t length =
      magic[6] == 1 ? in.number<std::uint16_t>() : in.number<std::uint32_t>();
  if (length > kMostHeader) in.fail("its header is too long");
  const std::string header = in.text(length);
  const std::string type = npy_value(in, header, "descr");
  if (npy_value(in, header, "fortran_order").substr(0, 5) != "False")
    in.fail("is in Fortran order", "numpy.save(f, numpy.ascontiguousarray(x))");
  constexpr std::array<std::pair<const char*, const char*>, 3> kTypes{
      {{"'<f4'", "F32"}, {"'<f2'", "F16"}, {"'<f8'", "F64"}}};
  const auto* known =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return type == t.first; });
  if (known == kTypes.end())
    in.fail(fmt::format("holds {}, not 16-, 32- or 64-bit floating point", type),
            "x.astype(numpy.float32)");
  Array a;
  a.shape = npy_shape(in, npy_value(in, header, "shape"));
  const auto count = count_of(a.shape);
  if (!count) in.fail("its shape is too large");
  if (*count * width_of(known->second) != in.left())
    in.fail(fmt::format("has {} bytes of numbers where its shape needs {}", in.left(),
                        *count * width_of(known->second)));
  a.values = read_numbers(in, known->second, *count);
  return a;
}

TensorFile::TensorFile(std::string path) : path_(std::move(path)) {
  ByteReader in(path_);
  if (in.size() < 8) in.fail("is neither safetensors nor GGUF");
  if (in.text(4) == "GGUF")
    read_gguf(in.size());
  else
    read_safetensors(in.size());
}

void TensorFile::read_safetensors(std::uint64_t size) {
  ByteReader in(path_);
  const auto length = in.number<std::uint64_t>();
  if (length > kMostHeader || length > size - 8)
    in.fail("is neither safetensors nor GGUF: its header would be longer than the file");
  Diagnostics d;
  const Tree header = parse_yaml(in.text(length), path_, d);
  if (!d.empty() || !header.is_map()) in.fail("is neither safetensors nor GGUF");
  const std::uint64_t data = 8 + length;
  for (const Tree::Entry& e : header.entries()) {
    if (e.key == "__metadata__") continue;
    const Tree *type = e.value.find("dtype"), *shape = e.value.find("shape"),
               *place = e.value.find("data_offsets");
    Entry entry;
    std::vector<std::int64_t> ends;
    Reader r(d);
    if (type == nullptr || shape == nullptr || place == nullptr || !type->is_scalar() ||
        !Codec<std::vector<std::int64_t>>::read(*shape, entry.shape, r) ||
        !Codec<std::vector<std::int64_t>>::read(*place, ends, r) || ends.size() != 2 ||
        ends[0] < 0 || ends[1] < ends[0] || static_cast<std::uint64_t>(ends[1]) > size - data)
      in.fail(fmt::format("tensor '{}' is described wrongly", e.key));
    entry.type = type->text();
    entry.offset = data + static_cast<std::uint64_t>(ends[0]);
    entry.bytes = static_cast<std::uint64_t>(ends[1] - ends[0]);
    entries_[e.key] = std::move(entry);
  }
}

namespace {

// One value of GGUF's table; arrays are skipped.
struct GgufValue {
  std::optional<double> number;
  std::optional<std::string> text;
};
GgufValue gguf_value(ByteReader& in, std::uint32_t type, int depth = 0) {
  GgufValue v;
  switch (type) {
    case 0:
      v.number = in.number<std::uint8_t>();
      break;
    case 1:
      v.number = in.number<std::int8_t>();
      break;
    case 2:
      v.number = in.number<std::uint16_t>();
      break;
    case 3:
      v.number = in.number<std::int16_t>();
      break;
    case 4:
      v.number = in.number<std::uint32_t>();
      break;
    case 5:
      v.number = in.number<std::int32_t>();
      break;
    case 6:
      v.number = double{in.number<float>()};
      break;
    case 7:
      v.number = in.number<std::uint8_t>();
      break;
    case 8:
      v.text = in.text(in.number<std::uint64_t>());
      break;
    case 9: {
      const auto element = in.number<std::uint32_t>();
      const auto count = in.number<std::uint64_t>();
      if (depth > 4 || count > in.left()) in.fail("its table of values is broken");
      for (std::uint64_t i = 0; i < count; ++i) gguf_value(in, element, depth + 1);
      break;
    }
    case 10:
      v.number = static_cast<double>(in.number<std::uint64_t>());
      break;
    case 11:
      v.number = static_cast<double>(in.number<std::int64_t>());
      break;
    case 12:
      v.number = in.number<double>();
      break;
    default:
      in.fail(fmt::format("has a value of unknown type {}", type));
  }
  return v;
}

std::string gguf_type(std::uint32_t type) {
  if (type == 0) return "F32";
  if (type == 1) return "F16";
  return type == 30 ? "BF16" : fmt::format("GGML type {}", type);
}

}  // namespace

void TensorFile::read_gguf(std::uint64_t size) {
  ByteReader in(path_);
  is_gguf_ = true;
  in.text(4);
  const auto version = in.number<std::uint32_t>();
  if (version != 2 && version != 3) in.fail(fmt::format("is GGUF of version {}", version));
  const auto tensors = in.number<std::uint64_t>(), values = in.number<std::uint64_t>();
  if (tensors > in.left() / 24 || values > in.left() / 12) in.fail("its header is broken");
  for (std::uint64_t i = 0; i < values; ++i) {
    const std::string key = in.text(in.number<std::uint64_t>());
    const GgufValue v = gguf_value(in, in.number<std::uint32_t>());
    if (v.number) numbers_[key] = *v.number;
    if (v.text) texts_[key] = *v.text;
  }
  for (std::uint64_t i = 0; i < tensors; ++i) {
    const std::string name = in.text(in.number<std::uint64_t>());
    Entry e;
    const auto dims = in.number<std::uint32_t>();
    if (dims > 4) in.fail(fmt::format("tensor '{}' has {} dimensions", name, dims));
    for (std::uint32_t k = 0; k < dims; ++k) {
      const auto length = in.number<std::uint64_t>();
      if (length > kMostNumbers) in.fail(fmt::format("tensor '{}' is too large", name));
      e.shape.insert(e.shape.begin(), static_cast<std::int64_t>(length));
    }
    e.type = gguf_type(in.number<std::uint32_t>());
    e.offset = in.number<std::uint64_t>();
    const auto count = count_of(e.shape);
    if (!count) in.fail(fmt::format("tensor '{}' is too large", name));
    e.bytes = *count * width_of(e.type);
    entries_[name] = std::move(e);
  }
  const auto found = numbers_.find("general.alignment");
  const double given = found == numbers_.end() ? 32 : found->second;
  if (!(given >= 1 && given <= 65536)) in.fail("its alignment is broken");
  const auto align = static_cast<std::uint64_t>(given);
  const std::uint64_t data = (in.at() + align - 1) / align * align;
  for (auto& [name, e] : entries_) {
    if (data > size || e.offset > size - data || e.bytes > size - data - e.offset)
      in.fail(fmt::format("tensor '{}' lies beyond its end", name));
    e.offset += data;
  }
}

Array TensorFile::load(const std::string& name) const {
  ByteReader in(path_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, e] : entries_) names.push_back(known);
    in.fail(fmt::format("has no tensor '{}'", name), name_hint(name, names));
  }
  const Entry& e = found->second;
  if (width_of(e.type) == 0 || e.type == "F64")
    in.fail(fmt::format("tensor '{}' is {}; only F32, F16 and BF16 can be read", name, e.type),
            "convert the file, for example to F16");
  const auto count = count_of(e.shape);
  if (!count || *count * width_of(e.type) != e.bytes)
    in.fail(fmt::format("tensor '{}' has {} bytes, not what its shape needs", name, e.bytes));
  in.seek(e.offset);
  return {e.shape, read_numbers(in, e.type, *count)};
}

std::uint64_t file_digest(const std::string& path) {
  ByteReader in(path);
  Digest digest;
  digest.add(in.size());
  while (in.left() > 0) digest.add(hash_text(in.text(std::min<std::uint64_t>(in.left(), 1 << 20))));
  return digest.value();
}

}  // namespace kvsim::quality
