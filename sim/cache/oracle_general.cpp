#include "sim/cache/oracle_general.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "policies/eviction/eviction.h"
#include "sim/base/diagnostics.h"
#include "sim/base/hash.h"
#include "traces/key_table.h"

namespace kvsim {

namespace {

constexpr std::size_t kRecordBytes = 24, kOpNsBytes = 3;
constexpr std::uint8_t kGet = 1;

template <class T>
T little_endian(const char* bytes) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;)
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[i]));
  return value;
}

template <class T>
void put_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<char>(value >> 8 * i & 0xff));
}

// The file's name has `sign` in it, as its end or before another dot.
bool names(const std::string& path, const std::string& sign) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const std::size_t at = name.find(sign);
  return at != std::string::npos &&
         (at + sign.size() == name.size() || name[at + sign.size()] == '.');
}

std::size_t record_bytes(const std::string& path) {
  return kRecordBytes + (names(path, ".oracleGeneralOpNS") ? kOpNsBytes : 0);
}

}  // namespace

bool is_oracle_general(const std::string& path) {
  return names(path, ".oracleGeneral") || names(path, ".oracleGeneralOpNS");
}

OracleGeneralReader::OracleGeneralReader(const std::string& path)
    : path_(path), bytes_(path), record_bytes_(record_bytes(path)), buffer_(record_bytes_ * 4096) {}

bool OracleGeneralReader::next(Record& out) {
  const auto fail = [&](const std::string& what) {
    throw InputError(fmt::format("{}: record {}: {}", path_, records_ + 1, what),
                     record_bytes_ == kRecordBytes
                         ? "expected oracleGeneral records: u32 time, u64 object, u32 size, i64 "
                           "next access, little-endian, packed"
                         : "expected oracleGeneralOpNS records: u32 time, u64 object, u32 size, u8 "
                           "operation, u16 name space, i64 next access, little-endian, packed");
  };
  if (at_ == size_) {
    at_ = size_ = 0;
    while (size_ < buffer_.size()) {
      const std::size_t n = bytes_.read(buffer_.data() + size_, buffer_.size() - size_);
      if (n == 0) break;
      size_ += n;
    }
    if (size_ == 0) return false;
  }
  if (size_ - at_ < record_bytes_)
    fail(fmt::format("the file ends after {} of {} bytes", size_ - at_, record_bytes_));
  const char* p = buffer_.data() + at_;
  const auto time = little_endian<std::uint32_t>(p);
  const auto next = static_cast<std::int64_t>(little_endian<std::uint64_t>(p + record_bytes_ - 8));
  if (time < time_) fail(fmt::format("time {} s comes after {} s", time, time_));
  // Files of libCacheSim write "never" as -1 or as the largest number.
  if (next < -1) fail(fmt::format("its next access is {}", next));
  time_ = time;
  ++records_;
  at_ += record_bytes_;
  out = {Time{std::chrono::seconds(time)}, little_endian<std::uint64_t>(p + 4)};
  return true;
}

BlockStream load_oracle_general(const std::string& path, std::uint64_t limit) {
  OracleGeneralReader reader(path);
  BlockStream out;
  KeyTable ids;
  OracleGeneralReader::Record record;
  while ((limit == 0 || out.requests() < limit) && reader.next(record)) {
    if (ids.size() >= kNoObject)
      throw InputError(path + ": more than 4294967294 distinct objects", "set a limit");
    const auto [id, is_new] = ids.insert(mix64(record.object), ids.size());
    if (is_new) out.objects.add(record.object, kNoObject);
    out.access.push_back(static_cast<ObjectId>(id));
    out.begin.push_back(out.access.size());
    out.request.push_back({record.at, 0, 0, 0});
  }
  return out;
}

std::uint64_t write_oracle_general(const BlockStream& s, const std::string& path) {
  const std::vector<std::int64_t> next = next_uses(s);
  const bool op_ns = record_bytes(path) > kRecordBytes;
  ByteSink sink(path);
  std::string bytes;
  for (std::size_t r = 0; r < s.requests(); ++r) {
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(s.request[r].arrival.time_since_epoch());
    const std::int64_t most = std::numeric_limits<std::uint32_t>::max();
    const auto time =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds.count(), 0, most));
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i) {
      put_little_endian(bytes, time);
      put_little_endian(bytes, s.objects.key[s.access[i]]);
      put_little_endian(bytes, std::uint32_t{1});
      if (op_ns) {
        put_little_endian(bytes, kGet);
        put_little_endian(bytes, std::uint16_t{0});
      }
      put_little_endian(bytes,
                        static_cast<std::uint64_t>(next[i] == kNoNextUse ? -1 : next[i] + 1));
    }
    if (bytes.size() < 1U << 16) continue;
    sink.write(bytes.data(), bytes.size());
    bytes.clear();
  }
  sink.write(bytes.data(), bytes.size());
  sink.close();
  return s.access.size();
}

}  // namespace kvsim
