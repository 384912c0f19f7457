#include "sim/cli/doc_blocks.h"

#include <fmt/format.h>

#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/describe.h"
#include "sim/cli/entries.h"
#include "sim/cli/list.h"
#include "sim/cli/text_table.h"
#include "sim/record/schema.h"

namespace kvsim {

namespace {

constexpr std::string_view kBegin = "<!-- kvsim doc: ", kClose = " -->", kEnd = "<!-- end -->";

std::string verbs() {
  MarkdownTable t({"verb", "what it does"});
  for (const Command* c : commands()) {
    const std::string arguments = c->arguments;
    t.row({fmt::format("`kvsim {}{}{}`", c->name, arguments.empty() ? "" : " ", arguments),
           c->summary});
  }
  return t.text();
}

std::string plugins() {
  MarkdownTable t({"kind", "name", "what", "parameters", "source"});
  for (const std::string& kind : Registry::instance().kinds()) {
    // kernels/README.md and policies/token/README.md say more of them.
    if (kind == "kernel" || kind == "token-policy") continue;
    for (const PluginInfo* p : Registry::instance().of_kind(kind)) {
      std::string parameters;
      for (const ParameterRow& r : plugin_rows(*p)) {
        if (!parameters.empty()) parameters += ", ";
        parameters += "`" + r.path + "`" + (r.initial.empty() ? "" : " " + r.initial);
      }
      t.row({kind, "`" + p->name + "`", p->text, parameters, p->source});
    }
  }
  return t.text();
}

std::string_view line_at(std::string_view text, std::size_t at) {
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace

std::vector<std::string> block_names() {
  std::vector<std::string> names{"verbs", "scenario", "generate", "quality",
                                 "study", "database", "plugins"};
  for (const std::string& kind : entry_kinds()) names.push_back("list " + kind);
  return names;
}

std::string block_text(const std::string& name) {
  if (name == "verbs") return verbs();
  if (name == "scenario") return parameters_markdown(scenario_rows());
  if (name == "generate") return parameters_markdown(generator_rows());
  if (name == "quality") return parameters_markdown(quality_rows());
  if (name == "study") return parameters_markdown(study_rows());
  if (name == "database") return schema_markdown();
  if (name == "plugins") return plugins();
  if (name.starts_with("list "))
    if (const auto kind = kind_of(name.substr(5))) return markdown_of_kind(*kind);
  throw InputError("unknown block '" + name + "'", name_hint(name, block_names()));
}

Filled fill_blocks(const std::string& text, const std::string& file) {
  Filled out;
  const auto name_of_file = std::make_shared<const std::string>(file);
  int line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::string_view first = line_at(text, at);
    const std::size_t next = std::min(at + first.size() + 1, text.size());
    out.text += text.substr(at, next - at);
    at = next;
    if (!first.starts_with(kBegin) || !first.ends_with(kClose)) continue;
    const std::string name(
        first.substr(kBegin.size(), first.size() - kBegin.size() - kClose.size()));
    const auto fail = [&](const std::string& message, const std::string& hint) {
      Diagnostics d;
      d.add({name_of_file, line, 1}, "", message, hint);
      d.throw_if_any();
    };
    std::string fresh;
    try {
      fresh = block_text(name);
    } catch (const InputError& e) {
      fail(e.all()[0].message, e.all()[0].hint);
    }
    const std::size_t end = text.find("\n" + std::string(kEnd), at - 1);
    const std::size_t other = text.find("\n" + std::string(kBegin), at - 1);
    if (end == std::string::npos || other < end)
      fail("block '" + name + "' has no end", "add a line " + std::string(kEnd));
    const std::string old = text.substr(at, end + 1 - at);
    ++out.blocks;
    if (old != fresh) out.stale.push_back(name);
    out.text += fresh;
    for (const char c : old) line += c == '\n' ? 1 : 0;
    at = end + 1;
  }
  return out;
}

}  // namespace kvsim
