#pragma once
// Where a study looks: points of the unit cube [0, 1]^k, one coordinate an axis. Pure functions of
// their arguments.
#include <cstdint>
#include <vector>

namespace kvsim {

using UnitPoint = std::vector<double>;

// Each axis is cut into n equal cells, and each cell of each axis holds one point, somewhere in it
// (McKay, Beckman, Conover 1979).
std::vector<UnitPoint> latin_hypercube(std::size_t n, std::size_t axes, std::uint64_t seed);

inline constexpr std::size_t kSobolDimensions = 32;
// The first n points of the Sobol sequence, the origin among them, with the direction numbers of
// Joe and Kuo 2008 (new-joe-kuo-6). Balanced when n is a power of two. Requires axes <=
// kSobolDimensions and n <= 2^32.
std::vector<UnitPoint> sobol_points(std::size_t n, std::size_t axes);

// Morris 1991: `trajectories` walks over a grid of `levels` (even) levels, each a random start and
// then one step along every axis in random order, axes + 1 points in a row. A step is levels / 2
// levels, 1/(2 (levels - 1)) more than half of the axis.
std::vector<UnitPoint> morris_points(std::size_t trajectories, int levels, std::size_t axes,
                                     std::uint64_t seed);

// Saltelli 2010: for each of n rows a point A, a point B, and for each axis A with that coordinate
// taken from B: axes + 2 points in a row. A and B are halves of a Sobol sequence of 2 axes
// dimensions.
std::vector<UnitPoint> saltelli_points(std::size_t n, std::size_t axes);

}  // namespace kvsim
