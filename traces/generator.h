#pragma once
// Workloads that are drawn: arrivals, lengths, shared prefixes, sessions and agent loops, in any
// combination. Every draw is a function of (seed, what it is for, number of session and request):
// policies under comparison face the same requests, and one more parameter does not shift the draws
// of the others.
#include <memory>

#include "traces/generate/arrivals.h"
#include "traces/generate/lengths.h"
#include "traces/trace_source.h"

namespace kvsim {

// Conversations: each next turn's prompt is the whole history and a new message.
struct SessionParams {
  LengthParams turns = constant(1);
  std::optional<LengthParams> message;
  Duration think_time{0};
  double think_cv = 1.0;
  int concurrency = 0;
  bool keep_history = true;
  Tokens max_context{131072};
  static LengthParams constant(std::int64_t n) {
    LengthParams p;
    p.value = n;
    return p;
  }
  static constexpr Rows kFields{
      field("turns", &SessionParams::turns, any, "user messages of a session"),
      field("message", &SessionParams::message, any,
            "new tokens of the later messages (default: as the prompt)"),
      field("think_time", &SessionParams::think_time, any,
            "mean pause between an answer and the next message"),
      field("think_cv", &SessionParams::think_cv, between(0.0, 100.0),
            "deviation / mean of that pause (gamma); 0 = constant"),
      field("concurrency", &SessionParams::concurrency, between(0, 1'000'000),
            "above 0: this many sessions at a time, each next one when another ends; the arrivals "
            "are not used"),
      field("keep_history", &SessionParams::keep_history, any,
            "false: each message is a prompt of its own"),
      field("max_context", &SessionParams::max_context, between(Tokens{1}, Tokens{100'000'000}),
            "a session ends before prompt and output exceed this; a first prompt is cut to it")};
};

// Content that several sessions begin with: system prompts, tools, documents.
struct PrefixParams {
  int count = 0;
  LengthParams tokens = SessionParams::constant(1024);
  double zipf = 1.0;
  Ratio share{1.0};
  static constexpr Rows kFields{
      field("count", &PrefixParams::count, between(0, 1'000'000),
            "how many different prefixes; 0 = none"),
      field("tokens", &PrefixParams::tokens, any, "length of each prefix"),
      field("zipf", &PrefixParams::zipf, between(0.0, 10.0),
            "popularity: prefix number k has weight k^-zipf"),
      field("share", &PrefixParams::share, between(Ratio{0}, Ratio{1}),
            "sessions that begin with one")};
};

// Who the sessions belong to.
struct TenantParams {
  int count = 1;
  double zipf = 0;
  std::vector<std::int32_t> priorities;
  static constexpr Rows kFields{
      field("count", &TenantParams::count, between(1, 1'000'000), "how many tenants (clients)"),
      field("zipf", &TenantParams::zipf, between(0.0, 10.0),
            "shares: tenant number k brings k^-zipf as many sessions as the first; 0 = all as "
            "many"),
      field("priorities", &TenantParams::priorities, between(-1'000'000, 1'000'000),
            "of the requests of the first, second, ... tenant, lower is more urgent; of the others "
            "0")};
};

// An agent answers one message by several requests: each but the first adds the result of a tool to
// the context.
struct AgentParams {
  LengthParams steps = SessionParams::constant(1);
  LengthParams result = SessionParams::constant(256);
  std::optional<LengthParams> output;
  Duration pause{0};
  double pause_cv = 1.0;
  static constexpr Rows kFields{
      field("steps", &AgentParams::steps, any, "requests per message"),
      field("result", &AgentParams::result, any, "tokens that a tool adds"),
      field("output", &AgentParams::output, any,
            "output of the steps before the last (default: as the output)"),
      field("pause", &AgentParams::pause, any, "mean time a tool takes"),
      field("pause_cv", &AgentParams::pause_cv, between(0.0, 100.0),
            "deviation / mean of it (gamma); 0 = constant")};
};

// Tools that an answer calls while it is produced, by one request: its KV stays with the engine,
// which may keep it, move it or give it up meanwhile (engine.tools).
struct ToolParams {
  std::optional<LengthParams> calls;
  LengthParams after = SessionParams::constant(64);
  LengthParams result = SessionParams::constant(128);
  Duration pause{std::chrono::seconds(1)};
  double pause_cv = 1.0;
  Ratio share{1.0};
  static constexpr Rows kFields{
      field("calls", &ToolParams::calls, any,
            "per request, one after another; none = no request calls a tool"),
      field("after", &ToolParams::after, any,
            "output tokens before each call; `output` is what follows the last"),
      field("result", &ToolParams::result, any, "tokens that the tool returns"),
      field("pause", &ToolParams::pause, any, "mean time a tool takes"),
      field("pause_cv", &ToolParams::pause_cv, between(0.0, 100.0),
            "deviation / mean of it (gamma); 0 = constant"),
      field("share", &ToolParams::share, between(Ratio{0}, Ratio{1}), "requests that call tools")};
};

// Images that messages begin with.
struct ImageParams {
  std::optional<LengthParams> count;
  LengthParams tokens = SessionParams::constant(576);
  Ratio share{1.0};
  int distinct = 0;
  double zipf = 1.0;
  static constexpr Rows kFields{
      field("count", &ImageParams::count, any, "of a message; none = no images"),
      field("tokens", &ImageParams::tokens, any,
            "tokens that an image becomes, in addition to the prompt's"),
      field("share", &ImageParams::share, between(Ratio{0}, Ratio{1}), "messages that have images"),
      field("distinct", &ImageParams::distinct, between(0, 1'000'000),
            "how many different images there are; 0 = no two are alike"),
      field("zipf", &ImageParams::zipf, between(0.0, 10.0),
            "popularity: image number k has weight k^-zipf")};
};

struct GeneratorParams {
  ArrivalParams arrivals;
  LengthParams prompt = SessionParams::constant(1024);
  LengthParams output = SessionParams::constant(128);
  SessionParams sessions;
  PrefixParams prefixes;
  AgentParams agent;
  ToolParams tools;
  ImageParams images;
  TenantParams tenants;
  std::int64_t requests = 1000;
  static constexpr Rows kFields{
      field("arrivals", &GeneratorParams::arrivals, any,
            "when sessions begin (without sessions: requests)"),
      field("prompt", &GeneratorParams::prompt, any,
            "tokens of a first message, without the shared prefix"),
      field("output", &GeneratorParams::output, any, "tokens of an answer"),
      field("sessions", &GeneratorParams::sessions, any, "turns that build on each other"),
      field("prefixes", &GeneratorParams::prefixes, any, "content that sessions share"),
      field("agent", &GeneratorParams::agent, any,
            "tool calls within a turn, each followed by a request of its own"),
      field("tools", &GeneratorParams::tools, any, "tool calls within a request"),
      field("images", &GeneratorParams::images, any,
            "images in the messages, for scenarios with an `encoder`"),
      field("tenants", &GeneratorParams::tenants, any, "whom the sessions belong to"),
      field("requests", &GeneratorParams::requests, between<std::int64_t>(1, 1'000'000'000),
            "requests in all")};
};
KVSIM_FIELDS_ELSEWHERE(GeneratorParams)

// Context: seed, rate_scale (divides arrivals, not pauses), limit; `path` is the folder where files
// of lengths are looked for. Throws InputError for parameters that do not fit together.
std::unique_ptr<TraceSource> make_generator(const GeneratorParams&, const TraceSource::Context&);

}  // namespace kvsim
