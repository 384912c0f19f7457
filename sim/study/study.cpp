#include "sim/study/study.h"

#include <fmt/format.h>

#include <filesystem>

#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

KVSIM_FIELDS_HERE(StudySpec)

namespace {

constexpr std::int64_t kMostSeeds = 100'000;

struct SeedRange {
  std::uint64_t first = 1;
  std::int64_t count = 1;
  static constexpr Rows kFields{
      field("first", &SeedRange::first, any, "the others follow it"),
      field("count", &SeedRange::count, between<std::int64_t>(1, kMostSeeds), "how many")};
};

}  // namespace

std::string DesignSpec::kind() const {
  if (latin_hypercube) return "latin-hypercube";
  if (sobol) return "sobol";
  if (saltelli) return "saltelli";
  return morris ? "morris" : "grid";
}

bool Codec<DesignSpec>::read(const Tree& t, DesignSpec& out, Reader& r) {
  const char* const kHint =
      "grid, {latin-hypercube: 64}, {sobol: 64}, {saltelli: 64} or {morris: {trajectories: 10}}";
  if (t.is_scalar() && t.text() == "grid") return true;
  if (!t.is_map()) {
    r.error(t, t.is_scalar() ? fmt::format("unknown design '{}'", t.text()) : "expected a design",
            kHint);
    return false;
  }
  if (!read_fields(out, t, r)) return false;
  const int given = out.latin_hypercube.has_value() + out.sobol.has_value() +
                    out.saltelli.has_value() + out.morris.has_value();
  if (given != 1) {
    r.error(t, given == 0 ? "names no design" : "names several designs", kHint);
    return false;
  }
  if (out.morris && out.morris->levels % 2 != 0) {
    r.error(t, fmt::format("morris.levels is {}, expected an even number", out.morris->levels));
    return false;
  }
  return true;
}

Tree Codec<DesignSpec>::write(const DesignSpec& v) {
  return v.kind() == "grid" ? Tree::scalar("grid") : write_fields(v);
}

TypeInfo Codec<DesignSpec>::info() {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "grid, or a mapping with one design";
  i.names = {"grid"};
  i.fields = describe_fields<DesignSpec>();
  return i;
}

bool Codec<SeedSpec>::read(const Tree& t, SeedSpec& out, Reader& r) {
  if (t.is_list()) {
    if (!Codec<std::vector<std::uint64_t>>::read(t, out.list, r)) return false;
    for (std::size_t i = 0; i < out.list.size(); ++i)
      for (std::size_t j = 0; j < i && out.list.size() <= 1000; ++j)
        if (out.list[i] == out.list[j]) {
          r.error(t.items()[i], fmt::format("seed {} is there twice", out.list[i]));
          return false;
        }
    return true;
  }
  SeedRange range;
  if (!t.is_map()) return r.error(t, "expected a list, or {first: 1, count: 5}"), false;
  if (!read_fields(range, t, r)) return false;
  for (std::int64_t i = 0; i < range.count; ++i)
    out.list.push_back(range.first + static_cast<std::uint64_t>(i));
  return true;
}

Tree Codec<SeedSpec>::write(const SeedSpec& v) {
  return Codec<std::vector<std::uint64_t>>::write(v.list);
}

TypeInfo Codec<SeedSpec>::info() {
  return detail::scalar_type("list of whole number, or {first, count}", "");
}

namespace {

void check_constraints(const LoadedStudy& study, Reader& r) {
  const Tree* list = study.tree.find("constraints");
  for (std::size_t i = 0; list != nullptr && i < study.value.constraints.size(); ++i) {
    const ConstraintSpec& c = study.value.constraints[i];
    if (c.at_most.has_value() == c.at_least.has_value())
      r.error_at(
          list->items()[i].place(), fmt::format("constraints.{}", i),
          c.at_most ? "has both 'at_most' and 'at_least'" : "has neither 'at_most' nor 'at_least'",
          "one constraint bounds one side: {metric: ttft_ms.p99, at_most: 500}");
  }
}

void check_wholeness(const LoadedStudy& study, Reader& r) {
  const Tree& tree = study.tree;
  if (study.value.base.empty() && (tree.find("base") == nullptr || tree.find("base")->is_null()))
    r.error_at(tree.place(), "base",
               tree.find("workload") != nullptr
                   ? "missing: this looks like a scenario, which a study names as its base"
                   : "missing: a study varies a scenario",
               "for example: base: ../quickstart.yaml");
  const Tree* axes = tree.find("axes");
  if (axes == nullptr || (axes->is_list() && axes->items().empty()))
    r.error_at(axes == nullptr ? tree.place() : axes->place(), "axes",
               "a study has at least one axis",
               "for example: axes: [{path: engine.max_running, values: [64, 128]}]");
  const std::string kind = study.value.design.kind();
  if ((kind == "morris" || kind == "saltelli") && study.value.objectives.empty())
    r.error_at(tree.find("design")->place(), "design",
               "tells which axis matters for the objectives, but there are none",
               "for example: objectives: [{metric: ttft_ms.p99}]");
  check_constraints(study, r);
}

}  // namespace

LoadedStudy read_study(Tree tree, Diagnostics& d) {
  LoadedStudy out;
  Reader r(d);
  if (!tree.is_map()) {
    d.add(tree.place(), "", "a study is a map of key: value",
          "kvsim show study lists the keys; scenarios/studies has examples");
    return out;
  }
  read_fields(out.value, tree, r);
  out.tree = std::move(tree);
  check_wholeness(out, r);
  return out;
}

LoadedStudy load_study(const std::string& path, Diagnostics& d) {
  const std::size_t before = d.all().size();
  Tree tree = load_yaml(path, d);
  if (d.all().size() != before) return {};
  LoadedStudy study = read_study(std::move(tree), d);
  const Tree* base = study.tree.find("base");
  if (study.value.base.empty() || base == nullptr) return study;
  const std::string base_path =
      resolve_path(std::filesystem::path(path).parent_path().string(), study.value.base);
  std::error_code error;
  if (std::filesystem::is_regular_file(base_path, error))
    study.base_path = base_path;
  else
    d.add(base->place(), "base", fmt::format("there is no file '{}'", base_path),
          "the path is relative to the study file");
  return study;
}

}  // namespace kvsim
