#pragma once
// Runs trials on threads of this process and on the ranks of a team. What comes out does not depend
// on who ran what: a trial is a pure function of its job.
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "sim/study/team.h"
#include "sim/study/trial.h"

namespace kvsim {

struct TrialJob {
  std::size_t trial = 0;
  std::string scenario;
  std::vector<std::string> sets;
  std::optional<std::uint64_t> seed;
  bool quality = false;  // as of TrialInput
};

// Runs one job; must be safe to call from several threads. The flag asks it to end early, its
// result is then thrown away.
using RunJob = std::function<TrialResult(const TrialJob&, const std::atomic<bool>& cancelled)>;
// run_trial(); a failure of any kind is in the result.
TrialResult run_job(const TrialJob&, const std::atomic<bool>& cancelled);

struct Distribution {
  std::function<TrialJob(std::size_t trial)> job;
  // Called in the calling thread, once a trial, in order of completion.
  std::function<void(std::size_t trial, TrialResult&&)> done;
  std::function<void()> idle;  // called now and then while nothing comes
  int threads = 1;
  Team* team = nullptr;  // ranks that help
  RunJob run = run_job;
};

// Returns when each of `pending` is done. What `done` throws ends all of it and is passed on.
// Trials that were handed out and are the last without a result are handed out again, to whoever
// is idle: with a team of which ranks died, all of them come to an end as long as this one lives.
void run_trials(std::span<const std::size_t> pending, const Distribution&);

// What ranks other than 0 do: run what rank 0 hands out until it says stop. False: rank 0 did not
// answer for half a minute.
bool serve_trials(Team&, int threads, const RunJob& run = run_job);
// Tells all other ranks to stop.
void dismiss(Team&);

}  // namespace kvsim
