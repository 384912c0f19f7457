#pragma once
// Records of a text file, one after the other, with the line each begins at. The file may be
// compressed and of any size; what is in memory is one record and a buffer.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/tree.h"
#include "traces/byte_source.h"

namespace kvsim {

inline constexpr std::size_t kMaxRecord = std::size_t{64} << 20;  // bytes of one record
// Bytes that may be read behind a record (not part of it), for parsers that load whole vector
// registers.
inline constexpr std::size_t kRecordPadding = 64;

// Base of the splitters. Errors of the file itself (missing, damaged, record too long) throw
// InputError.
class TextRecords {
 public:
  explicit TextRecords(std::string path);
  virtual ~TextRecords() = default;
  TextRecords(const TextRecords&) = delete;
  TextRecords& operator=(const TextRecords&) = delete;
  // The next record, valid until the next call; false at the end.
  virtual bool next(std::string_view& record) = 0;
  // Where the record last given begins.
  [[nodiscard]] Place place() const { return {file_, line_, 0}; }

 protected:
  // Appends more of the file to the buffer; false at its end. Positions into the buffer move down
  // by `dropped`.
  bool more(std::size_t keep_from, std::size_t& dropped);
  [[noreturn]] void fail(int line, const std::string& message, std::string hint = {}) const;
  [[nodiscard]] std::string_view data() const { return {buffer_.data(), size_}; }
  int line_ = 0;

 private:
  std::shared_ptr<const std::string> file_;
  ByteSource source_;
  std::vector<char> buffer_;
  std::size_t size_ = 0;  // of the buffer in use
  bool begun_ = false;
};

// Lines, without their end ("\n" or "\r\n"; the last may lack one). A byte-order mark and blank
// lines are passed over.
class LineReader final : public TextRecords {
 public:
  using TextRecords::TextRecords;
  bool next(std::string_view& line) override;

 private:
  std::size_t at_ = 0;
  int lines_ = 0;
};

// The elements of a JSON list of objects at the top level, split by brackets and quotes only: what
// is inside an element is for a JSON parser to judge.
class JsonListReader final : public TextRecords {
 public:
  using TextRecords::TextRecords;
  bool next(std::string_view& element) override;

 private:
  int peek();  // next byte, -1 at the end
  bool skip_space();
  void open_list();
  std::size_t at_ = 0;
  std::size_t keep_ = 0;  // start of the element in work
  int lines_ = 1;
  bool begun_ = false, done_ = false;
};

}  // namespace kvsim
