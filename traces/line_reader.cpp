#include "traces/line_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "traces/record_check.h"

namespace kvsim {
namespace {
constexpr std::size_t kBuffer = 512 << 10;

bool is_blank(std::string_view s) { return s.find_first_not_of(" \t\r") == std::string_view::npos; }
}  // namespace

TextRecords::TextRecords(std::string path)
    : file_(std::make_shared<const std::string>(std::move(path))),
      source_(*file_),
      buffer_(kBuffer + kRecordPadding) {}

void TextRecords::fail(int line, const std::string& message, std::string hint) const {
  fail_at({file_, line, 0}, "", message, std::move(hint));
}

bool TextRecords::more(std::size_t keep_from, std::size_t& dropped) {
  dropped = keep_from;
  std::memmove(buffer_.data(), buffer_.data() + keep_from, size_ - keep_from);
  size_ -= keep_from;
  if (buffer_.size() - kRecordPadding - size_ < kBuffer / 2) buffer_.resize(2 * buffer_.size());
  const std::size_t n =
      source_.read(buffer_.data() + size_, buffer_.size() - kRecordPadding - size_);
  size_ += n;
  if (!begun_ &&
      n > 0) {  // the first read gives at least the mark's three bytes of any file that has one
    begun_ = true;
    if (data().substr(0, 3) == "\xef\xbb\xbf") std::memset(buffer_.data(), ' ', 3);
  }
  return n > 0;
}

bool LineReader::next(std::string_view& line) {
  std::size_t searched = at_;
  while (true) {
    const std::string_view all = data();
    const void* found = searched < all.size()
                            ? std::memchr(all.data() + searched, '\n', all.size() - searched)
                            : nullptr;
    std::size_t end = all.size();
    if (found != nullptr) {
      end = static_cast<std::size_t>(static_cast<const char*>(found) - all.data());
    } else {
      if (all.size() - at_ > kMaxRecord)
        fail(lines_ + 1, fmt::format("the line is longer than {} MiB", kMaxRecord >> 20),
             "is this a trace of this format?");
      std::size_t dropped = 0;
      searched = all.size();
      const bool got = more(at_, dropped);
      at_ -= dropped;
      searched -= dropped;
      if (got) continue;
      end = data().size();
      if (at_ == end) return false;
    }
    line = data().substr(at_, end - at_);
    if (line.size() > kMaxRecord)
      fail(lines_ + 1, fmt::format("the line is longer than {} MiB", kMaxRecord >> 20),
           "is this a trace of this format?");
    at_ = std::min(end + 1, data().size());
    searched = at_;
    line_ = ++lines_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (lines_ == 1 && line.substr(0, 3) == "   ")
      line.remove_prefix(3);  // where a byte-order mark was
    if (!is_blank(line)) return true;
  }
}

int JsonListReader::peek() {
  if (at_ == data().size()) {
    std::size_t dropped = 0;
    const bool got = more(keep_, dropped);
    at_ -= dropped;
    keep_ -= dropped;
    if (!got) return -1;
  }
  return static_cast<unsigned char>(data()[at_]);
}

bool JsonListReader::skip_space() {
  for (int c = peek(); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = peek()) {
    if (c == '\n') ++lines_;
    keep_ = ++at_;
  }
  return peek() >= 0;
}

void JsonListReader::open_list() {
  begun_ = true;
  if (!skip_space()) fail(lines_, "the file is empty", "expected a JSON list of objects");
  if (peek() != '[') fail(lines_, "expected a JSON list, '[' first");
  keep_ = ++at_;
}

bool JsonListReader::next(std::string_view& element) {
  if (done_) return false;
  const bool is_first = !begun_;
  if (is_first) open_list();
  const auto need = [&](const char* expected) {
    if (!skip_space())
      fail(lines_, fmt::format("the JSON list ends too early: expected {}", expected),
           "the file is cut off");
    return peek();
  };
  int c = need("an object or ']'");
  if (!is_first && c == ',') {
    keep_ = ++at_;
    c = need("an object");
  } else if (!is_first && c != ']') {
    fail(lines_, "expected ',' or ']' after an element of the list");
  } else if (c == ']') {
    keep_ = ++at_;
    done_ = true;
    if (skip_space()) fail(lines_, "text after the end of the JSON list");
    return false;
  }
  if (c != '{') fail(lines_, "expected an object in the list, '{' first");
  line_ = lines_;
  int depth = 0;
  bool quoted = false;
  while (true) {
    c = peek();
    if (c < 0) fail(line_, "the object that begins here is not closed", "the file is cut off");
    if (at_ - keep_ >= kMaxRecord)
      fail(line_,
           fmt::format("the object that begins here is longer than {} MiB", kMaxRecord >> 20));
    ++at_;
    if (c == '\n') ++lines_;
    if (quoted) {
      if (c == '\\') {
        if (peek() >= 0) ++at_;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      break;
    }
  }
  element = data().substr(keep_, at_ - keep_);
  keep_ = at_;
  return true;
}

}  // namespace kvsim
