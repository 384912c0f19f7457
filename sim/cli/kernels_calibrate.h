#pragma once
// `kvsim kernels calibrate` and `kvsim kernels loop`.
#include <boost/program_options.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/record/writer.h"
#include "sim/run/build.h"

namespace kvsim {

int run_kernel_calibrate(const boost::program_options::variables_map&);
int run_kernel_loop_verb(const boost::program_options::variables_map&);
// Where profiles of this machine are kept: cache_folder(). Throws InputError when there is none.
std::filesystem::path profile_folder();
// Measures what profiles lack, with progress on a terminal; adds to `timings`, which must outlive
// it.
ThisMachine measured_machine(std::vector<KernelTiming>& timings);
// A line on a terminal, drawn over the last one; end_kernel_progress() removes it.
void kernel_progress(const std::string& what);
void end_kernel_progress();

}  // namespace kvsim
