#include "sim/study/gallery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <functional>

#include "sim/base/registry.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kLongestFigure = 48;  // a row of the table fits the terminal

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_run_name(const std::string& name) {
  return !name.empty() && std::isalpha(static_cast<unsigned char>(name[0])) != 0 &&
         std::ranges::all_of(name,
                             [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

// What the types of the fields do not say.
class Checker {
 public:
  Checker(const Claim& c, const Tree& tree, Diagnostics& d) : c_(c), tree_(tree), d_(d) {}
  void check() {
    for (const auto& [key, text] : {std::pair{"id", &c_.claim.id},
                                    {"system", &c_.claim.system},
                                    {"source", &c_.claim.source},
                                    {"statement", &c_.claim.statement}})
      if (text->empty())
        add(tree_.find("claim"), fmt::format("claim.{}", key), "missing",
            "every claim has id, system, source and statement");
    if (c_.runs.empty()) add(nullptr, "runs", "missing", "name at least one run");
    for (const auto& [name, run] : c_.runs) check_run(name, run);
    if (c_.figures.empty()) add(nullptr, "figures", "missing", "list at least one figure");
    for (std::size_t i = 0; i < c_.figures.size(); ++i) check_figure(i);
    for (std::size_t i = 0; i < c_.curves.size(); ++i)
      for (const auto& [name, line] : c_.curves[i].lines)
        check_line(fmt::format("curves.{}.lines.{}", i, name), line);
  }

 private:
  void add(const Tree* at, const std::string& path, const std::string& message,
           const std::string& hint) {
    d_.add(at != nullptr ? at->place() : tree_.place(), path, message, hint);
  }
  void check_run(const std::string& name, const GalleryRun& run) {
    const Tree* runs = tree_.find("runs");
    const Tree* at = runs->find(name);
    const std::string path = "runs." + name;
    if (!is_run_name(name))
      add(at, path, "not a name that a formula can use", "letters, digits and '_'");
    const int given = !run.scenario.empty() + !run.model.is_null() + !run.hardware.is_null() +
                      run.replay.has_value();
    if (given != 1)
      add(at, path, "expected exactly one of scenario, model, hardware and replay",
          "give each source of numbers a run of its own");
    const bool varies = run.search || run.sweep || run.step;
    if (run.scenario.empty() && (varies || !run.set.empty()))
      add(at, path, "set, search, sweep and step are for a scenario", "remove them");
    if (int{run.search.has_value()} + int{run.sweep.has_value()} + int{run.step.has_value()} > 1)
      add(at, path, "more than one of search, sweep and step", "give each a run of its own");
    if (run.step && run.step->shared >= run.step->context)
      add(at, path + ".step.shared", "the last token of a context is its own",
          "give less than context");
    if (run.sweep && (run.sweep->values.empty() ||
                      std::ranges::adjacent_find(run.sweep->values, std::greater_equal{}) !=
                          run.sweep->values.end()))
      add(at, path + ".sweep.values", "expected one or more values, each above the one before it",
          "such as values: [0.5, 1, 2]");
    if (run.replay && !Registry::instance().find("eviction", run.replay->policy))
      add(at, path + ".replay.policy", fmt::format("no eviction policy '{}'", run.replay->policy),
          name_hint(run.replay->policy, Registry::instance().names("eviction")));
    if (run.search && run.search->at_most.empty())
      add(at, path + ".search", "no limits", "such as at_most: {ttft_ms.p99: 500}");
    if (run.search && !(run.search->from < run.search->to))
      add(at, path + ".search", "from is not below to", "give a range to search in");
  }
  void check_line(const std::string& path, const GalleryLine& line) {
    const Tree* at = tree_.find("curves");
    const auto run = c_.runs.find(line.run);
    std::vector<std::string> sweeps;
    for (const auto& [name, r] : c_.runs)
      if (r.sweep) sweeps.push_back(name);
    if (run == c_.runs.end() || !run->second.sweep)
      add(at, path + ".run", fmt::format("no run '{}' has a sweep", line.run),
          name_hint(line.run, sweeps));
    if (line.value.text().empty()) add(at, path, "no value", "give a formula over METRIC");
    if (line.at.size() != line.published.size())
      add(at, path, "at and published are not of one length", "give a value for each point");
  }
  void check_figure(std::size_t i) {
    const GalleryFigure& f = c_.figures[i];
    const Tree& at = tree_.find("figures")->items()[i];
    const std::string path = fmt::format("figures.{}", i);
    if (f.what.empty() || f.what.size() > kLongestFigure)
      add(&at, path + ".what", fmt::format("expected 1 to {} characters", kLongestFigure),
          "say in a few words what the figure is");
    if (f.value.text().empty()) add(&at, path, "no value", "give a formula over RUN.METRIC");
    if (f.factor > 0 && (f.factor < 1 || f.claimed <= 0))
      add(&at, path, "a factor is at least 1, of a positive figure", "or give a tolerance");
    std::vector<std::string> runs;
    for (const auto& [name, run] : c_.runs) runs.push_back(name);
    for (const std::string& name : f.value.names()) {
      const std::string run = name.substr(0, name.find('.'));
      if (!c_.runs.contains(run))
        add(at.find("value"), path + ".value", fmt::format("no run is called '{}'", run),
            name_hint(run, runs));
    }
  }

  const Claim& c_;
  const Tree& tree_;
  Diagnostics& d_;
};

// "C9" before "C10".
std::pair<std::size_t, std::string> order(const Claim& c) {
  return {c.claim.id.size(), c.claim.id};
}

}  // namespace

std::string gallery_folder() {
  return (fs::path(catalog_folder(CatalogKind::model)) / "../../scenarios/gallery")
      .lexically_normal()
      .string();
}

Claim load_claim(const std::string& path, Diagnostics& d) {
  Claim c;
  const std::size_t before = d.all().size();
  const Tree tree = load_yaml(path, d);
  if (d.all().size() > before) return c;
  Reader r(d);
  read_fields(static_cast<ClaimSpec&>(c), tree, r);
  c.file = path;
  if (d.all().size() == before) Checker(c, tree, d).check();
  return c;
}

std::vector<Claim> load_gallery(const std::string& folder) {
  std::error_code ec;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder, ec))
    if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
  if (ec) throw InputError(fmt::format("gallery: cannot read the folder '{}'", folder));
  std::ranges::sort(files);
  Diagnostics d;
  std::vector<Claim> all;
  for (const std::string& file : files) {
    Diagnostics broken;  // a file that is not even YAML may be a claim: its mistakes count
    const Tree tree = load_yaml(file, broken);
    if (!broken.empty() || tree.find("claim") != nullptr) all.push_back(load_claim(file, d));
  }
  std::ranges::stable_sort(all, {}, order);
  for (std::size_t i = 1; i < all.size(); ++i)
    if (!all[i].claim.id.empty() && all[i].claim.id == all[i - 1].claim.id)
      d.add({std::make_shared<const std::string>(all[i].file)}, "claim.id",
            fmt::format("'{}' is also the id of {}", all[i].claim.id, all[i - 1].file),
            "give each claim an id of its own");
  d.throw_if_any();
  return all;
}

