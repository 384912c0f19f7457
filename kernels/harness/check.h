#pragma once
// Compares every twin of the operations with the reference on drawn shapes.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/operation.h"

namespace kvsim::kernels {

// A device to run on, by name, for reports: "cpu avx512, 2 threads", "vulkan llvmpipe, software".
struct NamedTarget {
  std::string name;
  Target target;
  // CPU: forced while its cases run.
  Isa isa = Isa::best;
};

struct CheckOptions {
  std::vector<std::string> operations;  // empty = all that are registered
  std::vector<Tree> shapes;             // when given: these instead of drawn ones
  std::size_t cases = 60;               // drawn per operation
  std::uint64_t seed = 1;
};

// What became of one operation on one target.
struct CheckRow {
  std::string operation, target;
  std::int64_t passed = 0, failed = 0, skipped = 0;
  double worst = 0;        // largest error as a multiple of its bound
  std::string worst_text;  // in words
  std::string worst_shape;
  std::string skipped_why;            // of the first that was skipped
  std::vector<std::string> failures;  // "shape: what is wrong", the first five
};

// Rows by operation, then target. `progress` (may be empty) hears the name of each operation before
// it runs. Throws InputError for unknown operations and shapes that break a bound.
std::vector<CheckRow> check_kernels(const CheckOptions&, const std::vector<NamedTarget>&,
                                    const std::function<void(const std::string&)>& progress);

// Makes an operation from the registry at a shape (unset parameters have their defaults). Throws
// InputError that names the operation and all that is wrong with the shape.
std::unique_ptr<Operation> make_operation(const std::string& name, const Tree& shape,
                                          const Operation::Context&);
// The shape with all its parameters, as a flow map without blanks to quote: "{batch: 1, context:
// 4096}".
std::string shape_text(const Tree&);

}  // namespace kvsim::kernels
