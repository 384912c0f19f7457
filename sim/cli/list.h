#pragma once
// The tables of `kvsim list KIND` for the documentation.
#include <string>

namespace kvsim {

// As markdown. Requires a kind of entry_kinds().
std::string markdown_of_kind(const std::string& kind);

}  // namespace kvsim
