#pragma once
// Results that were measured before, a file each, named by a digest of what they depend on. The
// file holds that text too, so that a collision shows; a broken file counts as absent.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sim/quality/measure.h"

namespace kvsim::quality {

// Raised when the same question would get another answer: kernels, policies or measures changed.
inline constexpr int kResultVersion = 1;

// What one policy does on one source.
struct Measured {
  double kv_bytes = 0, kept_tokens = 0, read_tokens = 0;
  std::vector<Value> values;
  bool operator==(const Measured&) const = default;
};

class Store {
 public:
  // An empty folder name keeps nothing.
  explicit Store(std::filesystem::path folder) : folder_(std::move(folder)) {}
  [[nodiscard]] std::optional<Measured> find(const std::string& question) const;
  // Whole or not at all; a folder that cannot be written is no error.
  void keep(const std::string& question, const Measured&) const;
  [[nodiscard]] std::filesystem::path file(const std::string& question) const;

 private:
  std::filesystem::path folder_;
};

std::string to_text(const std::string& question, const Measured&);
// Nothing when the text is broken, or of another question.
std::optional<Measured> from_text(const std::string& text, const std::string& question);

}  // namespace kvsim::quality
