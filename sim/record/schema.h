#pragma once
// The tables and views of a result file as data: one place for names, types, units and texts. From
// it come the CREATE statements (with the texts as comments, so that `.schema` explains itself) and
// the tables in the README.
#include <string>
#include <utility>
#include <vector>

#include "sim/record/database.h"

namespace kvsim {

struct Column {
  std::string name;  // ends in its unit where it has one: _ns, _ms, _tokens
  std::string type;  // INTEGER, REAL, TEXT (STRICT), with constraints
  std::string text;
};

struct TableInfo {
  std::string name, text;
  std::vector<Column> columns;  // in the order of INSERT
  std::string constraints;      // of the table; may be empty
};

struct ViewInfo {
  std::string name, text, sql;
  // What `.schema` says of columns whose name is not enough; "a, b" for several.
  std::vector<std::pair<std::string, std::string>> columns = {};
};

// Written to the file's header: PRAGMA application_id ("kvsm") and user_version.
inline constexpr int kApplicationId = 0x6b76736d;
inline constexpr int kSchemaVersion = 6;

const std::vector<TableInfo>& schema_tables();
const std::vector<ViewInfo>& schema_views();
// Requires a name from schema_tables().
const TableInfo& schema_table(const std::string& name);

std::string create_sql(const TableInfo&);
std::string create_sql(const ViewInfo&);
// "INSERT INTO name VALUES (?, ...)"
std::string insert_sql(const TableInfo&);

// Everything but the indices, which are cheaper to build once the rows are in.
void create_schema(Database&);
void create_indices(Database&);

// Markdown rows "| name | text |" of all tables and views.
std::string schema_markdown();

}  // namespace kvsim
