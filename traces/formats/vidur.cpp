// Vidur traces: arrivals and lengths, or lengths only with arrivals drawn here.
#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/csv_record.h"

namespace kvsim {
namespace {

class Vidur final : public CsvSource {
 public:
  struct Params {
    std::optional<Rate> rate;
    ZeroLengths zero_lengths = ZeroLengths::error;
    static constexpr Rows kFields{
        field("rate", &Params::rate, between(Rate{1e-9}, Rate{1e9}),
              "draw Poisson arrivals at this rate; needed for files of lengths only, replaces the "
              "times of others"),
        field("zero_lengths", &Params::zero_lengths, any, kZeroLengthsText)};
  };

  Vidur(Params params, const Context& context)
      : CsvSource(context),
        params_(params),
        input_(column({"num_prefill_tokens"})),
        output_(column({"num_decode_tokens"})),
        gaps_(context.seed, "traces/vidur/arrivals") {
    if (params_.rate) return;
    if (!has_column("arrived_at"))
      file().fail("", "has no column 'arrived_at': this file holds lengths only",
                  "give the reader a rate, such as rate: 2 /s");
    time_ = column({"arrived_at"});
  }

 private:
  bool parse(std::string_view line, Request& out) override {
    split(line);
    if (!set_lengths(out, tokens(input_, 0), tokens(output_, 0), params_.zero_lengths,
                     "num_prefill_tokens", "num_decode_tokens"))
      return false;
    if (params_.rate) {
      if (rows_ > 0) now_ += gaps_.at(rows_).exponential(1.0 / params_.rate->value);
      if (now_ > kMaxSeconds) throw BadRecord{"", "arrives after more than 100 years at this rate"};
    } else {
      now_ = seconds(time_);
    }
    out.arrival = Time{duration_of_seconds(now_)};
    set_unknown_content(out, hash_text("vidur"), ++rows_);
    return true;
  }

  Params params_;
  std::size_t input_, output_, time_ = 0;
  Rng gaps_;
  double now_ = 0;
  std::uint64_t rows_ = 0;
};

const Register<Vidur> kSelf{
    "vidur",
    "CSV with arrived_at, num_prefill_tokens, num_decode_tokens, or lengths only and a rate",
    "Agrawal et al., Vidur, MLSys 2024; github.com/microsoft/vidur"};

}  // namespace
}  // namespace kvsim
