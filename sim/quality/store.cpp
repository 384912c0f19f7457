#include "sim/quality/store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>

#include "sim/base/hash.h"

namespace kvsim::quality {

namespace fs = std::filesystem;

namespace {
constexpr const char* kMagic = "kvsim quality";
constexpr const char* kEnd = "end\n";  // a file without it was cut

std::optional<Measure> measure_named(const std::string& name) {
  for (const auto& [measure, text] : enum_names(Measure{}))
    if (name == text) return measure;
  return std::nullopt;
}
}  // namespace

std::string to_text(const std::string& question, const Measured& m) {
  std::string text = fmt::format("{} {} {}\n{}\n{:.17g} {:.17g} {:.17g} {}\n", kMagic,
                                 kResultVersion, question.size(), question, m.kv_bytes,
                                 m.kept_tokens, m.read_tokens, m.values.size());
  for (const Value& v : m.values) {
    std::string name;
    for (const auto& [measure, known] : enum_names(Measure{}))
      if (measure == v.measure) name = known;
    text += fmt::format("{} {} {} {} {} {:.17g}\n", name, v.statistic, v.layer, v.head, v.step,
                        v.value);
  }
  return text + kEnd;
}

std::optional<Measured> from_text(const std::string& text, const std::string& question) {
  const std::string head =
      fmt::format("{} {} {}\n{}\n", kMagic, kResultVersion, question.size(), question);
  if (text.compare(0, head.size(), head) != 0 || !text.ends_with(kEnd)) return std::nullopt;
  std::istringstream in(text.substr(head.size()));
  Measured m;
  std::size_t count = 0;
  if (!(in >> m.kv_bytes >> m.kept_tokens >> m.read_tokens >> count)) return std::nullopt;
  if (count > text.size()) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) {
    Value v;
    std::string name;
    if (!(in >> name >> v.statistic >> v.layer >> v.head >> v.step >> v.value)) return std::nullopt;
    const auto measure = measure_named(name);
    if (!measure) return std::nullopt;
    v.measure = *measure;
    m.values.push_back(std::move(v));
  }
  return m;
}

fs::path Store::file(const std::string& question) const {
  return folder_ / fmt::format("{:016x}.txt", hash_text(question));
}

std::optional<Measured> Store::find(const std::string& question) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream in(file(question), std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return from_text(text.str(), question);
}

void Store::keep(const std::string& question, const Measured& m) const {
  if (folder_.empty()) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  const fs::path path = file(question);
  static std::atomic<unsigned> count{0};  // of threads that keep the same answer at once
  const fs::path part = path.string() + fmt::format(".part-{}-{}", getpid(), count++);
  std::ofstream out(part, std::ios::binary);
  out << to_text(question, m);
  out.close();
  if (out.good()) fs::rename(part, path, error);
  if (!out.good() || error) fs::remove(part, error);
}

}  // namespace kvsim::quality
