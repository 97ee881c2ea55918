#!/usr/bin/env bash
# Tests of a cluster of real processes; arguments go to pytest. Uses the environment that
# tests/serve/run.sh makes. ATOLL_BINARY: the program (default build/release/atoll).
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
project=$(realpath "$here/../..")
# Deadlines are for a machine that has other things to do, too.
export ATOLL_PATIENCE=${ATOLL_PATIENCE:-3}
export ATOLL_BINARY=${ATOLL_BINARY:-$project/build/release/atoll}
"$project/tests/serve/run.sh" --collect-only >/dev/null
exec "$project/build/venv/bin/python" -B -m pytest -p no:cacheprovider -q --timeout=600 \
  -rs --durations=10 "$@" "$here"
