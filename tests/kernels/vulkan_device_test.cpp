// The device layer: choice of a device, memory, recorded calls, and what is said when there is
// none.
#include "kernels/vulkan/device.h"

#include <cstdlib>
#include <numeric>

#include "kernels/vulkan/compute.h"
#include "sim/base/random.h"
#include "tests/kernels/vulkan_fixture.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// What drivers, their compiler and the layers keep is not ours.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libvulkan\nleak:libLLVM\nleak:libVkLayer\nleak:libdrm\n";
}
#endif
#endif

namespace kvsim::kernels::vulkan {
namespace {

std::string message_of(const Options& options) {
  try {
    const Device device(options);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

// Sets a variable of the environment that the loader reads, for the life of this object.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    setenv(name, value, 1);
  }
  ~Variable() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
};

TEST(VulkanAbsence, NoLoaderSaysWhatToInstall) {
  const std::string text = message_of({.loader = "libvulkan-of-nobody.so.9"});
  EXPECT_NE(text.find("no Vulkan: cannot open libvulkan-of-nobody.so.9"), std::string::npos)
      << text;
  EXPECT_NE(text.find("apt install"), std::string::npos) << text;
  EXPECT_THROW(devices({.loader = "libvulkan-of-nobody.so.9"}), InputError);
  // A library that is none.
  EXPECT_NE(message_of({.loader = "libm.so.6"}).find("is not its loader"), std::string::npos);
}

using VulkanDevice = VulkanTest;

TEST_F(VulkanDevice, NoDriverSaysWhatToInstall) {
  const Variable a("VK_ICD_FILENAMES", "/nowhere/icd.json"),
      b("VK_DRIVER_FILES", "/nowhere/icd.json");
  const std::string text = message_of({});
  EXPECT_NE(text.find("no Vulkan: the loader found no d"), std::string::npos) << text;
  EXPECT_NE(text.find("mesa-vulkan-drivers"), std::string::npos) << text;
}

TEST_F(VulkanDevice, ListsDescribeAndNamesChoose) {
  const std::vector<DeviceInfo> all = devices();
  ASSERT_FALSE(all.empty());
  for (const DeviceInfo& i : all) {
    EXPECT_FALSE(i.name.empty());
    EXPECT_EQ(i.software, i.kind == DeviceKind::cpu);
    if (!i.unusable.empty()) continue;
    EXPECT_GE(i.max_range, std::uint64_t{1} << 27);  // what Vulkan guarantees
    EXPECT_GE(i.max_shared, 16384U);
    EXPECT_GE(i.max_workgroup, 128U);
    EXPECT_GE(i.subgroup_size, 1U);
  }
  EXPECT_EQ(device().info().name, all.front().name);
  std::string part = all.front().name.substr(0, 4);
  for (char& c : part) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  EXPECT_EQ(Device({.name = part}).info().name, all.front().name);
  const std::string text = message_of({.name = "no such thing"});
  EXPECT_NE(text.find("no usable Vulkan device is called 'no such thing'"), std::string::npos);
  EXPECT_NE(text.find(all.front().name), std::string::npos) << text;
}

TEST_F(VulkanDevice, BuffersKeepTheirBytesWhateverIsFreedBetween) {
  for (Device* d : {&device(), &plain_device()}) {
    Rng rng(3, "buffers");
    std::vector<std::pair<Buffer, std::vector<std::uint32_t>>> live;
    for (int i = 0; i < 300; ++i) {
      if (live.size() > 20 || (!live.empty() && rng.below(3) == 0)) {
        const std::size_t at = rng.below(live.size());
        std::vector<std::uint32_t> back(live[at].second.size());
        live[at].first.get<std::uint32_t>(back);
        ASSERT_EQ(back, live[at].second);
        std::swap(live[at], live.back());
        live.pop_back();
        continue;
      }
      // Some need a block of their own, and several passes through staging.
      std::vector<std::uint32_t> numbers(1 + rng.below(i % 100 == 50 ? 6 << 20 : 5000));
      std::iota(numbers.begin(), numbers.end(), static_cast<std::uint32_t>(rng.next()));
      live.emplace_back(filled<std::uint32_t>(*d, numbers, "numbers"), numbers);
    }
    std::vector<std::byte> part(8);
    live[0].first.read(part, 0);
  }
}

TEST_F(VulkanDevice, TooLargeABufferIsRefusedByName) {
  const std::uint64_t limit = std::min(device().info().max_range, device().info().max_allocation);
  try {
    const Buffer b(device(), limit + 1, "the pages of the KV cache");
    FAIL();
  } catch (const InputError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("the pages of the KV cache"), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(limit)), std::string::npos) << text;
  }
}

// The merge of attention parts stands for any shader: its sum is easy.
TEST_F(VulkanDevice, RecordingsRunAgainAndTakeTime) {
  for (Device* d : {&device(), &plain_device()}) {
    const std::vector<std::uint32_t> slots{0, 2};
    const std::vector<float> stats{1, 1, 2, 3};  // log2 maxima and sums: weights 1/2 * 1 and 1 * 3
    const std::vector<float> sums{2, 4, 6, 8, 21, 21, 21, 21};
    Buffer b_slots = filled<std::uint32_t>(*d, slots, "slots"),
           b_stats = filled<float>(*d, stats, "stats"), b_sums = filled<float>(*d, sums, "sums"),
           out(*d, 16, "out");
    const std::vector<Step> steps{
        {"attention_merge", {32}, {&b_slots, &b_stats, &b_sums, &out}, {0, 1, 4}, {1, 1, 1}}};
    Recording recording(*d, steps);
    for (int i = 0; i < 3; ++i) {
      out.put<float>(std::vector<float>(4, -1));
      recording.run();
      std::vector<float> result(4);
      out.get<float>(result);
      EXPECT_EQ(result, (std::vector<float>{22 / 3.5F, 23 / 3.5F, 24 / 3.5F, 25 / 3.5F}));
      if (d->info().timestamp_bits > 0) {
        EXPECT_GT(recording.seconds(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace kvsim::kernels::vulkan
