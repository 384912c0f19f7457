// Trees: what is printed parses to the same tree, merging, JSON text.
#include "sim/base/tree.h"

#include <gtest/gtest.h>

#include "sim/base/random.h"
#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

std::string random_text(Rng& rng) {
  static const std::vector<std::string> kPieces{
      "a",  "Z9", " ", ":", ": ",  "#",    " #",   "-",    "- ",       "'",   "\"", "\\", "\n",
      "\t", "{",  "}", "[", "]",   ",",    "&",    "*",    "!",        "|",   ">",  "%",  "@",
      "`",  "?",  "~", "0", "1e5", "null", "true", "\x01", "\xc3\xa9", "---", "<<", "="};
  std::string text;
  for (std::uint64_t n = rng.below(6); n > 0; --n)
    text += kPieces[static_cast<std::size_t>(rng.below(kPieces.size()))];
  return text;
}

Tree random_tree(Rng& rng, int levels) {
  const std::uint64_t kind = rng.below(levels > 0 ? 5 : 3);
  if (kind == 0) return {};
  if (kind <= 2) return Tree::scalar(random_text(rng), {}, rng.below(2) == 0);
  Tree t = kind == 3 ? Tree::list() : Tree::map();
  for (std::uint64_t n = rng.below(5); n > 0; --n) {
    if (kind == 3) {
      t.push(random_tree(rng, levels - 1));
    } else {
      t.set(random_text(rng) + "k", random_tree(rng, levels - 1));
    }
  }
  return t;
}

// Same values; a plain scalar that YAML reads as null may have been quoted to survive.
void expect_same(const Tree& a, const Tree& b, const std::string& text) {
  ASSERT_EQ(a.kind(), b.kind()) << text;
  EXPECT_EQ(a.text(), b.text()) << text;
  ASSERT_EQ(a.items().size(), b.items().size()) << text;
  ASSERT_EQ(a.entries().size(), b.entries().size()) << text;
  for (std::size_t i = 0; i < a.items().size(); ++i) expect_same(a.items()[i], b.items()[i], text);
  for (std::size_t i = 0; i < a.entries().size(); ++i) {
    EXPECT_EQ(a.entries()[i].key, b.entries()[i].key) << text;
    expect_same(a.entries()[i].value, b.entries()[i].value, text);
  }
}

TEST(Tree, RandomTreesSurviveYaml) {
  const Rng rng(5, "tree");
  for (std::uint64_t i = 0; i < 3000; ++i) {
    Rng own = rng.at(i);
    const Tree tree = random_tree(own, 4);
    const std::string text = to_yaml(tree);
    Diagnostics d;
    const Tree again = parse_yaml(text, "random", d);
    ASSERT_TRUE(d.empty()) << to_string(d.all()[0]) << "\n" << text;
    expect_same(tree, again, text);
    if (HasFailure()) return;
  }
}

TEST(Tree, RandomTreesSurviveJson) {
  const Rng rng(6, "tree");
  for (std::uint64_t i = 0; i < 2000; ++i) {
    Rng own = rng.at(i);
    const Tree tree = random_tree(own, 3);
    for (const bool pretty : {false, true}) {
      const std::string text = to_json(tree, pretty);
      Diagnostics d;
      const Tree again = parse_yaml(text, "random", d);
      ASSERT_TRUE(d.empty()) << to_string(d.all()[0]) << "\n" << text;
      expect_same(tree, again, text);
      if (HasFailure()) return;
    }
  }
}

TEST(Tree, MergeTakesMapsKeyByKeyAndTheRestWhole) {
  Diagnostics d;
  const Tree base = parse_yaml("{a: 1, b: {c: [1, 2], d: 3}, e: 4}", "base", d);
  const Tree over = parse_yaml("{b: {c: [9], f: 5}, e: {g: 6}, h: ~}", "over", d);
  EXPECT_EQ(to_json(Tree::merged(base, over)),
            R"({"a": 1, "b": {"c": [9], "d": 3, "f": 5}, "e": {"g": 6}, "h": null})");
  EXPECT_EQ(to_json(Tree::merged(base, Tree{})), to_json(base));
  EXPECT_EQ(to_json(Tree::merged(Tree{}, over)), to_json(over));
  EXPECT_EQ(*Tree::merged(base, over).find("b")->find("d")->place().file, "base");
  EXPECT_EQ(*Tree::merged(base, over).find("b")->find("f")->place().file, "over");
}

TEST(Tree, SetFindErase) {
  Tree t;
  t.set("a", Tree::scalar("1"));
  t.set("b", Tree::scalar("2"));
  t.set("a", Tree::scalar("3"));
  EXPECT_EQ(to_json(t), R"({"a": 3, "b": 2})");
  t.erase("a");
  EXPECT_EQ(t.find("a"), nullptr);
  EXPECT_EQ(Tree::scalar("x").find("a"), nullptr);
}

TEST(Tree, JsonIsJson) {
  EXPECT_EQ(json_string("a\"b\\\n\t\r\x01\x7f\xc3\xa9"),
            "\"a\\\"b\\\\\\n\\t\\r\\u0001\\u007f\xc3\xa9\"");
  Tree t = Tree::list();
  for (const char* text :
       {"1", "-1.5e3", "01", "1.", ".5", "+1", "0x1", "nan", "true", "yes", "-", ""})
    t.push(Tree::scalar(text));
  t.push(Tree::scalar("1", {}, true));
  EXPECT_EQ(to_json(t),
            R"([1, -1.5e3, "01", "1.", ".5", "+1", "0x1", "nan", true, "yes", "-", "", "1"])");
  EXPECT_EQ(to_json(Tree::map(), true), "{}");
}

TEST(Tree, PlacesPrint) {
  const auto file = std::make_shared<const std::string>("f.yaml");
  EXPECT_EQ(to_string(Place{file, 3, 7}), "f.yaml:3:7");
  EXPECT_EQ(to_string(Place{file, 3, 0}), "f.yaml:3");
  EXPECT_EQ(to_string(Place{file, 0, 0}), "f.yaml");
}

}  // namespace
}  // namespace kvsim
