#include "sim/state/outcome.h"
namespace kvsim {
void DurationHistogram::add(std::int64_t ns, std::int64_t weight) { count_ += weight; sum_ += static_cast<Wide>(ns) * weight; }
double DurationHistogram::mean_ns() const { return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_); }
}
