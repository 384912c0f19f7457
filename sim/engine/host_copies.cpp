#include "sim/engine/host_copies.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/base/check.h"

namespace kvsim {

HostCopies::HostCopies(std::int64_t blocks, std::int64_t block_bytes, TransferPath in,
                       TransferPath out, Transfers& transfers, Client& client)
    : blocks_(blocks),
      block_bytes_(block_bytes),
      transfers_(transfers),
      client_(client),
      listener_(transfers.add_listener(*this)) {
  copies_[kIn].path = std::move(in);
  copies_[kIn].kind = TransferKind::from_host;
  copies_[kOut].path = std::move(out);
  copies_[kOut].kind = TransferKind::to_host;
}

void HostCopies::take(std::int64_t blocks) {
  used_ += blocks;
  peak_ = std::max(peak_, used_);
  KVSIM_CHECK(used_ <= blocks_, "{} blocks are in host memory for {}", used_, blocks_);
}

void HostCopies::give(std::int64_t blocks) {
  used_ -= blocks;
  KVSIM_CHECK(used_ >= 0, "{} blocks are in host memory", used_);
}

void HostCopies::ask_out(std::int64_t blocks, std::int64_t layers) {
  copies_[kOut].asked += blocks;
  asked_layers_ = std::max(asked_layers_, layers);
}

void HostCopies::ask_in(std::int64_t blocks, std::int64_t layers) {
  copies_[kIn].asked += blocks;
  asked_layers_ = std::max(asked_layers_, layers);
}

void HostCopies::begin(Time now) {
  KVSIM_CHECK(!copying(), "copies of two iterations at {} ns", to_ns(now));
  layers_ = std::exchange(asked_layers_, 0);
  began_ = now;
  for (const Way way : {kOut, kIn}) {
    Copy& c = copies_[way];
    c.blocks = std::exchange(c.asked, 0);
    if (c.blocks == 0) continue;
    c.flow = transfers_.start(now, c.path, c.blocks * block_bytes_, listener_, way);
    c.busy = true;
    ++under_way_;
  }
  for (Move& m : moves_) {
    if (!m.busy || !m.awaited) continue;
    m.counted = true;
    ++under_way_;
  }
}

void HostCopies::end(Copy& c, Time at, std::int64_t bytes, bool failed) {
  c.busy = false;
  c.bytes += bytes;
  --under_way_;
  record(c, began_, at, c.blocks, bytes, failed);
}

void HostCopies::record(const Copy& c, Time began, Time at, std::int64_t blocks, std::int64_t bytes,
                        bool failed) {
  if (records_ == nullptr) return;
  TransferRecord r;
  r.instance = instance_;
  r.rank = rank_;
  r.kind = static_cast<std::uint8_t>(c.kind);
  r.start = began;
  r.end = at;
  r.bytes = bytes;
  r.chunks = blocks;
  r.failed = failed;
  records_->push_back(r);
}

// Jobs from kMoves on are moves_.
namespace {
constexpr std::uint32_t kMoves = 2;
}

void HostCopies::transfer_ended(std::uint32_t job, Time at) {
  if (job < kMoves) return end(copies_[job], at, copies_[job].blocks * block_bytes_, false);
  Move& m = moves_[job - kMoves];
  const Move was = m;
  end(m, at, m.blocks * block_bytes_, false);
  if (!was.awaited) client_.copy_ended(was.slot, was.in, at);
}

void HostCopies::move(std::uint32_t slot, bool in, std::int64_t blocks, Time now) {
  const auto place =
      std::find_if(moves_.begin(), moves_.end(), [](const Move& m) { return !m.busy; });
  Move& m = place != moves_.end() ? *place : moves_.emplace_back();
  const auto job = kMoves + static_cast<std::uint32_t>(&m - moves_.data());
  m = {true, in, slot, blocks, now, {}, false, false};
  ++moving_;
  m.flow =
      transfers_.start(now, copies_[in ? kIn : kOut].path, blocks * block_bytes_, listener_, job);
}

void HostCopies::end(Move& m, Time at, std::int64_t bytes, bool failed) {
  Copy& c = copies_[m.in ? kIn : kOut];
  m.busy = false;
  c.bytes += bytes;
  --moving_;
  if (m.counted) --under_way_;
  record(c, m.began, at, m.blocks, bytes, failed);
}

void HostCopies::abandon(std::uint32_t slot, Time now) {
  for (Move& m : moves_)
    if (m.busy && m.slot == slot) return end(m, now, transfers_.cancel(m.flow, now), true);
}

void HostCopies::await(std::uint32_t slot) {
  for (Move& m : moves_)
    if (m.busy && m.slot == slot) m.awaited = true;
}

bool HostCopies::moves(std::uint32_t slot) const {
  return std::any_of(moves_.begin(), moves_.end(),
                     [&](const Move& m) { return m.busy && m.slot == slot; });
}

std::int64_t HostCopies::cancel(Time now) {
  std::int64_t cut = 0;
  asked_layers_ = 0;
  for (Copy& c : copies_) {
    c.asked = 0;
    if (!c.busy) continue;
    end(c, now, transfers_.cancel(c.flow, now), true);
    ++cut;
  }
  for (Move& m : moves_) {
    if (!m.busy) continue;
    end(m, now, transfers_.cancel(m.flow, now), true);
    ++cut;
  }
  return cut;
}

Duration HostCopies::idle_time(std::int64_t blocks) const {
  const TransferPath& path = copies_[kOut].path;
  const double ns = static_cast<double>(blocks * block_bytes_) / transfers_.bandwidth(path) * 1e9;
  return path.latency + Duration{static_cast<std::int64_t>(std::ceil(std::min(ns, 1e17)))};
}

void HostCopies::report(RankTotals& t) const {
  t.to_host_bytes = copies_[kOut].bytes;
  t.from_host_bytes = copies_[kIn].bytes;
  t.peak_host_blocks = peak_;
}

}  // namespace kvsim
