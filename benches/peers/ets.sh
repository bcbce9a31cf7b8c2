#!/usr/bin/env bash
# ETS tables on the record shape of the table benches, with 1 and 2 schedulers; one JSON line per figure on stdout.
# settings, by environment: PEER_RECORDS (1000000) PEER_MS (400) PEER_REPS (3) PEER_KINDS (set,ordered_set,bag)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v erl >/dev/null || { echo "ets.sh: no erl here; install erlang-base" >&2; exit 1; }
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
erlc -o "$out" "$here/erlang/peer_ets.erl"
for schedulers in 1 2; do erl -noshell -noinput +S $schedulers:$schedulers -pa "$out" -s peer_ets main; done
