#pragma once
// One run: instances, router, trace and the event loop. No globals: worlds may coexist.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hardware/cost_model.h"
#include "policies/router/router.h"
#include "sim/base/hash.h"
#include "sim/engine/config.h"
#include "sim/engine/encoder.h"
#include "sim/engine/event_queue.h"
#include "sim/engine/fault.h"
#include "sim/engine/foresight.h"
#include "sim/engine/gateway.h"
#include "sim/engine/loans.h"
#include "sim/engine/scaling.h"
#include "sim/engine/step_group.h"
#include "sim/state/prefix_directory.h"
#include "traces/trace_source.h"

namespace kvsim {

// The tiers of all instances, and the links between them.
struct TierSystem {
  struct Store {
    std::uint32_t tier = 0;    // index in offload.tiers
    int node = 0;              // it lies in; of a pool of all nodes, the first
    std::uint32_t drives = 0;  // stores of a tier with the same number share drives
    TierStore::Options options;
    double endurance_bytes = 0;  // that may be written to it in all; 0 = no drive
  };
  OffloadConfig offload;
  std::vector<Store> stores;
  // Of each data-parallel rank of each instance, in order: its store of each tier and the way
  // there.
  std::vector<std::vector<TierWay>> ranks;
  // By rank: the way to host memory for KV of admitted requests; empty when none goes there.
  struct HostWay {
    TransferPath in, out;
  };
  std::vector<HostWay> hosts;
  struct Link {
    std::string name;
    double bandwidth = 0;
  };
  std::vector<Link> links;  // LinkId i of every path
  std::int64_t block_tokens = 16;
};

struct InstanceSpec {
  EngineConfig engine;
  int data_parallel = 1;
  bool lockstep = false;       // data-parallel ranks step together (expert parallelism)
  bool old_balancing = false;  // front end scores ranks by 4 waiting + running (before the change)
  CostModel* cost = nullptr;   // not owned; may be shared by instances
  // Instances like this, one after the other. They read the same settings: what is read at every
  // iteration should not lie in memory once for each of them.
  std::size_t count = 1;
};

// KV that goes from one instance to another: after the prompt, with a request that moves, or a
// cached prefix.
struct PeerSystem {
  // The way between two instances; their ranks share it.
  std::function<TransferPath(std::uint32_t from, std::uint32_t to)> way;
  std::int64_t token_bytes = 0;  // KV of a token on all GPUs of an instance
  // What was computed layer by layer is sent while the rest computes: this many layers; 1 = all at
  // the end. The links are not charged for what is sent before.
  std::int64_t layers = 1;
};

// Instances that change between prompts and tokens. Each stands in both stages; at any time one of
// the two is up.
struct RoleRules {
  std::vector<std::uint32_t> twin;      // by instance: the same GPUs in the other stage
  std::size_t prefill = 0, decode = 0;  // up at first: the first ones of each stage
  Duration every{}, switching{};        // how often it is asked; after an instance is empty
  std::int64_t to_prefill = 0;          // prompt tokens that wait, an instance: more, and one comes
  double to_decode = 1;                 // share of KV memory in use: likewise
  std::size_t least = 1;                // instances of each stage that stay
};

// The last instances only take over from the first ones, which only compute prompts.
struct DecodeStage {
  std::size_t instances = 0;
  std::unique_ptr<Router> router;
  // Prompts with at most so many tokens to compute (cached ones apart) are computed there at once.
  std::int64_t local_prefill = 0;
};

class World final : private Rank::Peers, private Transfers::Listener {
 public:
  struct Options {
    Duration sample_every{};  // state of every rank; 0 = never
    bool record_iterations = false;
    bool record_transfers = false;
    // Decisions of routers are recorded and judged, with so many of the alternatives; 0 = not.
    std::int64_t record_decisions = 0;
    bool check_often = false;  // all invariants every few thousand events, not only at the end
    std::vector<Time>
        resets;  // instants at which every rank's prefix cache is reset, if no block is in use
    std::optional<TierSystem> tiers;
    std::vector<FaultPlan> faults;
    std::optional<PeerSystem> peers;
    DecodeStage decode;
    std::vector<ScalingPlan> scaling;  // of the whole run, or one of each pool that scales
    std::vector<QuotaPlan> quotas;
    std::optional<RoleRules> roles;
    std::optional<LendingPlan> lending;  // over the links of `peers`
    EncodeStage encode;
    // Hears completed requests in batches; when unset they stay in the outcome.
    std::function<void(std::span<const RequestOutcome>)> flush;
    // Called now and then with simulated time and completed requests; false stops the run.
    std::function<bool(Time, std::uint64_t)> progress;
  };

