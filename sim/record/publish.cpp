#include "sim/record/publish.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "sim/base/diagnostics.h"

namespace kvsim {
namespace {

std::string reason(int error_number) { return std::generic_category().message(error_number); }

void sync(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool good = file >= 0 && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (!good)
    throw InputError(fmt::format("{}: cannot write: {}", path, reason(error)), "check the disk");
}

}  // namespace

void remove_quietly(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

void publish(const std::string& from, const std::string& to) {
  sync(from);
  for (const char* side : {"-journal", "-wal", "-shm"}) remove_quietly(to + side);
  if (std::rename(from.c_str(), to.c_str()) != 0)
    throw InputError(fmt::format("{}: cannot rename {} to it: {}", to, from, reason(errno)),
                     "make the directory writable, or write elsewhere with -o");
}

}  // namespace kvsim
