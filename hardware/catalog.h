#pragma once
// What the files of hardware/catalog must satisfy beyond their fields, and the node that a bare
// device implies. Files are loaded by sim/scenario through read_fields.
#include <string>
#include <vector>

#include "hardware/node.h"
#include "hardware/storage.h"

namespace kvsim {

// Figures without a source, and figures that cannot be (zero bandwidth, no 16-bit rate, a dearer
// precision that is slower, idle power above busy power). Empty = good.
std::vector<std::string> defects(const DeviceSpec&);
std::vector<std::string> defects(const NodeSpec&);
std::vector<std::string> defects(const StorageSpec&);

// A machine of `devices` such devices with the links its catalogue file gives; host memory and
// network stay 0.
NodeSpec implied_node(const DeviceSpec&, int devices);

}  // namespace kvsim
