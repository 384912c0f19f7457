#include "sim/study/wire.h"

#include <cstring>

namespace kvsim {
namespace {

class Out {
 public:
  void number(std::uint64_t v) { raw(&v, sizeof v); }
  void real(double v) { raw(&v, sizeof v); }
  void text(std::string_view t) {
    number(t.size());
    raw(t.data(), t.size());
  }
  std::string bytes;

 private:
  void raw(const void* p, std::size_t n) { bytes.append(static_cast<const char*>(p), n); }
};

class In {
 public:
  explicit In(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number() { return raw<std::uint64_t>(); }
  double real() { return raw<double>(); }
  std::string text() {
    const std::uint64_t n = number();
    if (n > rest_.size()) {
      good_ = false;
      return {};
    }
    std::string t(rest_.substr(0, n));
    rest_.remove_prefix(n);
    return t;
  }
  // A number of things to come; 0 when there are not that many bytes.
  std::size_t length() {
    const std::uint64_t n = number();
    good_ = good_ && n <= rest_.size();
    return good_ ? n : 0;
  }
  [[nodiscard]] bool is_good_end() const { return good_ && rest_.empty(); }

 private:
  template <class T>
  T raw() {
    T v{};
    if (rest_.size() < sizeof v) {
      good_ = false;
      return v;
    }
    std::memcpy(&v, rest_.data(), sizeof v);
    rest_.remove_prefix(sizeof v);
    return v;
  }
  std::string_view rest_;
  bool good_ = true;
};

bool travels(const Metric& m) { return m.scope == "run" || m.scope == "no-offload"; }

void put(Out& out, const TrialResult& r) {
  out.text(r.error);
  out.text(r.scenario_digest);
  out.text(r.event_digest);
  std::size_t n = 0;
  for (const Metric& m : r.metrics) n += travels(m) ? 1 : 0;
  out.number(n);
  for (const Metric& m : r.metrics) {
    if (!travels(m)) continue;
    for (const std::string* t : {&m.scope, &m.name, &m.statistic, &m.unit}) out.text(*t);
    out.real(m.value);
  }
}

void get(In& in, TrialResult& r) {
  r.error = in.text();
  r.scenario_digest = in.text();
  r.event_digest = in.text();
  r.metrics.resize(in.length());
  for (Metric& m : r.metrics) {
    for (std::string* t : {&m.scope, &m.name, &m.statistic, &m.unit}) *t = in.text();
    m.value = in.real();
  }
}

void put(Out& out, const TrialJob& j) {
  out.number(j.trial);
  out.text(j.scenario);
  out.number(j.sets.size());
  for (const std::string& s : j.sets) out.text(s);
  out.number(j.seed ? 1 : 0);
  out.number(j.seed.value_or(0));
  out.number(j.quality ? 1 : 0);
}

void get(In& in, TrialJob& j) {
  j.trial = in.number();
  j.scenario = in.text();
  j.sets.resize(in.length());
  for (std::string& s : j.sets) s = in.text();
  const bool has_seed = in.number() != 0;
  const std::uint64_t seed = in.number();
  if (has_seed) j.seed = seed;
  j.quality = in.number() != 0;
}

}  // namespace

std::string pack(const Message& m) {
  Out out;
  out.number(static_cast<std::uint64_t>(m.kind));
  out.number(m.slots);
  out.number(m.jobs.size());
  for (const TrialJob& j : m.jobs) put(out, j);
  out.number(m.trial);
  put(out, m.result);
  return std::move(out.bytes);
}

std::optional<Message> unpack(std::string_view bytes) {
  In in(bytes);
  Message m;
  const std::uint64_t kind = in.number();
  m.kind = static_cast<Message::Kind>(kind);
  m.slots = static_cast<std::uint32_t>(in.number());
  m.jobs.resize(in.length());
  for (TrialJob& j : m.jobs) get(in, j);
  m.trial = in.number();
  get(in, m.result);
  const bool known = kind == 'a' || kind == 'r' || kind == 'j' || kind == 's';
  return known && in.is_good_end() ? std::optional(std::move(m)) : std::nullopt;
}

}  // namespace kvsim
