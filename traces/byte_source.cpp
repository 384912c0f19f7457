#include "traces/byte_source.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "traces/record_check.h"

namespace kvsim {
namespace {

constexpr std::size_t kChunk = 256 << 10;  // bytes read from disk at once

struct CloseFile {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

[[noreturn]] void fail(const std::string& path, const std::string& message, std::string hint = {}) {
  fail_at({std::make_shared<const std::string>(path), 0, 0}, "", message, std::move(hint));
}

}  // namespace

struct ByteSource::Impl {
  enum class Coding { plain, gzip, zstd };
  std::string path;
  File file;
  std::vector<char> raw = std::vector<char>(kChunk);
  std::size_t begin = 0, end = 0;  // unread part of `raw`
  Coding coding = Coding::plain;
  bool inside = false;  // a gzip member or zstd frame is open
  bool first = true;    // nothing of the compressed data was decoded yet
  z_stream gzip{};
  ZSTD_DStream* zstd = nullptr;

  ~Impl() {
    if (coding == Coding::gzip) inflateEnd(&gzip);
    ZSTD_freeDStream(zstd);
  }

  bool fill() {
    if (begin < end) return true;
    begin = 0;
    errno = 0;
    end = std::fread(raw.data(), 1, raw.size(), file.get());
    if (end == 0 && std::ferror(file.get()) != 0)
      fail(path, fmt::format("cannot read: {}", std::strerror(errno)));
    return end > 0;
  }

  void open() {
    file.reset(std::fopen(path.c_str(), "rb"));
    if (!file)
      fail(path, fmt::format("cannot open: {}", std::strerror(errno)),
           "check the path of the trace");
    if (!fill()) return;
    const auto starts = [&](std::initializer_list<unsigned char> magic) {
      return end >= magic.size() && std::equal(magic.begin(), magic.end(),
                                               reinterpret_cast<const unsigned char*>(raw.data()));
    };
    if (starts({0x1f, 0x8b})) {
      if (inflateInit2(&gzip, 15 + 16) != Z_OK) fail(path, "cannot start gzip decoding");
      coding = Coding::gzip;
    } else if (starts({0x28, 0xb5, 0x2f, 0xfd})) {
      zstd = ZSTD_createDStream();
      if (zstd == nullptr) fail(path, "cannot start zstd decoding");
      coding = Coding::zstd;
    }
  }

  std::size_t read_plain(char* out, std::size_t size) {
    if (!fill()) return 0;
    const std::size_t n = std::min(size, end - begin);
    std::memcpy(out, raw.data() + begin, n);
    begin += n;
    return n;
  }

  std::size_t read_gzip(char* out, std::size_t size) {
    gzip.next_out = reinterpret_cast<Bytef*>(out);
    gzip.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1U << 30));
    const uInt wanted = gzip.avail_out;
    while (gzip.avail_out == wanted) {
      if (!fill()) {
        if (inside)
          fail(path, "the gzip data ends too early", "the file is cut off: copy it again");
        return 0;
      }
      if (!inside && !first && inflateReset(&gzip) != Z_OK)
        fail(path, "cannot restart gzip decoding");
      inside = true;
      first = false;
      gzip.next_in = reinterpret_cast<Bytef*>(raw.data() + begin);
      gzip.avail_in = static_cast<uInt>(end - begin);
      const int status = inflate(&gzip, Z_NO_FLUSH);
      begin = end - gzip.avail_in;
      if (status == Z_STREAM_END)
        inside = false;
      else if (status != Z_OK)
        fail(path,
             fmt::format("damaged gzip data: {}", gzip.msg != nullptr ? gzip.msg : zError(status)));
    }
    return wanted - gzip.avail_out;
  }

