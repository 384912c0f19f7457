#pragma once
// Copies of admitted requests' KV between the GPUs of one rank and host memory outside the tiers:
// preempted requests that are swapped out (vLLM before v1), layers that have no room (LayerKV).
// Copies are asked for while an iteration is planned, begin when it does, and it waits for them;
// those of requests outside the batch run beside the iterations, which may come to wait for one.
#include <cstdint>
#include <vector>

#include "sim/engine/transfers.h"
#include "sim/state/outcome.h"

namespace kvsim {

class HostCopies final : public Transfers::Listener {
 public:
  // Hears of the end of copies beside the iterations. Called between events.
  class Client {
   public:
    virtual void copy_ended(std::uint32_t slot, bool in, Time) = 0;

   protected:
    ~Client() = default;
  };
  // `blocks` of `block_bytes` (on all GPUs of the rank) fit into its share of host memory.
  HostCopies(std::int64_t blocks, std::int64_t block_bytes, TransferPath in, TransferPath out,
             Transfers&, Client&);
  // Appends a record of every copy that ends.
  void record_transfers(std::vector<TransferRecord>* to, std::uint32_t instance,
                        std::uint32_t rank) {
    records_ = to;
    instance_ = instance;
    rank_ = rank;
  }

  [[nodiscard]] std::int64_t free() const { return blocks_ - used_; }
  [[nodiscard]] std::int64_t used() const { return used_; }
  void take(std::int64_t blocks);
  void give(std::int64_t blocks);

  // Of the iteration that begins next. `layers`: so many of a sequence's take part.
  void ask_out(std::int64_t blocks, std::int64_t layers = 0);
  void ask_in(std::int64_t blocks, std::int64_t layers = 0);
  void begin(Time now);
  [[nodiscard]] bool copying() const { return under_way_ > 0; }
  // Most layers of a sequence among the copies that began last.
  [[nodiscard]] std::int64_t layers() const { return layers_; }
  // A copy of a request outside the batch; one at a time for each.
  void move(std::uint32_t slot, bool in, std::int64_t blocks, Time now);
  // It ends without being heard of, if there is one.
  void abandon(std::uint32_t slot, Time now);
  // What of it still moves belongs to the iteration that begins next, and is not heard of.
  void await(std::uint32_t slot);
  [[nodiscard]] bool moving() const { return moving_ > 0; }
  [[nodiscard]] bool moves(std::uint32_t slot) const;
  // Ends what is under way and forgets what was asked for; gives the copies that were cut off.
  std::int64_t cancel(Time now);
  // Of so many blocks out (or in), with the links for itself.
  [[nodiscard]] Duration idle_time(std::int64_t blocks) const;

  // Fills what they are in charge of.
  void report(RankTotals&) const;
  void transfer_ended(std::uint32_t job, Time at) override;

 private:
  enum Way : std::uint8_t { kOut, kIn };
  struct Copy {
    TransferPath path;
    TransferKind kind{};
    std::int64_t asked = 0, blocks = 0;  // for the next iteration, under way
    std::int64_t bytes = 0;              // of all that ended
    FlowId flow{};
    bool busy = false;
  };
  struct Move {
    bool busy = false, in = false;
    std::uint32_t slot = 0;
    std::int64_t blocks = 0;
    Time began{};
    FlowId flow{};
    bool awaited = false, counted = false;  // by an iteration; that has begun
  };
  void end(Copy&, Time at, std::int64_t bytes, bool failed);
  void end(Move&, Time at, std::int64_t bytes, bool failed);
  void record(const Copy&, Time began, Time at, std::int64_t blocks, std::int64_t bytes,
              bool failed);

  std::int64_t blocks_, block_bytes_, used_ = 0, peak_ = 0;
  std::int64_t asked_layers_ = 0, layers_ = 0;
  Copy copies_[2];
  std::vector<Move> moves_;  // places are used again
  int under_way_ = 0, moving_ = 0;
  Time began_{};
  Transfers& transfers_;
  Client& client_;
  std::uint32_t listener_;
  std::vector<TransferRecord>* records_ = nullptr;
  std::uint32_t instance_ = 0, rank_ = 0;
};

}  // namespace kvsim
