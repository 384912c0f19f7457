#pragma once
// libCacheSim's oracleGeneral traces: packed little-endian records of 24 bytes: u32 time in s, u64
// object, u32 size in bytes, i64 number of the next access to it (records count from 1; -1 never).
// In the variant OpNS, known by ".oracleGeneralOpNS" in the file's name, a u8 operation (1 = get)
// and a u16 name space stand before the next access: 27 bytes. Records name objects without order
// or tokens, so each is a request of one block without predecessor; sizes, operations, name spaces
// and the written next accesses are not used (libCacheSim, too, looks every record up by its
// object).
#include <cstdint>
#include <string>
#include <vector>

#include "sim/cache/stream.h"
#include "traces/byte_source.h"

namespace kvsim {

inline constexpr const char* kOracleGeneral = "oracle-general";

// By the file's name: it has ".oracleGeneral" or ".oracleGeneralOpNS" in it.
bool is_oracle_general(const std::string& path);

class OracleGeneralReader {
 public:
  struct Record {
    Time at{};
    std::uint64_t object = 0;
  };
  // Plain, gzip or zstd. Throws InputError when it cannot be opened; next() also for a cut record,
  // time that falls or a next access below -1, naming file and record.
  explicit OracleGeneralReader(const std::string& path);
  bool next(Record&);

 private:
  std::string path_;
  ByteSource bytes_;
  std::uint64_t records_ = 0;
  std::uint32_t time_ = 0;
  std::size_t record_bytes_;
  std::vector<char> buffer_;  // of whole records
  std::size_t at_ = 0, size_ = 0;
};

// Up to `limit` records (0 = all).
BlockStream load_oracle_general(const std::string& path, std::uint64_t limit = 0);
// Every access of the stream, size 1 (and a get in name space 0), objects named by their key; gives
// the number of records. Keys must be distinct. Compressed when the name ends in .gz or .zst.
std::uint64_t write_oracle_general(const BlockStream&, const std::string& path);

}  // namespace kvsim
