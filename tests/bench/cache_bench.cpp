// Speed of eviction policies: a Zipf(1.0) stream through a cache of 1 % and 30 % of its objects, on
// one thread. The answers are asserted, so that speed is never bought with another policy.
//   kvsim_cache_bench [--accesses N] [--objects N] [--policy NAME]... [--write FILE]
// --write FILE writes the stream as libCacheSim's oracleGeneral records, to time others on it.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "sim/base/check.h"
#include "sim/cache/replay.h"
#include "traces/key_table.h"

namespace kvsim {
namespace {

// Processor time: what other programs take of the machine is not counted.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Keys by popularity rank, spread over 64 bits; Zipf(1.0) by the alias of its inverse sums.
std::vector<std::uint64_t> zipf_keys(std::size_t accesses, std::size_t objects) {
  std::vector<double> sums(objects);
  double sum = 0;
  for (std::size_t k = 0; k < objects; ++k) sums[k] = sum += 1.0 / static_cast<double>(k + 1);
  // Where to begin the search for a part of the sum.
  constexpr std::size_t kGuides = 1 << 20;
  std::vector<std::uint32_t> guide(kGuides);
  for (std::size_t g = 0, k = 0; g < kGuides; ++g) {
    while (sums[k] < sum * static_cast<double>(g) / kGuides) ++k;
    guide[g] = static_cast<std::uint32_t>(k);
  }
  Rng random(1, "zipf");
  std::vector<std::uint64_t> keys(accesses);
  for (std::uint64_t& key : keys) {
    const double u = random.uniform();
    std::size_t k = guide[static_cast<std::size_t>(u * kGuides)];
    while (sums[k] < u * sum) ++k;
    key = mix64(k);
  }
  return keys;
}

BlockStream interned(const std::vector<std::uint64_t>& keys) {
  BlockStream s;
  KeyTable ids;
  s.access.reserve(keys.size());
  for (const std::uint64_t key : keys) {
    const auto [id, is_new] = ids.insert(key, ids.size());
    if (is_new) s.objects.add(key, kNoObject);
    s.access.push_back(static_cast<ObjectId>(id));
  }
  s.begin.push_back(s.access.size());
  s.request.push_back({});
  return s;
}

void write_oracle_general(const std::string& path, const BlockStream& s) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  KVSIM_CHECK(f != nullptr, "cannot write {}", path);
  const std::vector<std::int64_t> next = next_uses(s);
  for (std::size_t i = 0; i < s.access.size(); ++i) {  // u32 time, u64 id, u32 size, i64 next
    unsigned char record[24];
    const std::uint32_t time = static_cast<std::uint32_t>(i / 1000), size = 1;
    const std::uint64_t key = s.objects.key[s.access[i]];
    const std::int64_t at = next[i] == kNoNextUse ? -1 : next[i];
    std::memcpy(record, &time, 4);
    std::memcpy(record + 4, &key, 8);
    std::memcpy(record + 12, &size, 4);
    std::memcpy(record + 16, &at, 8);
    KVSIM_CHECK(std::fwrite(record, sizeof record, 1, f) == 1, "cannot write {}", path);
  }
  KVSIM_CHECK(std::fclose(f) == 0, "cannot write {}", path);
}

struct Options {
  std::size_t accesses = 20'000'000, objects = 1'000'000;
  std::vector<std::string> policies;
  std::string write;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--accesses") o.accesses = std::stoull(value);
    if (name == "--objects") o.objects = std::stoull(value);
    if (name == "--policy") o.policies.push_back(value);
    if (name == "--write") o.write = value;
  }
  if (o.policies.empty())
    for (const std::string& name : Registry::instance().names(EvictionPolicy::kKind))
      o.policies.push_back(name);
  return o;
}

// Misses of the full stream at 1 % and 30 % of 1,000,000, counted by libCacheSim aa0fc409.
const std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> kMisses{
    {"fifo", {8'994'168, 2'942'392}},    {"lru", {8'295'118, 2'487'275}},
    {"sieve", {6'777'093, 2'202'049}},   {"lfu", {6'834'380, 2'202'049}},
    {"arc", {6'793'347, 2'316'610}},     {"2q", {7'013'019, 2'408'398}},
    {"s3-fifo", {6'739'369, 2'250'124}}, {"w-tinylfu", {6'643'106, 2'185'956}}};

int run(const Options& o) {
  const std::vector<std::uint64_t> keys = zipf_keys(o.accesses, o.objects);
  double begin = processor_seconds();
  const BlockStream stream = interned(keys);
  const double intern = processor_seconds() - begin;
  const auto n = static_cast<double>(o.accesses);
  fmt::print(
      "{} accesses, Zipf(1.0) over {} objects, {} of them seen; keys to dense ids, once: "
      "{:.2f} M/s\n",
      o.accesses, o.objects, stream.objects.size(), n / intern / 1e6);
  if (!o.write.empty()) write_oracle_general(o.write, stream);
  fmt::print("{:<12} {:>9} {:>10} {:>10} {:>14}\n", "policy", "capacity", "misses", "M/s",
             "with ids M/s");
  Replay replay(stream);
  const bool standard = o.accesses == 20'000'000 && o.objects == 1'000'000;
  for (const std::string& policy : o.policies) {
    for (const std::size_t percent : {1U, 30U}) {
      replay.start(policy, Tree::map(), static_cast<std::int64_t>(o.objects * percent / 100));
      begin = processor_seconds();
      const ReplayCounts c = replay.run();
      const double seconds = processor_seconds() - begin;
      fmt::print("{:<12} {:>8}% {:>10} {:>10.2f} {:>14.2f}\n", policy, percent, c.misses(),
                 n / seconds / 1e6, n / (seconds + intern) / 1e6);
      std::fflush(stdout);
      if (const auto it = kMisses.find(policy); standard && it != kMisses.end()) {
        const std::uint64_t expected = percent == 1 ? it->second.first : it->second.second;
        KVSIM_CHECK(c.misses() == expected, "{}: {} misses, not {}", policy, c.misses(), expected);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace kvsim

int main(int argc, char** argv) { return kvsim::run(kvsim::parse(argc, argv)); }
