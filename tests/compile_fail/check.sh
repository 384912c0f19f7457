#!/usr/bin/env bash
# Every .cpp here must be refused by every compiler on this machine for the reason its first line gives
# ("// refused: REGEX of the message"); control.cpp must be accepted, so that a missing header is no success.
set -u
root=$1
folder=$root/tests/compile_fail
compilers=0 failed=0 checked=0
for compiler in g++ clang++-14; do
  command -v "$compiler" >/dev/null || { echo "compile_fail: $compiler is not here, left out"; continue; }
  compilers=$((compilers + 1))
  if ! "$compiler" -std=c++20 -I"$root" -fsyntax-only "$folder/control.cpp"; then
    echo "$compiler refuses control.cpp"
    failed=$((failed + 1))
  fi
  for file in "$folder"/*.cpp; do
    [ "${file##*/}" = control.cpp ] && continue
    checked=$((checked + 1))
    reason=$(sed -n '1s|^// refused: ||p' "$file")
    if output=$("$compiler" -std=c++20 -I"$root" -fsyntax-only "$file" 2>&1); then
      echo "$compiler accepts ${file##*/}"
      failed=$((failed + 1))
    elif [ -z "$reason" ] || ! grep -qE "$reason" <<<"$output"; then
      echo "$compiler refuses ${file##*/} for another reason than /$reason/:"
      head -n 8 <<<"$output"
      failed=$((failed + 1))
    fi
  done
done
echo "compile_fail: $checked refusals expected, $compilers compilers, $failed wrong"
[ "$compilers" -gt 0 ] && [ "$failed" -eq 0 ]
