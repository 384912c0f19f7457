#pragma once
// The byte-pair tokenizer of llama2.c's tokenizer.bin (SentencePiece): of all neighbouring pieces
// whose concatenation is a piece, the one with the best score merges first, the leftmost of equals.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvsim::quality {

class Tokenizer {
 public:
  static constexpr std::int32_t kBegin = 1;
  // Throws InputError for a file that is none.
  Tokenizer(const std::string& path, std::int64_t vocabulary);
  // kBegin, then the text's pieces.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;
  [[nodiscard]] const std::string& piece(std::int32_t id) const {
    return names_[static_cast<std::size_t>(id)];
  }

 private:
  bool merge(std::vector<std::string>& parts) const;
  std::map<std::string, std::pair<std::int32_t, float>, std::less<>> pieces_;
  std::vector<std::string> names_;
};

}  // namespace kvsim::quality
