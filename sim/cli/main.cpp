// kvsim: the door to everything. `kvsim --help` lists the verbs.
#include <csignal>

#include "sim/base/huge_pages.h"
#include "sim/cli/command.h"

int main(int argc, char** argv) {
  kvsim::prefer_huge_pages();
  std::signal(SIGXFSZ,
              SIG_IGN);  // a file-size limit is then an error of the write, which is reported
  return kvsim::run_program({argv + 1, argv + argc});
}
