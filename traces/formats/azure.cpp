// Azure LLM inference traces of 2023 and 2024: when, how long, nothing about content.
#include <array>

#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/csv_record.h"

namespace kvsim {
namespace {

// Days since 1970-01-01 of a date of the Gregorian calendar (counting years from March).
constexpr std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t from_march = month > 2 ? month - 3 : month + 9;
  const std::int64_t of_year = (153 * from_march + 2) / 5 + day - 1;
  return 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719468;
}
static_assert(days_of(1970, 1, 1) == 0 && days_of(2000, 3, 1) == 11017 &&
              days_of(2024, 2, 29) == 19782);

// "2023-11-16 18:17:03.9799600" (up to nine decimals or none, a zone "+00:00" may follow) to ns
// since 1970.
std::int64_t parse_timestamp(std::string_view text) {
  const auto wrong = [&] {
    bad_value("TIMESTAMP", text, "a time such as 2023-11-16 18:17:03.9799600");
  };
  std::string_view rest = text;
  const auto digits = [&](std::size_t n) {
    std::int64_t v = 0;
    if (rest.size() < n) wrong();
    for (std::size_t i = 0; i < n; ++i) {
      if (rest[i] < '0' || rest[i] > '9') wrong();
      v = 10 * v + (rest[i] - '0');
    }
    rest.remove_prefix(n);
    return v;
  };
  const auto skip = [&](std::string_view any_of) {
    if (rest.empty() || any_of.find(rest.front()) == std::string_view::npos) wrong();
    rest.remove_prefix(1);
  };
  const std::int64_t year = digits(4);
  skip("-");
  const std::int64_t month = digits(2);
  skip("-");
  const std::int64_t day = digits(2);
  skip(" T");
  const std::int64_t hour = digits(2);
  skip(":");
  const std::int64_t minute = digits(2);
  skip(":");
  const std::int64_t second = digits(2);
  std::int64_t ns = 0;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    std::int64_t unit = 100'000'000;
    if (rest.empty() || rest.front() < '0' || rest.front() > '9') wrong();
    for (; !rest.empty() && rest.front() >= '0' && rest.front() <= '9'; unit /= 10)
      ns += unit * digits(1);
  }
  if (!rest.empty() && rest != "Z" && rest != "+00:00") wrong();
  constexpr std::array<std::int64_t, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  if (year < 1970 || year > 2199 || month < 1 || month > 12) wrong();
  const std::int64_t month_days =
      kDays[static_cast<std::size_t>(month - 1)] + (leap && month == 2 ? 1 : 0);
  if (day < 1 || day > month_days || hour > 23 || minute > 59 || second > 60) wrong();
  return ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60'000'000'000 +
         second * 1'000'000'000 + ns;
}

class Azure final : public CsvSource {
 public:
  struct Params {
    ZeroLengths zero_lengths = ZeroLengths::error;
    static constexpr Rows kFields{
        field("zero_lengths", &Params::zero_lengths, any, kZeroLengthsText)};
  };

  Azure(Params params, const Context& context)
      : CsvSource(context),
        zero_lengths_(params.zero_lengths),
        time_(column({"TIMESTAMP"})),
        input_(column({"ContextTokens"})),
        output_(column({"GeneratedTokens"})) {}

 private:
  bool parse(std::string_view line, Request& out) override {
    split(line);
    const std::int64_t at = parse_timestamp(cell(time_));
    if (!set_lengths(out, tokens(input_, 0), tokens(output_, 0), zero_lengths_, "ContextTokens",
                     "GeneratedTokens"))
      return false;
    if (!start_) start_ = at;
    if (at < *start_) bad_value("TIMESTAMP", cell(time_), "a time not before the first row's");
    out.arrival = Time{Duration{at - *start_}};
    set_unknown_content(out, hash_text("azure"), ++rows_);
    return true;
  }

  ZeroLengths zero_lengths_;
  std::size_t time_, input_, output_;
  std::optional<std::int64_t> start_;
  std::uint64_t rows_ = 0;
};

const Register<Azure> kSelf{
    "azure", "CSV with TIMESTAMP, ContextTokens, GeneratedTokens; no content, so no prefix hits",
    "Patel et al., Splitwise, ISCA 2024; github.com/Azure/AzurePublicDataset"};

}  // namespace
}  // namespace kvsim
