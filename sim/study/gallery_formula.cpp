#include "sim/study/gallery_formula.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim {
namespace {

constexpr std::size_t kLongest = 4096;
constexpr int kDeepest = 100;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

// sum = product {+|- product}, product = factor {*|/ factor}, factor = - factor | ( sum ) | number
// | name
class Formula::Parser {
 public:
  explicit Parser(Formula& out) : out_(out), text_(out.text_) {}
  void run() {
    if (text_.size() > kLongest)
      throw InputError(fmt::format("the formula is longer than {} characters", kLongest),
                       "shorten it");
    sum(0);
    if (blank(), at_ < text_.size()) fail("an operator or the end");
  }

 private:
  [[noreturn]] void fail(const char* expected) const {
    const std::string read = at_ < text_.size() ? fmt::format("'{}'", text_[at_]) : "the end";
    throw InputError(
        fmt::format("column {} of the formula: expected {}, read {}", at_ + 1, expected, read),
        "write it as in baseline.ttft_ms.mean / system.ttft_ms.mean");
  }
  void blank() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  // The one of `operators` that comes next, or 0.
  char take(std::string_view operators) {
    blank();
    if (at_ == text_.size() || operators.find(text_[at_]) == std::string_view::npos) return 0;
    return text_[at_++];
  }
  void add(char kind, double number = 0, std::string name = {}) {
    out_.steps_.push_back({kind, number, std::move(name)});
  }
  void sum(int depth) {
    product(depth);
    while (const char c = take("+-")) {
      product(depth);
      add(c);
    }
  }
  void product(int depth) {
    factor(depth);
    while (const char c = take("*/")) {
      factor(depth);
      add(c);
    }
  }
  void factor(int depth) {
    if (depth > kDeepest) throw InputError("the formula nests too deeply", "remove parentheses");
    if (take("-") != 0) {
      factor(depth + 1);
      return add('~');
    }
    if (take("(") != 0) {
      sum(depth + 1);
      if (take(")") == 0) fail("')'");
      return;
    }
    blank();
    const std::size_t first = at_;
    if (first == text_.size()) fail("a number, a name or '('");
    if (is_letter(text_[first])) {
      while (at_ < text_.size() &&
             (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '.'))
        ++at_;
      return add('n', 0, text_.substr(first, at_ - first));
    }
    if (!is_digit(text_[first]) && text_[first] != '.') fail("a number, a name or '('");
    double number = 0;
    const auto [end, error] =
        std::from_chars(text_.data() + first, text_.data() + text_.size(), number);
    if (error != std::errc{}) fail("a number");
    at_ = static_cast<std::size_t>(end - text_.data());
    add('=', number);
  }

  Formula& out_;
  const std::string& text_;
  std::size_t at_ = 0;
};

Formula Formula::parse(const std::string& text) {
  Formula f;
  f.text_ = text;
  Parser(f).run();
  return f;
}

std::vector<std::string> Formula::names() const {
  std::vector<std::string> all;
  for (const Step& s : steps_)
    if (s.kind == 'n' && std::ranges::find(all, s.name) == all.end()) all.push_back(s.name);
  return all;
}

double Formula::value(
    const std::function<std::optional<double>(const std::string&)>& value_of) const {
  std::vector<double> stack;
  for (const Step& s : steps_) {
    if (s.kind == '=') {
      stack.push_back(s.number);
    } else if (s.kind == 'n') {
      const std::optional<double> v = value_of(s.name);
      if (!v) throw InputError(fmt::format("'{}' is not known", s.name));
      stack.push_back(*v);
    } else if (s.kind == '~') {
      stack.back() = -stack.back();
    } else {
      const double right = stack.back();
      stack.pop_back();
      double& left = stack.back();
      left = s.kind == '+'   ? left + right
             : s.kind == '-' ? left - right
             : s.kind == '*' ? left * right
                             : left / right;
    }
  }
  KVSIM_CHECK(stack.size() == 1, "formula '{}' leaves {} values", text_, stack.size());
  return stack.front();
}

bool Codec<Formula>::read(const Tree& t, Formula& out, Reader& r) {
  if (!detail::expect_scalar(t, r, "a formula")) return false;
  try {
    out = Formula::parse(t.text());
    return true;
  } catch (const InputError& e) {
    r.error(t, e.all()[0].message, e.all()[0].hint);
    return false;
  }
}

}  // namespace kvsim
