#pragma once
// The gallery: published claims as data. A file scenarios/gallery/<id>-<system>.yaml with the key
// `claim` says what was claimed and where, which runs rebuild it, and by which formula over their
// metrics the claimed figure is simulated. Nothing in a file may be fitted to the figure that it is
// compared with; what differs from the publication stands beside it, a missed figure keeps its
// reason.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"
#include "sim/study/gallery_formula.h"

namespace kvsim {

enum class ClaimKind : std::uint8_t { exact, count, ratio, curve };
constexpr auto enum_names(ClaimKind) {
  return std::array{std::pair{ClaimKind::exact, "exact"}, std::pair{ClaimKind::count, "count"},
                    std::pair{ClaimKind::ratio, "ratio"}, std::pair{ClaimKind::curve, "curve"}};
}

struct ClaimText {
  std::string id, system, source, statement;
  ClaimKind kind = ClaimKind::ratio;
  std::string differs;
  static constexpr Rows kFields{
      field("id", &ClaimText::id, any, "short and unique, such as C38"),
      field("system", &ClaimText::system, any, "published name"),
      field("source", &ClaimText::source, any, "publication, with the figure or section"),
      field("statement", &ClaimText::statement, any, "what was claimed, in one sentence"),
      field("kind", &ClaimText::kind, any,
            "exact: arithmetic; count: of what a trace or a batch holds; ratio: of two simulated "
            "systems; curve: trend or order"),
      field("differs", &ClaimText::differs, any, "what differs from the published set-up")};
};

// The largest value at which the limits hold, by bisection on a logarithmic scale: the limits must
// hold at `from`, and once they break, stay broken.
struct GallerySearch {
  std::string path = "workload.rate_scale";
  double from = 0.1, to = 10;
  Ratio precision{0.02};
  std::map<std::string, double> at_most;
  static constexpr Rows kFields{
      field("path", &GallerySearch::path, any, "key of the scenario that is varied"),
      field("from", &GallerySearch::from, between(1e-9, 1e15), "least value, which must hold"),
      field("to", &GallerySearch::to, between(1e-9, 1e15), "greatest value, which must not"),
      field("precision", &GallerySearch::precision, between(Ratio{0.001}, Ratio{1}),
            "of the value found"),
      field("at_most", &GallerySearch::at_most, any, "metric: limit, in the metric's unit")};
};

// Prompts of a trace through caches of blocks, without timing: one cache, or one a node with the
// requests dealt to the nodes in turn.
struct GalleryReplay {
  std::string file, format = "mooncake", policy = "lru";
  std::int64_t block_tokens = 512, capacity_tokens = 1 << 20, nodes = 1;
  static constexpr Rows kFields{
      field("file", &GalleryReplay::file, any, "trace, relative to the claim; may be absent"),
      field("format", &GalleryReplay::format, any, "its format"),
      field("policy", &GalleryReplay::policy, any, "eviction policy"),
      field("block_tokens", &GalleryReplay::block_tokens, between<std::int64_t>(1, 1 << 20),
            "tokens of the trace's own blocks"),
      field("capacity_tokens", &GalleryReplay::capacity_tokens,
            between<std::int64_t>(1, std::int64_t{1} << 50), "of one cache"),
      field("nodes", &GalleryReplay::nodes, between<std::int64_t>(1, 4096), "caches")};
};

// One iteration that only decodes, as the cost model of a scenario prices it.
struct GalleryStep {
  std::int64_t decodes = 1, context = 1, shared = 0;
  static constexpr Rows kFields{
      field("decodes", &GalleryStep::decodes, between<std::int64_t>(1, 1 << 20), "sequences"),
      field("context", &GalleryStep::context, between<std::int64_t>(1, std::int64_t{1} << 40),
            "tokens of each"),
      field("shared", &GalleryStep::shared, between<std::int64_t>(0, std::int64_t{1} << 40),
            "of these, tokens that all have in common and attention reads once")};
};

// A load curve: the run at each of several values of one key. `found` is where, between two of them
// and on a straight line, the first limit breaks; with no limits there is none.
struct GallerySweep {
  std::string path = "workload.rate_scale";
  std::vector<double> values;
  std::map<std::string, double> at_least, at_most;
  static constexpr Rows kFields{
      field("path", &GallerySweep::path, any, "key of the scenario that is varied"),
      field("values", &GallerySweep::values, between(1e-9, 1e15), "ascending"),
      field("at_least", &GallerySweep::at_least, any, "metric: limit, in the metric's unit"),
      field("at_most", &GallerySweep::at_most, any, "likewise")};
};

// One source of named numbers; exactly one of scenario, model, hardware and replay is given.
struct GalleryRun {
  std::string scenario;
  std::vector<std::string> set;
  std::optional<GallerySearch> search;
  std::optional<GalleryStep> step;
  std::optional<GallerySweep> sweep;
  int seeds = 1;
  Tree model;
  double kv_bits = 16;
  std::int64_t tokens = 1;
  Tree hardware;
  std::optional<GalleryReplay> replay;
  static constexpr Rows kFields{
      field("scenario", &GalleryRun::scenario, any,
            "scenario file, relative to this one; gives the metrics of its run"),
      field("set", &GalleryRun::set, any, "PATH=VALUE over the file's values"),
      field("search", &GalleryRun::search, any,
            "vary one value up to the limits; gives `found` and the metrics there"),
      field("step", &GalleryRun::step, any,
            "price one iteration instead of running the scenario; gives step_us, attention_us, and "
            "OPERATOR_us of each operator"),
      field("sweep", &GalleryRun::sweep, any,
            "one value after the other; gives at_1.METRIC, at_2.METRIC, ... and `found`, where the "
            "limits break"),
      field("seeds", &GalleryRun::seeds, between(1, 1000),
            "every run is repeated with so many seeds, from the scenario's on: metrics are means"),
      field("model", &GalleryRun::model, any,
            "as in a scenario; gives layers, hidden, heads, kv_heads, kv_token_bytes, "
            "kv_sequence_bytes, weight_bytes, parameters, active_parameters"),
      field("kv_bits", &GalleryRun::kv_bits, between(0.1, 64.0),
            "of model: bits a cached number has in kv_token_bytes"),
      field("tokens", &GalleryRun::tokens, between<std::int64_t>(1, std::int64_t{1} << 40),
            "of model: length in kv_sequence_bytes, 16 bits a number"),
      field("hardware", &GalleryRun::hardware, any,
            "as deployment.hardware; gives gpus, and of one GPU memory_bytes, bandwidth, flops "
            "(16 bits)"),
      field("replay", &GalleryRun::replay, any,
            "a trace through caches; gives blocks, hits, and ceiling: hits without limit of "
            "capacity in one cache")};
};

enum class FigureBound : std::uint8_t { near, at_least, at_most };
constexpr auto enum_names(FigureBound) {
  return std::array{std::pair{FigureBound::near, "near"},
                    std::pair{FigureBound::at_least, "at-least"},
                    std::pair{FigureBound::at_most, "at-most"}};
}

struct GalleryFigure {
  std::string what;
  Formula value;
  double claimed = 0;
  std::string unit;
  Ratio tolerance{0.25};
  double factor = 0;
  FigureBound bound = FigureBound::near;
  std::string note;
  static constexpr Rows kFields{
      field("what", &GalleryFigure::what, any, "a few words, at most 48 characters"),
      field("value", &GalleryFigure::value, any, "formula over RUN.METRIC[.STATISTIC]"),
      field("claimed", &GalleryFigure::claimed, any, "published figure"),
      field("unit", &GalleryFigure::unit, any, "shown behind both"),
      field("tolerance", &GalleryFigure::tolerance, between(Ratio{0}, Ratio{1}),
            "relative to the published figure"),
      field("factor", &GalleryFigure::factor, between(0.0, 10.0),
            "in place of the tolerance, for an 'up to': within this factor, above or below"),
      field("bound", &GalleryFigure::bound, any,
            "near: either way; at-least, at-most: the other side is free"),
      field("note", &GalleryFigure::note, any, "the reason, which a missed figure must have")};
};

// One line of a chart: a sweep, and the points that were published.
struct GalleryLine {
  std::string run;
  Formula value;
  double scale = 1;
  std::vector<double> at, published;
  static constexpr Rows kFields{
      field("run", &GalleryLine::run, any, "a run with a sweep"),
      field("value", &GalleryLine::value, any, "formula over METRIC[.STATISTIC] of one point"),
      field("scale", &GalleryLine::scale, between(1e-9, 1e9),
            "of the horizontal axis: times the swept value"),
      field("at", &GalleryLine::at, any, "where a point was published, on the horizontal axis"),
      field("published", &GalleryLine::published, any, "what was published there")};
};

struct GalleryCurve {
  std::string what, x, y;
  std::map<std::string, GalleryLine> lines;
  static constexpr Rows kFields{field("what", &GalleryCurve::what, any, "title"),
                                field("x", &GalleryCurve::x, any, "horizontal axis, with its unit"),
                                field("y", &GalleryCurve::y, any, "vertical axis, with its unit"),
                                field("lines", &GalleryCurve::lines, any, "name: a line")};
};

struct ClaimSpec {
  ClaimText claim;
  std::map<std::string, GalleryRun> runs;
  std::vector<GalleryFigure> figures;
  std::vector<GalleryCurve> curves;
  static constexpr Rows kFields{
      field("claim", &ClaimSpec::claim, any, "what was claimed"),
      field("runs", &ClaimSpec::runs, any, "name: what gives the numbers"),
      field("figures", &ClaimSpec::figures, any, "claimed and how it is simulated"),
      field("curves", &ClaimSpec::curves, any, "whole curves beside published points")};
};

struct Claim : ClaimSpec {
  std::string file;  // it was read from
};

// Where the shipped claims are.
std::string gallery_folder();
// Every file of the folder that has the key `claim`, by id (C9 before C10). Throws InputError with
// all mistakes of all files.
std::vector<Claim> load_gallery(const std::string& folder);
// One file; mistakes go to Diagnostics, all at once.
Claim load_claim(const std::string& path, Diagnostics&);
// Those that `name` means: an id in either case, or the beginning of a file's or system's name.
// Throws InputError with the nearest names when there is none.
std::vector<const Claim*> find_claims(const std::vector<Claim>&, const std::string& name);

enum class Verdict : std::uint8_t { within, missed, unexplained, failed, absent };
constexpr auto enum_names(Verdict) {
  return std::array{std::pair{Verdict::within, "within"}, std::pair{Verdict::missed, "missed"},
                    std::pair{Verdict::unexplained, "unexplained"},
                    std::pair{Verdict::failed, "failed"}, std::pair{Verdict::absent, "not run"}};
}
// Of a figure that was simulated; never `failed` for a finite number.
Verdict verdict_of(const GalleryFigure&, double simulated);

struct FigureResult {
  double simulated = 0;
  Verdict verdict = Verdict::failed;
  std::string error;  // of a failed one; of an absent one, which file is missing
};

struct RunResult {
  std::string error;
  bool is_absent = false;                 // a trace that does not ship is not here
  std::map<std::string, double> numbers;  // "ttft_ms.mean"; a bare name for a plain value
};

struct CurveResult {
  struct Line {
    std::vector<double> x, y;
    std::string error;  // of a line without points
  };
  std::map<std::string, Line> lines;
};

struct ClaimResult {
  const Claim* claim = nullptr;
  std::map<std::string, RunResult> runs;
  std::vector<FigureResult> figures;  // one a figure of the claim
  std::vector<CurveResult> curves;    // likewise
};

// Runs everything that the claims need, each different run once, on `threads` threads (0: as many
// as the machine has). The result does not depend on them. Mistakes of runs are in the result.
std::vector<ClaimResult> run_gallery(const std::vector<const Claim*>&, unsigned threads = 0);

}  // namespace kvsim
