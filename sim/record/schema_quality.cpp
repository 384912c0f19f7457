#include "sim/record/schema_quality.h"

#include <fmt/format.h>

#include <string_view>

#include "sim/base/diagnostics.h"
#include "sim/record/publish.h"

namespace kvsim {

const TableInfo& quality_table() {
  static const TableInfo kTable{
      "quality",
      "what token policies do to attention and text, measured on tensors by the real kernels",
      {{"run_id", "INTEGER REFERENCES run(run_id)",
        "the run; NULL = of kvsim quality, without one"},
       {"source", "TEXT NOT NULL", "of queries, keys and values: kvsim list quality-source"},
       {"policy", "TEXT NOT NULL", "its label; full = the whole cache"},
       {"parameters", "TEXT NOT NULL", "that the budget led to"},
       {"budget_ratio", "REAL",
        "share of the whole cache's bytes that was asked for; NULL = as it is"},
       {"kv_bytes", "REAL NOT NULL", "stored for a sequence at its end, as measured"},
       {"full_bytes", "REAL NOT NULL", "the same of the whole cache"},
       {"read_bytes", "REAL NOT NULL", "that its last step reads, by arithmetic"},
       {"full_read_bytes", "REAL NOT NULL", "the same of the whole cache"},
       {"kept_tokens", "REAL NOT NULL", "at its end, mean over layers and KV heads"},
       {"read_tokens", "REAL NOT NULL", "by its last step, likewise"},
       {"measure", "TEXT NOT NULL", "out_err, mass, perplexity, ...: docs/quality.md"},
       {"statistic", "TEXT NOT NULL", "mean, p99, p1 where small is bad, value"},
       {"layer", "INTEGER", "NULL = all"},
       {"head", "INTEGER", "query head, or KV head of what is stored; NULL = all"},
       {"step", "INTEGER", "decode step after the prompt; NULL = all"},
       {"value", "REAL NOT NULL", "of the measure"},
       {"unit", "TEXT NOT NULL", "of the value; '' = none"}},
      ""};
  return kTable;
}

void write_quality(Database& db, std::optional<std::int64_t> run_id,
                   std::span<const QualityRow> rows) {
  Statement insert = db.prepare(insert_sql(quality_table()));
  const auto bind_or_null = [&](int at, const auto& value) {
    value ? insert.bind(at, *value) : insert.bind_null(at);
  };
  for (const QualityRow& r : rows) {
    bind_or_null(1, run_id);
    insert.bind(2, std::string_view(r.source));
    insert.bind(3, std::string_view(r.policy));
    insert.bind(4, std::string_view(r.parameters));
    bind_or_null(5, r.budget);
    int at = 6;
    for (const double v :
         {r.kv_bytes, r.full_bytes, r.read_bytes, r.full_read_bytes, r.kept_tokens, r.read_tokens})
      insert.bind(at++, v);
    insert.bind(12, std::string_view(r.measure));
    insert.bind(13, std::string_view(r.statistic));
    bind_or_null(14, r.layer);
    bind_or_null(15, r.head);
    bind_or_null(16, r.step);
    insert.bind(17, r.value);
    insert.bind(18, std::string_view(r.unit));
    insert.run();
  }
}

void write_quality_file(const std::string& path, std::span<const QualityRow> rows) {
  const std::string unfinished = path + ".unfinished";
  remove_quietly(unfinished);
  {
    Database db = Database::create(unfinished);
    create_schema(db);
    Transaction all(db);
    write_quality(db, std::nullopt, rows);
    all.commit();
  }
  publish(unfinished, path);
}

}  // namespace kvsim