  World(std::vector<InstanceSpec>, std::unique_ptr<Router>, TraceSource&, Options);
  // Runs to the end of the trace and of the last request.
  RunOutcome run();

 private:
  struct Instance {
    explicit Instance(const InstanceSpec& s) : spec(s) {}
    const InstanceSpec& spec;
    const StepEstimator* steps = nullptr;
    std::vector<std::unique_ptr<Rank>> ranks;
    std::vector<std::size_t> groups;  // by rank: index of its step group
    // Front end: counts of the ranks as published last, and what was sent since.
    std::vector<std::int64_t> seen_waiting, seen_running, in_flight;
    std::vector<double> seen_usage;
    std::size_t rotate = 0;
    bool balancing = false;  // a publication is scheduled
    int faults = 0;          // that keep it down
  };
  struct Group {
    StepGroup steps;
    std::uint32_t generation = 0;
    bool schedule_pending = false;
    std::uint32_t instance = 0;
  };
  struct Routed {  // a request between the router and the scheduler
    Request request;
    std::uint32_t instance = 0;
    Promise promise;
  };
  // Instances behind one router, and what they have in their prefix caches.
  struct Pool {
    explicit Pool(PrefixDirectory::Options o) : directory(o) {}
    std::uint32_t first = 0, count = 0;
    std::unique_ptr<Router> router;
    Router::Traits traits;
    bool hears = false;                    // of prefix caches at all
    PrefixDirectory directory;             // by rank
    std::vector<std::uint32_t> instances;  // by rank: its instance within the pool
    std::vector<std::size_t> groups;       // by rank: its step group
    // Of the present request: tokens by instance that the router knows of, and in truth.
    std::vector<std::int64_t> promised, cached;
    std::vector<const StepEstimator*> steps;
    std::vector<double> scores;
  };

