// Generated parts of README files: filled, kept around, and fresh in this tree.
#include "sim/base/diagnostics.h"
#include "sim/cli/doc_blocks.h"
#include "sim/cli/entries.h"
#include "sim/record/schema.h"
#include "tests/sim/cli/cli_fixture.h"

namespace kvsim {
namespace {

using cli_test::expect_holds;
using cli_test::expect_misuse;

TEST(DocBlocks, FillsBetweenTheMarks) {
  const std::string empty =
      "a\n<!-- kvsim doc: verbs -->\n<!-- end -->\nb\n<!-- kvsim doc: database -->\nold\n<!-- end "
      "-->\nc";
  const Filled filled = fill_blocks(empty, "t.md");
  EXPECT_EQ(filled.blocks, 2);
  EXPECT_EQ(filled.stale, (std::vector<std::string>{"verbs", "database"}));
  EXPECT_EQ(filled.text, "a\n<!-- kvsim doc: verbs -->\n" + block_text("verbs") +
                             "<!-- end -->\nb\n<!-- kvsim doc: database -->\n" + schema_markdown() +
                             "<!-- end -->\nc");
  const Filled again = fill_blocks(filled.text, "t.md");
  EXPECT_TRUE(again.stale.empty());
  EXPECT_EQ(again.text, filled.text);
  EXPECT_EQ(fill_blocks("no block\n", "t.md").text, "no block\n");
}

TEST(DocBlocks, EveryNameGivesATable) {
  for (const std::string& name : block_names()) {
    EXPECT_TRUE(block_text(name).starts_with("|")) << name;
    EXPECT_TRUE(block_text(name).ends_with("|\n")) << name;
  }
  for (const Command* c : commands())
    expect_holds(block_text("verbs"), {std::string("kvsim ") + c->name});
  // Kernels have a table of their own, with formulas and bounds; so have token policies.
  const std::string kernels = cli_test::read_file(KVSIM_SOURCE_DIR "/kernels/README.md");
  const std::string policies = block_text("list token-policy"), others = block_text("plugins");
  for (const std::string& kind : Registry::instance().kinds())
    for (const PluginInfo* p : Registry::instance().of_kind(kind)) {
      if (kind == "token-policy")
        expect_holds(policies, {"| " + p->name + " |"});
      else
        expect_holds(kind == "kernel" ? kernels : others, {"`" + p->name + "`"});
    }
}

std::string error_of(const std::string& text) {
  try {
    fill_blocks(text, "t.md");
  } catch (const InputError& e) {
    return e.what();
  }
  return "(no error)";
}

TEST(DocBlocks, BrokenMarksAreNamedWithTheirLine) {
  expect_holds(error_of("x\n<!-- kvsim doc: verb -->\n<!-- end -->\n"),
               {"t.md:2:1", "unknown block 'verb'", "did you mean 'verbs'?"});
  expect_holds(error_of("<!-- kvsim doc: verbs -->\n"), {"t.md:1:1", "has no end"});
  expect_holds(error_of("<!-- kvsim doc: verbs -->\n<!-- kvsim doc: plugins -->\n<!-- end -->\n"),
               {"t.md:1:1", "has no end"});
  expect_holds(error_of("<!-- kvsim doc: verbs -->\na\nb\n<!-- end -->\n<!-- kvsim doc: x -->\n"),
               {"t.md:5:1"});
}

TEST(Doc, WritesAndChecks) {
  cli_test::TempFolder folder;
  const std::string file = folder.write("README.md", "<!-- kvsim doc: verbs -->\n<!-- end -->\n");
  const auto stale = cli_test::kvsim({"doc", "--check", folder / ""});
  EXPECT_EQ(stale.code, 3);
  expect_holds(stale.out, {"README.md: block 'verbs' is stale"});
  expect_holds(stale.err, {"1 of 1 blocks are stale; kvsim doc writes them"});
  EXPECT_EQ(cli_test::kvsim({"doc", file}).code, 0);
  EXPECT_EQ(cli_test::kvsim({"doc", "--check", file}).code, 0);
  EXPECT_EQ(cli_test::read_file(file),
            "<!-- kvsim doc: verbs -->\n" + block_text("verbs") + "<!-- end -->\n");
  EXPECT_EQ(cli_test::kvsim({"doc", "--block", "verbs"}).out, block_text("verbs"));
}

TEST(Doc, Misuse) {
  cli_test::TempFolder folder;
  expect_misuse({"doc", folder / "absent.md"}, {"absent.md' does not exist"});
  expect_misuse({"doc", "--block", "vrbs"}, {"unknown block 'vrbs'", "did you mean 'verbs'?"});
  expect_misuse({"doc", "--check", folder.write("a.md", "<!-- kvsim doc: verbs -->\n")},
                {"a.md:1:1", "has no end"});
}

// Every README of the tree is fresh; on failure run kvsim doc.
TEST(Doc, TreeIsFresh) {
  const auto r = cli_test::kvsim({"doc", "--check", KVSIM_SOURCE_DIR});
  EXPECT_EQ(r.code, 0) << r.out << r.err;
}

}  // namespace
}  // namespace kvsim
