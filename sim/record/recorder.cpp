#include "sim/record/recorder.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"
#include "sim/record/publish.h"
#include "sim/record/schema.h"

namespace kvsim {
namespace {

namespace fs = std::filesystem;

// Rows of one transaction: about 2 MB, enough to make its fixed cost vanish.
constexpr std::int64_t kBatchRows = 8192;

// A file that a dead process left can be locked; that of a living one cannot.
void clear_stale(const std::string& unfinished) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(unfinished, error))) return;
  if (Database::in_use(unfinished))
    throw InputError(fmt::format("{}: another run is writing it", unfinished),
                     "wait for that run, or write elsewhere with -o");
  remove_quietly(unfinished + "-journal");
  remove_quietly(unfinished);
}

}  // namespace

Recorder::Recorder(std::string path, const RunHeader& header)
    : path_(std::move(path)), unfinished_(path_ + ".unfinished") {
  if (path_.empty()) throw InputError("the result file has no name", "name it with -o FILE.db");
  std::error_code error;
  const fs::file_status target = fs::status(path_, error);
  if (fs::exists(target) && !fs::is_regular_file(target))
    throw InputError(fmt::format("{}: not a regular file, so no result can take its place", path_),
                     "give the name of a file with -o");
  clear_stale(unfinished_);
  db_.emplace(Database::create(unfinished_));
  guarded([&] {
    // The journal makes each batch all or nothing should the process die; syncing would only guard
    // against the machine's death, for which publish() syncs once.
    db_->exec(
        "PRAGMA page_size = 8192; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE;"
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -16384; PRAGMA foreign_keys = OFF; BEGIN "
        "IMMEDIATE");
    create_schema(*db_);
    writer_.emplace(*db_, header);
    db_->exec("COMMIT; BEGIN IMMEDIATE");
  });
}

Recorder::~Recorder() = default;

template <class Work>
void Recorder::guarded(Work work) {
  KVSIM_CHECK(db_.has_value(), "{} is already finished", path_);
  try {
    work();
  } catch (const InputError&) {
    discard();
    throw;
  }
}

void Recorder::discard() {
  writer_.reset();
  db_.reset();
  remove_quietly(unfinished_ + "-journal");
  remove_quietly(unfinished_);
}

template <class T>
void Recorder::append_rows(std::span<const T> rows) {
  guarded([&] {
    for (const T& row : rows) {
      writer_->write(row);
      if (++rows_in_batch_ < kBatchRows) continue;
      db_->exec("COMMIT; BEGIN IMMEDIATE");
      rows_in_batch_ = 0;
    }
  });
}

void Recorder::append(std::span<const RequestOutcome> rows) { append_rows(rows); }
void Recorder::append(std::span<const IterationRecord> rows) { append_rows(rows); }
void Recorder::append(std::span<const InstanceSample> rows) { append_rows(rows); }
void Recorder::append(std::span<const TierSample> rows) { append_rows(rows); }
void Recorder::append(std::span<const TransferRecord> rows) { append_rows(rows); }
void Recorder::append(std::span<const DecisionRecord> rows) { append_rows(rows); }

void Recorder::begin_run(const RunHeader& header) {
  guarded([&] { writer_.emplace(*db_, header); });
}

void Recorder::end_run(const RunOutcome& outcome, std::span<const Metric> metrics,
                       const std::optional<Provenance>& provenance) {
  append(outcome.requests);
  append(outcome.iterations);
  append(outcome.samples);
  append(outcome.tier_samples);
  append(outcome.transfers);
  append(outcome.decisions);
  guarded([&] {
    for (const TierTotals& t : outcome.tiers) writer_->write(t);
    for (std::size_t i = 0; i < outcome.links.size(); ++i) writer_->write(i, outcome.links[i]);
    for (const FaultRecord& f : outcome.faults) writer_->write(f);
    for (const ScaleEvent& e : outcome.scaling) writer_->write(e);
    for (const RankTotals& t : outcome.ranks) writer_->write(t);
    for (const Metric& m : metrics) writer_->write(m);
    if (provenance) writer_->write(*provenance);
    writer_->finish(outcome);
    writer_.reset();
  });
}

void Recorder::complete() {
  guarded([&] {
    create_indices(*db_);
    db_->exec("COMMIT");
    db_->close();
    remove_quietly(unfinished_ + "-journal");
    publish(unfinished_, path_);
  });
  db_.reset();
}

void Recorder::finish(const RunOutcome& outcome, std::span<const Metric> metrics,
                      const std::optional<Provenance>& provenance) {
  end_run(outcome, metrics, provenance);
  complete();
}

void Recorder::fail(const std::string& error) {
  guarded([&] {
    if (writer_) writer_->fail(error);
    db_->exec("COMMIT");
    writer_.reset();
    db_->close();
  });
  db_.reset();
}

}  // namespace kvsim
