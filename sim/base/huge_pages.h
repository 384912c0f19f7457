#pragma once
// The state of a fleet is spread over many small pieces of memory: on pages of 4 KiB each visit of
// an instance misses the translation of its addresses, too.

namespace kvsim {

// What this process allocates from now on lies on huge pages as far as the system gives them to
// those who ask (Linux: /sys/kernel/mm/transparent_hugepage/enabled is `madvise`), and stays with
// the process when it is freed. Changes nothing but time. At the start of a program, once.
void prefer_huge_pages();

}  // namespace kvsim
