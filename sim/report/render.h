#pragma once
// A report as files. Every renderer escapes the texts it writes; equal reports give equal bytes.
#include <string>
#include <utility>
#include <vector>

#include "sim/report/report.h"

namespace kvsim::report {

// One page that needs nothing else: styles, script and the chart library are inside.
std::string to_html(const Report&);
// Tables as markdown; charts only by title. For papers and issues.
std::string to_markdown(const Report&);

struct NamedFile {
  std::string name;  // without a folder
  std::string text;
};
// One file a chart, for light backgrounds.
std::vector<NamedFile> to_svg(const Report&);
// One file a table and one a chart (series, x, y), RFC 4180, numbers in full.
std::vector<NamedFile> to_csv(const Report&);

// One chart. `in_page`: text takes the page's colour and nothing is painted behind it.
std::string chart_svg(const Chart&, bool in_page);

// Valid UTF-8 without control characters, safe between tags and in quoted attributes.
std::string escaped(std::string_view);
// A JSON string that may stand inside <script>: no '<', '>', '&', no line separators.
std::string script_string(std::string_view);

}  // namespace kvsim::report
