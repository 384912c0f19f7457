// kvsim report: result files as a page, or as files for papers
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/report/build.h"
#include "sim/report/render.h"

namespace kvsim {

namespace {

const std::vector<std::string> kFormats{"html", "md", "svg", "csv"};

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("database", po::value<std::vector<std::string>>(),
                  "results of kvsim run or kvsim study run, shown side by side (also without the "
                  "option's name)")(
      "output,o", po::value<std::string>(),
      "the page or the markdown file; a folder for svg and csv (default: the first database's name "
      "with .html; markdown goes to stdout)")("format", po::value<std::string>(),
                                              "html, md, svg or csv (default: html, or as the "
                                              "output's name ends)");
  p.add("database", -1);
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out)
    throw InputError(fmt::format("{}: cannot write: {}", path.string(), std::strerror(errno)),
                     "the folder must exist and be writable; write elsewhere with -o");
}

void write_folder(const std::string& folder, const std::vector<report::NamedFile>& files) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw InputError(fmt::format("{}: cannot create the folder: {}", folder, error.message()),
                     "name another with -o");
  for (const report::NamedFile& f : files)
    write_file(std::filesystem::path(folder) / f.name, f.text);
  fmt::print(stderr, "{} files written to {}\n", files.size(), folder);
}

std::string format_of(const po::variables_map& v) {
  std::string format = option_or(v, "format", std::string());
  const std::string output = option_or(v, "output", std::string());
  if (format.empty() && (output.ends_with(".svg") || output.ends_with(".csv")))
    throw InputError(
        fmt::format("kvsim report: -o {}: there are several such files", output),
        fmt::format("name a folder: --format {} -o charts", output.substr(output.size() - 3)));
  if (format.empty()) format = output.ends_with(".md") ? "md" : "html";
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end())
    throw InputError(fmt::format("kvsim report: --format: unknown format '{}'", format),
                     name_hint(format, kFormats));
  return format;
}

int run(const po::variables_map& v) {
  const auto databases = list_option(v, "database");
  if (databases.empty())
    throw InputError("kvsim report: no database given",
                     "kvsim run writes out/NAME.db: kvsim report out/NAME.db -o report.html");
  const std::string format = format_of(v);
  std::string output = option_or(v, "output", std::string());
  if (std::find(databases.begin(), databases.end(), output) != databases.end())
    throw InputError(fmt::format("kvsim report: -o would overwrite {}", output),
                     "name the page: -o report.html");
  if (output.empty() && (format == "svg" || format == "csv"))
    throw InputError(fmt::format("kvsim report: --format {} writes several files", format),
                     "name a folder for them: -o charts");
  const report::Report r = report::build_report(databases);
  for (const std::string& w : r.warnings) fmt::print(stderr, "warning: {}\n", w);
  if (format == "svg" || format == "csv") {
    write_folder(output, format == "svg" ? report::to_svg(r) : report::to_csv(r));
    return 0;
  }
  const std::string text = format == "md" ? report::to_markdown(r) : report::to_html(r);
  if (output.empty() && format == "md") {
    fmt::print("{}", text);
    return 0;
  }
  if (output.empty())
    output = std::filesystem::path(databases.front()).replace_extension(".html").string();
  write_file(output, text);
  fmt::print(stderr, "{:.0f} KiB written to {}\n", static_cast<double>(text.size()) / 1024, output);
  return 0;
}

}  // namespace

extern const Command kReportCommand{
    "report",
    "result databases as a page with charts and tables, or as files for papers",
    "DB...",
    "  kvsim report out/quickstart.db -o report.html      one page; opens without a network\n"
    "  kvsim report a.db b.db -o compare.html             runs side by side\n"
    "  kvsim report out/quickstart.db --format md         its tables, to stdout\n"
    "  kvsim report out/quickstart.db --format svg -o charts   one file a chart\n"
    "  kvsim report out/quickstart.db --format csv -o data     one file a table and a chart",
    declare,
    run};

}  // namespace kvsim