std::vector<const Claim*> find_claims(const std::vector<Claim>& all, const std::string& name) {
  std::vector<const Claim*> ids, found;
  std::vector<std::string> names;
  for (const Claim& c : all) {
    const std::string stem = fs::path(c.file).stem().string();
    names.push_back(c.claim.id);
    if (lower(c.claim.id) == lower(name) || stem == name) ids.push_back(&c);
    if (!name.empty() && (stem.starts_with(name) || lower(c.claim.system).starts_with(lower(name))))
      found.push_back(&c);
  }
  if (!ids.empty()) return ids;
  if (found.empty())
    throw InputError(fmt::format("gallery: no claim '{}'", name), name_hint(upper(name), names));
  return found;
}

Verdict verdict_of(const GalleryFigure& f, double simulated) {
  if (!std::isfinite(simulated)) return Verdict::failed;
  double low = f.claimed - f.tolerance.value * std::abs(f.claimed);
  double high = f.claimed + f.tolerance.value * std::abs(f.claimed);
  if (f.factor > 0) low = f.claimed / f.factor, high = f.claimed * f.factor;
  const bool within = (f.bound == FigureBound::at_most || simulated >= low) &&
                      (f.bound == FigureBound::at_least || simulated <= high);
  if (within) return Verdict::within;
  return f.note.empty() ? Verdict::unexplained : Verdict::missed;
}

}  // namespace kvsim
