#include "sim/engine/shared_reads.h"

namespace kvsim {

void SharedReads::count(const DecodeGroup& group, const std::vector<Sequence>& sequences,
                        const KvPool& pool) {
  runs_.clear();
  for (std::size_t i = 0; i < static_cast<std::size_t>(group.size()); ++i)
    pool.runs(sequences[group.slot_at(i)].hold, runs_);
  for (const KvPool::Piece& p : runs_) {
    if (p.run >= holders_.size()) holders_.resize(p.run + 1, 0);
    ++holders_[p.run];
  }
  held_blocks_ = read_blocks_ = 0;
  for (const KvPool::Piece& p : runs_) {
    const std::uint32_t n = holders_[p.run];
    holders_[p.run] = 0;  // each run is summed up once
    if (n < 2) continue;
    held_blocks_ += n * p.blocks;
    read_blocks_ += p.blocks;
  }
}

void SharedReads::describe(const DecodeGroup& group, const std::vector<Sequence>& sequences,
                           const KvPool& pool, std::int64_t block_tokens, StepShape& out) {
  if (version_ != group.version()) {
    count(group, sequences, pool);
    version_ = group.version();
  }
  out.decode_shared_sum = held_blocks_ * block_tokens;
  out.decode_shared_read = read_blocks_ * block_tokens;
}

}  // namespace kvsim
