#pragma once
// Where a verb writes its result when nobody said so.
#include <string>

namespace kvsim {

// "out/<name>.db" with what a file system may not like replaced; `verb` stands before a name that
// would hide the file.
std::string default_output(const std::string& name, const std::string& verb);

}  // namespace kvsim
