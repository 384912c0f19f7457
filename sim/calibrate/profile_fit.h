#pragma once
// `kvsim calibrate profile`: the roofline's efficiencies from measured operators of one layer, in
// the tables that the cost model layer-profile reads (hardware/README.md).
#include <string>
#include <vector>

#include "hardware/roofline_fit.h"
#include "models/model.h"

namespace kvsim {

// Operators of DIR/tp1 as samples, grouped by operator. Rows of a power of two tokens, so that the
// few tokens at which serving spends its time weigh as much as the many. Norms up to 64 tokens;
// attention of one kind of work a row, decodes of 16384 tokens of KV and more (fewer do not fill
// the device and cost little). The sampler is left out: the tables time a greedy choice, serving
// sorts the vocabulary. 16-bit weights. Throws InputError.
std::vector<FitSample> profile_samples(const std::string& folder, const ModelSpec&);

// Several folders, each with its model; `model` (an id) is used when meta.yaml names none that the
// catalogue has.
struct ProfileReport {
  std::vector<std::string> models;
  FitReport fit;
};
ProfileReport calibrate_profile(const std::vector<std::string>& folders, const std::string& device,
                                const std::string& model);
std::string profile_table(const ProfileReport&, const std::string& device);

}  // namespace kvsim
