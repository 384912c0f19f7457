#pragma once
// What a deployment costs and draws. A Bill follows from the scenario alone; with what a run did it
// becomes money and energy:
//   energy   PUE * (GPUs: idle power always, busy less idle power while their rank is in an
//            iteration; rest of the machine: host_share of their busy power; host memory and drives
//            that tiers of KV take; a drive draws its busy power while it reads or writes)
//   price    rents of GPUs and tiers, electricity where it has a price, and drives that wear out
//            before the end of their service life: rent * (service life / life - 1)
// Of a fleet that scales, GPUs and machines count while their instance is not off.
// Rents count the machine's own memory, processors and network into the price of a GPU.
#include <optional>
#include <span>
#include <vector>

#include "sim/record/metrics.h"
#include "sim/run/build.h"

namespace kvsim {

struct Bill {
  int gpus = 0;                                   // paid for
  int gpus_of_a_rank = 1;                         // that work while it is in an iteration
  double gpu_price = 0;                           // USD/h, all of them
  double gpu_idle_watts = 0, gpu_busy_watts = 0;  // of one
  double host_watts = 0;                          // all machines
  struct Store {                                  // of a tier, as TierSystem.stores
    double dram_price = 0, ssd_price = 0;         // USD/h
    double idle_watts = 0;
    double busy_joules_read = 0, busy_joules_write = 0;  // above idle, of a byte
    double service_years = 0;                            // of its drives; 0 = none wear
  };
  std::vector<Store> stores;
  struct Pool {  // of several: each instance's
    int instances = 0;
    double gpus = 0, price = 0;
  };
  std::vector<Pool> pools;
  double least_share = 1;  // of the instances, that are always up
  double pue = 1;
  std::optional<double> electricity;  // USD/kWh

  // Known before a run, and never more than after it: USD/h with the electricity of idle machines,
  // and watts of the site at rest.
  [[nodiscard]] double least_price() const;
  [[nodiscard]] double idle_watts() const;
};

// Of a run that was built and has not been simulated yet.
Bill bill_of(const BuiltRun&);

// Rows of scope `run` behind `metrics` (whose duration and token counts they use): gpus,
// price_per_hour and its parts, cost, cost_per_million_{output_,}tokens, power, energy,
// idle_energy (of GPUs outside iterations), energy_per_million_{output_,}tokens.
std::vector<Metric> economics_metrics(const Bill&, const RunOutcome&,
                                      std::span<const Metric> metrics);

}  // namespace kvsim
