#include "kernels/isa.h"

#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "sim/base/fields.h"

namespace kvsim::kernels {
namespace {

TEST(Isa, EverySupportedSetCanBeForced) {
  const std::vector<Isa> all = supported_isas();
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.back(), Isa::portable);
  for (const Isa isa : all) {
    force_isa(isa);
    EXPECT_EQ(current_isa(), name_of(isa));
    EXPECT_EQ(supported_isas(), all) << "forcing must not hide the others";
  }
  force_isa(Isa::best);
  EXPECT_EQ(current_isa(), name_of(all.front()));
}

TEST(Isa, AMissingSetIsRefused) {
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    const std::vector<Isa> all = supported_isas();
    if (std::find(all.begin(), all.end(), isa) == all.end()) {
      EXPECT_THROW(force_isa(isa), InputError);
    }
  }
  EXPECT_FALSE(cpu_name().empty());
}

}  // namespace
}  // namespace kvsim::kernels
