#pragma once
// Rows of a statement as text: an aligned table for people, CSV or JSON for programs.
#include <cstddef>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>

#include "sim/record/database.h"

namespace kvsim {

// table  at most 100 columns wide: long cells are cut with an ellipsis; when not even the column
// names fit, rows are
//        printed as lines "column  value". At most 1000 rows, then a line says so. Control
//        characters show as blanks or '?'.
// csv    RFC 4180: CRLF, quotes where needed; NULL is empty; text is passed on byte by byte
// json   an array of objects, one a line; columns of one name become "x", "x:2"; an infinite value
// becomes null, a blob
//        hexadecimal text; bytes that are no UTF-8 become U+FFFD
// Real numbers: six digits in a table, elsewhere as many as read back exactly.
enum class QueryFormat { table, csv, json };

class RowSink {
 public:
  virtual ~RowSink() = default;
  // The statement stands on a row. False: enough, stop.
  virtual bool row(const Statement&) = 0;
  virtual void finish() = 0;
};

// Reads the column names now. `statement` is only used in this call.
std::unique_ptr<RowSink> make_sink(QueryFormat, const Statement& statement, std::ostream&);

// Valid UTF-8 without control characters, for a terminal; line ends survive where `lines`.
std::string printable(std::string_view text, bool lines = false);

}  // namespace kvsim
