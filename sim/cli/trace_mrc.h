#pragma once
// What `kvsim trace mrc` asks for, reads and prints.
#include <string>
#include <vector>

#include "sim/cache/stack_distance.h"
#include "sim/cli/command.h"
#include "traces/trace_source.h"

namespace kvsim {

struct MrcOptions {
  LruCurve::Sampling sampling;
  std::vector<std::uint64_t> capacities;  // none: `points` of them
  int points = 25;                        // evenly spread over their logarithm, ends included
  enum class Form { text, csv, json } form = Form::text;
};

void declare_mrc(po::options_description&);
MrcOptions mrc_options(const po::variables_map&);  // throws InputError
// Each request touches the segments of its prompt in order; each record its object.
void read_prompt_segments(TraceSource&, LruCurve&);
void read_oracle_general(const std::string& path, std::int64_t limit, LruCurve&);
std::string mrc_text(const MissRatioCurve&, const MrcOptions&);

}  // namespace kvsim
