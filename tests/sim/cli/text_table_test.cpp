#include "sim/cli/text_table.h"

#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

TEST(TextTable, AlignsAndWraps) {
  TextTable t({"name", ">n", "text"});
  t.row({"a", "1", "one"});
  t.row({"long name", "1000", std::string(60, 'x') + " " + std::string(60, 'y')});
  EXPECT_EQ(t.text(),
            "name          n  text\n"
            "a             1  one\n"
            "long name  1000  " +
                std::string(60, 'x') + "\n" + std::string(17, ' ') + std::string(60, 'y') + "\n");
  cli_test::expect_width(t.text(4));
}

TEST(TextTable, TakesRoomFromTheWidestColumns) {
  std::string words;
  for (int i = 0; i < 60; ++i) words += (i > 0 ? " " : "") + std::string("word");
  TextTable t({"name", "parameters", "text"});
  t.row({"a", words, "a text of " + std::string(20, 'x') + " and " + std::string(20, 'y')});
  t.row({"b", "-", "short"});
  const std::string text = t.text();
  cli_test::expect_width(text);
  // 92 characters for the two: 46 each.
  EXPECT_EQ(text.substr(0, text.find('\n')), "name  parameters" + std::string(38, ' ') + "text");
  EXPECT_NE(text.find("\nb     -"), std::string::npos);
}

TEST(TextTable, EmptyNamesNoHeadingAndMissingCells) {
  TextTable t({"", ""});
  EXPECT_TRUE(t.empty());
  EXPECT_EQ(t.text(), "");
  t.row({"only"});
  EXPECT_EQ(t.text(2), "  only\n");
}

TEST(TextTable, CountsCharactersNotBytes) {
  EXPECT_EQ(display_width("größe"), 5u);
  TextTable t({"", ""});
  t.row({"größe", "x"});
  t.row({"plain", "x"});
  EXPECT_EQ(t.text(), "größe  x\nplain  x\n");
}

TEST(Wrapped, BreaksAtBlanksKeepsLines) {
  EXPECT_EQ(wrapped("one two three", 7), "one two\nthree");
  EXPECT_EQ(wrapped("one two three", 9, 2), "one two\n  three");
  EXPECT_EQ(wrapped("a\nb", 9), "a\nb");
  EXPECT_EQ(wrapped("unbreakable", 3), "unbreakable");
  EXPECT_EQ(wrapped("", 10), "");
}

TEST(MarkdownTable, EscapesBars) {
  MarkdownTable t({"a", ">b"});
  t.row({"x|y", ""});
  EXPECT_EQ(t.text(), "| a | b |\n| --- | ---: |\n| x\\|y | |\n");
}

TEST(Numbers, ShortAndGrouped) {
  EXPECT_EQ(short_count(8030261248.0), "8.03 B");
  EXPECT_EQ(short_count(12), "12");
  EXPECT_EQ(short_count(1.04e12), "1.04 T");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
}

}  // namespace
}  // namespace kvsim
