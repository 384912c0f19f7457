#pragma once
// The content of a file as a stream of bytes: plain, gzip (several members) or zstd (several
// frames), recognised by its first bytes, never by its name. Memory stays bounded whatever the
// size.
#include <cstddef>
#include <memory>
#include <string>

namespace kvsim {

class ByteSource {
 public:
  // Throws InputError when the file cannot be opened or read.
  explicit ByteSource(const std::string& path);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;
  ByteSource& operator=(ByteSource&&) = delete;
  // Bytes put into `out`, at most `size`; 0 only at the end. Throws InputError for damaged or
  // cut-off compression.
  std::size_t read(char* out, std::size_t size);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where text is written: plain, gzip (name ends in .gz) or zstd (.zst). Throws InputError when it
// cannot.
class ByteSink {
 public:
  explicit ByteSink(const std::string& path);
  ~ByteSink();
  void write(const char* data, std::size_t size);
  void close();  // required: writes what is buffered and reports what failed

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsim
