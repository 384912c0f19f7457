#pragma once
// The processes that run a study together, as frames of bytes between numbered ranks. Rank 0 hands
// out trials (runner.h), the others run them; any of them may die without a word.
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kvsim {

class Team {
 public:
  struct Frame {
    int from;
    std::string bytes;
  };
  virtual ~Team() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  // Returns at once, also when the receiver is dead. Frames of two ranks arrive in order, or never.
  virtual void send(int to, std::string_view bytes) = 0;
  // A frame that has come, from any rank; returns at once.
  virtual std::optional<Frame> receive() = 0;
  // The exit code of this process, should the destructor have to end it: a rank that died while the
  // others leave would be waited for for ever.
  virtual void leave_with(int) {}
  // The destructor then leaves without waiting for anybody.
  virtual void abandon() {}
};

// The ranks of the MPI job that this process belongs to; of its own alone when it was not started
// by mpirun or srun. Throws InputError when this program was built without MPI. Once a process;
// its destructor leaves the job, for which it waits for the ranks that live.
std::unique_ptr<Team> join_mpi();

}  // namespace kvsim