  void build_pool(std::unique_ptr<Router>, std::size_t instances);
  void build_instance(const InstanceSpec&, Pool&);
  void hear_caches(Pool&, Rank&, std::uint32_t instance);
  void push_arrival();
  void on_arrival(Time);
  void admit(Time);
  void take_images();
  void on_visible(std::uint32_t routed, Time);
  void on_step_end(std::uint32_t group, Time);
  void on_schedule(std::uint32_t group, Time);
  void on_balance(std::uint32_t instance, Time);
  void on_sample(Time);
  void on_reset(Time);
  void on_transfer(Time);
  void transfers_ended(Time);
  void push_fault(std::uint32_t plan, Time after);
  void on_fault(std::uint32_t plan, Time);
  void on_repair(std::uint32_t plan, Time);
  void lose_instance(std::uint32_t, FaultRecord&, Time);
  void lose_store(std::size_t, FaultRecord&, bool forgets, Time);
  void evacuate(std::size_t group, Time);
  void reroute(Sequence&&, Time);
  void hand_to(Sequence&&, std::optional<std::size_t> instance, Time);
  void place_stranded(Time);
  void reject_stranded();
  [[nodiscard]] bool all_gone() const;
  // A link is down: what waits for it may never go on.
  [[nodiscard]] bool is_cut_off() const;
  // Routing (world_route.cpp).
  [[nodiscard]] std::optional<std::size_t> route(Pool&, RoutedRequest);
  [[nodiscard]] std::optional<std::size_t> route(Pool&, const Request&);
  void find_prefixes(Pool&, const RoutedRequest&);
  void spread(Pool&, std::vector<std::int64_t>& to);
  void judge(const Pool&, const RoutedRequest&, std::size_t chosen);
  void weigh(const Pool&, const RoutedRequest&);
  void begin_ticks();
  void tick(EventKind, std::uint32_t target, Duration after);
  [[nodiscard]] bool goes_on() const;
  void on_publish(std::uint32_t pool, Time);
  void charge(std::size_t instance, const RequestOutcome&);
  void discharge(std::size_t instance, const RequestOutcome&);
  [[nodiscard]] static RequestOutcome outcome_of(const Request&, std::uint32_t instance, Promise);
  void first_token(const RequestOutcome&);
  [[nodiscard]] std::optional<std::size_t> route_arrival();
  void show_peers();
  // Memory that instances lend each other (world_loans.cpp).
  void build_lending();
  void on_lend(Time);
  void wake_idle(Time);
  // Quotas (world_gateway.cpp).
  [[nodiscard]] bool pass_gateway(Time);
  void refuse_at_gateway(const Request&, const char* reason);
  void await_quota(std::uint32_t tenant, Time);
  void on_gateway(std::uint32_t tenant, Time);
  void leave_gateway(RequestOutcome&);
  void reject_held();
  // Autoscaling (world_scale.cpp).
  void begin_scaling();
  void scale(std::uint32_t instance, Scaling::State to);
  [[nodiscard]] Scaling* scaling_of(std::uint32_t instance) const;
  [[nodiscard]] const Pool& stage_of(std::uint32_t instance) const;
  [[nodiscard]] bool is_up(const Pool&) const;
  [[nodiscard]] std::int64_t stranded_at(const Pool&) const;
  // The router sees whether it may be chosen.
  void show_up(std::uint32_t instance);
  [[nodiscard]] FleetView see_fleet(const Scaling&) const;
  [[nodiscard]] double kv_usage(const Scaling&, Time now);
  void on_scale(std::uint32_t which, Time);
  bool add_instance(const Scaling&);
  bool take_instance(const Scaling&, Time);
  void leave_machine(std::uint32_t instance, Time);
  void on_started(std::uint32_t instance, std::uint32_t generation, Time);
  void wake_fleet(Time);
  void look_at_drain(std::uint32_t instance);
  void stop_drained(Time);
  void move_waiting(std::uint32_t instance, Time);
  void on_move(std::uint32_t instance, Time);
  // Between instances (world_peers.cpp).
  struct Source {
    // pushed: a prompt's while it is computed; piece: a part of that, on its way.
    enum class Kind : std::uint8_t { unused, handed, copied, advance, pushed, piece };
    Kind kind = Kind::unused;
    bool flowing = false;
    std::uint32_t from = 0, to = 0;            // instances
    std::uint32_t from_rank = 0, to_rank = 0;  // within them
    std::uint32_t from_slot = 0, to_slot = 0;
    std::uint64_t request = 0;
    std::uint32_t whole = 0;             // of a piece: the source that it belongs to
    std::int64_t tokens = 0, ahead = 0;  // that it has; of these, sent before it was asked
    std::int64_t bytes = 0;              // on their way
    Time since{};
    FlowId flow;
  };
  void handed(Rank&, std::uint32_t slot, Time) override;
  void pull(Rank&, std::uint32_t slot, std::uint32_t source, std::int64_t tokens, Time) override;
  void drop(std::uint32_t source, Time) override;
  void stop(std::uint32_t source, Time) override;
  void lost(Rank&, std::uint32_t slot, Time) override;
  void computed(Rank&, std::uint32_t slot, std::int64_t tokens, Time start, Time end) override;
  void called(Rank&, std::uint32_t slot, Duration pause, Time) override;
  void on_tool(std::uint32_t call, Time);
  void transfer_ended(std::uint32_t job, Time at) override;
  std::uint32_t new_source(Source::Kind, std::uint32_t from);
  void end_source(std::uint32_t source);
  void disturb(std::uint32_t instance, std::uint32_t rank, Time);
  void begin_flow(Source&, std::uint32_t job, std::int64_t tokens, Time);
  // Of a flow that began while its KV was computed in `computing`: the bytes that are left then.
  [[nodiscard]] std::int64_t left_of(std::int64_t bytes, const TransferPath&,
                                     Duration computing) const;
  void place_handed(Time);
  // Pushed KV (world_push.cpp).
  struct Push {
    Request request;
    std::uint32_t instance = 0;  // that computes the prompt
    Promise promise;
    Time visible{};
    std::uint32_t source = 0;
    std::int64_t missing = 0;  // tokens of the prompt that the taker has not cached
    std::int64_t sent = 0;     // from the prompt's start
    int flows = 0;
    bool is_over = false;   // the request ended where its prompt is computed
    bool has_left = false;  // its prompt is computed, and it goes on at the taker
  };
  void ask_for_room(const Request&, Instance&, Promise, Time visible);
  void grant_room(std::uint32_t source, std::int64_t missing);
  void on_grant(Time);
  void dismiss(Push&);
  void piece_ended(std::uint32_t source);
  bool leave_pushed(Rank&, std::uint32_t slot);
  void end_push(std::uint32_t source);
  // Roles (world_roles.cpp).
  enum class Role : std::uint8_t { serves, drains, switches, rests };
  void begin_roles();
  void on_roles(Time);
  void on_switched(std::uint32_t instance, Time);
  [[nodiscard]] bool is_empty(std::uint32_t instance) const;
  std::optional<std::uint32_t> choose_to_switch(Time);
  void on_migrate(std::uint32_t pool, Time);
  // The request with the least KV of the first rank that has one to move.
  void move_lightest(std::uint32_t from, std::uint32_t to, MoveBy, Time);
  [[nodiscard]] bool computes_again(MoveBy, std::uint32_t from, std::uint32_t to,
                                    std::int64_t tokens) const;
  [[nodiscard]] Rank& rank_of(std::uint32_t instance, std::uint32_t rank) {
    return *instances_[instance]->ranks[rank];
  }
  void place(std::size_t instance, Time);
  void build_tiers();
  RankTiers::Level level(const TierWay&, bool shared);
  void choose_ways();
  void schedule_transfers();
  void report_tiers();
  void dispatch(const Event&);
  // Sparing memory (world_memory.cpp).
  void foresee(const Event&) const;
  void spare_memory();
  void share_outputs();
  void reject(const Request&, std::uint32_t instance, Promise, const char* reason);
  [[nodiscard]] const char* misfit(const Request&, std::uint32_t instance) const;
  std::size_t pick_rank(Instance&);
  void deliver(const Request&, Instance&, Promise, Time visible);
  void deliver_now(const Request&, Instance&, Promise, Time visible);
  void wake(std::size_t group, Time);
  void reschedule(std::size_t group);
  void see_queues(const Instance&);
  void request_done(const RequestOutcome&);
  void check_invariants();
  void finish_outcome();

