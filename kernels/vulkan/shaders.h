#pragma once
// SPIR-V of shaders/*.comp, compiled by the build and embedded into the program.
#include <cstdint>
#include <span>
#include <string_view>

namespace kvsim::kernels::vulkan {

struct Shader {
  const char* name;  // file name without ending; "name.plain": the variant without subgroups
  std::span<const std::uint32_t> words;
};
std::span<const Shader> shaders();

}  // namespace kvsim::kernels::vulkan
