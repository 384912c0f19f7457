#pragma once
// What the readers of open-loop traces share: strict or lenient treatment of broken records, order,
// rate and limit.
#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "traces/json_record.h"
#include "traces/line_reader.h"
#include "traces/record_check.h"
#include "traces/trace_source.h"

namespace kvsim {

// Goes through the records of a file. In strict mode the first broken one ends the run, in lenient
// mode it is counted.
class RecordFile {
 public:
  RecordFile(std::unique_ptr<TextRecords> records, const TraceSource::Context& context)
      : records_(std::move(records)), lenient_(context.lenient) {}
  // Next record for which parse(text) is true (false leaves it out by a rule of the format); false
  // at the end. A file that holds no usable record throws InputError.
  bool next(FunctionRef<bool(std::string_view)> parse);
  // The header line of a CSV file, or "" when the file is empty.
  std::string_view header();
  [[noreturn]] void fail(const std::string& field, const std::string& message,
                         std::string hint = {}) const;
  void left_out(const std::string& field, const std::string& message);
  void reordered(const std::string& message);
  [[nodiscard]] const TraceSource::Skipped& skipped() const { return skipped_; }
  [[nodiscard]] bool lenient() const { return lenient_; }
  [[nodiscard]] int line() const { return records_->place().line; }

 private:
  std::unique_ptr<TextRecords> records_;
  bool lenient_;
  std::uint64_t used_ = 0;
  TraceSource::Skipped skipped_;
};

// Arrival on the simulated clock of `since_start` in the trace. Throws InputError for a bad scale.
class ArrivalScale {
 public:
  explicit ArrivalScale(double rate_scale);
  [[nodiscard]] Time at(Duration since_start) const;  // BadRecord on overflow

 private:
  double scale_;
};

// Arrivals of a file must not decrease: an error in strict mode, moved up and counted in lenient
// mode.
class ArrivalOrder {
 public:
  Duration checked(Duration since_start, RecordFile&);

 private:
  Duration last_{};
  int last_line_ = 0;
};

// What to do with a request whose prompt or output has no tokens. Real traces hold some: cancelled
// or refused ones.
enum class ZeroLengths : std::uint8_t { error, one, skip };
constexpr auto enum_names(ZeroLengths) {
  return std::array{std::pair{ZeroLengths::error, "error"}, std::pair{ZeroLengths::one, "one"},
                    std::pair{ZeroLengths::skip, "skip"}};
}
inline constexpr const char* kZeroLengthsText =
    "requests without prompt or output tokens: refuse them, take 0 as 1, or leave them out";

// A trace whose requests come at the times written in it, whatever happens to them.
class RecordSource : public TraceSource {
 public:
  std::optional<Time> next_arrival() final;
  void pop(Request& out) final;
  [[nodiscard]] Skipped skipped() const final { return file_.skipped(); }

 protected:
  explicit RecordSource(const Context& context)
      : RecordSource(std::make_unique<LineReader>(context.path), context) {}
  RecordSource(std::unique_ptr<TextRecords> records, const Context& context)
      : file_(std::move(records), context), scale_(context.rate_scale), limit_(context.limit) {}
  // Fills everything but `index`; `out` holds defaults except that `segments` is empty with
  // capacity. `arrival` is unscaled. False leaves the record out (the reader has called
  // file().left_out). Throws BadRecord.
  virtual bool parse(std::string_view record, Request& out) = 0;
  [[nodiscard]] RecordFile& file() { return file_; }
  // Sets the lengths (0 or more), as the rule says; false when the record is to be left out.
  bool set_lengths(Request&, std::int64_t prompt, std::int64_t output, ZeroLengths,
                   const char* prompt_field, const char* output_field);

 private:
  bool accept(std::string_view record);
  RecordFile file_;
  ArrivalScale scale_;
  std::int64_t limit_;
  std::uint64_t delivered_ = 0;
  bool loaded_ = false, ended_ = false;
  Request ahead_;
  ArrivalOrder order_;
};

// One segment of content that nobody else has, for traces that say nothing about content.
void set_unknown_content(Request&, std::uint64_t salt, std::uint64_t record);

}  // namespace kvsim
