#pragma once
// What `kvsim trace info` prints.
#include <string>

#include "traces/trace_tools.h"

namespace kvsim {

// Lines for people. `guessed`: the format was seen from the file.
std::string trace_info_text(const std::string& file, const std::string& format, bool guessed,
                            const TraceInfo&);
// One object; times in seconds, lengths in tokens.
std::string trace_info_json(const std::string& file, const std::string& format, const TraceInfo&);

}  // namespace kvsim
