#include "sim/base/diagnostics.h"
#include "sim/study/team.h"

#ifdef KVSIM_MPI

#define OMPI_SKIP_MPICXX 1
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <thread>
#include <vector>

namespace kvsim {
namespace {

constexpr int kTag = 1;
// Frames travel in pieces that Open MPI sends eagerly (shared memory: up to 4 KiB): a piece arrives
// whole or not at all, so that a receiver never waits for the rest from a dead sender.
constexpr std::size_t kPiece = 2048;
using Length = std::uint32_t;

class MpiTeam final : public Team {
 public:
  MpiTeam() {
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  MpiTeam(const MpiTeam&) = delete;
  MpiTeam& operator=(const MpiTeam&) = delete;
  ~MpiTeam() override {
    // What was sent to the living leaves now; what was sent to the dead never does.
    progress();
    if (abandoned_) return;
    // Open MPI 4.1 waits here for ever for a rank that is dead, or dies on its way out. All work is
    // done: after a while each leaves alone.
    std::thread([code = exit_code_] {
      std::this_thread::sleep_for(std::chrono::seconds(10));
      std::_Exit(code);
    }).detach();
    MPI_Finalize();
  }
  void leave_with(int exit_code) override { exit_code_ = exit_code; }
  void abandon() override { abandoned_ = true; }
  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }

  void send(int to, std::string_view bytes) override {
    const auto length = static_cast<Length>(bytes.size());
    std::string framed(sizeof length, '\0');
    std::memcpy(framed.data(), &length, sizeof length);
    framed += bytes;
    for (std::size_t at = 0; at < framed.size(); at += kPiece) {
      Sending& s = sending_.emplace_back();
      s.bytes = framed.substr(at, kPiece);
      if (MPI_Isend(s.bytes.data(), static_cast<int>(s.bytes.size()), MPI_BYTE, to, kTag,
                    MPI_COMM_WORLD, &s.request) != MPI_SUCCESS)
        sending_.pop_back();
    }
    progress();
  }

  std::optional<Frame> receive() override {
    progress();
    for (;;) {
      int is_there = 0;
      MPI_Status status;
      if (MPI_Iprobe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &is_there, &status) != MPI_SUCCESS ||
          is_there == 0)
        return std::nullopt;
      char piece[kPiece];
      if (MPI_Recv(piece, static_cast<int>(kPiece), MPI_BYTE, status.MPI_SOURCE, kTag,
                   MPI_COMM_WORLD, &status) != MPI_SUCCESS)
        return std::nullopt;
      int size = 0;
      MPI_Get_count(&status, MPI_BYTE, &size);
      std::string& all = partial_[status.MPI_SOURCE];
      all.append(piece, static_cast<std::size_t>(size));
      Length length = 0;
      if (all.size() < sizeof length) continue;
      std::memcpy(&length, all.data(), sizeof length);
      if (all.size() < sizeof length + length) continue;
      Frame frame{status.MPI_SOURCE, all.substr(sizeof length, length)};
      all.erase(0, sizeof length + length);
      return frame;
    }
  }

 private:
  struct Sending {
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void progress() {
    std::erase_if(sending_, [](Sending& s) {
      int done = 0;
      return MPI_Test(&s.request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done != 0;
    });
  }

  int rank_ = 0, size_ = 1;
  bool abandoned_ = false;
  int exit_code_ = 1;
  std::list<Sending> sending_;          // addresses must stay
  std::map<int, std::string> partial_;  // by sender: what came of the next frame
};

}  // namespace

std::unique_ptr<Team> join_mpi() { return std::make_unique<MpiTeam>(); }

}  // namespace kvsim

#else

namespace kvsim {

std::unique_ptr<Team> join_mpi() {
  throw InputError("this kvsim was built without MPI",
                   "install libopenmpi-dev and openmpi-bin and build again; without --mpi a study "
                   "runs on every core of one machine");
}

}  // namespace kvsim

#endif
