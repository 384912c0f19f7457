#include "sim/run/conflict.h"

#include <string>

#include "sim/run/place_of.h"

namespace kvsim {

bool check_conflicts(std::initializer_list<Conflict> all, std::string_view lead,
                     const Tree& scenario, const char* key, Diagnostics& d) {
  bool none = true;
  for (const Conflict& c : all) {
    if (!c.is_there) continue;
    d.add(place_of(scenario, key), key, std::string(lead) + c.with, c.cure);
    none = false;
  }
  return none;
}

}  // namespace kvsim
