// kvsim quality: token policies on tensors, and on a small model's text
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"
#include "sim/cli/command.h"
#include "sim/cli/kernels_calibrate.h"
#include "sim/cli/output_path.h"
#include "sim/cli/quality_page.h"
#include "sim/run/build.h"
#include "sim/run/run_quality.h"
#include "sim/scenario/catalog.h"

namespace kvsim {

namespace {

void declare(po::options_description& o, po::positional_options_description& p) {
  o.add_options()("file", po::value<std::string>(),
                  "what to measure (also without the option's name)")(
      "set", po::value<std::vector<std::string>>()->composing(),
      "PATH=VALUE overrides one value; may be repeated")("output,o", po::value<std::string>(),
                                                         "result database (default out/<name>.db)")(
      "no-database", "write no database")("json", "print everything as JSON")(
      "device", po::value<std::string>()->default_value("cpu"),
      "cpu, vulkan, or part of a Vulkan device's name")("threads", po::value<int>(),
                                                        "default: as many as the machine has")(
      "fresh", "measure again what was measured before");
  p.add("file", 1);
}

int thread_count(const po::variables_map& v) {
  const int all = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int n = option_or(v, "threads", std::min(all, 256));
  if (n < 1 || n > 256) throw InputError("--threads: expected 1 to 256");
  return n;
}

quality::Question read_file(const std::string& path, const po::variables_map& v,
                            quality::QualityFile& file) {
  Diagnostics d;
  const Tree tree = load_mapping(path, list_option(v, "set"), d);
  d.throw_if_any();
  Reader r(d);
  read_fields(file, tree, r);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  std::optional<token::KvShape> like;
  if (!file.model.is_null()) {
    const ModelSpec model = build_model(file.model, folder, "model", d);
    if (d.empty()) like = kv_shape_of(model);
  }
  if (tree.find("quality") == nullptr)
    d.add(tree.place(), "quality", "the file does not say what to measure",
          "for example: quality: {policies: [h2o, snapkv], budgets: [50 %, 20 %]}");
  const Reader::Scope scope(r, "quality");
  quality::Question q = read_question(file.quality, folder, file.seed, like, r);
  d.throw_if_any();
  return q;
}

int run(const po::variables_map& v) {
  if (v.count("file") == 0)
    throw InputError("kvsim quality: no file given", "kvsim quality --help shows examples");
  quality::QualityFile file;
  const quality::Question question = read_file(v["file"].as<std::string>(), v, file);
  quality::MeasureOptions options;
  options.threads = thread_count(v);
  std::unique_ptr<kernels::vulkan::Device> device;
  if (const std::string name = v["device"].as<std::string>(); name != "cpu") {
    kernels::vulkan::Options wanted;
    if (name != "vulkan") wanted.name = name;
    device = std::make_unique<kernels::vulkan::Device>(wanted);
    options.vulkan = device.get();
    options.device = device->info().name;
  }
  if (const std::string folder = cache_folder(); v.count("fresh") == 0 && !folder.empty())
    options.folder = std::filesystem::path(folder) / "quality";
  options.progress = kernel_progress;
  const quality::QualityResult result = measure_quality(question, options);
  end_kernel_progress();
  fmt::print("{}",
             v.count("json") > 0 ? quality_json(file.name, result) : quality_table_text(result));
  std::fflush(stdout);
  if (v.count("no-database") > 0) return 0;
  const std::string path = option_or(v, "output", default_output(file.name, "quality"));
  if (v.count("output") == 0) std::filesystem::create_directories("out");
  write_quality_file(path, quality_rows(result));
  fmt::print(stderr, "written to {0} (kvsim report {0} draws it, kvsim query {0} @quality)\n",
             path);
  return 0;
}

}  // namespace

extern const Command kQualityCommand{
    "quality",
    "token policies on tensors or a small model: error, retained mass, recall, perplexity",
    "FILE",
    "  kvsim quality scenarios/quality/synthetic.yaml             no data needed\n"
    "  kvsim quality scenarios/quality/tiny-model.yaml --json     a real small model and its text\n"
    "  kvsim quality FILE --set quality.steps=8 --device vulkan\n"
    "  kvsim show quality                 every key; kvsim list quality-source: tensors to measure "
    "on\n"
    "  kvsim list token-policies          what can stand in quality.policies",
    declare,
    run};

}  // namespace kvsim
