#!/usr/bin/env bash
# Runs every command of the ```console blocks of the tutorials, as written, in a folder that looks like a clone. A comment
# "# exit code N" behind a command says what it must end with; otherwise 0.
#   commands.sh SOURCE_DIR KVSIM
set -u
root=$1 kvsim=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in scenarios traces models hardware docs; do ln -s "$root/$name" "$work/$name"; done
mkdir "$work/bin" "$work/out"
ln -s "$kvsim" "$work/bin/kvsim"
export PATH=$work/bin:$PATH
cd "$work" || exit 1
ran=0 failed=0
for page in "$root"/docs/tutorials/*.md; do
  while IFS= read -r line; do
    command=${line#\$ } expected=0
    [[ $line =~ exit\ code\ ([0-9]+) ]] && expected=${BASH_REMATCH[1]}
    ran=$((ran + 1)) code=0
    output=$(timeout 300 bash -c "$command" 2>&1) || code=$?
    if [ "$code" -ne "$expected" ]; then
      printf '%s: %s\n  exit code %s, expected %s\n%s\n' "${page##*/}" "$command" "$code" "$expected" "$(tail -n 5 <<<"$output")"
      failed=$((failed + 1))
    fi
  done < <(awk '/^```/ {inside = ($0 == "```console")} inside && /^\$ /' "$page")
done
# Code of the pages must compile as it stands.
for page in "$root"/docs/tutorials/*.md; do
  awk '/^```/ {inside = ($0 == "```cpp"); next} inside' "$page" >"$work/code.cpp"
  [ -s "$work/code.cpp" ] || continue
  ran=$((ran + 1))
  g++ -std=c++20 -Wall -Wextra -I"$root" -fsyntax-only "$work/code.cpp" || failed=$((failed + 1))
done
echo "docs: $ran commands and pieces of code, $failed wrong"
[ "$ran" -gt 10 ] && [ "$failed" -eq 0 ]
