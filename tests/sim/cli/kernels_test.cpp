#include <gtest/gtest.h>

#include "tests/sim/cli/cli_fixture.h"

namespace kvsim::cli_test {
namespace {

TEST(CliKernels, ChecksOnTheCpu) {
  const Result r = kvsim({"kernels", "check", "hash-blocks", "rms-norm", "--device", "cpu",
                          "--cases", "5", "--isa", "portable", "--threads", "1"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"hash-blocks", "rms-norm", "cpu portable, 1 thread"});
}

TEST(CliKernels, MistakesAreTheUsers) {
  const auto refused = [](std::vector<std::string> arguments, const std::string& what) {
    arguments.insert(arguments.begin(), "kernels");
    expect_misuse(arguments, {what});
  };
  refused({"chekc"}, "unknown action 'chekc'");
  refused({"check", "decode-atention"}, "did you mean 'decode-attention'?");
  refused({"check", "--isa", "avx1024"}, "unknown instruction set 'avx1024'");
  refused({"check", "--device", "no-such-gpu"}, "no-such-gpu");
  refused({"bench", "linear", "--shape", "{rows: x}"}, "rows");
  refused({"bench", "--shape", "{rows: 1}"}, "needs exactly one operation");
  refused({"check", "--cases", "0"}, "--cases");
  refused({"loop"}, "no scenario given");
  refused({"calibrate", "--device", "tpu"}, "unknown device 'tpu'");
}

// Columns fit a terminal whatever the devices are called.
TEST(CliKernels, CheckTableIsNarrow) {
  const Result r = kvsim({"kernels", "check", "neighbour-similarity", "quantize", "rotate",
                          "--cases", "2", "--threads", "1"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"\nrotate\n  cpu "});
  expect_width(r.out);
}

// The loader sees no driver; or, on machines without one, there is no loader.
TEST(CliKernels, NoVulkanDriverIsAnErrorOnlyWhereItIsAskedFor) {
  const std::string built = program();
  if (built.empty()) GTEST_SKIP() << "the program is not built";
  const TempFolder folder;
  const auto check = [&](const std::string& options, const char* variables = "") {
    Result r;
    r.code = shell(std::string("VK_ICD_FILENAMES=/nonexistent VK_DRIVER_FILES=/nonexistent ") +
                   variables + " '" + built + "' kernels check rms-norm --cases 2 --threads 1 " +
                   options + " > '" + (folder / "out") + "' 2> '" + (folder / "err") + "'");
    r.out = read_file(folder / "out");
    r.err = read_file(folder / "err");
    return r;
  };
  const Result asked = check("--device vulkan");
  EXPECT_EQ(asked.code, 2) << asked.out << asked.err;
  EXPECT_EQ(asked.out, "");
  expect_holds(asked.err, {"error: no Vulkan", "mesa-vulkan-drivers"});
  const Result any = check("");
  EXPECT_EQ(any.code, 0) << any.err;
  expect_holds(any.out, {"rms-norm", "cpu "});
  EXPECT_EQ(any.out.find("vulkan"), std::string::npos) << any.out;
  expect_holds(any.err, {"skipped: vulkan:", "no Vulkan"});
  const Result same = check("", "KVSIM_VULKAN_VALIDATION=0");
  EXPECT_EQ(same.err, any.err);
  if (any.err.find("the loader found no driver") == std::string::npos) return;
  // Validation asked for in the environment: the loader looks for its layer before the drivers.
  const Result checked = check("", "VK_LAYER_PATH=/nonexistent KVSIM_VULKAN_VALIDATION=1");
  EXPECT_EQ(checked.code, 0) << checked.err;
  expect_holds(checked.err, {"skipped: vulkan:", "no layer VK_LAYER_KHRONOS_validation"});
}

TEST(CliKernels, BenchPrintsARowPerShape) {
  const Result r =
      kvsim({"kernels", "bench", "linear", "--device", "cpu", "--shape",
             "{rows: 1, in_dim: 64, out_dim: 64}", "--shape", "{rows: 3, in_dim: 32, out_dim: 16}",
             "--calls", "3", "--budget", "0.05", "--threads", "1", "--json"});
  EXPECT_EQ(r.code, 0) << r.err;
  expect_holds(r.out, {"\"shape\": \"{rows: 1, in_dim: 64, out_dim: 64}\"", "\"of_bandwidth\""});
}

// Checked without a measurement; run only with one.
TEST(CliKernels, ThisMachineIsCheckedWithoutMeasuring) {
  const Result r = kvsim({"check", KVSIM_SOURCE_DIR "/scenarios/examples/this-machine.yaml"});
  EXPECT_EQ(r.code, 0) << r.err;
  TempFolder folder;
  const std::string both = folder.write("s.yaml",
                                        "kvsim: 1\nmodel: llama-3.2-1b\ndeployment: {hardware: "
                                        "l4}\ncost: {model: kernels, device: cpu}\n"
                                        "workload: {generate: {requests: 1}}\n");
  expect_holds(kvsim({"check", both}).err, {"s.yaml:3:", "cost.device already names the hardware"});
}

}  // namespace
}  // namespace kvsim::cli_test
