// One type, one name: two types of one name in one namespace violate the one-definition rule, and
// the linker silently keeps the code of either (vectors of them share symbols).
#include <gtest/gtest.h>

#include <cctype>
#include <map>

#include "tests/hygiene/source_tree.h"

namespace kvsim {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Takes the next word, or single character, from the front; "" at the end.
std::string next_token(std::string_view& text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  std::size_t n = text.empty() ? 0 : 1;
  while (n > 0 && n < text.size() && is_word(text.front()) && is_word(text[n])) ++n;
  const std::string token(text.substr(0, n));
  text.remove_prefix(n);
  return token;
}

// Skips what stands between brackets, the first of which was taken.
void skip(std::string_view& text, char open, char close) {
  for (int depth = 1; depth > 0 && !text.empty(); text.remove_prefix(1))
    depth += text.front() == open ? 1 : text.front() == close ? -1 : 0;
}

// What a block that begins behind `head` is called. Blocks without a name of their own (functions,
// initialisers, specialisations) are neither.
struct Block {
  enum class Kind : std::uint8_t { other, space, type };
  Kind kind = Kind::other;
  std::string name;  // of an unnamed namespace: ""
};

Block block_of(std::string_view head) {
  std::string word = next_token(head);
  while (word == "template" || word == "inline") {
    if (word == "template") {
      next_token(head);
      skip(head, '<', '>');
    }
    word = next_token(head);
  }
  if (word == "namespace") {
    std::string name;
    for (word = next_token(head); !word.empty(); word = next_token(head)) name += word;
    return {Block::Kind::space, name};
  }
  if (word != "struct" && word != "class" && word != "union" && word != "enum") return {};
  word = next_token(head);
  if (word == "class" || word == "struct") word = next_token(head);
  for (; word == "["; word = next_token(head)) {
    skip(head, '[', ']');
  }
  const std::string name = word;
  const std::string behind = next_token(head);
  const bool nested = behind == ":" && head.starts_with(':');  // struct Outer::Inner
  const bool defines = !nested && (behind.empty() || behind == ":" || behind == "final");
  if (name.empty() || !is_word(name.front()) || !defines) return {};
  return {Block::Kind::type, name};
}

std::string without_directives(const std::string& code) {
  std::string out;
  bool goes_on = false;
  std::string_view rest = code;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    const bool directive = goes_on || line.starts_with('#');
    goes_on = directive && line.ends_with('\\');
    if (!directive) out += line;
    out += '\n';
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

// Types that are defined in namespaces which other files see, with those: "kvsim::Link".
std::vector<std::string> types_of(const std::string& text) {
  std::vector<std::string> types;
  std::vector<Block> open;
  std::string head;
  for (const char c : without_directives(test::code_only(text))) {
    if (c == '{') {
      Block b = block_of(head);
      std::string path;
      bool is_seen = b.kind == Block::Kind::type;
      for (const Block& outer : open) {
        is_seen = is_seen && outer.kind == Block::Kind::space && !outer.name.empty();
        path += outer.name + "::";
      }
      if (is_seen) types.push_back(path + b.name);
      open.push_back(std::move(b));
    } else if (c == '}' && !open.empty()) {
      open.pop_back();
    }
    if (c == '{' || c == '}' || c == ';')
      head.clear();
    else
      head += c;
  }
  return types;
}

TEST(Hygiene, NoTypeIsDefinedTwice) {
  std::map<std::string, std::string> where;
  std::size_t types = 0;
  for (const test::SourceFile& f : test::source_files()) {
    if (!f.is_code() || f.path.starts_with("tests/compile_fail/")) continue;
    for (const std::string& type : types_of(f.text)) {
      const auto [at, fresh] = where.emplace(type, f.path);
      EXPECT_TRUE(fresh) << type << " is defined in " << at->second << " and in " << f.path
                         << ": rename one, or put it into an unnamed namespace";
      ++types;
    }
  }
  EXPECT_GT(types, 500U) << "definitions are not recognised any more";
}

TEST(Hygiene, TypesAreRecognised) {
  const std::string text = R"(
#include <map>
namespace a { namespace b::c {
template <class T, int N> struct First final : Base<T> { struct Inner { int x; }; };
enum class [[nodiscard]] Second : int { one };
template <> struct First<int> { };
inline int function(struct Other* o) { struct Local { } l; return 0; }
namespace { struct Hidden { }; }
class Declared;
struct First<int>::Impl { };
struct Declared::Impl { };
} }
)";
  EXPECT_EQ(types_of(text), (std::vector<std::string>{"a::b::c::First", "a::b::c::Second"}));
}

}  // namespace
}  // namespace kvsim
