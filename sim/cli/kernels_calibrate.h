#pragma once
// `kvsim kernels calibrate` and `kvsim kernels loop`.
#include <boost/program_options.hpp>
#include <string>

namespace kvsim {

int run_kernel_calibrate(const boost::program_options::variables_map&);
int run_kernel_loop_verb(const boost::program_options::variables_map&);
// A line on a terminal, drawn over the last one; end_kernel_progress() removes it.
void kernel_progress(const std::string& what);
void end_kernel_progress();

}  // namespace kvsim
