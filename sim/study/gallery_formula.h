#pragma once
// Arithmetic over named numbers, as a claim of the gallery writes it:
//   baseline.ttft_ms.mean / system.ttft_ms.mean - 1
// Numbers, names (letters, digits, '_' and '.'; a letter first), + - * /, parentheses. The text may
// come from anyone: its length and depth are bounded.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/fields.h"

namespace kvsim {

class Formula {
 public:
  // Throws InputError that says what was expected and where.
  static Formula parse(const std::string& text);
  [[nodiscard]] const std::string& text() const { return text_; }
  // Each name once, in order of appearance.
  [[nodiscard]] std::vector<std::string> names() const;
  // Throws InputError for a name that `value_of` does not know; infinite or not a number after a
  // division by zero.
  [[nodiscard]] double value(
      const std::function<std::optional<double>(const std::string&)>& value_of) const;

 private:
  // In postfix order: what the operators take stands before them.
  struct Step {
    char kind = '=';  // '=' number, 'n' name, '~' negation, or the operator
    double number = 0;
    std::string name;
  };
  class Parser;
  std::string text_;
  std::vector<Step> steps_;
};

template <>
struct Codec<Formula> {
  static bool read(const Tree&, Formula&, Reader&);
  static Tree write(const Formula& f) { return Tree::scalar(f.text()); }
  static TypeInfo info() { return detail::scalar_type("formula", ""); }
};

}  // namespace kvsim
