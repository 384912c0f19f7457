#pragma once
// Batches in flight through the stages of a pipeline (vLLM: as many as stages; Sarathi-Serve,
// arXiv:2403.02310, section 3). A stage has an even share of the layers and serves batches one
// after the other, in the order in which they were planned: batches of unequal length leave it
// idle, which is a bubble.
#include <cstdint>
#include <deque>
#include <vector>

#include "sim/engine/sequence.h"

namespace kvsim {

class StagePipeline {
 public:
  struct Batch {
    Plan plan;
    Time start{}, end{};                   // of its first stage, of its last
    std::int64_t gpu_ns = 0, step_ns = 0;  // in all stages, host overhead included in the second
    std::int64_t mapping_ns = 0;           // of step_ns
  };

  // `most`: batches in flight, of `stages` >= 1.
  StagePipeline(std::int64_t stages, std::int64_t most)
      : free_at_(static_cast<std::size_t>(stages)), most_(static_cast<std::size_t>(most)) {}

  [[nodiscard]] bool is_full() const { return batches_.size() >= most_; }
  [[nodiscard]] bool is_empty() const { return batches_.empty(); }
  [[nodiscard]] std::int64_t stages() const { return static_cast<std::int64_t>(free_at_.size()); }
  [[nodiscard]] const Batch& front() const { return batches_.front(); }

  // A batch follows those in flight; its start and end are set here. Gives it as it lies.
  Batch& enter(Batch, Time now);
  // The oldest batch is over. `covered_ns`: of its time, what no batch before it had covered; over
  // all batches that is the time with anything in flight.
  Batch leave(std::int64_t& covered_ns);

 private:
  std::vector<Time> free_at_;  // by stage: the end of its last batch
  std::size_t most_;
  std::deque<Batch> batches_;
  Time covered_to_{};
};

}  // namespace kvsim
