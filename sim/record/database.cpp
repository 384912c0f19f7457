#include "sim/record/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim {
namespace {

std::string reason(int error_number) { return std::generic_category().message(error_number); }

std::string path_of(sqlite3* db) {
  const char* name = sqlite3_db_filename(db, "main");
  return name == nullptr || *name == '\0' ? "database in memory" : name;
}

// Maps an SQLite result to the exception that database.h promises.
[[noreturn]] void fail(sqlite3* db, int rc, const std::string& path) {
  const std::string message = sqlite3_errmsg(db);
  const int system = sqlite3_system_errno(db);
  switch (rc & 0xff) {
    case SQLITE_FULL:
      throw InputError(fmt::format("{}: cannot write: no space left", path),
                       "free some space, or write elsewhere with -o");
    case SQLITE_IOERR:
      throw InputError(
          fmt::format("{}: input/output error: {}", path, system != 0 ? reason(system) : message),
          "check the disk, its quota and its limits on file size, or write elsewhere with -o");
    case SQLITE_CANTOPEN:
      throw InputError(
          fmt::format("{}: cannot open: {}", path, system != 0 ? reason(system) : message),
          "check the path and its permissions");
    case SQLITE_READONLY:
    case SQLITE_PERM:
      throw InputError(fmt::format("{}: cannot write: {}", path, message),
                       "make the file and its directory writable, or copy the file elsewhere");
    case SQLITE_NOTADB:
      throw InputError(fmt::format("{}: not an SQLite database", path),
                       "give a file that 'kvsim run' wrote");
    case SQLITE_CORRUPT:
      throw InputError(fmt::format("{}: the database is damaged: {}", path, message),
                       "run the scenario again");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw InputError(fmt::format("{}: another process is using it", path),
                       "wait for it, or write elsewhere with -o");
    case SQLITE_NOMEM:
      throw InputError(fmt::format("{}: the query needs too much memory", path), "ask for less");
    default:
      throw SqlError(message);
  }
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }

void Statement::check(int rc) const {
  if (rc == SQLITE_OK) [[likely]]
    return;
  sqlite3* db = sqlite3_db_handle(handle_.get());
  fail(db, rc, path_of(db));
}

void Statement::bind_integer(int parameter, std::int64_t value) {
  check(sqlite3_bind_int64(handle_.get(), parameter, value));
}
void Statement::bind(int parameter, double value) {
  check(sqlite3_bind_double(handle_.get(), parameter, value));
}
void Statement::bind(int parameter, std::string_view value) {
  check(sqlite3_bind_text64(handle_.get(), parameter, value.data() == nullptr ? "" : value.data(),
                            value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}
void Statement::bind_static(int parameter, std::string_view value) {
  check(sqlite3_bind_text64(handle_.get(), parameter, value.data(), value.size(), SQLITE_STATIC,
                            SQLITE_UTF8));
}
void Statement::bind_null(int parameter) { check(sqlite3_bind_null(handle_.get(), parameter)); }

bool Statement::step() {
  const int rc = sqlite3_step(handle_.get());
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  check(rc);
  return false;
}

// The result repeats the error that step() already threw.
void Statement::reset() { sqlite3_reset(handle_.get()); }

int Statement::columns() const { return sqlite3_column_count(handle_.get()); }
std::string Statement::name(int column) const {
  const char* name = sqlite3_column_name(handle_.get(), column);
  return name == nullptr ? "" : name;
}
Statement::Type Statement::type(int column) const {
  switch (sqlite3_column_type(handle_.get(), column)) {
    case SQLITE_INTEGER:
      return Type::integer;
    case SQLITE_FLOAT:
      return Type::real;
    case SQLITE_TEXT:
      return Type::text;
    case SQLITE_BLOB:
      return Type::blob;
    default:
      return Type::null;
  }
}
std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}
double Statement::real(int column) const { return sqlite3_column_double(handle_.get(), column); }
std::string_view Statement::text(int column) const {
  const void* data = sqlite3_column_blob(handle_.get(), column);
  const int size = sqlite3_column_bytes(handle_.get(), column);
  return data == nullptr
             ? std::string_view{}
             : std::string_view{static_cast<const char*>(data), static_cast<std::size_t>(size)};
}
bool Statement::read_only() const { return sqlite3_stmt_readonly(handle_.get()) != 0; }
int Statement::parameters() const { return sqlite3_bind_parameter_count(handle_.get()); }

void Database::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

Database Database::open(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &raw,
                                 flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  Database db;
  db.handle_.reset(raw);
  if (raw == nullptr) throw InputError(fmt::format("{}: not enough memory to open it", path));
  if (rc != SQLITE_OK) fail(raw, rc, path);
  return db;
}

Database Database::open_read_only(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) &&
      !std::filesystem::is_regular_file(status))  // a FIFO would block
    throw InputError(fmt::format("{}: not a regular file", path),
                     "give a file that 'kvsim run' wrote");
  Database db = open(path, SQLITE_OPEN_READONLY);
  constexpr const char* kTouch = "SELECT count(*) FROM sqlite_schema";
  int rc = sqlite3_exec(db.handle(), kTouch, nullptr, nullptr, nullptr);
  if (rc == SQLITE_READONLY_ROLLBACK || rc == SQLITE_READONLY_RECOVERY) {
    open(path, SQLITE_OPEN_READWRITE).exec(kTouch);
    rc = sqlite3_exec(db.handle(), kTouch, nullptr, nullptr, nullptr);
  }
  if ((rc & 0xff) == SQLITE_ERROR)  // a header or schema that SQLite does not understand
    throw InputError(
        fmt::format("{}: not a readable SQLite database: {}", path, sqlite3_errmsg(db.handle())),
        "give a file that 'kvsim run' wrote");
  if (rc != SQLITE_OK) fail(db.handle(), rc, path);
  return db;
}

