#pragma once
// The result file of one run: complete under its own name, or absent.
//
// Rows go to `<path>.unfinished`, a database that opens at any moment and whose run says
// 'unfinished': it is written under a rollback journal, so a process killed half-way through a
// batch leaves the batches before it. finish() marks the run 'finished' and renames the file to
// `<path>`; until then a result of that name stays as it was. fail() marks the run 'failed' and
// leaves `<path>.unfinished` with the error in it. When writing itself fails (full disk), the
// unfinished file is removed, to give its space back, and InputError says what happened. A crash of
// the machine, as against the process, may damage an unfinished file: nothing is forced to the disk
// before finish(). (Killed in its first milliseconds, a run leaves a database without tables;
// between last commit and renaming, a finished one.)
//
// Determinism: equal rows give equal bytes, `provenance` aside; pass no Provenance for files equal
// to the last byte.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/record/database.h"
#include "sim/record/metrics.h"
#include "sim/record/writer.h"
#include "sim/state/outcome.h"

namespace kvsim {

class Recorder {
 public:
  // Creates `<path>.unfinished`, replacing one that a dead process left. Throws InputError when the
  // directory is missing or not writable, `path` is no file, or another process is writing the same
  // result.
  Recorder(std::string path, const RunHeader&);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder();  // without finish(): leaves the unfinished file

  // For runs too large to keep: rows given here must not be in the outcome given to finish() again.
  void append(std::span<const RequestOutcome>);
  void append(std::span<const IterationRecord>);
  void append(std::span<const InstanceSample>);
  void append(std::span<const TierSample>);
  void append(std::span<const TransferRecord>);
  void append(std::span<const DecisionRecord>);

  // Another run of the same file, after end_run().
  void begin_run(const RunHeader&);
  // Writes what the outcome holds and the metrics: the run is finished.
  void end_run(const RunOutcome&, std::span<const Metric>, const std::optional<Provenance>&);
  // After the last run: the indices; then the file appears at `path`.
  void complete();
  // The end of the only run.
  void finish(const RunOutcome&, std::span<const Metric>, const std::optional<Provenance>&);
  void fail(const std::string& error);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& unfinished_path() const { return unfinished_; }

 private:
  template <class Work>
  void guarded(Work);
  template <class T>
  void append_rows(std::span<const T>);
  void discard();

  std::string path_, unfinished_;
  std::optional<Database> db_;
  std::optional<RunWriter> writer_;
  std::int64_t rows_in_batch_ = 0;
};

}  // namespace kvsim
