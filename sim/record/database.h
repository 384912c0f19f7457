#pragma once
// A small owner of one SQLite connection; the only door to the C library. Errors are exceptions:
//   InputError  the user's problem (missing or read-only file, full disk, no database, busy), with
//   path and cure; SqlError    everything else: a mistake in a statement.
// Not thread-safe: one connection, one thread.
#include <concepts>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace kvsim {

class SqlError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A prepared statement. Parameters count from 1, columns from 0, as in SQLite. Must not outlive its
// Database.
class Statement {
 public:
  template <std::integral T>
  void bind(int parameter, T value) {
    bind_integer(parameter, static_cast<std::int64_t>(value));
  }
  void bind(int parameter, double value);                   // NaN becomes NULL
  void bind(int parameter, std::string_view value);         // copied
  void bind_static(int parameter, std::string_view value);  // must live until the next bind
  void bind_null(int parameter);

  bool step();   // true: a row is there; false: done
  void reset();  // ready to run again; bindings stay
  void run() {   // for statements without rows
    while (step()) {
    }
    reset();
  }

  enum class Type { integer, real, text, blob, null };
  [[nodiscard]] int columns() const;
  [[nodiscard]] std::string name(int column) const;
  [[nodiscard]] Type type(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] double real(int column) const;
  [[nodiscard]] std::string_view text(
      int column) const;                 // text or blob bytes; valid until the next step
  [[nodiscard]] bool read_only() const;  // does not write to the database
  [[nodiscard]] int parameters() const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt*) const;
  };
  void bind_integer(int parameter, std::int64_t value);
  void check(int rc) const;
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

class Database {
 public:
  // Opens for reading only and reads the header, so that a file which is no database fails here. A
  // journal left by a killed writer is rolled back first, for which the file is opened for writing
  // once.
  static Database open_read_only(const std::string& path);
  // Creates the file, which must not exist yet.
  static Database create(const std::string& path);
  // Opens an existing file for reading and writing.
  static Database open_existing(const std::string& path);
  static Database in_memory();
  // Whether another connection holds a lock on the database.
  static bool in_use(const std::string& path);

  // Runs statements that return nothing.
  void exec(const std::string& sql);
  // One statement; `rest` receives what follows it. The statement is empty (columns() would fail;
  // see empty()) for "".
  Statement prepare(std::string_view sql, std::string_view* rest = nullptr);
  static bool empty(const Statement& s) { return s.handle_ == nullptr; }
  std::int64_t integer(std::string_view sql);  // first column of the first row
  [[nodiscard]] sqlite3* handle() const { return handle_.get(); }
  // Closes now; requires that every Statement is gone.
  void close();

 private:
  struct Close {
    void operator()(sqlite3*) const;
  };
  static Database open(const std::string& path, int flags);
  std::unique_ptr<sqlite3, Close> handle_;
};

// All or nothing: rolls back unless commit() was called.
class Transaction {
 public:
  explicit Transaction(Database& db) : db_(&db) { db_->exec("BEGIN"); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  void commit();

 private:
  Database* db_;
};

}  // namespace kvsim
