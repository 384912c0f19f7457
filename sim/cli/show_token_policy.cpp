#include <fmt/format.h>

#include "policies/token/compose.h"
#include "policies/token/footprint.h"
#include "policies/token/system.h"
#include "sim/cli/describe.h"
#include "sim/cli/show_entry.h"
#include "sim/cli/text_table.h"

namespace kvsim {

namespace {

// Llama-3.1-8B, bf16.
constexpr token::KvShape kShown{32, 32, 8, 128, 128, 16, 16};
constexpr std::int64_t kPrompts[] = {4096, 32768, 131072};

std::string share(double part, double whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100 * part / whole : 0);
}

std::string footprint_text(const token::FootprintModel& model) {
  TextTable table({">prompt", ">tokens kept", ">stored", ">on the GPU", ">read a step", ">fetched",
                   ">other work", ">prompt's work"});
  for (const std::int64_t n : kPrompts) {
    const double full = static_cast<double>(n) * kShown.token_bytes();
    const token::Footprint f = model.at(n, 0);
    const token::PrefillCost p = model.prefill(n);
    // Beside attention over all tokens.
    const double dense = 2.0 * static_cast<double>(n * kShown.q_heads * kShown.layers) *
                         static_cast<double>(kShown.k_dim + kShown.v_dim);
    const double extra = f.restore_flops + f.score_flops + f.index_flops + f.merge_flops +
                         f.encode_flops + f.far_flops;
    table.row({grouped(static_cast<std::uint64_t>(n)), fmt::format("{:.0f}", f.kept_tokens),
               share(f.stored.total(), full), share(f.gpu_bytes, full),
               share(f.read_bytes + f.index_bytes + f.score_bytes, full),
               share(f.fetch_bytes, full), share(extra, dense),
               share(p.flops, dense * static_cast<double>(n) / 2)});
  }
  return table.text(2);
}

Tree footprint_json(const token::FootprintModel& model) {
  Tree all = Tree::list();
  for (const std::int64_t n : kPrompts) {
    const token::Footprint f = model.at(n, 0);
    Tree row = Tree::map();
    row.set("prompt_tokens", Tree::scalar(std::to_string(n)));
    const auto number = [&](const char* key, double v) {
      row.set(key, Tree::scalar(fmt::format("{:.0f}", v)));
    };
    number("full_bytes", static_cast<double>(n) * kShown.token_bytes());
    number("kept_tokens", f.kept_tokens);
    number("stored_bytes", f.stored.total());
    number("gpu_bytes", f.gpu_bytes);
    number("host_bytes", f.host_bytes);
    number("disk_bytes", f.disk_bytes);
    number("read_bytes", f.read_bytes);
    number("index_bytes", f.index_bytes);
    number("score_bytes", f.score_bytes);
    number("fetch_bytes", f.fetch_bytes);
    all.push(std::move(row));
  }
  return all;
}

}  // namespace

Page token_policy_page(const std::string& id) {
  const token::TokenSystem& s = *token::find_token_system(id);
  Page page = plugin_page(*Registry::instance().find(token::TokenPolicies::kKind, id));
  const token::FootprintModel model(s.policies, kShown);
  const token::Traits& t = model.traits();
  page.json.set("family", json_text(s.info.family));
  page.json.set("entry", json_text(s.info.entry));
  page.json.set("shareable", Tree::scalar(t.shareable ? "true" : "false"));
  page.json.set("footprint", footprint_json(model));
  page.text +=
      "\nin a cache like that of Llama-3.1-8B (shares: of the full cache, and of its "
      "attention's arithmetic)\n" +
      footprint_text(model);
  page.text += fmt::format("\nfamily {}, entry {}\n", s.info.family, s.info.entry);
  page.text += wrapped(fmt::format("prefix {}: {}", t.shareable ? "shareable" : "not shareable",
                                   t.shareable_why),
                       kTerminalWidth, 2) +
               "\n";
  token::Surroundings around;
  around.shape = kShown;
  around.prefix_sharing = around.chunked_prefill = around.recompute = true;
  for (const token::Finding& f : token::check_composition(s.policies, around))
    if (f.rule != 1)
      page.text += wrapped(fmt::format("rule {}: {}", f.rule, f.text), kTerminalWidth, 2) + "\n";
  return page;
}

}  // namespace kvsim
