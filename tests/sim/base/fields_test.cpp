// What the rows of a struct give: reading, bounds, unknown keys, printing back.
#include "sim/base/fields.h"

#include <gtest/gtest.h>

#include "sim/base/registry.h"

namespace kvsim {
namespace {

enum class Color { red, blue };
constexpr auto enum_names(Color) {
  return std::array{std::pair{Color::red, "red"}, std::pair{Color::blue, "blue"}};
}

struct Inner {
  int a = 3;
  std::optional<Duration> wait;
  static constexpr Rows kFields{field("a", &Inner::a, between(1, 8), "a number"),
                                field("wait", &Inner::wait, any, "a time")};
};
struct Outer {
  std::string s = "x";
  std::vector<Inner> v;
  Color c = Color::red;
  Ratio r{0.5};
  Bytes size{0};
  Inner inner;
  std::map<std::string, double> m;
  static constexpr Rows kFields{
      field("s", &Outer::s, any, ""),       field("v", &Outer::v, any, ""),
      field("c", &Outer::c, any, ""),       field("r", &Outer::r, between(Ratio{0}, Ratio{1}), ""),
      field("size", &Outer::size, any, ""), field("inner", &Outer::inner, any, ""),
      field("m", &Outer::m, any, "")};
};

Tree map_of(std::initializer_list<std::pair<const char*, const char*>> pairs) {
  Tree t = Tree::map();
  for (const auto& [k, v] : pairs) t.set(k, Tree::scalar(v));
  return t;
}

TEST(Fields, ReadsAndPrintsBack) {
  Outer o;
  Diagnostics d;
  Reader r(d);
  EXPECT_TRUE(read_fields(o, map_of({{"c", "blue"}, {"size", "80 GiB"}, {"r", "25 %"}}), r));
  EXPECT_EQ(o.c, Color::blue);
  EXPECT_EQ(o.size.count(), 80LL << 30);
  EXPECT_DOUBLE_EQ(o.r.value, 0.25);
  Outer again;
  EXPECT_TRUE(read_fields(again, write_fields(o), r));
  EXPECT_EQ(to_yaml(write_fields(again)), to_yaml(write_fields(o)));
}

TEST(Fields, ReportsEveryMistakeAtOnce) {
  Outer o;
  Diagnostics d;
  Reader r(d);
  EXPECT_FALSE(
      read_fields(o, map_of({{"c", "green"}, {"size", "80"}, {"r", "150 %"}, {"sizes", "1"}}), r));
  ASSERT_EQ(d.all().size(), 4U);
  EXPECT_EQ(to_string(d.all()[0]), "error: c: unknown value 'green'\n    valid: red, blue");
  EXPECT_NE(d.all()[1].message.find("out of bounds: 0 to 1"), std::string::npos);
  EXPECT_NE(d.all()[2].message.find("has no unit"), std::string::npos);
  EXPECT_NE(d.all()[3].hint.find("did you mean 'size'?"), std::string::npos);
}

TEST(Fields, DescribeNamesDefaultsAndBounds) {
  const auto fields = describe_fields<Inner>();
  ASSERT_EQ(fields.size(), 2U);
  EXPECT_EQ(fields[0].default_text, "3");
  EXPECT_EQ(fields[0].bounds_text, "1 to 8");
}

}  // namespace
}  // namespace kvsim
