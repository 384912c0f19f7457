#pragma once
// The gallery as text: a table for a terminal, the details of one claim, JSON, and the generated
// part of docs/gallery.md.
#include <string>
#include <vector>

#include "sim/study/gallery.h"

namespace kvsim {

// Four digits, or all of a whole number from 1000 on: 0.9634, 7.68, 15,729.
std::string figure_text(double value, const std::string& unit = {});
// "25 %", "factor 2", "at least -10 %"
std::string tolerance_text(const GalleryFigure&);

std::string gallery_table(const std::vector<ClaimResult>&);
// "9 of 12 figures within their tolerance; 3 missed"
std::string gallery_summary(const std::vector<ClaimResult>&);
std::string claim_details(const ClaimResult&);
std::string gallery_json(const std::vector<ClaimResult>&);

// The lines of a claim in docs/gallery.md: its rows of the table, its remarks.
std::vector<std::string> claim_rows(const ClaimResult&);
std::vector<std::string> claim_remarks(const ClaimResult&);

// Between these lines of a page stand the summary, a table, and remarks on each claim.
inline constexpr const char* kGalleryBegin = "<!-- kvsim gallery -->";
inline constexpr const char* kGalleryEnd = "<!-- end -->";
// The page with its block replaced; one without a block gets it at the end. A claim that could not
// be run here keeps its rows. Throws InputError for a block without an end.
std::string fill_gallery_page(const std::string& page, const std::vector<ClaimResult>&);
// Ids of claims of which a line is not in the page; those that could not be run are passed over.
std::vector<std::string> stale_claims(const std::string& page, const std::vector<ClaimResult>&);

}  // namespace kvsim
