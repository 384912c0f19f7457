#include "sim/calibrate/fleet_fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

namespace kvsim {

namespace {

double ns(Duration d) { return static_cast<double>(d.count()); }
Duration whole(double v) { return Duration{std::llround(v)}; }

constexpr FleetNumber kNumbers[] = {
    {"gemm", "", true, 0.7, 0.1, 0.85, [](const FleetParameters& p) { return p.efficiency.gemm; },
     [](FleetParameters& p, double v) { p.efficiency.gemm = v; }},
    {"gemm_half_tokens", "", true, 100, 0.7, 4096,
     [](const FleetParameters& p) { return p.efficiency.gemm_half_tokens; },
     [](FleetParameters& p, double v) { p.efficiency.gemm_half_tokens = v; }},
    {"memory", "", true, 0.88, 0.05, 0.95,
     [](const FleetParameters& p) { return p.efficiency.memory; },
     [](FleetParameters& p, double v) { p.efficiency.memory = v; }},
    {"kv_memory", "", true, 0.7, 0.4, 1,
     [](const FleetParameters& p) { return p.efficiency.kv_memory; },
     [](FleetParameters& p, double v) { p.efficiency.kv_memory = v; }},
    {"launch", "ns", true, 2000, 0.5, 1e5,
     [](const FleetParameters& p) { return ns(p.efficiency.launch); },
     [](FleetParameters& p, double v) { p.efficiency.launch = whole(v); }},
    {"expert_memory", "", true, 0.75, 0.2, 0.95,
     [](const FleetParameters& p) { return p.efficiency.expert_memory; },
     [](FleetParameters& p, double v) { p.efficiency.expert_memory = v; }},
    {"sampler", "", true, 0.1, 1, 1, [](const FleetParameters& p) { return p.efficiency.sampler; },
     [](FleetParameters& p, double v) { p.efficiency.sampler = v; }},
    {"link latency", "ns", true, 1500, 0.7, 1e6,
     [](const FleetParameters& p) { return ns(p.link_latency); },
     [](FleetParameters& p, double v) { p.link_latency = whole(v); }},
};
constexpr std::size_t kFigures = 5;
constexpr double kWeights[kFigures] = {1, 0.3, 1, 1, 0.3};  // of kFleetFigures
constexpr double kKnown = 0.05;  // a figure counts as known to this share
constexpr double kHuber = 0.1;
constexpr int kIterations = 15, kTries = 6;

// A number as the search sees it: 1 = its spread away from usual.
double inner(const FleetNumber& n, double v) {
  return n.on_log ? std::log(std::max(v, 1e-9) / n.usual) / n.spread : (v - n.usual) / n.spread;
}
double outer(const FleetNumber& n, double u) {
  const double v = n.on_log ? n.usual * std::exp(u * n.spread) : n.usual + u * n.spread;
  return std::clamp(v, 0.0, n.high);
}

FleetParameters at(FleetParameters p, const Eigen::VectorXd& u) {
  for (std::size_t i = 0; i < std::size(kNumbers); ++i)
    kNumbers[i].write(p, outer(kNumbers[i], u[static_cast<Eigen::Index>(i)]));
  return p;
}

// Calls work(0) ... work(n - 1), each once, on some threads; rethrows the first exception.
void in_threads(std::size_t n, int threads, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failed;
  std::mutex lock;
  const auto loop = [&] {
    try {
      for (std::size_t i = next++; i < n; i = next++) work(i);
    } catch (...) {
      const std::lock_guard guard(lock);
      if (!failed) failed = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(loop);
  loop();
  for (std::thread& t : others) t.join();
  if (failed) std::rethrow_exception(failed);
}

class Search {
 public:
  Search(std::vector<FleetCase>& cases, FleetParameters base, const std::vector<bool>& used,
         int threads)
      : base_(std::move(base)), threads_(threads) {
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (used.empty() || used[i]) cases_.push_back(&cases[i]);
    rows_ = static_cast<Eigen::Index>(cases_.size() * kFigures);
  }

  FleetFit run() {
    const auto n = static_cast<Eigen::Index>(std::size(kNumbers));
    Eigen::VectorXd u(n);
    for (Eigen::Index i = 0; i < n; ++i) {
      const FleetNumber& one = kNumbers[i];
      u[i] = inner(one, one.read(base_));
    }
    double damping = 0.1;
    Eigen::VectorXd r = errors(u);
    double best = loss(r, u);
    for (int iteration = 0; iteration < kIterations; ++iteration) {
      const Eigen::MatrixXd slope = slopes(u, r);
      Eigen::VectorXd weight(rows_);
      for (Eigen::Index i = 0; i < rows_; ++i) {
        const double w = kWeights[static_cast<std::size_t>(i) % kFigures] / kKnown;
        weight[i] = w * w * std::min(1.0, kHuber / std::max(std::abs(r[i]), 1e-12));
      }
      Eigen::MatrixXd h = slope.transpose() * weight.asDiagonal() * slope;
      h.diagonal().array() += 1;
      Eigen::VectorXd g = slope.transpose() * (weight.asDiagonal() * r) + u;
      hold(u, h, g);
      const double before = best;
      bool better = false;
      for (int attempt = 0; attempt < kTries && !better; ++attempt) {
        Eigen::MatrixXd damped = h;
        damped.diagonal() *= 1 + damping;
        Eigen::VectorXd next = u - damped.ldlt().solve(g);
        for (Eigen::Index i = 0; i < n; ++i)
          next[i] = inner(kNumbers[i], outer(kNumbers[i], next[i]));
        const Eigen::VectorXd now = errors(next);
        const double value = loss(now, next);
        better = value < best;
        if (better) {
          u = next;
          r = now;
          best = value;
        }
        damping *= better ? 0.3 : 5;
      }
      if (!better || before - best < 1e-3 * best) break;
    }
    return {at(base_, u), best};
  }

 private:
  // A number at its bound that wants to go beyond stays there and leaves the others to move.
  static void hold(const Eigen::VectorXd& u, Eigen::MatrixXd& h, Eigen::VectorXd& g) {
    for (Eigen::Index i = 0; i < u.size(); ++i) {
      const double out = u[i] - (g[i] > 0 ? 1e-3 : -1e-3);
      if (outer(kNumbers[i], out) != outer(kNumbers[i], u[i])) continue;
      h.row(i).setZero();
      h.col(i).setZero();
      h(i, i) = 1;
      g[i] = 0;
    }
  }
  // log(replayed / measured), case by case, at u.
  static void errors_of(FleetCase& one, const FleetParameters& p, double* out) {
    const FleetFigures f = one.replay(p);
    for (std::size_t k = 0; k < kFigures; ++k)
      out[k] = std::log(f.*kFleetFigures[k].member / (one.row().measured.*kFleetFigures[k].member));
  }
  Eigen::VectorXd errors(const Eigen::VectorXd& u) {
    Eigen::VectorXd r(rows_);
    const FleetParameters p = at(base_, u);
    in_threads(cases_.size(), threads_,
               [&](std::size_t i) { errors_of(*cases_[i], p, r.data() + i * kFigures); });
    return r;
  }
  Eigen::MatrixXd slopes(const Eigen::VectorXd& u, const Eigen::VectorXd& r) {
    Eigen::MatrixXd out(rows_, u.size());
    in_threads(cases_.size(), threads_, [&](std::size_t i) {
      for (Eigen::Index j = 0; j < u.size(); ++j) {
        constexpr double kStep = 0.25;  // of a spread: well above what the replays' own chaos moves
        Eigen::VectorXd moved = u;
        const FleetNumber& one = kNumbers[j];
        moved[j] += outer(one, u[j] + kStep) < one.high ? kStep : -kStep;
        double now[kFigures];
        errors_of(*cases_[i], at(base_, moved), now);
        for (std::size_t k = 0; k < kFigures; ++k) {
          const auto row = static_cast<Eigen::Index>(i * kFigures + k);
          out(row, j) = (now[k] - r[row]) / (moved[j] - u[j]);
        }
      }
    });
    return out;
  }
  [[nodiscard]] static double loss(const Eigen::VectorXd& r, const Eigen::VectorXd& u) {
    double sum = u.squaredNorm() / 2;
    for (Eigen::Index i = 0; i < r.size(); ++i) {
      const double w = kWeights[static_cast<std::size_t>(i) % kFigures] / kKnown,
                   a = std::abs(r[i]);
      sum += w * w * (a < kHuber ? a * a / 2 : kHuber * (a - kHuber / 2));
    }
    return sum;
  }

  std::vector<FleetCase*> cases_;
  FleetParameters base_;
  int threads_;
  Eigen::Index rows_ = 0;
};

}  // namespace

std::span<const FleetNumber> fleet_numbers() { return kNumbers; }

FleetParameters usual_parameters(FleetParameters base) {
  for (const FleetNumber& n : kNumbers) n.write(base, n.usual);
  return base;
}

FleetFit fit_fleet(std::vector<FleetCase>& cases, const FleetParameters& start,
                   const std::vector<bool>& used, int threads) {
  return Search(cases, start, used, threads).run();
}

std::vector<FleetFigures> replay_all(std::vector<FleetCase>& cases, const FleetParameters& p,
                                     int threads) {
  std::vector<FleetFigures> out(cases.size());
  in_threads(cases.size(), threads, [&](std::size_t i) { out[i] = cases[i].replay(p); });
  return out;
}

}  // namespace kvsim
