#include "sim/run/place_of.h"

namespace kvsim {

Place place_of(const Tree& scenario, std::string_view path) {
  const Tree* t = &scenario;
  Place place = t->place();
  while (t != nullptr && !path.empty()) {
    const std::size_t dot = path.find('.');
    if (t->is_list())
      t = t->items().empty() ? nullptr : &t->items().front();
    else
      t = t->find(path.substr(0, dot));
    if (t != nullptr && t->place().file) place = t->place();
    path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
  }
  return place;
}

}  // namespace kvsim
