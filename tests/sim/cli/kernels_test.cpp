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
