// kvsim gallery: published claims beside what is simulated
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/gallery_curves.h"
#include "sim/cli/gallery_page.h"
#include "sim/cli/text_table.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("name", po::value<std::vector<std::string>>(),
                  "claims, by id or system (also without the option's name; default: all)")(
      "json", "print as JSON")("list", "say what the claims are, run nothing")(
      "write", po::value<std::string>(), "put the table of all claims into this markdown page")(
      "check", po::value<std::string>(), "exit with 3 when this page says something else")(
      "charts", po::value<std::string>(), "write each load curve as SVG into this folder")(
      "folder", po::value<std::string>(), "of the claims (default: the shipped ones)")(
      "threads", po::value<unsigned>(), "default: as many as the machine has");
  p.add("name", -1);
}

std::string read_page(const std::string& path) {
  Diagnostics d;
  std::string text = read_text_file(path, d);
  d.throw_if_any();
  return text;
}

void write_page(const std::string& path, const std::vector<ClaimResult>& results) {
  const std::string text =
      fill_gallery_page(std::filesystem::exists(path) ? read_page(path) : "", results);
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw InputError("kvsim gallery: cannot write " + path);
}

void print_list(const std::vector<const Claim*>& claims) {
  TextTable table({"claim", "system", "kind", "what was claimed"});
  for (const Claim* c : claims)
    table.row(
        {c->claim.id, c->claim.system, std::string(name_of(c->claim.kind)), c->claim.statement});
  fmt::print("{}", table.text());
}

// Runs that failed, and figures that miss without a reason.
int report_failures(const std::vector<ClaimResult>& results) {
  int code = 0;
  std::fflush(stdout);  // the table first
  for (const ClaimResult& r : results)
    for (std::size_t i = 0; i < r.figures.size(); ++i) {
      const FigureResult& f = r.figures[i];
      if (f.verdict != Verdict::failed && f.verdict != Verdict::unexplained) continue;
      fmt::print(
          stderr, "{}: {}: {}\n", r.claim->claim.id, r.claim->figures[i].what,
          f.verdict == Verdict::failed ? f.error : "missed; its file must say why (key note)");
      code = 3;
    }
  return code;
}

int run(const po::variables_map& v) {
  const std::vector<Claim> all = load_gallery(option_or(v, "folder", gallery_folder()));
  std::vector<const Claim*> chosen;
  const auto names = list_option(v, "name");
  if (names.empty())
    for (const Claim& c : all) chosen.push_back(&c);
  for (const std::string& name : names)
    for (const Claim* c : find_claims(all, name)) chosen.push_back(c);
  if (chosen.empty()) throw InputError("kvsim gallery: the folder holds no claims");
  if (v.count("write") > 0 && !names.empty())
    throw InputError("kvsim gallery: --write needs all claims", "leave the names away");
  if (v.count("list") > 0) return print_list(chosen), 0;

  const std::vector<ClaimResult> results = run_gallery(chosen, option_or(v, "threads", 0U));
  if (v.count("json") > 0) {
    fmt::print("{}", gallery_json(results));
  } else if (names.empty()) {
    fmt::print("{}\n{}\n", gallery_table(results), gallery_summary(results));
  } else {
    for (std::size_t i = 0; i < results.size(); ++i)
      fmt::print("{}{}", i == 0 ? "" : "\n", claim_details(results[i]));
  }
  int code = report_failures(results);
  if (v.count("charts") > 0) {
    const std::string folder = v["charts"].as<std::string>();
    std::error_code ec;
    std::filesystem::create_directories(folder, ec);
    for (const ClaimResult& r : results)
      for (const std::string& name : write_curves(r, folder))
        fmt::print(stderr, "{}/{}\n", folder, name);
  }
  if (v.count("write") > 0) write_page(v["write"].as<std::string>(), results);
  if (v.count("check") > 0) {
    const std::string path = v["check"].as<std::string>();
    for (const std::string& id : stale_claims(read_page(path), results)) {
      fmt::print(stderr, "{}: {} is stale; kvsim gallery --write {} renews it\n", path, id, path);
      code = 3;
    }
  }
  return code;
}

}  // namespace

extern const Command kGalleryCommand{
    "gallery",
    "published systems: claimed figures beside simulated ones",
    "[NAME...]",
    "  kvsim gallery                            every claim, a table\n"
    "  kvsim gallery C38                        one: its source, what differs, both runs\n"
    "  kvsim gallery FlexGen --json\n"
    "  kvsim gallery C60 --charts out           its load curves, also as SVG\n"
    "  kvsim gallery --list                     what the claims are\n"
    "  kvsim gallery --write docs/gallery.md    the table into a page\n"
    "  kvsim gallery --check docs/gallery.md    exit with 3 when a figure is not what the page "
    "says\n"
    "a miss whose file gives the reason is a result; a figure without one, or a run that fails,\n"
    "exits with 3",
    declare,
    run};

}  // namespace kvsim
