#!/usr/bin/env bash
# fuzz_one.sh TARGET: runs one fuzz target for $fuzz_seconds from the seeds in
# tests/fuzz/seeds/NAME. A finding is kept beside the target; the command to replay it is printed.
set -uo pipefail
target=$1
name=$(basename "$target")
name=${name#fuzz_}
found=$(dirname "$target")/found_$name
mkdir -p "$found/corpus"
seeds=()
if [ -d "tests/fuzz/seeds/$name" ]; then seeds=("tests/fuzz/seeds/$name"); fi
options=(-max_total_time="${fuzz_seconds:-30}" -timeout=10 -rss_limit_mb=2048
  -print_final_stats=1 -artifact_prefix="$found/")
if "$target" "${options[@]}" "$found/corpus" "${seeds[@]}" >"$found/log" 2>&1; then
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log") runs"
  exit 0
fi
tail -n 40 "$found/log"
replay=$(sed -n 's/.*Test unit written to //p' "$found/log" | tail -n 1)
echo "$name failed; replay: $target ${replay:-(no input was written)}"
exit 1
