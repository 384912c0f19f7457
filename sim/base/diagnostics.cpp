#include "sim/base/diagnostics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <tuple>

namespace kvsim {

std::string to_string(const Diagnostic& d) {
  std::string out;
  if (d.place.file) out += to_string(d.place) + ": ";
  out += "error: ";
  if (!d.path.empty()) out += d.path + ": ";
  out += d.message;
  if (!d.hint.empty()) out += "\n    " + d.hint;
  return out;
}

void Diagnostics::add(Place place, std::string path, std::string message, std::string hint) {
  constexpr std::size_t kMost = 200;  // a hostile file must not make us print for ever
  if (all_.size() < kMost)
    all_.push_back({std::move(place), std::move(path), std::move(message), std::move(hint)});
}

namespace {
// In the order a reader meets them: files as they were first named, then lines; what has no place
// comes last.
std::vector<Diagnostic> sorted(std::vector<Diagnostic> all) {
  std::vector<std::string> files;
  const auto file_of = [&](const Diagnostic& d) {
    if (!d.place.file) return files.max_size();
    const auto at = std::find(files.begin(), files.end(), *d.place.file);
    return static_cast<std::size_t>(at - files.begin());
  };
  for (const Diagnostic& d : all)
    if (d.place.file && file_of(d) == files.size()) files.push_back(*d.place.file);
  std::stable_sort(all.begin(), all.end(), [&](const Diagnostic& a, const Diagnostic& b) {
    return std::tuple(file_of(a), a.place.line, a.place.column) <
           std::tuple(file_of(b), b.place.line, b.place.column);
  });
  return all;
}
}  // namespace

void Diagnostics::throw_if_any() const {
  if (!all_.empty()) throw InputError(sorted(all_));
}

namespace {
std::string join(const std::vector<Diagnostic>& all) {
  std::string out;
  for (const Diagnostic& d : all) out += (out.empty() ? "" : "\n") + to_string(d);
  return out;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t up = row[j];
      row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = up;
    }
  }
  return row.back();
}
}  // namespace

InputError::InputError(std::vector<Diagnostic> all)
    : std::runtime_error(join(all)), all_(std::move(all)) {}

InputError::InputError(const std::string& message, std::string hint)
    : InputError(std::vector<Diagnostic>{{Place{}, "", message, std::move(hint)}}) {}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  if (name.size() > 100) return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& c : candidates) {
    const std::size_t d = edit_distance(name, c);
    if (d < best_distance) best_distance = d, best = c;
  }
  return best;
}

std::string name_hint(std::string_view name, std::span<const std::string> candidates) {
  if (candidates.empty()) return {};
  std::string hint;
  constexpr std::size_t kMostBegun = 5;
  std::vector<std::string> begun;  // "a100" means a100-40 or a100-80 rather than a10g
  for (const std::string& c : candidates)
    if (name.size() >= 3 && c.starts_with(name) && begun.size() < kMostBegun) begun.push_back(c);
  if (begun.empty())
    if (std::string near = nearest_name(name, candidates); !near.empty())
      begun.push_back(std::move(near));
  if (!begun.empty()) hint = fmt::format("did you mean '{}'? ", fmt::join(begun, "' or '"));
  constexpr std::size_t kShown = 20;
  const auto shown = candidates.subspan(0, std::min(kShown, candidates.size()));
  hint += fmt::format("valid: {}", fmt::join(shown, ", "));
  if (candidates.size() > kShown) hint += fmt::format(", and {} more", candidates.size() - kShown);
  return hint;
}

}  // namespace kvsim
