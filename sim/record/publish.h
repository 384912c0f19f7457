#pragma once
// The last step of writing a result file: it appears under its name whole, or not at all.
#include <string>

namespace kvsim {

// Data first, then the name: after a power cut the file is whole or not there. Removes what SQLite
// left beside the result being replaced. Throws InputError with the system's reason.
void publish(const std::string& from, const std::string& to);
void remove_quietly(const std::string& path);

}  // namespace kvsim
