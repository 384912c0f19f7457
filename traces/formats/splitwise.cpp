// Traces of the Splitwise simulator: arrivals and lengths.
#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/csv_record.h"

namespace kvsim {
namespace {

class Splitwise final : public CsvSource {
 public:
  struct Params {
    bool zero_output = false;
    static constexpr std::tuple kFields{field("zero_output", &Params::zero_output, any,
                                              "take rows with token_size 0 as if they had one, instead of refusing them")};
  };

  Splitwise(Params params, const Context& context)
      : CsvSource(context),
        low_(params.zero_output ? 0 : 1),
        time_(column({"arrival_timestamp"})),
        input_(column({"prompt_size"})),
        output_(column({"token_size"})) {}

 private:
  bool parse(std::string_view line, Request& out) override {
    split(line);
    out.arrival = Time{duration_of_seconds(seconds(time_))};
    out.prompt_tokens = tokens(input_);
    out.output_tokens = std::max<std::int64_t>(1, tokens(output_, low_));
    set_unknown_content(out, hash_text("splitwise"), ++rows_);
    return true;
  }

  std::int64_t low_;
  std::size_t time_, input_, output_;
  std::uint64_t rows_ = 0;
};

const Register<Splitwise> kSelf{"splitwise", "CSV with arrival_timestamp, prompt_size, token_size",
                                "Patel et al., Splitwise, ISCA 2024; github.com/Mutinifni/splitwise-sim"};

}  // namespace
}  // namespace kvsim