Database Database::create(const std::string& path) {
  // Created here and not by SQLite, to learn the system's reason when that fails.
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
  if (file < 0)
    throw InputError(fmt::format("{}: cannot create: {}", path, reason(errno)),
                     "the directory must exist and be writable; write elsewhere with -o");
  ::close(file);
  return open(path, SQLITE_OPEN_READWRITE);
}

Database Database::open_existing(const std::string& path) {
  return open(path, SQLITE_OPEN_READWRITE);
}

Database Database::in_memory() {
  return open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
}

bool Database::in_use(const std::string& path) {
  sqlite3* raw = nullptr;
  int rc =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  const std::unique_ptr<sqlite3, Close> db(raw);
  if (rc == SQLITE_OK) rc = sqlite3_exec(raw, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr);
  return (rc & 0xff) == SQLITE_BUSY;
}

void Database::exec(const std::string& sql) {
  const int rc = sqlite3_exec(handle(), sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) fail(handle(), rc, path_of(handle()));
}

Statement Database::prepare(std::string_view sql, std::string_view* rest) {
  sqlite3_stmt* raw = nullptr;
  const char* tail = nullptr;
  const int rc = sqlite3_prepare_v3(handle(), sql.data(), static_cast<int>(sql.size()),
                                    SQLITE_PREPARE_PERSISTENT, &raw, &tail);
  if (rc != SQLITE_OK) fail(handle(), rc, path_of(handle()));
  if (rest != nullptr) *rest = sql.substr(static_cast<std::size_t>(tail - sql.data()));
  Statement statement;
  statement.handle_.reset(raw);
  return statement;
}

std::int64_t Database::integer(std::string_view sql) {
  Statement s = prepare(sql);
  return s.step() ? s.integer(0) : 0;
}

void Database::close() {
  sqlite3* raw = handle_.release();
  const int rc = sqlite3_close(raw);  // busy only while a Statement lives
  KVSIM_CHECK(rc == SQLITE_OK, "a statement outlives its database");
}

Transaction::~Transaction() {
  if (db_ != nullptr && sqlite3_get_autocommit(db_->handle()) == 0)
    sqlite3_exec(db_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  db_->exec("COMMIT");
  db_ = nullptr;
}

}  // namespace kvsim