  Options options_;
  TraceSource& trace_;
  const std::vector<InstanceSpec> specs_;
  std::vector<std::unique_ptr<Instance>> instances_;
  StepScratch scratch_steps_;
  Foresight foresight_;  // by step group
  LateOutputs late_outputs_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<InstanceView> views_;
  EventQueue queue_;
  std::size_t ticks_ = 0;  // events in the queue that come again whatever happens
  Promise promise_;        // of the last request that was routed
  std::vector<Source> sources_;
  std::vector<std::uint32_t> free_sources_;
  std::vector<std::pair<Rank*, std::uint32_t>> handed_;  // to be placed
  std::vector<std::pair<Rank*, std::uint32_t>> calls_;   // tools that run, and who waits for them
  std::vector<std::uint32_t> free_calls_;
  std::vector<Migration> migrations_;
  struct Advance {  // a request that is still at work will move
    std::uint64_t request = 0;
    std::uint32_t to = 0;
    std::int64_t tokens = 0;         // whose KV was sent
    bool is_computed_again = false;  // no KV follows either
  };
  std::vector<Advance> advanced_;
  std::map<std::uint64_t, Push> pushes_;          // by request
  std::vector<std::uint64_t> granted_, refused_;  // requests; since the last on_grant()
  bool grants_ = false;                           // it is in the queue
  std::vector<Role> roles_;
  std::int64_t role_switches_ = 0;
  std::uint32_t listener_ = 0;
  std::int64_t handover_bytes_ = 0, handovers_ = 0, copies_ = 0;
  std::vector<ContentChunk> content_;
  std::vector<PrefixDirectory::Holder> matches_;
  std::vector<DecisionRecord::Alternative> weighed_;
  std::vector<std::unique_ptr<StepEstimator>> estimators_;  // by kind of instance, for policies
  FlowNetwork network_;
  Transfers transfers_{network_};
  std::vector<std::unique_ptr<TierStore>> stores_;
  std::vector<std::unique_ptr<TierPool>>
      tier_pools_;                           // by tier; none where each store is for itself
  std::vector<std::uint32_t> store_number_;  // within its tier
  Time transfer_at_ = kNever;
  std::uint32_t transfer_generation_ = 0;
  Time now_{};
  Time arrival_at_ = kNever;
  std::uint32_t arrival_generation_ = 0;
  Request scratch_;
  // Faults: what each plan's present fault costs, draws so far, requests without an instance.
  struct FaultState {
    std::size_t record = 0;
    std::uint64_t draws = 0;
    bool present = false;
  };
  std::vector<FaultState> fault_states_;
  std::vector<std::size_t> evacuating_;  // by instance: the record its loss is booked on
  std::vector<Request> stranded_;
  std::vector<Sequence> stranded_sequences_, moved_;
  int down_ = 0;                      // instances that may not be chosen
  int gone_ = 0;                      // instances that do not come back
  std::unique_ptr<Gateway> gateway_;  // null: there are no quotas
  ImageTable images_;
  std::unique_ptr<EncoderPool> encoders_;  // null: prompts' images are encoded with the prompts
  std::unique_ptr<Loans> loans_;           // null: instances lend no memory
  std::vector<std::unique_ptr<Scaling>> scaling_;  // none: every instance is up from the start
  std::vector<Routed> routed_;
  std::vector<std::uint32_t> free_routed_;
  std::vector<std::pair<std::uint64_t, Time>> ended_;  // to be told to the trace
  std::uint64_t injected_ = 0, completed_ = 0, inside_ = 0, events_ = 0;
  Digest digest_;
  RunOutcome out_;
};

}  // namespace kvsim
