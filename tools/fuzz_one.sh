#!/usr/bin/env bash
# fuzz_one.sh TARGET: runs one fuzz target for $fuzz_seconds from the seeds in
# tests/fuzz/seeds/NAME, with the random seed $FUZZ_SEED (default 1). A finding is kept beside the
# target; what it was, the stack, the input when it is short, and the command to replay it are
# printed, so that the output alone is enough to repeat it.
set -uo pipefail
target=$1
name=$(basename "$target")
name=${name#fuzz_}
found=$(dirname "$target")/found_$name
mkdir -p "$found/corpus"
seeds=()
if [ -d "tests/fuzz/seeds/$name" ]; then seeds=("tests/fuzz/seeds/$name"); fi
options=(-seed="${FUZZ_SEED:-1}" -max_total_time="${fuzz_seconds:-30}" -timeout=10
  -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$found/")
if "$target" "${options[@]}" "$found/corpus" "${seeds[@]}" >"$found/log" 2>&1; then
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log") runs"
  exit 0
fi
# The kind of the finding, the words of an assertion, the stack without what lies below our code.
echo "$name: finding"
wanted='ERROR: |runtime error: |^[[:space:]]+#[0-9]+ |[Aa]ssert|terminate called|what\(\)'
below=' (fuzzer::|main |_start|__libc_start|__sanitizer_print)'
grep -aE "$wanted" "$found/log" | grep -avE "$below" |
  sed 's/ (BuildId.*//' | cut -c1-240 | head -n 32
grep -a 'SUMMARY: ' "$found/log"
input=$(sed -n 's/.*Test unit written to //p' "$found/log" | tail -n 1)
if [ ! -f "$input" ]; then
  tail -n 8 "$found/log"
  echo "$name failed, no input was written; again:"
  echo "FUZZ_SEED=${FUZZ_SEED:-1} tools/fuzz_one.sh $target"
  exit 1
fi
if [ "$(wc -c <"$input")" -le 1500 ]; then
  echo "$name failed; replay: base64 -d <<<$(base64 -w0 "$input") >input && $target input"
else
  echo "$name failed; replay: $target $input"
fi
exit 1
