// libCacheSim's binary records: there and back, byte by byte, and damaged files.
#include "sim/cache/oracle_general.h"

#include <gtest/gtest.h>

#include <fstream>

#include "sim/base/diagnostics.h"
#include "tests/sim/cache/random_stream.h"
#include "tests/traces/trace_fixture.h"

namespace kvsim {
namespace {

using test::TempFile;

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(OracleGeneral, RecordsAreLaidOutAsInLibCacheSim) {
  const TempFile file("", ".oracleGeneral");
  EXPECT_EQ(write_oracle_general(test::stream_of({{0x1234, 7}, {0x1234}}), file.path()), 3U);
  const std::string hex = bytes_of(file.path());
  ASSERT_EQ(hex.size(), 72U);
  // time 0, object 0x1234, size 1, next access is record 3
  EXPECT_EQ(hex.substr(0, 24),
            std::string("\0\0\0\0\x34\x12\0\0\0\0\0\0\1\0\0\0\3\0\0\0\0\0\0\0", 24));
  EXPECT_EQ(hex.substr(24 + 16, 8), std::string(8, '\xff'));
  EXPECT_EQ(hex.substr(48, 4), std::string("\1\0\0\0", 4));  // the second request: at 1 s
}

TEST(OracleGeneral, OpNsRecordsHaveOperationAndNameSpace) {
  const TempFile file("", ".oracleGeneralOpNS");
  EXPECT_EQ(write_oracle_general(test::stream_of({{0x1234, 7}, {0x1234}}), file.path()), 3U);
  const std::string bytes = bytes_of(file.path());
  ASSERT_EQ(bytes.size(), 81U);
  // time 0, object 0x1234, size 1, get, name space 0, next access is record 3
  EXPECT_EQ(bytes.substr(0, 27),
            std::string("\0\0\0\0\x34\x12\0\0\0\0\0\0\1\0\0\0\1\0\0\3\0\0\0\0\0\0\0", 27));
  // Others' operations and name spaces read as accesses.
  std::string others = bytes;
  others[16] = 9;
  others[27 + 17] = 5;
  const TempFile read(others, ".oracleGeneralOpNS");
  EXPECT_EQ(load_oracle_general(read.path()).access, load_oracle_general(file.path()).access);
}

TEST(OracleGeneral, GivesBackWhatWasWritten) {
  Rng rng(2, "oracle");
  const BlockStream s = test::random_trie_stream(rng, 3000, 6, 200);
  for (const char* suffix : {".oracleGeneral", ".oracleGeneral.bin.zst", ".oracleGeneral.gz",
                             ".oracleGeneralOpNS", ".oracleGeneralOpNS.zst"}) {
    const TempFile file("", suffix);
    EXPECT_TRUE(is_oracle_general(file.path()));
    write_oracle_general(s, file.path());
    const BlockStream back = load_oracle_general(file.path());
    EXPECT_EQ(back.access, s.access);
    EXPECT_EQ(back.objects.key, s.objects.key);
    EXPECT_EQ(back.requests(), s.access.size());
    EXPECT_EQ(back.request.back().arrival, s.request.back().arrival);
    EXPECT_EQ(load_oracle_general(file.path(), 10).requests(), 10U);
  }
}

TEST(OracleGeneral, IsKnownByItsName) {
  EXPECT_TRUE(is_oracle_general("a/w01.oracleGeneral.bin.zst"));
  EXPECT_FALSE(is_oracle_general("a.oracleGeneral/t.jsonl"));
  EXPECT_TRUE(is_oracle_general("w01.oracleGeneralOpNS.zst"));
  EXPECT_FALSE(is_oracle_general("w01.oracleGeneralSys.zst"));
  EXPECT_FALSE(is_oracle_general("t.jsonl"));
}

void expect_refused(const std::string& bytes, const std::string& part,
                    const char* suffix = ".oracleGeneral") {
  const TempFile file(bytes, suffix);
  try {
    load_oracle_general(file.path());
    ADD_FAILURE() << "read: " << part;
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(OracleGeneral, DamagedFilesAreNamedWithTheirRecord) {
  const TempFile good("", ".oracleGeneral");
  write_oracle_general(test::stream_of({{1, 2}, {1}, {4}}), good.path());
  const std::string bytes = bytes_of(good.path());
  expect_refused(bytes.substr(0, 60), "record 3: the file ends after 12 of 24 bytes");
  expect_refused(bytes.substr(48) + bytes.substr(0, 24), "record 3: time 0 s comes after 2 s");
  expect_refused(bytes.substr(0, 60), "record 3: the file ends after 6 of 27 bytes",
                 ".oracleGeneralOpNS");
  std::string wrong = bytes;
  wrong[16 + 7] = '\x80';
  expect_refused(wrong, "record 1: its next access is -92");
  expect_refused("\x1f\x8b garbage that says it is gzip", "");
  const TempFile empty("", ".oracleGeneral");
  EXPECT_EQ(load_oracle_general(empty.path()).requests(), 0U);
  EXPECT_THROW(load_oracle_general("/nowhere/t.oracleGeneral"), InputError);
}

}  // namespace
}  // namespace kvsim
