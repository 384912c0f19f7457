#pragma once
// Mistakes in what the user gave us: collected, so that all errors of a file come at once.
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/tree.h"

namespace kvsim {

struct Diagnostic {
  Place place;
  std::string path;     // the key, "engine.block_tokens"; empty when the file as a whole is meant
  std::string message;  // what was read, what was expected
  std::string hint;     // what to do; may be empty
};

// "file:line:col: error: path: message\n    hint"
std::string to_string(const Diagnostic&);

class Diagnostics {
 public:
  void add(Place place, std::string path, std::string message, std::string hint = {});
  [[nodiscard]] bool empty() const { return all_.empty(); }
  [[nodiscard]] const std::vector<Diagnostic>& all() const { return all_; }
  // Throws InputError with everything collected, if anything was: by file, line and column.
  void throw_if_any() const;

 private:
  std::vector<Diagnostic> all_;
};

// The user's input is wrong (exit code 2). what() holds every message, one after the other.
class InputError : public std::runtime_error {
 public:
  explicit InputError(std::vector<Diagnostic> all);
  explicit InputError(const std::string& message, std::string hint = {});
  [[nodiscard]] const std::vector<Diagnostic>& all() const { return all_; }

 private:
  std::vector<Diagnostic> all_;
};

// The candidate closest to `name` by edit distance, or "" when none is near enough to be a slip of
// the hand.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);
// "did you mean 'x'? valid: a, b, c" (at most 20 names; without a question when nothing is near),
// or "". Names that begin with `name` come before those that are spelled like it.
std::string name_hint(std::string_view name, std::span<const std::string> candidates);

}  // namespace kvsim
