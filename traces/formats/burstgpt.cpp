// BurstGPT: 121 days of a campus service. Rows of failed requests are left out.
#include "sim/base/hash.h"
#include "sim/base/registry.h"
#include "traces/csv_record.h"

#include <unordered_map>

namespace kvsim {
namespace {

class BurstGpt final : public CsvSource {
 public:
  struct Params {
    std::string model;
    static constexpr Rows kFields{
        field("model", &Params::model, any,
              "only rows of this model, such as ChatGPT or GPT-4; empty = all")};
  };

  BurstGpt(Params params, const Context& context)
      : CsvSource(context),
        model_name_(std::move(params.model)),
        time_(column({"Timestamp"})),
        input_(column({"Request tokens"})),
        output_(column({"Response tokens"})) {
    if (!model_name_.empty()) model_ = column({"Model"});
    if (has_column("Session ID")) session_ = column({"Session ID"});
  }

 private:
  bool parse(std::string_view line, Request& out) override {
    split(line);
    const double at = seconds(time_);
    const std::int64_t answer = tokens(output_, 0);
    if (!model_name_.empty() && cell(model_) != model_name_) return false;
    if (answer == 0) {
      file().left_out("Response tokens", "is 0: a failed request, left out");
      return false;
    }
    out.prompt_tokens = tokens(input_);
    out.output_tokens = answer;
    if (first_ < 0) first_ = at;
    if (at < first_) bad_value("Timestamp", cell(time_), "a time not before the first row's");
    out.arrival = Time{duration_of_seconds(at - first_)};
    if (session_ && !cell(*session_).empty()) {
      out.session = session_of_name(cell(*session_));
      out.turn = turns_[out.session]++;
    }
    set_unknown_content(out, hash_text("burstgpt"), ++rows_);
    return true;
  }

  std::string model_name_;
  std::size_t time_, input_, output_, model_ = 0;
  std::optional<std::size_t> session_;
  double first_ = -1;
  std::uint64_t rows_ = 0;
  std::unordered_map<std::uint64_t, std::uint32_t> turns_;
};

const Register<BurstGpt> kSelf{
    "burstgpt",
    "CSV with Timestamp, Request tokens, Response tokens; rows without response are left out",
    "Wang et al., BurstGPT, KDD 2025, arXiv:2401.17644; github.com/HPMLL/BurstGPT"};

}  // namespace
}  // namespace kvsim
