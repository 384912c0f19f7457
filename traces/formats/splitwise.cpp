// Traces of the Splitwise simulator: arrivals and lengths.
#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/csv_record.h"

namespace kvsim {
namespace {

class Splitwise final : public CsvSource {
 public:
  struct Params {
    ZeroLengths zero_lengths = ZeroLengths::error;
    static constexpr Rows kFields{
        field("zero_lengths", &Params::zero_lengths, any, kZeroLengthsText)};
  };

  Splitwise(Params params, const Context& context)
      : CsvSource(context),
        zero_lengths_(params.zero_lengths),
        time_(column({"arrival_timestamp"})),
        input_(column({"prompt_size"})),
        output_(column({"token_size"})) {}

 private:
  bool parse(std::string_view line, Request& out) override {
    split(line);
    out.arrival = Time{duration_of_seconds(seconds(time_))};
    if (!set_lengths(out, tokens(input_, 0), tokens(output_, 0), zero_lengths_, "prompt_size",
                     "token_size"))
      return false;
    set_unknown_content(out, hash_text("splitwise"), ++rows_);
    return true;
  }

  ZeroLengths zero_lengths_;
  std::size_t time_, input_, output_;
  std::uint64_t rows_ = 0;
};

const Register<Splitwise> kSelf{
    "splitwise", "CSV with arrival_timestamp, prompt_size, token_size",
    "Patel et al., Splitwise, ISCA 2024; github.com/Mutinifni/splitwise-sim"};

}  // namespace
}  // namespace kvsim
