#include "sim/run/economics.h"

#include <algorithm>

namespace kvsim {

namespace {

constexpr double kGiB = 0x1p30;
constexpr double kYearSeconds = 365.25 * 86400;
constexpr double kJoulesPerKwh = 3.6e6;

// All drives of a machine together, by byte of their capacity.
struct Drives {
  double bytes = 0, price = 0, idle_watts = 0;
  double busy_joules_read = 0, busy_joules_write = 0;  // above idle, of a byte
  double service_years = 0;
};

// A byte is read from (and written to) each kind of drive by its share of the capacity.
Drives drives_of(const BuiltRun& run) {
  Drives d;
  for (const StorageUse& use : run.node.storage) {
    const auto found = run.storage.find(use.device);
    if (found == run.storage.end()) continue;
    const StorageSpec& s = found->second;
    const double bytes = to_double(s.capacity) * use.count;
    const double extra = std::max(s.busy_power.value - s.idle_power.value, 0.0);
    d.bytes += bytes;
    d.price += s.price.value * use.count;
    d.idle_watts += s.idle_power.value * use.count;
    d.busy_joules_read += bytes * extra * read_seconds(s, Bytes{0});
    d.busy_joules_write += bytes * extra * write_seconds(s, Bytes{0});
    d.service_years += bytes * to_seconds(s.service_life) / kYearSeconds;
  }
  if (d.bytes > 0)
    for (double* sum : {&d.busy_joules_read, &d.busy_joules_write, &d.service_years})
      *sum /= d.bytes;
  return d;
}

Bill::Store bill_of(TierKind kind, double bytes, const Drives& drives, const EconomicsSpec& e) {
  Bill::Store store;
  if (kind != TierKind::ssd) {
    store.dram_price = bytes / kGiB * e.dram_price.value;
    store.idle_watts = bytes / kGiB * e.dram_power.value;
    return store;
  }
  const double share = drives.bytes > 0 ? bytes / drives.bytes : 0;
  store.ssd_price = e.ssd_price ? bytes / kGiB * e.ssd_price->value : share * drives.price;
  store.idle_watts = share * drives.idle_watts;
  store.busy_joules_read = drives.busy_joules_read;
  store.busy_joules_write = drives.busy_joules_write;
  store.service_years = drives.service_years;
  return store;
}

double value_of(std::span<const Metric> metrics, const char* name) {
  for (const Metric& m : metrics)
    if (m.scope == "run" && m.name == name && m.statistic == "value") return m.value;
  return 0;
}

// Energy of a run in joules at the machines, without the site's share.
struct Joules {
  double all = 0, idle = 0;
};
// Share of the instances' time that is paid for, of their GPUs and of their price.
struct Paid {
  double gpus = 1, price = 1;
};
Paid paid_share(const Bill& bill, const RunOutcome& run) {
  const auto end = static_cast<double>(to_ns(run.end));
  if (run.instance_ns.empty() || to_ns(run.end) == 0) return {};
  if (bill.pools.empty()) {
    double ns = 0;
    for (const std::int64_t n : run.instance_ns) ns += static_cast<double>(n);
    const double share = ns / end / static_cast<double>(run.instance_ns.size());
    return {share, share};
  }
  double gpus = bill.gpus, price = bill.gpu_price;
  std::size_t i = 0;
  for (const Bill::Pool& p : bill.pools)
    for (int k = 0; k < p.instances; ++k, ++i) {
      const double off = 1 - static_cast<double>(run.instance_ns[i]) / end;
      gpus -= off * p.gpus;
      price -= off * p.price;
    }
  return {gpus / bill.gpus, bill.gpu_price > 0 ? price / bill.gpu_price : 1};
}

Joules joules_of(const Bill& bill, const RunOutcome& run, double seconds, double paid) {
  double working = 0;  // GPU seconds
  for (const RankTotals& r : run.ranks)
    working += std::min(static_cast<double>(r.busy_ns) * 1e-9, seconds) * bill.gpus_of_a_rank;
  Joules j;
  j.idle = bill.gpu_idle_watts * std::max(bill.gpus * paid * seconds - working, 0.0);
  j.all = j.idle + bill.gpu_busy_watts * working + bill.host_watts * paid * seconds;
  for (std::size_t i = 0; i < bill.stores.size(); ++i) {
    const Bill::Store& s = bill.stores[i];
    j.all += s.idle_watts * seconds;
    if (i >= run.tiers.size()) continue;
    j.all += s.busy_joules_read * static_cast<double>(run.tiers[i].read_bytes) +
             s.busy_joules_write * static_cast<double>(run.tiers[i].written_bytes);
  }
  return j;
}

// USD/h for drives that do not live as long as they are meant to serve.
double replacement_of(const Bill& bill, const RunOutcome& run) {
  double price = 0;
  for (std::size_t i = 0; i < std::min(bill.stores.size(), run.tiers.size()); ++i) {
    const double life = run.tiers[i].drive_life_years;
    if (life > 0 && life < bill.stores[i].service_years)
      price += bill.stores[i].ssd_price * (bill.stores[i].service_years / life - 1);
  }
  return price;
}

}  // namespace

double Bill::idle_watts() const {
  double watts = (gpus * gpu_idle_watts + host_watts) * least_share;
  for (const Store& s : stores) watts += s.idle_watts;
  return pue * watts;
}

double Bill::least_price() const {
  double price = gpu_price * least_share;
  for (const Store& s : stores) price += s.dram_price + s.ssd_price;
  return price + electricity.value_or(0) * idle_watts() / 1000;
}

namespace {
// Of the pools together; watts are of the mean GPU.
void add_pool(Bill& bill, const Bill& pool) {
  const double gpus = bill.gpus + pool.gpus, price = bill.gpu_price + pool.gpu_price;
  if (price > 0)
    bill.least_share =
        (bill.least_share * bill.gpu_price + pool.least_share * pool.gpu_price) / price;
  const auto mean = [&](double a, double b) { return (a * bill.gpus + b * pool.gpus) / gpus; };
  bill.gpu_idle_watts = mean(bill.gpu_idle_watts, pool.gpu_idle_watts);
  bill.gpu_busy_watts = mean(bill.gpu_busy_watts, pool.gpu_busy_watts);
  bill.gpus += pool.gpus;
  bill.gpu_price += pool.gpu_price;
  bill.host_watts += pool.host_watts;
}
}  // namespace

Bill bill_of(const BuiltRun& run) {
  const EconomicsSpec& e = run.scenario.economics;
  Bill bill;
  const int per_instance = run.parallel.gpus(), replicas = run.scenario.deployment.replicas;
  bill.gpus = per_instance * replicas;
  bill.gpus_of_a_rank = run.parallel.tensor * run.parallel.pipeline * run.parallel.context;
  if (e.billing == Billing::node) {
    const int in_a_node = std::max(run.node.devices / per_instance, 1);
    bill.gpus = (replicas + in_a_node - 1) / in_a_node * std::max(run.node.devices, per_instance);
  }
  const DeviceSpec& d = run.device;
  bill.gpu_price = bill.gpus * e.gpu_price.value_or(d.price).value;
  bill.gpu_idle_watts = d.idle_power.value;
  bill.gpu_busy_watts = d.busy_power.value;
  bill.host_watts = bill.gpus * d.busy_power.value * e.host_share.value;
  if (const auto& scaling = run.scenario.deployment.autoscaling)
    bill.least_share = static_cast<double>(scaling->rules.min) / replicas;
  bill.pue = e.pue;
  if (e.electricity) bill.electricity = e.electricity->value;
  for (const BuiltRun* part : parts_of(run)) {
    if (run.pools.empty()) break;
    const double gpus = part->parallel.gpus();
    bill.pools.push_back({part->scenario.deployment.replicas, gpus,
                          gpus * e.gpu_price.value_or(part->device.price).value});
  }
  for (const BuiltPool& p : run.pools) add_pool(bill, bill_of(*p.run));
  if (run.encode.encoders > 0) {
    const DeviceSpec& device = run.encode_device;
    Bill encoders;
    encoders.gpus = static_cast<int>(run.encode.encoders);
    encoders.gpu_price = encoders.gpus * e.gpu_price.value_or(device.price).value;
    encoders.gpu_idle_watts = device.idle_power.value;
    encoders.gpu_busy_watts = device.busy_power.value;
    encoders.host_watts = encoders.gpus * device.busy_power.value * e.host_share.value;
    add_pool(bill, encoders);
  }
  if (!run.tiers) return bill;
  const Drives drives = drives_of(run);
  for (const TierSystem::Store& s : run.tiers->stores) {
    const TierConfig& tier = run.tiers->offload.tiers[s.tier];
    const auto bytes = static_cast<double>(s.options.capacity * tier.chunk_bytes);
    bill.stores.push_back(bill_of(tier.kind, bytes, drives, e));
  }
  return bill;
}

std::vector<Metric> economics_metrics(const Bill& bill, const RunOutcome& run,
                                      std::span<const Metric> metrics) {
  std::vector<Metric> rows;
  const auto row = [&](const char* name, double v, const char* unit) {
    rows.push_back({"run", name, "value", v, unit});
  };
  double dram = 0, ssd = 0;
  for (const Bill::Store& s : bill.stores) dram += s.dram_price, ssd += s.ssd_price;
  const double seconds = value_of(metrics, "duration"), replacement = replacement_of(bill, run);
  const Paid paid = paid_share(bill, run);
  const double gpu_price = bill.gpu_price * paid.price;
  row("gpus", bill.gpus * paid.gpus, "count");
  row("price_gpu_per_hour", gpu_price, "USD/h");
  if (dram > 0) row("price_dram_per_hour", dram, "USD/h");
  if (ssd > 0) row("price_ssd_per_hour", ssd, "USD/h");
  if (ssd > 0) row("price_replacement_per_hour", replacement, "USD/h");
  if (!(seconds > 0)) return rows;
  const Joules joules = joules_of(bill, run, seconds, paid.gpus);
  const double energy = bill.pue * joules.all / kJoulesPerKwh;
  const double electricity = bill.electricity.value_or(0) * energy / (seconds / 3600);
  if (bill.electricity) row("price_electricity_per_hour", electricity, "USD/h");
  const double price = gpu_price + dram + ssd + replacement + electricity;
  const double cost = price * seconds / 3600;
  row("price_per_hour", price, "USD/h");
  row("cost", cost, "USD");
  const double output = value_of(metrics, "total_output_tokens") / 1e6;
  const double tokens = value_of(metrics, "total_input_tokens") / 1e6 + output;
  if (tokens > 0) row("cost_per_million_tokens", cost / tokens, "USD");
  if (output > 0) row("cost_per_million_output_tokens", cost / output, "USD");
  row("power", bill.pue * joules.all / seconds, "W");
  row("energy", energy, "kWh");
  row("idle_energy", bill.pue * joules.idle / kJoulesPerKwh, "kWh");
  if (tokens > 0) row("energy_per_million_tokens", energy / tokens, "kWh");
  if (output > 0) row("energy_per_million_output_tokens", energy / output, "kWh");
  return rows;
}

}  // namespace kvsim
