#include "sim/quality/tokenizer.h"

#include <fmt/format.h>

#include <limits>

#include "sim/quality/byte_reader.h"

namespace kvsim::quality {

Tokenizer::Tokenizer(const std::string& path, std::int64_t vocabulary) {
  ByteReader in(path);
  const auto longest = in.number<std::int32_t>();
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    const auto score = in.number<float>();
    const auto length = in.number<std::int32_t>();
    if (length < 0 || length > longest || length > 4096)
      in.fail("is no tokenizer.bin of llama2.c for this model's vocabulary");
    names_.push_back(in.text(static_cast<std::uint64_t>(length)));
    pieces_.emplace(names_.back(), std::pair(static_cast<std::int32_t>(i), score));
  }
  if (in.left() > 0)
    in.fail(fmt::format("holds more pieces than the model's vocabulary of {}", vocabulary));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::string> parts{" "};
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0U) == 0x80U)
      parts.back() += c;  // goes on with a UTF-8 character
    else
      parts.emplace_back(1, c);
  }
  while (merge(parts)) {
  }
  std::vector<std::int32_t> ids{kBegin};
  for (const std::string& part : parts) {
    const auto piece = pieces_.find(part);
    if (piece != pieces_.end())
      ids.push_back(piece->second.first);
    else
      for (const char c : part) ids.push_back(static_cast<unsigned char>(c) + 3);
  }
  return ids;
}

bool Tokenizer::merge(std::vector<std::string>& parts) const {
  std::size_t best = parts.size();
  float most = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    const auto piece = pieces_.find(parts[i] + parts[i + 1]);
    if (piece != pieces_.end() && piece->second.second > most)
      most = piece->second.second, best = i;
  }
  if (best == parts.size()) return false;
  parts[best] += parts[best + 1];
  parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  return true;
}

}  // namespace kvsim::quality
