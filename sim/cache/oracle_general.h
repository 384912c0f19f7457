#pragma once
// libCacheSim's oracleGeneral traces: packed little-endian records of 24 bytes: u32 time in s, u64
// object, u32 size in bytes, i64 number of the next access to it (records count from 1; -1 never).
// They name objects without order or tokens, so each record is a request of one block without
// predecessor; sizes and the written next accesses are not used.
#include <cstdint>
#include <string>

#include "sim/cache/stream.h"
#include "traces/byte_source.h"

namespace kvsim {

inline constexpr const char* kOracleGeneral = "oracle-general";

// By the file's name: it has ".oracleGeneral" in it (but for OpNS, another record).
bool is_oracle_general(const std::string& path);

class OracleGeneralReader {
 public:
  struct Record {
    Time at{};
    std::uint64_t object = 0;
  };
  // Plain, gzip or zstd. Throws InputError when it cannot be opened; next() also for a cut record,
  // time that falls or a next access below -1, naming file and record.
  explicit OracleGeneralReader(const std::string& path) : path_(path), bytes_(path) {}
  bool next(Record&);

 private:
  std::string path_;
  ByteSource bytes_;
  std::uint64_t records_ = 0;
  std::uint32_t time_ = 0;
  char buffer_[24 * 4096];
  std::size_t at_ = 0, size_ = 0;
};

// Up to `limit` records (0 = all).
BlockStream load_oracle_general(const std::string& path, std::uint64_t limit = 0);
// Every access of the stream, size 1, objects named by their key; gives the number of records. Keys
// must be distinct. Compressed when the name ends in .gz or .zst.
std::uint64_t write_oracle_general(const BlockStream&, const std::string& path);

}  // namespace kvsim
