#pragma once
// Load curves of the gallery: as tables beside the published points, and as SVG.
#include <string>
#include <vector>

#include "sim/study/gallery.h"

namespace kvsim {

// A row for each swept value and each published point; nothing for a claim without curves.
std::string curve_tables(const ClaimResult&);              // for a terminal
std::vector<std::string> curve_lines(const ClaimResult&);  // markdown, a line each
std::string curve_json(const ClaimResult&);                // a list
// One file a curve, "c60-1.svg", into a folder that is there. Gives their names.
std::vector<std::string> write_curves(const ClaimResult&, const std::string& folder);

}  // namespace kvsim
