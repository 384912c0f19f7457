// The writing half of trace_tools.h.
#include <fmt/format.h>

#include "sim/base/diagnostics.h"
#include "sim/base/hash.h"
#include "traces/byte_source.h"
#include "traces/key_table.h"
#include "traces/trace_tools.h"

namespace kvsim {
namespace {

// Dense number by first appearance.
std::uint64_t number_of(std::uint64_t key, KeyTable& numbers) {
  return numbers.insert(key, numbers.size()).value;
}

using Text = fmt::memory_buffer;
template <class... A>
void append(Text& text, fmt::format_string<A...> format, A&&... values) {
  fmt::format_to(std::back_inserter(text), format, std::forward<A>(values)...);
}
std::string_view view(const Text& text) { return {text.data(), text.size()}; }

void append_ms(Text& text, Time at, bool whole) {
  const std::int64_t ns = to_ns(at);
  if (whole) return append(text, "{}", (ns + 500'000) / 1'000'000);
  append(text, "{}", ns / 1'000'000);
  if (ns % 1'000'000 != 0) append(text, ".{:06}", ns % 1'000'000);
}

// Ids of the prompt's blocks. A segment's key names everything up to the segment's end, so a block
// is named by the segment that holds its last token and by where it ends.
void append_ids(Text& text, const Request& r, std::int64_t block, KeyTable& ids) {
  std::int64_t end_of_segment = 0, end = 0;
  const auto* segment = r.segments.data();
  const auto* const last = segment + r.segments.size();
  while (end < r.prompt_tokens && segment != last) {
    const std::int64_t previous = end;
    end = std::min(end + block, r.prompt_tokens);
    while (segment != last && end_of_segment + segment->tokens < end)
      end_of_segment += (segment++)->tokens;
    if (segment == last) return;
    const std::uint64_t name = hash_combine(segment->key, static_cast<std::uint64_t>(end));
    append(text, "{}{}", previous > 0 ? "," : "", number_of(name, ids));
  }
}

}  // namespace

std::uint64_t write_mooncake(TraceSource& source, TextSink sink, const WriteOptions& options) {
  if (options.block_tokens < 1) throw InputError("block_tokens has to be 1 or more");
  KeyTable ids, sessions, images;
  Text text;
  std::uint64_t written = 0;
  for_each_request(source, options.service, [&](const Request& r) {
    text.clear();
    append(text, "{{\"timestamp\":");
    append_ms(text, r.arrival, options.whole_ms);
    append(text, ",\"input_length\":{},\"output_length\":{},\"hash_ids\":[", r.prompt_tokens,
           r.output_tokens);
    append_ids(text, r, options.block_tokens, ids);
    append(text, "]");
    if (r.session != 0) append(text, ",\"session_id\":\"s{}\"", number_of(r.session, sessions));
    if (r.priority != 0) append(text, ",\"priority\":{}", r.priority);
    if (!r.adapter.empty()) append(text, ",\"adapter\":\"{}\"", r.adapter);
    for (std::size_t i = 0; i < r.images.size(); ++i)
      append(text, "{}{},{},{}", i == 0 ? ",\"images\":[" : ",",
             number_of(r.images[i].hash, images), r.images[i].first, r.images[i].tokens);
    append(text, "{}}}\n", r.images.empty() ? "" : "]");
    sink(view(text));
    ++written;
  });
  return written;
}

std::uint64_t write_vidur(TraceSource& source, TextSink sink, const WriteOptions& options) {
  sink("arrived_at,num_prefill_tokens,num_decode_tokens\n");
  std::uint64_t written = 0;
  for_each_request(source, options.service, [&](const Request& r) {
    const std::int64_t ns = to_ns(r.arrival);
    sink(fmt::format("{}.{:09},{},{}\n", ns / 1'000'000'000, ns % 1'000'000'000, r.prompt_tokens,
                     r.output_tokens));
    ++written;
  });
  return written;
}

std::uint64_t write_azure(TraceSource& source, TextSink sink, const WriteOptions& options) {
  sink("TIMESTAMP,ContextTokens,GeneratedTokens\n");
  std::uint64_t written = 0;
  for_each_request(source, options.service, [&](const Request& r) {
    const std::int64_t ticks = (to_ns(r.arrival) + 50) / 100;  // of 100 ns
    const std::int64_t seconds = ticks / 10'000'000;
    std::int64_t day = seconds / 86400, year = 2000, month = 1;
    const auto leap = [&] { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); };
    for (; day >= (leap() ? 366 : 365); ++year) day -= leap() ? 366 : 365;
    const auto days_of_month = [&] {
      return month == 2                                              ? (leap() ? 29 : 28)
             : month == 4 || month == 6 || month == 9 || month == 11 ? 30
                                                                     : 31;
    };
    for (; day >= days_of_month(); ++month) day -= days_of_month();
    sink(fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:07},{},{}\n", year, month, day + 1,
                     seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, ticks % 10'000'000,
                     r.prompt_tokens, r.output_tokens));
    ++written;
  });
  return written;
}

std::uint64_t write_trace(TraceSource& source, const std::string& format, const std::string& path,
                          const WriteOptions& options) {
  using Write = std::uint64_t (*)(TraceSource&, TextSink, const WriteOptions&);
  const std::pair<const char*, Write> writers[] = {
      {"azure", write_azure}, {"mooncake", write_mooncake}, {"vidur", write_vidur}};
  for (const auto& [name, write] : writers) {
    if (format != name) continue;
    ByteSink out(path);
    const std::uint64_t written = write(
        source, [&](std::string_view text) { out.write(text.data(), text.size()); }, options);
    out.close();
    return written;
  }
  const std::vector<std::string> names{"azure", "mooncake", "vidur"};
  throw InputError("cannot write the trace format '" + format + "'", name_hint(format, names));
}

}  // namespace kvsim
