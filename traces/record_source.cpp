#include "traces/record_source.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/diagnostics.h"

namespace kvsim {

void RecordFile::fail(const std::string& field, const std::string& message,
                      std::string hint) const {
  fail_at(records_->place(), field, message, std::move(hint));
}

void RecordFile::left_out(const std::string& field, const std::string& message) {
  ++skipped_.records;
  if (skipped_.first_reason.empty())
    skipped_.first_reason = to_string(Diagnostic{records_->place(), field, message, {}});
}

void RecordFile::reordered(const std::string& message) {
  ++skipped_.reordered;
  if (skipped_.first_reason.empty())
    skipped_.first_reason = to_string(Diagnostic{records_->place(), "", message, {}});
}

std::string_view RecordFile::header() {
  std::string_view text;
  return records_->next(text) ? text : std::string_view{};
}

bool RecordFile::next(FunctionRef<bool(std::string_view)> parse) {
  std::string_view text;
  while (records_->next(text)) {
    try {
      if (!parse(text)) continue;
      ++used_;
      return true;
    } catch (const BadRecord& bad) {
      if (!lenient_)
        fail(bad.field, bad.message,
             "fix the record, or read the trace leniently to leave such records out");
      left_out(bad.field, bad.message);
    }
  }
  if (used_ == 0) {
    if (skipped_.records == 0) fail("", "the trace holds no records");
    fail("", fmt::format("all {} records of the trace were left out; first: {}", skipped_.records,
                         skipped_.first_reason));
  }
  return false;
}

ArrivalScale::ArrivalScale(double rate_scale) : scale_(rate_scale) {
  if (!(rate_scale > 0) || !std::isfinite(rate_scale))
    throw InputError(fmt::format("rate_scale: read '{}', expected a number above 0", rate_scale));
}

Time ArrivalScale::at(Duration since_start) const {
  if (scale_ == 1.0) return Time{since_start};
  const double ns = static_cast<double>(since_start.count()) / scale_;
  if (!(ns < 9e18))
    throw BadRecord{
        "", fmt::format("arrives beyond 285 years after division by the rate scale {}", scale_)};
  return Time{Duration{std::llround(ns)}};
}

Duration ArrivalOrder::checked(Duration since, RecordFile& file) {
  if (since < last_) {
    const std::string message = fmt::format("arrives at {} s, before the record of line {} ({} s)",
                                            to_seconds(since), last_line_, to_seconds(last_));
    if (!file.lenient()) file.fail("", message, "sort the trace by arrival, or read it leniently");
    file.reordered(message);
    return last_;
  }
  last_ = since;
  last_line_ = file.line();
  return since;
}

bool RecordSource::accept(std::string_view record) {
  ahead_.segments.clear();
  ahead_.session = 0;
  ahead_.turn = 0;
  ahead_.tenant = 0;
  ahead_.priority = 0;
  ahead_.arrival_fraction = 0;
  if (!parse(record, ahead_)) return false;
  const Time given = ahead_.arrival;
  ahead_.arrival = scale_.at(order_.checked(given.time_since_epoch(), file_));
  if (ahead_.arrival != given) ahead_.arrival_fraction = 0;
  return true;
}

bool RecordSource::set_lengths(Request& out, std::int64_t prompt, std::int64_t output,
                               ZeroLengths rule, const char* prompt_field,
                               const char* output_field) {
  out.prompt_tokens = std::max<std::int64_t>(prompt, 1);
  out.output_tokens = std::max<std::int64_t>(output, 1);
  if (rule == ZeroLengths::one || (prompt > 0 && output > 0)) return true;
  const char* name = prompt > 0 ? output_field : prompt_field;
  if (rule == ZeroLengths::error)
    bad_value(name, "0",
              fmt::format("a whole number of tokens from 1 to {} (parameter zero_lengths: one "
                          "takes it as 1, skip leaves it out)",
                          kMaxTokens));
  file_.left_out(name, "is 0: left out (zero_lengths: skip)");
  return false;
}

std::optional<Time> RecordSource::next_arrival() {
  if (!loaded_) {
    if (ended_ || (limit_ > 0 && delivered_ >= static_cast<std::uint64_t>(limit_)))
      return std::nullopt;
    loaded_ = file_.next([this](std::string_view record) { return accept(record); });
    ended_ = !loaded_;
    if (ended_) return std::nullopt;
  }
  return ahead_.arrival;
}

void RecordSource::pop(Request& out) {
  if (!next_arrival()) throw InputError("the trace has no further request");
  ahead_.index = delivered_++;
  std::swap(out, ahead_);
  loaded_ = false;
}

void set_unknown_content(Request& r, std::uint64_t salt, std::uint64_t record) {
  r.segments.push_back({unique_key(salt, record), r.prompt_tokens});
}

}  // namespace kvsim
