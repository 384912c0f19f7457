// Arrays as users write them, and files that lie about their lengths.
#include "sim/quality/array_file.h"

#include <gtest/gtest.h>

#include "sim/base/diagnostics.h"
#include "tests/sim/quality/file_fixture.h"

namespace kvsim::quality {
namespace {

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Npy, ReadsShapesAndNumbers) {
  const Folder f;
  const Array a = load_npy(f.write("a.npy", npy("(2, 3)", {1, 2, 3, 4, 5, 6.5})));
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(a.values, (std::vector<float>{1, 2, 3, 4, 5, 6.5}));
  EXPECT_EQ(load_npy(f.write("b.npy", npy("(3,)", {1, 2, 3}))).shape.size(), 1U);
  EXPECT_EQ(load_npy(f.write("c.npy", npy("(0, 5)", {}))).values.size(), 0U);
}

TEST(Npy, HostileFilesAreRefused) {
  const Folder f;
  const auto error = [&](const std::string& bytes) {
    const std::string path = f.write("x.npy", bytes);
    return error_of([&] { load_npy(path); });
  };
  for (const char* shape : {"(99999999999999999999, 2)", "(4294967296, 4294967296)",
                            "(1099511627776, 1099511627776, 16)", "(-1,)", "(1000000000,)",
                            "(2, 'x')", "(1,1,1,1,1,1,1,1,1,1)"})
    EXPECT_NE(error(npy(shape, {1, 2})), "no error") << shape;
  EXPECT_NE(error(npy("(2,)", {1, 2}, "<i8")).find("floating point"), std::string::npos);
  EXPECT_NE(error(npy("(3,)", {1, 2})).find("8 bytes of numbers where its shape needs 12"),
            std::string::npos);
  EXPECT_NE(error("").find("is no .npy"), std::string::npos);
  EXPECT_NE(error("\x93NUMPY\x02").find("is no .npy"), std::string::npos);
  const std::string good = npy("(2,)", {1, 2});
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_NE(error(good.substr(0, n)), "no error") << n;
  EXPECT_NE(error_of([] { load_npy("/nonexistent.npy"); }).find("cannot be read"),
            std::string::npos);
}

const std::vector<NamedTensor> kTwo{{"a", {2, 2}, {1, 2, 3, 4}}, {"b.c", {3}, {0.5, -1, 8}}};

TEST(TensorFiles, ReadEveryTypeOfBothFormats) {
  const Folder f;
  for (const char* type : {"F32", "F16", "BF16"})
    for (const std::string& bytes : {safetensors(kTwo, type), gguf({{"k", 7}}, kTwo, type)}) {
      const TensorFile file(f.write("t", bytes));
      EXPECT_EQ(file.entries().size(), 2U);
      const Array a = file.load("a");
      EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 2}));
      EXPECT_EQ(a.values, (std::vector<float>{1, 2, 3, 4}));
      EXPECT_EQ(file.load("b.c").values, (std::vector<float>{0.5, -1, 8}));
      if (file.is_gguf()) {
        EXPECT_EQ(file.numbers().at("k"), 7);
        EXPECT_EQ(file.texts().at("general.architecture"), "llama");
      }
      EXPECT_NE(error_of([&] { (void)file.load("b"); }).find("has no tensor 'b'"),
                std::string::npos);
    }
}

TEST(TensorFiles, HostileHeadersAreRefused) {
  const Folder f;
  const auto error = [&](const std::string& bytes) {
    const std::string path = f.write("x", bytes);
    return error_of([&] {
      const TensorFile file(path);
      for (const auto& [name, entry] : file.entries()) (void)file.load(name);
    });
  };
  std::string huge;
  put(huge, std::uint64_t{1} << 62);
  EXPECT_NE(error(huge + "{}"), "no error");
  const auto header = [](const std::string& json) {
    std::string out;
    put_text(out, json);
    return out + std::string(16, '\0');
  };
  for (const char* json :
       {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,17]}})",
        R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[8,0]}})",
        R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[-4,12]}})",
        R"({"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,16]}})",
        R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})",
        R"({"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}})", R"({"a":[1]})", R"({"a":)",
        R"([1])"})
    EXPECT_NE(error(header(json)), "no error") << json;
  for (const std::string& good : {safetensors(kTwo), gguf({{"k", 7}}, kTwo)})
    for (std::size_t n = 0; n < good.size(); ++n) {
      if (n + 20 >= good.size() && good[0] == 'G') continue;  // padding behind the last tensor
      EXPECT_NE(error(good.substr(0, n)), "no error") << n << " of " << good.size();
    }
  std::string many = "GGUF";
  put(many, std::uint32_t{3});
  put(many, std::uint64_t{1} << 60);
  put(many, std::uint64_t{1} << 60);
  EXPECT_NE(error(many + std::string(100, '\1')), "no error");
}

}  // namespace
}  // namespace kvsim::quality