  std::size_t read_zstd(char* out, std::size_t size) {
    ZSTD_outBuffer to{out, size, 0};
    while (to.pos == 0) {
      if (!fill()) {
        if (inside)
          fail(path, "the zstd data ends too early", "the file is cut off: copy it again");
        return 0;
      }
      ZSTD_inBuffer from{raw.data() + begin, end - begin, 0};
      const std::size_t status = ZSTD_decompressStream(zstd, &to, &from);
      begin += from.pos;
      if (ZSTD_isError(status) != 0U)
        fail(path, fmt::format("damaged zstd data: {}", ZSTD_getErrorName(status)));
      inside = status != 0;
    }
    return to.pos;
  }
};

ByteSource::ByteSource(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->open();
}
ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;

std::size_t ByteSource::read(char* out, std::size_t size) {
  if (size == 0) return 0;
  switch (impl_->coding) {
    case Impl::Coding::gzip:
      return impl_->read_gzip(out, size);
    case Impl::Coding::zstd:
      return impl_->read_zstd(out, size);
    case Impl::Coding::plain:
      break;
  }
  return impl_->read_plain(out, size);
}

struct ByteSink::Impl {
  std::string path;
  File file;
  bool gzipped = false;
  z_stream gzip{};
  ZSTD_CStream* zstd = nullptr;
  std::vector<char> out = std::vector<char>(kChunk);

  ~Impl() {
    if (gzipped) deflateEnd(&gzip);
    ZSTD_freeCStream(zstd);
  }
  void put(const char* data, std::size_t size) {
    if (std::fwrite(data, 1, size, file.get()) != size)
      fail(path, fmt::format("cannot write: {}", std::strerror(errno)));
  }
  void deflate_some(const char* data, std::size_t size, bool last) {
    gzip.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data));
    gzip.avail_in = static_cast<uInt>(size);
    do {
      gzip.next_out = reinterpret_cast<Bytef*>(out.data());
      gzip.avail_out = static_cast<uInt>(out.size());
      deflate(&gzip, last ? Z_FINISH : Z_NO_FLUSH);
      put(out.data(), out.size() - gzip.avail_out);
    } while (gzip.avail_out == 0);
  }
  void zstd_some(const char* data, std::size_t size, bool last) {
    ZSTD_inBuffer from{data, size, 0};
    std::size_t left = 1;
    while (last ? left != 0 : from.pos < from.size) {
      ZSTD_outBuffer to{out.data(), out.size(), 0};
      left = ZSTD_compressStream2(zstd, &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0U)
        fail(path, fmt::format("cannot compress: {}", ZSTD_getErrorName(left)));
      put(out.data(), to.pos);
    }
  }
  void some(const char* data, std::size_t size, bool last) {
    if (gzipped)
      deflate_some(data, size, last);
    else if (zstd != nullptr)
      zstd_some(data, size, last);
    else if (size > 0)
      put(data, size);
  }
};

ByteSink::ByteSink(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->file.reset(std::fopen(path.c_str(), "wb"));
  if (!impl_->file) fail(path, fmt::format("cannot write: {}", std::strerror(errno)));
  const auto ends = [&](const std::string& s) {
    return path.size() >= s.size() && path.compare(path.size() - s.size(), s.size(), s) == 0;
  };
  if (ends(".gz")) {
    impl_->gzipped =
        deflateInit2(&impl_->gzip, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!impl_->gzipped) fail(path, "cannot start gzip coding");
  } else if (ends(".zst")) {
    impl_->zstd = ZSTD_createCStream();
    if (impl_->zstd == nullptr) fail(path, "cannot start zstd coding");
  }
}
ByteSink::~ByteSink() = default;

void ByteSink::write(const char* data, std::size_t size) {
  while (size > 0) {
    const std::size_t n = std::min<std::size_t>(size, 1U << 30);
    impl_->some(data, n, false);
    data += n;
    size -= n;
  }
}

void ByteSink::close() {
  impl_->some(nullptr, 0, true);
  std::FILE* f = impl_->file.release();
  if (std::fclose(f) != 0) fail(impl_->path, fmt::format("cannot write: {}", std::strerror(errno)));
}

}  // namespace kvsim
