#!/usr/bin/env bash
# The bars of a cluster beside Mnesia: three nodes of this machine, a copy of every table on each; for each workload first one, then the
# other, three windows of three seconds and the median of them. Of the storages and placements of a row the worst ratio counts.
# Raw JSON lines go to the file, a table in Markdown to the standard output.
# usage: benches/cluster_bars.sh [RAW_FILE]      (needs Debian's erlang-base and erlang-mnesia; about a quarter of an hour)
# settings, by environment:  BARS_SECONDS BARS_REPS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
raw=${1:-$(mktemp)}
seconds=${BARS_SECONDS:-3}
reps=${BARS_REPS:-3}

(cd "$here/.." && cargo build --release --locked --quiet)
hmn=${CARGO_TARGET_DIR:-$here/../target}/release/hmn
: > "$raw"

# measure WORKLOAD CLIENTS SCALE NAME
measure() {
    for storage in ram disc; do
        echo "measuring $4, $storage" >&2
        PEER_WORKLOADS=$1 PEER_STORAGE=$storage PEER_CLIENTS=$2 PEER_SCALE=$3 PEER_SECONDS=$seconds PEER_REPS=$reps \
            PEER_PLACEMENT=one,spread "$here/peers/mnesia.sh" 3 2> /dev/null | sed "s/\"workload\":\"$1\"/\"workload\":\"$4\"/" >> "$raw"
        "$hmn" bench "$1" --nodes 3 --storage "$storage" --clients "$2" --scale "$3" --seconds "$seconds" --reps "$reps" \
            --placement one,spread 2> /dev/null | sed "s/\"workload\":\"$1\"/\"workload\":\"$4\"/" >> "$raw"
    done
}

measure write_txn 1,64 1 write_txn
measure rmw_txn_1key 8,64 1 rmw_txn_1key
measure write10_txn 1,64 1 write10_txn
measure tpcb 1,64 1 tpcb
measure tpcb 1,64 10 tpcb_scale_10
measure read_txn 1,64 1 read_txn
echo "measuring write_txn and the bare socket" >&2
"$hmn" bench write_txn --nodes 3 --echo 2> /dev/null >> "$raw"
for nodes in 1 2 3 5 7; do
    echo "measuring write_txn with $nodes copies" >&2
    "$hmn" bench write_txn --nodes "$nodes" --clients 1,64 --seconds "$seconds" --reps "$reps" 2> /dev/null \
        | sed 's/"workload":"write_txn"/"workload":"write_txn_by_copies"/' >> "$raw"
done

awk -f "$here/cluster_bars.awk" "$raw"
