#include "sim/cli/cache_database.h"

#include <fmt/format.h>

#include <filesystem>

#include "sim/base/diagnostics.h"
#include "sim/record/schema_cache.h"

namespace kvsim {
namespace {

// Decides with the whole future in hand: the optimum of prefix caches and Belady's policy.
bool is_bound(const std::string& policy) {
  return policy == "optimum" || policy.substr(0, policy.find(':')) == "belady";
}

void fill(Database& db, const std::string& trace, bool prefixes,
          const std::vector<PolicyCount>& counts) {
  db.exec(create_sql(policy_replay_table()));
  db.exec(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId,
                      kSchemaVersion));
  Transaction all(db);
  Statement insert = db.prepare(insert_sql(policy_replay_table()));
  for (const PolicyCount& c : counts) {
    insert.bind(1, std::string_view(trace));
    insert.bind(2, std::string_view(prefixes ? "prefixes" : "blocks"));
    insert.bind(3, std::string_view(c.policy));
    insert.bind(4, is_bound(c.policy) ? 1 : 0);
    insert.bind(5, c.capacity);
    insert.bind(6, c.accesses);
    insert.bind(7, c.hits);
    insert.run();
  }
  all.commit();
}

}  // namespace

void write_policy_counts(const std::string& path, const std::string& trace, bool prefixes,
                         const std::vector<PolicyCount>& counts) {
  const std::string unfinished = path + ".unfinished";
  std::error_code error;
  std::filesystem::remove(unfinished, error);
  try {
    Database db = Database::create(unfinished);
    fill(db, trace, prefixes, counts);
  } catch (const SqlError& e) {
    std::filesystem::remove(unfinished, error);
    throw InputError(fmt::format("{}: {}", path, e.what()),
                     "name each policy and each capacity once");
  }
  std::filesystem::rename(unfinished, path, error);
  if (error)
    throw InputError(fmt::format("{}: cannot write: {}", path, error.message()),
                     "write elsewhere with -o");
}

}  // namespace kvsim
