#pragma once
// Arrays of numbers in files that a stranger may have written: NumPy's .npy, safetensors, GGUF.
// Little endian; f32, f16 and bf16 (.npy: f64 too) become f32. Every length is checked against the
// file before anything is allocated; what does not fit is an InputError that names the file.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kvsim::quality {

struct Array {
  std::vector<std::int64_t> shape;  // slowest first
  std::vector<float> values;
};

// C order only.
Array load_npy(const std::string& path);

// A safetensors or GGUF file, told apart by its first bytes. Holds the header; numbers are read
// when they are asked for.
class TensorFile {
 public:
  explicit TensorFile(std::string path);
  struct Entry {
    std::string type;                 // F32, F16, BF16, or another that load() refuses
    std::vector<std::int64_t> shape;  // slowest first
    std::uint64_t offset = 0, bytes = 0;
  };
  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }
  [[nodiscard]] bool has(const std::string& name) const { return entries_.contains(name); }
  // Throws InputError with the nearest names when there is none.
  [[nodiscard]] Array load(const std::string& name) const;
  // GGUF: numbers and texts beside the tensors; arrays are left out.
  [[nodiscard]] const std::map<std::string, double>& numbers() const { return numbers_; }
  [[nodiscard]] const std::map<std::string, std::string>& texts() const { return texts_; }
  [[nodiscard]] bool is_gguf() const { return is_gguf_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void read_safetensors(std::uint64_t size);
  void read_gguf(std::uint64_t size);
  std::string path_;
  bool is_gguf_ = false;
  std::map<std::string, Entry> entries_;
  std::map<std::string, double> numbers_;
  std::map<std::string, std::string> texts_;
};

// Of a whole file, for identifying what was measured. Throws InputError when it cannot be read.
std::uint64_t file_digest(const std::string& path);

}  // namespace kvsim::quality
