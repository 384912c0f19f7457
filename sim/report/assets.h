#pragma once
// Files that the build puts into the program, see CMakeLists.txt.
#include <string_view>

namespace kvsim::report {

std::string_view chart_library();  // Chart.js 3, MIT licence (in its first lines)
std::string_view page_style();     // page/page.css
std::string_view page_script();    // page/page.js

}  // namespace kvsim::report
