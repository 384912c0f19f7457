#include "sim/report/sections.h"
namespace kvsim::report {
std::vector<Section> study_sections(const Source&) { return {}; }
std::optional<Section> quality_section(const Source&) { return std::nullopt; }
}  // namespace kvsim::report
