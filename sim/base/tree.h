#pragma once
// A configuration document as data: null, scalar text, list or map, each with the place it came
// from. YAML and JSON files are parsed into it (sim/scenario); everything else reads it through
// fields.h.
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvsim {

// Where a value was written. `file` is a path or a name such as "--set"; line and column count from
// 1, 0 = none.
struct Place {
  std::shared_ptr<const std::string> file;
  int line = 0;
  int column = 0;
};

std::string to_string(const Place&);  // "file:line:col", "file:line" or just the file

class Tree {
 public:
  enum class Kind { null, scalar, list, map };
  struct Entry;

  // Defined in the .cpp: Entry holds a Tree, so it is incomplete here.
  Tree();
  ~Tree();
  Tree(const Tree&);
  Tree(Tree&&) noexcept;
  Tree& operator=(const Tree&);
  Tree& operator=(Tree&&) noexcept;
  static Tree scalar(std::string text, Place = {}, bool quoted = false);
  static Tree list(Place = {});
  static Tree map(Place = {});

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] bool is_null() const { return kind_ == Kind::null; }
  [[nodiscard]] bool is_scalar() const { return kind_ == Kind::scalar; }
  [[nodiscard]] bool is_list() const { return kind_ == Kind::list; }
  [[nodiscard]] bool is_map() const { return kind_ == Kind::map; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool quoted() const { return quoted_; }
  [[nodiscard]] const Place& place() const { return place_; }
  void set_place(Place p) { place_ = std::move(p); }

  [[nodiscard]] const std::vector<Tree>& items() const { return items_; }
  std::vector<Tree>& items() { return items_; }
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  [[nodiscard]] const Tree* find(std::string_view key) const;  // nullptr when absent or no map
  Tree* find(std::string_view key);
  // Adds or replaces. Turns a null tree into a map.
  Tree& set(std::string key, Tree value, Place key_place = {});
  // Adds without looking for the key: requires that it is new. Turns a null tree into a map.
  void append(std::string key, Tree value, Place key_place = {});
  void erase(std::string_view key);
  void push(Tree value);

  // `over` wins: maps merge key by key, everything else is replaced whole.
  static Tree merged(Tree base, const Tree& over);

 private:
  Kind kind_ = Kind::null;
  bool quoted_ = false;
  Place place_;
  std::string text_;
  std::vector<Tree> items_;
  std::vector<Entry> entries_;
};

struct Tree::Entry {
  std::string key;
  Place key_place;
  Tree value;
};

// Canonical YAML of a tree: block style, two spaces, keys in order. Parsing it back gives the same
// tree.
std::string to_yaml(const Tree&);
// Compact JSON; scalars that read as JSON numbers, booleans or null are written bare unless quoted.
std::string to_json(const Tree&, bool pretty = false);
std::string json_string(std::string_view);

}  // namespace kvsim
