// kvsim doc: generated tables of the README files
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/doc_blocks.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace fs = std::filesystem;

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()(
      "path", po::value<std::vector<std::string>>(),
      "markdown files, or folders to search (also without the option's name; default: .)")(
      "check", "write nothing; exit with 3 when a block is stale")(
      "block", po::value<std::string>(), "print this block and touch no file");
  p.add("path", -1);
}

// Markdown files below a folder, sorted; hidden folders and build outputs are passed over.
std::vector<std::string> markdown_files(const std::string& path) {
  std::error_code ec;
  if (!fs::is_directory(path, ec)) {
    if (!fs::exists(path, ec)) throw InputError("kvsim doc: '" + path + "' does not exist");
    return {path};
  }
  std::vector<std::string> files;
  for (auto it = fs::recursive_directory_iterator(path, ec);
       !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    const std::string name = it->path().filename().string();
    if (it->is_directory(ec) && (name.starts_with('.') || name == "build" || name == "out"))
      it.disable_recursion_pending();
    else if (it->path().extension() == ".md" && it->is_regular_file(ec))
      files.push_back(it->path().lexically_normal().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Beside the file and then in its place, so that a full disk leaves the old one.
void replace_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  std::ofstream out(fresh, std::ios::binary);
  out << text;
  out.close();
  std::error_code ec;
  if (out) fs::rename(fresh, path, ec);
  if (!out || ec) {
    fs::remove(fresh, ec);
    throw InputError("kvsim doc: cannot write " + path);
  }
}

int run(const po::variables_map& v) {
  if (v.count("block") > 0) {
    fmt::print("{}", block_text(v["block"].as<std::string>()));
    return 0;
  }
  int stale = 0, blocks = 0;
  for (const std::string& path : option_or(v, "path", std::vector<std::string>{"."}))
    for (const std::string& file : markdown_files(path)) {
      Diagnostics d;
      const std::string text = read_text_file(file, d);
      d.throw_if_any();
      const Filled filled = fill_blocks(text, file);
      blocks += filled.blocks;
      for (const std::string& name : filled.stale)
        fmt::print("{}: block '{}' {}\n", file, name,
                   v.count("check") > 0 ? "is stale" : "written");
      stale += static_cast<int>(filled.stale.size());
      if (!filled.stale.empty() && v.count("check") == 0) replace_file(file, filled.text);
    }
  if (stale > 0 && v.count("check") > 0) {
    fmt::print(stderr, "{} of {} blocks are stale; kvsim doc writes them\n", stale, blocks);
    return 3;
  }
  if (stale == 0) fmt::print("{} blocks, all fresh\n", blocks);
  return 0;
}

}  // namespace

extern const Command kDocCommand{
    "doc",
    "write generated tables into the README files",
    "[FILE|FOLDER...]",
    "  kvsim doc                  fill every block below this folder\n"
    "  kvsim doc --check          exit with 3 when one is stale\n"
    "  kvsim doc --block verbs    print one block\n"
    "a block begins with a line <!-- kvsim doc: NAME --> and ends with <!-- end -->",
    declare,
    run};

}  // namespace kvsim
