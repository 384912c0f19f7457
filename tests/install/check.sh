#!/usr/bin/env bash
# Installs a build into an empty folder and runs a scenario with the installed program alone, far from the sources.
set -eu
build=$1 scenario=$2
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
cmake --install "$build" --prefix "$target/usr" >/dev/null
for folder in models/catalog hardware/catalog/devices hardware/catalog/nodes hardware/catalog/storage sim/scenario/presets sim/scenario/cache_presets; do
  files=("$target/usr/share/kvsim/$folder"/*.yaml)
  [ -f "${files[0]}" ] || { echo "share/kvsim/$folder holds no file"; exit 1; }
done
mkdir "$target/elsewhere"
cp "$scenario" "$target/elsewhere/scenario.yaml"
# A catalogue entry that exists only in the installed tree proves where the program looks.
sed 's/^name: .*/name: only-installed/' "$target/usr/share/kvsim/models/catalog/llama-3.1-8b.yaml" >"$target/usr/share/kvsim/models/catalog/only-installed.yaml"
cd "$target/elsewhere"
env -u KVSIM_DATA "$target/usr/bin/kvsim" check scenario.yaml
env -u KVSIM_DATA "$target/usr/bin/kvsim" run scenario.yaml --set model=only-installed --no-database >/dev/null
echo "install: good"
