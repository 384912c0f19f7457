// Apt-Serve: each iteration is composed by what it gains per byte of memory. A request is worth the
// time since its last token (or its arrival). It may come in with keys and values, or, where hidden
// states may be kept, with these: less room, but every iteration then takes the time of projecting
// them again, which all requests that are in time wait for:
//
//   worth(hidden) = worth(kv) - requests in time * projection
//
// Candidates are hidden states, and what keys and values are worth and take beyond them; or keys
// and values alone, where hidden states are worth less per block. They are taken in the order of
// worth per block until one finds no room, which comes in alone when it is worth more than all
// before it: at least half of what the best set is worth. Whoever has missed an objective goes
// last. While those who run have waited longer in sum, nobody comes in; when blocks are short, the
// one that is worth least per block makes way.
#include <algorithm>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class AptServe final : public Scheduler {
 public:
  struct Params {
    std::optional<Duration> ttft, gap;
    bool weigh_again = true;
    static constexpr Rows kFields{
        field("ttft", &Params::ttft, any,
              "whoever has waited longer for its first token goes last; default: slo.ttft, else "
              "nobody does"),
        field("gap", &Params::gap, any,
              "the same between two tokens; default: slo.tpot, else nobody does"),
        field("weigh_again", &Params::weigh_again, any,
              "whoever runs with hidden states is weighed again before every iteration, and makes "
              "way to come in anew when they are worth less per block than keys and values (the "
              "published program); false: they stay as long as it runs")};
  };
  AptServe(Params p, const Context& c) : params_(p), rank_(c.rank) {
    if (!params_.ttft) params_.ttft = c.ttft;
    if (!params_.gap) params_.gap = c.tpot;
  }
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving,
            .ranks_running = true,
            .moves = true,
            .hears_tokens = true,
            .holds_running = params_.weigh_again,
            .chooses_form = true};
  }

  void prepare(std::span<const SchedulerRequest> waiting, Time now) override {
    note_tokens(now);
    for (Known& k : known_) k.place = kNone;
    in_time_ = 0;
    double running = 0, waits = 0;
    for (const std::uint32_t slot : running_) {
      const Duration since = now - known_[slot].last;
      running += known_[slot].decodes ? to_seconds(since) : 0;
      in_time_ += is_late(since, known_[slot].decodes) ? 0 : 1;
    }
    for (const SchedulerRequest& r : waiting) {
      const Duration since = now - of(r).last;
      waits += to_seconds(since);
      in_time_ += is_late(since, r.sampled > 0) ? 0 : 1;
    }
    if (running > waits && rank_->running() > 0) return;
    collect(waiting, now);
    choose(rank_->free_blocks());
    // Whoever it is finds room, or others then give theirs.
    if (rank_->running() == 0 && places_ == 0 && !items_.empty()) take(items_.front());
  }

  Standing standing(const SchedulerRequest& r, Time now) override {
    if (!r.running) {
      const Known& k = of(r);
      return k.place == kNone ? Standing::held() : Standing{k.place, 0};
    }
    note_tokens(now);
    const Duration since = now - of(r).last;
    const SchedulerRank::Room room = rank_->room_of(r.slot);
    const double worth = std::max(to_seconds(since), 1e-9);
    if (params_.weigh_again && room.hidden > 0 && of(r).decodes && !pays(worth, room))
      return Standing::held();
    if (is_late(since, r.sampled > 0)) return {0, 0};
    const std::int64_t blocks = room.hidden > 0 ? room.hidden : room.kv;
    return {0, -worth / static_cast<double>(std::max<std::int64_t>(1, blocks))};
  }
  bool keeps_hidden(const SchedulerRequest& r) override {
    return of(r).place != kNone && of(r).hidden;
  }

  void arrived(const SchedulerRequest& r, Time now) override {
    if (r.slot >= known_.size()) known_.resize(r.slot + 1);
    known_[r.slot] = {};
    known_[r.slot].last = r.was_admitted ? now : r.arrival;
  }
  void admitted(const SchedulerRequest& r, Time) override {
    running_.push_back(r.slot);
    of(r).decodes = false;
  }
  void served(const SchedulerRequest& r, std::int64_t) override { heard_.push_back(r.slot); }
  void preempted(const SchedulerRequest& r, Time now) override { note_tokens(now), leave(r); }
  void left(const SchedulerRequest& r) override { leave(r); }

 private:
  static constexpr std::int64_t kNone = -1;
  static constexpr double kDemoted = 1e-12;
  struct Known {
    Time last{};                 // token, or arrival
    std::int64_t place = kNone;  // among those that come in now
    bool hidden = false;         // with hidden states
    bool decodes = false;        // it has had a token since it joined the batch
  };
  // To come in with hidden states; with keys and values; with the latter when the former are taken.
  enum class Form : std::uint8_t { hidden, kv, more };
  struct Item {
    double density = 0, worth = 0;
    std::int64_t blocks = 0;
    Form form{};
    std::uint32_t slot = 0;
    Time arrival{};
    std::uint64_t index = 0;
  };

  Known& of(const SchedulerRequest& r) { return known_[r.slot]; }
  [[nodiscard]] bool is_late(Duration since, bool has_token) const {
    const std::optional<Duration>& limit = has_token ? params_.gap : params_.ttft;
    return limit && since > *limit;
  }
  void note_tokens(Time now) {
    for (const std::uint32_t slot : heard_) {
      known_[slot].last = now;
      known_[slot].decodes = true;
    }
    heard_.clear();
  }
  void leave(const SchedulerRequest& r) {
    std::erase(running_, r.slot);
    std::erase(heard_, r.slot);
  }

  void add(const SchedulerRequest& r, Form form, double worth, std::int64_t blocks) {
    const auto room = static_cast<double>(std::max<std::int64_t>(1, blocks));
    items_.push_back({worth / room, worth, blocks, form, r.slot, r.arrival, r.index});
  }
  // Its hidden states gain more per block than keys and values would.
  [[nodiscard]] bool pays(double worth, const SchedulerRank::Room& room) const {
    return (worth - price(room)) * static_cast<double>(room.kv) >=
           worth * static_cast<double>(room.hidden);
  }
  // All that are in time wait for its projections.
  [[nodiscard]] double price(const SchedulerRank::Room& room) const {
    return static_cast<double>(in_time_) * to_seconds(room.projection);
  }
  void collect(std::span<const SchedulerRequest> waiting, Time now) {
    items_.clear();
    for (const SchedulerRequest& r : waiting) {
      const SchedulerRank::Room room = rank_->room_of(r.slot);
      const Duration since = now - of(r).last;
      const double worth = std::max(to_seconds(since), kDemoted);
      const bool smaller = room.hidden > 0 && room.hidden < room.kv;
      if (is_late(since, r.sampled > 0)) {
        add(r, Form::kv, kDemoted, room.kv);
      } else if (!smaller || !pays(worth, room)) {
        add(r, Form::kv, worth, room.kv);
      } else {
        add(r, Form::hidden, worth - price(room), room.hidden);
        add(r, Form::more, price(room), room.kv - room.hidden);
      }
    }
    std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
      if (a.density != b.density) return a.density > b.density;
      if (a.arrival != b.arrival) return a.arrival < b.arrival;
      return a.index != b.index ? a.index < b.index : a.form < b.form;
    });
  }

  void take(const Item& i) {
    Known& k = known_[i.slot];
    if (k.place == kNone) k.place = places_++;
    k.hidden = i.form == Form::hidden;
  }
  void choose(std::int64_t free) {
    double sum = 0;
    std::int64_t used = 0;
    places_ = 0;
    for (const Item& i : items_) {
      if (used + i.blocks <= free) {
        take(i);
        used += i.blocks;
        sum += i.worth;
        continue;
      }
      if (i.form == Form::more || i.worth <= sum || i.blocks > free) break;
      for (Known& k : known_) k.place = kNone;
      places_ = 0;
      take(i);
      break;
    }
  }

  Params params_;
  SchedulerRank* rank_;
  std::vector<Known> known_;  // by slot
  std::vector<std::uint32_t> running_, heard_;
  std::vector<Item> items_;
  std::int64_t places_ = 0;
  std::int64_t in_time_ = 0;  // requests, when the last iteration was composed
};

const Register<AptServe> kSelf{
    "apt-serve", "most waiting ended per byte of memory; keys and values or hidden states",
    "Gao et al., Apt-Serve, SIGMOD 2025, arXiv:2504.07494; github.com/eddiegaoo/Apt-Serve"};

}  // namespace
}  // namespace kvsim
