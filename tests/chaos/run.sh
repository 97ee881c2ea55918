#!/usr/bin/env bash
# Tests of a cluster of real processes. Uses the environment that tests/serve/run.sh makes.
# ATOLL_BINARY: the program (default build/release/atoll).
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
project=$(realpath "$here/../..")

usage() {
  cat <<'TEXT'
Usage: tests/chaos/run.sh [--minutes N] [--seed S] [PYTEST ARGUMENTS]

Clusters of real processes, on this machine and in network namespaces, that are killed, frozen, cut
off, slowed, starved of memory and disk, and lied to. A ledger of clients checks that every request
ended exactly once with the bytes of an undisturbed run.

  --minutes N   the long run: a schedule of faults for N minutes, half of them over each transport,
                and what the short run leaves out: nodes frozen for a minute (two more minutes), and
                TLS on the loopback. Prints each fault as it strikes.
  --seed S      of the schedule and of who is hurt (default 1); the same seed and minutes give the
                same schedule again

Without --minutes: the short run, in two lanes side by side, some three minutes.
What this machine does not allow (namespaces, control groups) is skipped by name.
ATOLL_PATIENCE: factor on all deadlines (default 3). ATOLL_BINARY: the program.
TEXT
}

minutes=0
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --minutes) minutes=$2; shift 2 ;;
    --seed) export ATOLL_CHAOS_SEED=$2; shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done

# Deadlines are for a machine that has other things to do, too.
export ATOLL_PATIENCE=${ATOLL_PATIENCE:-3}
export ATOLL_BINARY=${ATOLL_BINARY:-$project/build/release/atoll}
"$project/tests/serve/run.sh" --collect-only >/dev/null

lane() {
  "$project/build/venv/bin/python" -B -m pytest -p no:cacheprovider -q --timeout="$1" -rs \
    --durations=10 ${arguments[@]+"${arguments[@]}"} "${@:2}"
}

if [ "$minutes" != 0 ]; then
  export ATOLL_CHAOS_MINUTES=$minutes
  whole=${minutes%%.*}
  lane $((${whole:-0} * 120 + 1200)) "$here"
  exit
fi

# Much of the time is spent on waiting, so two lanes share the processors.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS
lane 600 "$here/test_hosts.py" >"$log" 2>&1 &
other=$!
one=0 two=0
lane 600 "$here" --ignore "$here/test_hosts.py" 2>&1 | tee "$log.1" || one=$?
wait "$other" || two=$?
cat "$log"
# One line that counts both, as pytest writes it.
cat "$log" "$log.1" | awk -v seconds=$((SECONDS - started)) '
  /^[0-9].* in [0-9.]+s/ {
    for (i = 1; i < NF; i++)
      if ($i ~ /^[0-9]+$/) { word = $(i + 1); sub(/,$/, "", word); count[word] += $i }
  }
  END {
    n = split("failed passed skipped error errors", words)
    for (i = 1; i <= n; i++)
      if (count[words[i]]) line = line (line ? ", " : "") count[words[i]] " " words[i]
    print line " in " seconds ".00s"
  }'
rm -f "$log.1"
# 5: no test of a lane was asked for.
for status in "$one" "$two"; do
  [ "$status" = 0 ] || [ "$status" = 5 ] || exit "$status"
done
[ "$one" = 0 ] || [ "$two" = 0 ]
