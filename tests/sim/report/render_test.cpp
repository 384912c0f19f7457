// Reports as files: safe whatever the texts are, bounded whatever the runs are, drawn by a browser.
#include <algorithm>
#include <fstream>
#include <regex>

#include "sim/report/assets.h"
#include "tests/sim/cli/cli_fixture.h"
#include "tests/sim/report/report_fixture.h"

namespace kvsim::report {
namespace {

using record_test::Folder;

constexpr const char* kHostile =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\xff\xe2\x80\xa8|`";

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

std::string without(std::string text, std::string_view part) {
  const std::size_t at = text.find(part);
  return at == std::string::npos ? text : text.erase(at, part.size());
}

class Rendered : public testing::Test {
 protected:
  std::string write_hostile() {
    RunHeader header = record_test::sample_header();
    header.name = header.scenario_text = header.version = kHostile;
    header.params = {{"cache.tiers.0.eviction.policy", kHostile}};
    RunOutcome run = record_test::sample_run(60);
    run.tiers[0].name = run.links[0].name = run.faults[0].target = kHostile;
    Recorder recorder(folder_ / "hostile.db", header);
    recorder.finish(run, compute_metrics(run, header.slo), std::nullopt);
    return folder_ / "hostile.db";
  }
  Folder folder_;
};

TEST_F(Rendered, HostileTextStaysText) {
  const Report report = build_report({write_hostile()});
  const std::string page = without(to_html(report), chart_library());
  EXPECT_EQ(count(page, "<script"), 3U);  // data, library, page
  EXPECT_EQ(count(page, "</script"), 3U);
  EXPECT_EQ(count(page, "<img"), 0U);
  EXPECT_EQ(count(page, "\xff"), 0U);
  for (const NamedFile& f : to_svg(report)) {
    EXPECT_EQ(count(f.text, "<script"), 0U) << f.name;
    EXPECT_EQ(count(f.text, "<img"), 0U) << f.name;
  }
  EXPECT_EQ(count(to_markdown(report), "<script"), count(to_markdown(report), "\\<script"));
}

TEST_F(Rendered, ThePageAsksNobodyForAnything) {
  const std::string page = without(to_html(build_report({write_hostile()})), chart_library());
  for (const char* part :
       {" src=", "url(", "@import", "<link", "fetch(", "XMLHttpRequest", "WebSocket", "href=\"h"})
    EXPECT_EQ(count(page, part), part == std::string(" src=") ? count(page, "img src=x") : 0U)
        << part;
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  const std::string library(chart_library());
  EXPECT_NE(library.find("MIT License"), std::string::npos);
  for (const char* part : {"fetch(", "XMLHttpRequest", "WebSocket", "</script"})
    EXPECT_EQ(count(library, part), 0U) << part;
}

TEST_F(Rendered, ALargeRunMakesASmallPage) {
  RunOutcome run = record_test::sample_run(100'000);
  run.samples.clear();
  for (int i = 1; i <= 20'000; ++i)
    run.samples.push_back({Time{std::chrono::seconds(i)}, 0, 0, 1, 0, 1, 1, 100, i, i});
  record_test::write_sample(folder_ / "large.db", run);
  const Report report = build_report({folder_ / "large.db"});
  for (const Chart* c : report_test::charts(report))
    for (const Series& s : c->series) EXPECT_LE(s.y.size(), 500U) << c->id;
  EXPECT_LT(to_html(report).size(), 500'000U);
}

TEST_F(Rendered, EqualReportsAreEqualBytes) {
  record_test::write_sample(folder_ / "a.db", record_test::sample_run(80));
  EXPECT_EQ(to_html(build_report({folder_ / "a.db"})), to_html(build_report({folder_ / "a.db"})));
}

TEST_F(Rendered, SvgHoldsEveryChart) {
  record_test::write_sample(folder_ / "a.db", record_test::sample_run(80));
  report_test::write_study(folder_ / "study.db");
  const Report report = build_report({folder_ / "a.db", folder_ / "study.db"});
  const std::vector<NamedFile> files = to_svg(report);
  EXPECT_EQ(files.size(), report_test::charts(report).size());
  for (const NamedFile& f : files) {
    EXPECT_TRUE(f.text.starts_with("<svg xmlns") && f.text.ends_with("</svg>\n")) << f.name;
    EXPECT_EQ(count(f.text, "nan") + count(f.text, "inf\""), 0U) << f.name;
    EXPECT_EQ(count(f.text, "<text"), count(f.text, "</text>")) << f.name;
    EXPECT_GT(count(f.text, "<path") + count(f.text, "<rect"), 1U) << f.name;
  }
}

TEST_F(Rendered, MarkdownAndCsvHoldEveryTable) {
  record_test::write_sample(folder_ / "a.db", record_test::sample_run(80));
  const Report report = build_report({folder_ / "a.db"});
  const std::string markdown = to_markdown(report);
  std::size_t tables = 0;
  for (const Section& s : report.sections)
    for (const auto& part : s.parts) {
      const auto* t = std::get_if<Table>(&part);
      if (t == nullptr) continue;
      ++tables;
      EXPECT_NE(markdown.find("### " + t->title), std::string::npos);
    }
  EXPECT_GT(tables, 4U);
  std::istringstream lines(markdown);
  std::size_t columns = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) columns = 0;
    if (!line.starts_with("|")) continue;
    if (columns == 0) columns = count(line, "|");
    EXPECT_EQ(count(line, "|"), columns) << line;
  }
  const std::vector<NamedFile> csv = to_csv(report);
  EXPECT_EQ(csv.size(), tables + report_test::charts(report).size());
  for (const NamedFile& f : csv)
    if (f.name == "cdf-ttft.csv") {
      EXPECT_TRUE(f.text.starts_with("series,\"TTFT, ms (log)\",\"requests"))
          << f.text.substr(0, 80);
      EXPECT_EQ(count(f.text, "\r\n"), 1U + 201U + 2U);  // the SLO is a line of two points
    }
}

// Every chart is drawn and no script fails, in both themes.
TEST_F(Rendered, ABrowserDrawsIt) {
  if (cli_test::shell("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "chromium is not installed";
  record_test::write_sample(folder_ / "other.db", record_test::sample_run(50, 2));
  report_test::write_study(folder_ / "study.db");
  report_test::write_quality(folder_ / "quality.db");
  const Report report = build_report(
      {write_hostile(), folder_ / "other.db", folder_ / "study.db", folder_ / "quality.db"});
  std::ofstream(folder_ / "report.html", std::ios::binary) << to_html(report);
  std::size_t drawn = 0, heat = 0;
  for (const Chart* c : report_test::charts(report))
    ++(c->kind == Chart::Kind::heat ? heat : drawn);
  for (const char* theme : {"0", "1"}) {
    const std::string command =
        "timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir='" +
        (folder_ / "profile") + "' --blink-settings=preferredColorScheme=" + theme +
        " --dump-dom 'file://" + (folder_ / "report.html") + "' > '" + (folder_ / "dom.html") +
        "' 2> '" + (folder_ / "log") + "'";
    if (cli_test::shell(command) != 0)
      GTEST_SKIP() << "chromium does not start: " << cli_test::read_file(folder_ / "log");
    const std::string dom = cli_test::read_file(folder_ / "dom.html");
    std::smatch mark;
    const std::string head = dom.substr(0, 300);
    ASSERT_TRUE(std::regex_search(head, mark, std::regex("data-report=\"([^\"]*)\""))) << head;
    EXPECT_EQ(mark[1], "ready " + std::to_string(drawn));
    EXPECT_EQ(count(dom, "<canvas"), drawn);
    EXPECT_EQ(count(dom, "aria-label"), drawn + heat);
  }
}

TEST_F(Rendered, TheVerbWritesEveryFormat) {
  record_test::write_sample(folder_ / "a.db", record_test::sample_run(80));
  const std::string db = folder_ / "a.db";
  EXPECT_EQ(cli_test::kvsim({"report", db}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "a.html"));
  const cli_test::Result markdown = cli_test::kvsim({"report", db, "--format", "md"});
  EXPECT_TRUE(markdown.out.starts_with("# sample"));
  EXPECT_EQ(cli_test::kvsim({"report", db, "-o", folder_ / "b.md"}).code, 0);
  EXPECT_EQ(cli_test::read_file(folder_ / "b.md"), markdown.out);
  EXPECT_EQ(cli_test::kvsim({"report", db, "--format", "svg", "-o", folder_ / "svg"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "svg/cdf-ttft.svg"));
  EXPECT_EQ(cli_test::kvsim({"report", db, "--format", "csv", "-o", folder_ / "csv"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "csv/percentiles.csv"));
}

TEST_F(Rendered, MisuseIsExplained) {
  record_test::write_sample(folder_ / "a.db", record_test::sample_run(5));
  const std::string db = folder_ / "a.db";
  cli_test::expect_misuse({"report"}, {"no database", "kvsim report out/NAME.db"});
  cli_test::expect_misuse({"report", folder_ / "absent.db"}, {"absent.db"});
  cli_test::expect_misuse({"report", db, "--format", "htm"}, {"did you mean 'html'"});
  cli_test::expect_misuse({"report", db, "--format", "svg"}, {"-o charts"});
  cli_test::expect_misuse({"report", db, "-o", folder_ / "x.svg"}, {"--format svg -o charts"});
  cli_test::expect_misuse({"report", db, "-o", db}, {"overwrite"});
  cli_test::expect_misuse({"report", db, "-o", folder_ / "no/where.html"}, {"where.html", "-o"});
}

}  // namespace
}  // namespace kvsim::report
