// kvsim plan
#include <fmt/format.h>
#include <unistd.h>

#include <thread>

#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/describe.h"
#include "sim/cli/plan_report.h"
#include "sim/study/plan.h"

namespace kvsim {

namespace {

void declare_plan(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("plan", po::value<std::string>(), "plan file (also without the option's name)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "PATH=VALUE overrides one value of every scenario; may be repeated")(
      "exhaustive", "then run everything else too, and compare: exit code 3 when it disagrees")(
      "all", "show every candidate and every evaluation")("json", "print everything as JSON")(
      "threads", po::value<int>(), "runs at a time (default: all cores); the result is the same")(
      "keys", "print the keys of a plan file");
  p.add("plan", 1);
}

PlanOptions options_of(const po::variables_map& v) {
  PlanOptions options;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  options.threads = option_or(v, "threads", std::max(cores, 1));
  if (options.threads < 1 || options.threads > 1024)
    throw InputError(
        fmt::format("kvsim plan: --threads {} is out of bounds: 1 to 1024", options.threads));
  options.exhaustive = v.count("exhaustive") > 0;
  if (isatty(STDERR_FILENO) == 1)
    options.progress = [](std::size_t done, std::size_t all) {
      fmt::print(stderr, "\r\033[K{} evaluations{}", done,
                 all > 0 ? fmt::format(" of {}", all) : "");
    };
  return options;
}

int run_plan_command(const po::variables_map& v) {
  if (v.count("keys") > 0) {
    const Tree defaults = write_fields(PlanSpec{});
    fmt::print("{}", parameters_text(parameter_rows(describe_fields<PlanSpec>(), &defaults)));
    return 0;
  }
  if (v.count("plan") == 0)
    throw InputError("kvsim plan: no plan file given", "kvsim plan --help shows examples");
  const PlanFile plan = load_plan(v["plan"].as<std::string>(), list_option(v, "set"));
  const PlanOptions options = options_of(v);
  const PlanResult result = run_plan(plan, options);
  if (options.progress) fmt::print(stderr, "\r\033[K");
  fmt::print("{}",
             v.count("json") > 0 ? plan_json(result) : plan_text(result, {v.count("all") > 0}));
  const bool agrees = !result.exhaustive || result.exhaustive->agrees;
  return result.answer && agrees && result.bound_holds ? 0 : 3;
}

}  // namespace

extern const Command kPlanCommand{
    "plan",
    "find the cheapest deployment, or the highest rate, that meets objectives",
    "PLAN",
    "  kvsim plan scenarios/studies/plan-chat.yaml                 a few seconds\n"
    "  kvsim plan scenarios/studies/plan-chat.yaml --exhaustive    confirm by running everything\n"
    "  kvsim plan scenarios/studies/plan-chat.yaml --all --set workload.limit=200\n"
    "  kvsim plan scenarios/studies/plan-conversation.yaml --json\n"
    "  kvsim plan --keys                                           what a plan file may say",
    declare_plan,
    run_plan_command};

}  // namespace kvsim
