#pragma once
// Which format a trace file has, from the columns or keys of its first line.
#include <string>

namespace kvsim {

// The name of a registered trace-format. Throws InputError that says what was seen and how to name
// the format; also for a file that cannot be read. Formats are told apart by what only they have;
// `vidur` also by its columns of lengths.
std::string guess_trace_format(const std::string& path);

}  // namespace kvsim
