#pragma once
// The program run inside the test, with what it wrote to stdout and stderr, and the program itself
// as a process.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "sim/cli/command.h"

namespace kvsim::cli_test {

struct Result {
  int code = -1;
  std::string out, err;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Redirects one of the process's own descriptors into a file for its lifetime.
class Redirect {
 public:
  explicit Redirect(int fd) : fd_(fd), saved_(dup(fd)), file_(std::tmpfile()) {
    std::fflush(nullptr);
    std::cout.flush();
    if (file_ == nullptr || saved_ < 0 || dup2(fileno(file_), fd) < 0)
      throw std::runtime_error("redirect");
  }
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;
  ~Redirect() {
    restore();
    std::fclose(file_);
  }
  std::string take() {
    restore();
    std::rewind(file_);
    std::string text;
    char buffer[4096];
    for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, file_)) > 0;)
      text.append(buffer, n);
    return text;
  }

 private:
  void restore() {
    if (saved_ < 0) return;
    std::fflush(nullptr);
    std::cout.flush();
    dup2(saved_, fd_);
    close(saved_);
    saved_ = -1;
  }
  int fd_, saved_;
  std::FILE* file_;
};

inline Result kvsim(const std::vector<std::string>& arguments) {
  Redirect out(STDOUT_FILENO), err(STDERR_FILENO);
  Result r;
  r.code = run_program(arguments);
  r.err = err.take();
  r.out = out.take();
  return r;
}

// A misuse: exit code 2, nothing on stdout, and all of `parts` in the message.
inline void expect_misuse(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& parts) {
  const Result r = kvsim(arguments);
  EXPECT_EQ(r.code, 2) << r.out << r.err;
  EXPECT_EQ(r.out, "");
  for (const std::string& p : parts)
    EXPECT_NE(r.err.find(p), std::string::npos) << "'" << p << "' is not in:\n" << r.err;
}

inline void expect_holds(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& p : parts)
    EXPECT_NE(text.find(p), std::string::npos) << "'" << p << "' is not in:\n" << text;
}

// No line wider than a terminal; UTF-8 sequences count as one character.
inline void expect_width(const std::string& text, std::size_t width = 100) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::size_t n = 0;
    for (const char c : line) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    EXPECT_LE(n, width) << line;
  }
}

// The built program through a shell; "" as path when it was not built.
inline std::string program() {
  const std::string path = std::string(KVSIM_BINARY_DIR) + "/kvsim";
  return access(path.c_str(), X_OK) == 0 ? path : "";
}
inline int shell(const std::string& command) {
  const int status = std::system(command.c_str());  // NOLINT: the test's own text
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "kvsim-cli-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& file) const { return path_ + "/" + file; }
  std::string write(const std::string& file, const std::string& text) const {
    std::ofstream(path_ + "/" + file, std::ios::binary) << text;
    return path_ + "/" + file;
  }

 private:
  std::string path_;
};

inline std::vector<std::string> scenario_files() {
  std::vector<std::string> files;
  for (const auto& e :
       std::filesystem::directory_iterator(std::string(KVSIM_SOURCE_DIR) + "/scenarios"))
    if (e.path().extension() == ".yaml") files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  return files;
}
inline std::string scenario(const std::string& name) {
  return std::string(KVSIM_SOURCE_DIR) + "/scenarios/" + name;
}

}  // namespace kvsim::cli_test
