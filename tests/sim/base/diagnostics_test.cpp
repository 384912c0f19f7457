// Messages for people: nearest names, order, limits; and the registry that refuses twins.
#include "sim/base/diagnostics.h"

#include <gtest/gtest.h>

#include "sim/base/registry.h"

namespace kvsim {
namespace {

const std::vector<std::string> kNames{
    "max_running", "max_batched_tokens", "a100-40", "a100-80", "a10g", "lru"};

TEST(Diagnostics, NearestName) {
  EXPECT_EQ(nearest_name("max_runing", kNames), "max_running");
  EXPECT_EQ(nearest_name("lur", kNames), "lru");
  EXPECT_EQ(nearest_name("completely", kNames), "");
  EXPECT_EQ(nearest_name(std::string(1'000'000, 'x'), kNames), "");  // hostile: not compared at all
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Diagnostics, HintPrefersNamesThatBeginSo) {
  EXPECT_EQ(name_hint("a100", kNames).substr(0, 38), "did you mean 'a100-40' or 'a100-80'? v");
  EXPECT_EQ(name_hint("a11g", kNames).substr(0, 22), "did you mean 'a10g'? v");
  EXPECT_EQ(name_hint("zzzzzz", kNames).substr(0, 7), "valid: ");
  EXPECT_EQ(name_hint("x", {}), "");
  const std::vector<std::string> many(30, "name");
  EXPECT_TRUE(name_hint("other", many).ends_with(", and 10 more"));
}

TEST(Diagnostics, ComeByFileLineAndColumn) {
  const auto a = std::make_shared<const std::string>("a"),
             b = std::make_shared<const std::string>("b");
  Diagnostics d;
  d.add({}, "none", "x");
  d.add({b, 2, 1}, "", "x");
  d.add({a, 9, 1}, "", "x");
  d.add({b, 1, 5}, "k", "x", "do this");
  d.add({b, 1, 2}, "", "x");
  try {
    d.throw_if_any();
    FAIL();
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(),
                 "b:1:2: error: x\nb:1:5: error: k: x\n    do this\nb:2:1: error: x\na:9:1: error: "
                 "x\nerror: none: x");
  }
}

TEST(Diagnostics, AreBounded) {
  Diagnostics d;
  for (int i = 0; i < 100'000; ++i) d.add({}, "", "x");
  EXPECT_EQ(d.all().size(), 200U);
  EXPECT_NO_THROW(Diagnostics{}.throw_if_any());
}

TEST(RegistryDeathTest, TwoPluginsOfOneNameStopTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PluginInfo info;
  info.kind = "router";
  info.name = "round-robin";
  info.text = "an impostor";
  EXPECT_DEATH(Registry::instance().add(std::move(info)),
               "two plug-ins of kind 'router' are called 'round-robin'.*an impostor");
}

TEST(Registry, ListsSortedAndRefusesUnknownNames) {
  const Registry& r = Registry::instance();
  for (const std::string& kind : r.kinds()) {
    const auto names = r.names(kind);
    EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
    for (const PluginInfo* p : r.of_kind(kind)) {
      EXPECT_FALSE(p->text.empty() || p->source.empty()) << kind << " " << p->name;
      for (const FieldInfo& f : p->fields)
        EXPECT_FALSE(f.text.empty()) << kind << " " << p->name << " " << f.name;
      Diagnostics d;  // the defaults of every plug-in are valid
      Reader reader(d);
      (void)p->resolve(Tree::map(), reader, {});
      EXPECT_TRUE(d.empty()) << kind << " " << p->name;
    }
  }
  EXPECT_EQ(r.find("router", "no-such"), nullptr);
}

}  // namespace
}  // namespace kvsim
