#!/usr/bin/env bash
# A Mnesia node with 1 M records on disc, in the shapes of `cargo bench --bench bulk`: restart, backup, restore. One JSON line
# per figure and repetition on stdout.
# settings, by environment: PEER_RECORDS (1000000) PEER_REPS (3) PEER_DIR (the disc; default the directory of temporary files)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v erl >/dev/null || { echo "bulk.sh: no erl here; install erlang-base and erlang-mnesia" >&2; exit 1; }
out=$(mktemp -d "${PEER_DIR:-${TMPDIR:-/tmp}}/bulk.XXXXXX"); trap 'rm -rf "$out"' EXIT
erlc -o "$out" "$here/erlang/peer_bulk.erl"
for _ in $(seq "${PEER_REPS:-3}"); do
    export PEER_HOME=$out/n1
    rm -rf "$PEER_HOME"
    for part in fill measure; do
        PEER_PART=$part erl -noshell -noinput -kernel logger_level error -pa "$out" -s peer_bulk main
    done
done
