#include "sim/base/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace kvsim {

std::string to_string(const Place& p) {
  const std::string file = p.file ? *p.file : std::string("<input>");
  if (p.line <= 0) return file;
  return p.column > 0 ? fmt::format("{}:{}:{}", file, p.line, p.column)
                      : fmt::format("{}:{}", file, p.line);
}

Tree::Tree() = default;
Tree::~Tree() = default;
Tree::Tree(const Tree&) = default;
Tree::Tree(Tree&&) noexcept = default;
Tree& Tree::operator=(const Tree&) = default;
Tree& Tree::operator=(Tree&&) noexcept = default;

void Tree::push(Tree value) {
  kind_ = Kind::list;
  items_.push_back(std::move(value));
}

Tree Tree::scalar(std::string text, Place place, bool quoted) {
  Tree t;
  t.kind_ = Kind::scalar;
  t.text_ = std::move(text);
  t.place_ = std::move(place);
  t.quoted_ = quoted;
  return t;
}

Tree Tree::list(Place place) {
  Tree t;
  t.kind_ = Kind::list;
  t.place_ = std::move(place);
  return t;
}

Tree Tree::map(Place place) {
  Tree t;
  t.kind_ = Kind::map;
  t.place_ = std::move(place);
  return t;
}

const Tree* Tree::find(std::string_view key) const {
  for (const Entry& e : entries_)
    if (e.key == key) return &e.value;
  return nullptr;
}

Tree* Tree::find(std::string_view key) {
  return const_cast<Tree*>(
      std::as_const(*this).find(key));  // NOLINT: same object, constness restored
}

Tree& Tree::set(std::string key, Tree value, Place key_place) {
  kind_ = Kind::map;
  if (Tree* old = find(key)) return *old = std::move(value);
  entries_.push_back({std::move(key), std::move(key_place), std::move(value)});
  return entries_.back().value;
}

void Tree::append(std::string key, Tree value, Place key_place) {
  kind_ = Kind::map;
  entries_.push_back({std::move(key), std::move(key_place), std::move(value)});
}

void Tree::erase(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& e) { return e.key == key; });
}

Tree Tree::merged(Tree base, const Tree& over) {
  if (over.is_null()) return base;
  if (!base.is_map() || !over.is_map()) return over;
  base.place_ = over.place_;
  for (const Entry& e : over.entries_) {
    if (Tree* old = base.find(e.key)) {
      *old = merged(std::move(*old), e.value);
    } else {
      base.set(e.key, e.value, e.key_place);
    }
  }
  return base;
}

namespace {

bool plain_is_safe(const std::string& s) {
  if (s.empty() || s == "~" || s == "null" || std::isspace(static_cast<unsigned char>(s.front())) ||
      std::isspace(static_cast<unsigned char>(s.back())))
    return false;
  if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(s.front()) != std::string_view::npos &&
      !(s.front() == '-' && s.size() > 1 &&
        (std::isalnum(static_cast<unsigned char>(s[1])) != 0 || s[1] == '.')))
    return false;
  if (s.starts_with("...") || s.back() == ':' || s.find(": ") != std::string::npos ||
      s.find(" #") != std::string::npos)
    return false;
  return std::none_of(s.begin(), s.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '"' || c == '\\';
  });
}

std::string yaml_scalar(const Tree& t) {
  if (t.is_null()) return "~";
  return !t.quoted() && plain_is_safe(t.text()) ? t.text() : json_string(t.text());
}

bool is_leaf(const Tree& t) {
  return t.is_null() || t.is_scalar() || (t.is_list() && t.items().empty()) ||
         (t.is_map() && t.entries().empty());
}

std::string leaf_text(const Tree& t) {
  if (t.is_list()) return "[]";
  if (t.is_map()) return "{}";
  return yaml_scalar(t);
}

// `inline_first`: the first line continues after "- ".
void write_yaml(const Tree& t, int indent, bool inline_first, std::string& out) {
  const std::string pad(static_cast<std::size_t>(indent), ' ');
  bool first = inline_first;
  const auto lead = [&] {
    if (!first) out += pad;
    first = false;
  };
  if (is_leaf(t)) {
    lead();
    out += leaf_text(t) + "\n";
  } else if (t.is_list()) {
    for (const Tree& item : t.items()) {
      lead();
      out += "- ";
      write_yaml(item, indent + 2, true, out);
    }
  } else {
    for (const Tree::Entry& e : t.entries()) {
      lead();
      out += plain_is_safe(e.key) ? e.key : json_string(e.key);
      if (is_leaf(e.value)) {
        out += ": " + leaf_text(e.value) + "\n";
      } else {
        out += ":\n";
        write_yaml(e.value, indent + 2, false, out);
      }
    }
  }
}

bool is_json_number(std::string_view s) {
  std::size_t i = s.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < s.size() && std::isdigit(static_cast<unsigned char>(s[i]))) ++i;
    return i - start;
  };
  const std::size_t first = i;
  const std::size_t n = digits();
  if (n == 0 || (n > 1 && s[first] == '0')) return false;
  if (i < s.size() && s[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    if (i < s.size() && (s[i] == '+' || s[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == s.size();
}

void write_json(const Tree& t, bool pretty, int indent, std::string& out) {
  const auto newline = [&](int depth) {
    if (pretty) out += "\n" + std::string(static_cast<std::size_t>(depth) * 2, ' ');
  };
  bool first = true;
  const auto separate = [&] {
    if (!first) out += pretty ? "," : ", ";
    first = false;
    newline(indent + 1);
  };
  switch (t.kind()) {
    case Tree::Kind::null:
      out += "null";
      break;
    case Tree::Kind::scalar:
      out += !t.quoted() && (is_json_number(t.text()) || t.text() == "true" || t.text() == "false")
                 ? t.text()
                 : json_string(t.text());
      break;
    case Tree::Kind::list:
      out += '[';
      for (const Tree& item : t.items()) {
        separate();
        write_json(item, pretty, indent + 1, out);
      }
      if (!first) newline(indent);
      out += ']';
      break;
    case Tree::Kind::map:
      out += '{';
      for (const Tree::Entry& e : t.entries()) {
        separate();
        out += json_string(e.key) + ": ";
        write_json(e.value, pretty, indent + 1, out);
      }
      if (!first) newline(indent);
      out += '}';
      break;
  }
}

}  // namespace

std::string json_string(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string to_yaml(const Tree& t) {
  std::string out;
  write_yaml(t, 0, false, out);
  return out;
}

std::string to_json(const Tree& t, bool pretty) {
  std::string out;
  write_json(t, pretty, 0, out);
  return out;
}

}  // namespace kvsim
