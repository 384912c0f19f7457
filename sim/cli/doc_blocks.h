#pragma once
// Generated parts of README files. Between the lines
//   <!-- kvsim doc: NAME -->
//   <!-- end -->
// stands what block_text(NAME) gives.
#include <string>
#include <vector>

namespace kvsim {

// verbs, scenario, generate, database, plugins, and "list KIND" for each kind.
std::vector<std::string> block_names();
// Markdown that ends in a line end. Throws InputError for an unknown name.
std::string block_text(const std::string& name);

struct Filled {
  std::string text;
  std::vector<std::string> stale;  // names of blocks that changed
  int blocks = 0;
};
// `file` is for messages. Throws InputError, with file and line, for a block without an end or with
// an unknown name.
Filled fill_blocks(const std::string& text, const std::string& file);

}  // namespace kvsim
