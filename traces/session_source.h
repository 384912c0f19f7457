#pragma once
// Closed loops: sessions whose requests wait for answers to earlier ones, then for a pause
// (thinking, a tool).
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "traces/trace_source.h"

namespace kvsim {

// One request of a session. Turns form a graph without cycles: chains, or forks (sub-agents) and
// joins.
struct Turn {
  std::int64_t prompt_tokens = 0;
  std::int64_t output_tokens = 0;
  Duration pause{};  // after the last turn it waits for is over (a first turn: after the session's
                     // start)
  std::uint32_t waits_for = 0;      // how many turns name it in `then`
  std::vector<std::uint32_t> then;  // turns that wait for this one
  std::vector<Segment> segments;
  std::vector<ToolCall> calls;  // while it is served
  std::vector<Image> images;    // of the whole prompt
};

struct Session {
  std::uint64_t id = 0;  // Request::session; 0 = none
  Time start{};
  std::uint32_t tenant = 0;
  std::int32_t priority = 0;
  std::vector<Turn> turns;  // at least one

  void clear() { *this = Session{}; }
  // Turn `after` has to be over before `turn`.
  void link(std::uint32_t after, std::uint32_t turn) {
    turns[after].then.push_back(turn);
    ++turns[turn].waits_for;
  }
};

class SessionSource : public TraceSource {
 public:
  std::optional<Time> next_arrival() final;
  void pop(Request& out) final;
  void finished(std::uint64_t index, Time at) final;

 protected:
  // `at_once` > 0: that many sessions run at a time, the first ones from time 0, each next one when
  // another ends (their `start` is ignored). 0: sessions begin at `start`, which must not decrease.
  SessionSource(std::int64_t limit, std::uint64_t at_once) : limit_(limit), at_once_(at_once) {}
  // Fills the next session (cleared before); false when there are no more.
  virtual bool next_session(Session& out) = 0;
  // Fills out.segments (empty before). The default copies the turn's.
  virtual void fill_segments(const Session&, std::uint32_t turn, Request& out);

 private:
  struct Ready {
    Time at;
    std::uint64_t order;  // of becoming ready; breaks ties
    std::uint32_t slot, turn;
  };
  struct Slot {
    Session session;
    std::vector<std::uint32_t> waits;
    std::vector<Time> after;  // when the last turn waited for was over
    std::size_t left = 0;
  };
  struct InFlight {
    std::uint32_t slot, turn;
  };

  void admit();
  void begin(Time at);
  void push(Time at, std::uint32_t slot, std::uint32_t turn);
  bool load();

  std::int64_t limit_;
  std::uint64_t at_once_;
  std::uint64_t delivered_ = 0, pushed_ = 0, active_ = 0;
  std::optional<Session> pending_;
  bool ended_ = false;
  std::uint64_t begun_ = 0;     // sessions
  std::vector<Time> ended_at_;  // ends of sessions whose place was not taken yet (at_once only)
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<Ready> heap_;  // earliest first
  std::unordered_map<std::uint64_t, InFlight> in_flight_;
};

// The starts of sessions at a rate: Poisson, number i a function of the seed and i.
class PoissonStarts {
 public:
  // Throws InputError unless the rates are above 0. Arrivals come `rate_scale` times faster.
  PoissonStarts(Rate rate, double rate_scale, std::uint64_t seed, std::string_view path);
  Time next();

 private:
  double mean_gap_;
  Rng gaps_;
  std::uint64_t count_ = 0;
  double now_ = 0;
};

// `at` + `pause`. Throws InputError beyond the range of simulated time (292 years).
Time later(Time at, Duration pause);

}  // namespace kvsim
