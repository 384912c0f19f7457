#include "sim/cli/trace_guess.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "sim/base/diagnostics.h"
#include "sim/base/registry.h"
#include "sim/record/render.h"
#include "traces/json_record.h"
#include "traces/line_reader.h"
#include "traces/record_check.h"
#include "traces/trace_source.h"

namespace kvsim {

namespace {

struct Sign {
  const char* format;
  bool json;                       // keys of an object, else columns
  std::vector<std::string> names;  // all of them
};

// In this order: what is more special comes first.
const std::vector<Sign>& signs() {
  static const std::vector<Sign> all{
      {"token-ids", true, {"input_tok_ids"}},
      {"token-ids", true, {"input_toks"}},
      {"token-ids", true, {"sub_requests"}},
      {"qwen-bailian", true, {"chat_id", "hash_ids"}},
      {"servegen", true, {"rates", "lengths"}},
      {"agentic-sessions", true, {"requests", "block_size"}},
      {"mooncake", true, {"input_length", "output_length"}},
      {"mooncake", true, {"hash_ids"}},
      {"azure", false, {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}},
      {"burstgpt", false, {"Timestamp", "Request tokens", "Response tokens"}},
      {"splitwise", false, {"prompt_size", "token_size"}},
      {"vidur", false, {"num_prefill_tokens", "num_decode_tokens"}}};
  return all;
}

std::vector<std::string> json_keys(std::string_view line) {
  std::vector<std::string> keys;
  JsonParser parser;
  try {
    parser.parse(line, [&](std::string_view key, JsonValue&) {
      if (keys.size() < 100) keys.emplace_back(key);
    });
  } catch (const BadRecord&) {
    keys.clear();
  }
  return keys;
}

std::vector<std::string> csv_columns(std::string_view line) {
  std::vector<std::string> names;
  while (names.size() < 100) {
    const std::size_t end = line.find(',');
    std::string name(line.substr(0, end));
    std::erase(name, '"');
    const std::size_t first = name.find_first_not_of(' ');
    names.push_back(first == std::string::npos
                        ? ""
                        : name.substr(first, name.find_last_not_of(' ') - first + 1));
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return names;
}

bool has_all(const std::vector<std::string>& have, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& w) {
    return std::find(have.begin(), have.end(), w) != have.end();
  });
}

[[noreturn]] void unclear(const std::string& path, const std::string& seen) {
  throw InputError(
      fmt::format("{}: cannot tell the format of this trace: {}", path, seen),
      "give --format NAME; " + name_hint("", Registry::instance().names(TraceSource::kKind)));
}

}  // namespace

std::string guess_trace_format(const std::string& path) {
  LineReader lines(path);
  std::string_view line;
  if (!lines.next(line)) unclear(path, "it is empty");
  if (line.starts_with('[')) return "sharegpt";
  const bool json = line.starts_with('{');
  const std::vector<std::string> names = json ? json_keys(line) : csv_columns(line);
  for (const Sign& s : signs())
    if (s.json == json && has_all(names, s.names)) return s.format;
  std::string shown = fmt::format("{}", fmt::join(names, ", ")).substr(0, 200);
  unclear(path, names.empty() ? "its first line is no JSON object"
                              : fmt::format("its first line has the {} {}",
                                            json ? "keys" : "columns", printable(shown)));
}

}  // namespace kvsim
