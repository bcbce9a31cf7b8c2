#!/usr/bin/env bash
# Mnesia in the shapes of `hmn bench`, on this machine, one JSON line per figure on stdout.
# usage: mnesia.sh [nodes]      (1 or 3, default 3; needs Debian's erlang-base and erlang-mnesia)
# settings, by environment:  PEER_WORKLOADS PEER_CLIENTS PEER_STORAGE PEER_PLACEMENT PEER_RECORDS PEER_SECONDS PEER_REPS PEER_SCALE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
nodes=${1:-3}
command -v erl >/dev/null || { echo "mnesia.sh: no erl here; install erlang-base and erlang-mnesia" >&2; exit 1; }
export PEER_WORKLOADS=${PEER_WORKLOADS:-write_txn,read_txn,rmw_txn_uniform,rmw_txn_1key,write10_txn,index_read10_txn,dirty_read,dirty_write,tpcb}
export PEER_CLIENTS=${PEER_CLIENTS:-1,64} PEER_STORAGE=${PEER_STORAGE:-ram,disc} PEER_PLACEMENT=${PEER_PLACEMENT:-one,spread}
PEER_TMP=$(mktemp -d); export PEER_TMP
ERL_EPMD_PORT=$((20000 + RANDOM % 20000)); export ERL_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
pids=()
finish() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$PEER_TMP"; }
trap finish EXIT
erlc -o "$PEER_TMP" "$here/erlang/peer_mnesia.erl"
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & pids+=($!)
common=(-noshell -noinput -pa "$PEER_TMP" -setcookie "peer$RANDOM" -start_epmd false -kernel inet_dist_use_interface '{127,0,0,1}' logger_level error)
names=()
for i in $(seq 1 "$nodes"); do names+=("peer$i@127.0.0.1"); done
PEER_NODES=$(IFS=,; echo "${names[*]}"); export PEER_NODES
sleep 0.5
for n in "${names[@]:1}"; do erl "${common[@]}" -name "$n" >/dev/null & pids+=($!); done
erl "${common[@]}" -name "${names[0]}" -s peer_mnesia main
