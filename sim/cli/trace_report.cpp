#include "sim/cli/trace_report.h"

#include <fmt/format.h>

#include "sim/base/tree.h"
#include "sim/cli/text_table.h"
#include "sim/record/render.h"

namespace kvsim {

namespace {

std::string share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? "none"
                    : fmt::format("{} of {} ({:.2f} %)", grouped(part), grouped(whole),
                                  100 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string duration_text(double seconds) {
  if (seconds < 600) return fmt::format("{:.1f} s", seconds);
  if (seconds < 2 * 86400) return fmt::format("{:.1f} s ({:.2f} h)", seconds, seconds / 3600);
  return fmt::format("{:.0f} s ({:.1f} days)", seconds, seconds / 86400);
}

std::string lengths_text(const LengthStats& s) {
  return fmt::format("mean {:.1f}, p50 {}, p90 {}, p99 {}, max {}", s.mean, s.p50, s.p90, s.p99,
                     s.max);
}

}  // namespace

std::string trace_info_text(const std::string& file, const std::string& format, bool guessed,
                            const TraceInfo& i) {
  TextTable t({"", ""});
  t.row({"trace", printable(file)});
  t.row({"format", format + (guessed ? " (seen from its first line)" : "")});
  t.row({"requests", fmt::format("{} in {}", grouped(i.requests),
                                 duration_text(static_cast<double>(i.span.count()) / 1e9))});
  t.row({"rate",
         fmt::format("{:.4g} requests/s, gaps with deviation / mean {:.2f}", i.rate, i.gap_cv)});
  t.row({"input tokens", fmt::format("{}; {}", grouped(static_cast<std::uint64_t>(i.prompt_tokens)),
                                     lengths_text(i.input))});
  t.row(
      {"output tokens", fmt::format("{}; {}", grouped(static_cast<std::uint64_t>(i.output_tokens)),
                                    lengths_text(i.output))});
  t.row({"sessions", fmt::format("{}, tenants {}", grouped(i.sessions), grouped(i.tenants))});
  t.row({"segments",
         fmt::format("{} in prompts, {} different (blocks, where the trace has block hashes)",
                     grouped(i.segments), grouped(i.distinct_segments))});
  t.row({"prefix hits",
         share(i.hit_segments, i.segments) + " segments: hits of an unbounded prefix cache"});
  t.row({"", share(static_cast<std::uint64_t>(i.hit_tokens),
                   static_cast<std::uint64_t>(i.prompt_tokens)) +
                 " input tokens"});
  t.row({"", share(i.requests_with_hit, i.requests) + " requests have a hit"});
  if (i.skipped.records > 0)
    t.row({"left out", fmt::format("{} records; first: {}", i.skipped.records,
                                   printable(i.skipped.first_reason))});
  if (i.skipped.reordered > 0)
    t.row({"moved",
           fmt::format("{} arrivals that came before their predecessor", i.skipped.reordered)});
  return t.text();
}

std::string trace_info_json(const std::string& file, const std::string& format,
                            const TraceInfo& i) {
  const auto lengths = [](const LengthStats& s) {
    return fmt::format("{{\"mean\": {}, \"p50\": {}, \"p90\": {}, \"p99\": {}, \"max\": {}}}",
                       s.mean, s.p50, s.p90, s.p99, s.max);
  };
  return fmt::format(
      "{{\"file\": {}, \"format\": {}, \"requests\": {}, \"span_s\": {}, \"rate_per_s\": {}, "
      "\"gap_cv\": {},\n"
      " \"input_tokens\": {}, \"output_tokens\": {},\n"
      " \"input_lengths\": {}, \"output_lengths\": {},\n"
      " \"sessions\": {}, \"tenants\": {}, \"segments\": {}, \"distinct_segments\": {}, "
      "\"hit_segments\": {}, \"hit_tokens\": {},\n"
      " \"requests_with_hit\": {}, \"skipped\": {}, \"reordered\": {}}}\n",
      json_string(printable(file)), json_string(format), i.requests,
      static_cast<double>(i.span.count()) / 1e9, i.rate, i.gap_cv, i.prompt_tokens, i.output_tokens,
      lengths(i.input), lengths(i.output), i.sessions, i.tenants, i.segments, i.distinct_segments,
      i.hit_segments, i.hit_tokens, i.requests_with_hit, i.skipped.records, i.skipped.reordered);
}

}  // namespace kvsim
