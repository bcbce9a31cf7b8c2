#!/usr/bin/env bash
# Hypermnesia and Mnesia on the same work in the same minutes: for each workload first one, then the other, on three nodes
# of this machine. Raw JSON lines go to the file, a table in Markdown to the standard output.
# usage: benches/side_by_side.sh [RAW_FILE]      (needs Debian's erlang-base and erlang-mnesia; about ten minutes)
# settings, by environment:  SIDE_WORKLOADS SIDE_STORAGE SIDE_CLIENTS SIDE_SECONDS SIDE_REPS SIDE_NODES
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
raw=${1:-$(mktemp)}
workloads=${SIDE_WORKLOADS:-write_txn read_txn rmw_txn_uniform rmw_txn_1key write10_txn tpcb dirty_read dirty_write}
storages=${SIDE_STORAGE:-ram disc}
clients=${SIDE_CLIENTS:-1,64}
seconds=${SIDE_SECONDS:-1}
reps=${SIDE_REPS:-3}
nodes=${SIDE_NODES:-3}
export PEER_CLIENTS=$clients PEER_SECONDS=$seconds PEER_REPS=$reps PEER_PLACEMENT=one,spread

(cd "$here/.." && cargo build --release --locked --quiet)
hmn=${CARGO_TARGET_DIR:-$here/../target}/release/hmn
: > "$raw"
for storage in $storages; do
    for workload in $workloads; do
        echo "measuring $workload, $storage" >&2
        PEER_WORKLOADS=$workload PEER_STORAGE=$storage "$here/peers/mnesia.sh" "$nodes" 2>/dev/null >> "$raw"
        "$hmn" bench "$workload" --nodes "$nodes" --storage "$storage" --clients "$clients" --seconds "$seconds" \
            --reps "$reps" --placement one,spread 2>/dev/null >> "$raw"
    done
done
echo "measuring write_txn and the bare socket" >&2
"$hmn" bench write_txn --nodes "$nodes" --echo 2>/dev/null >> "$raw"

echo "| storage | workload | clients | Mnesia, ops/s | hypermnesia, ops/s | times | Mnesia p50/p99, us | hypermnesia p50/p99, us |"
echo "|---|---|---|---:|---:|---:|---:|---:|"
awk '
function field(name,   at, rest) {
    at = index($0, "\"" name "\":"); if (!at) return ""
    rest = substr($0, at + length(name) + 3); sub(/[,}].*/, "", rest); gsub(/"/, "", rest); return rest
}
/echo_p50_us/ { echo_line = "One client, write_txn: median " field("p50_us") " us; echo of 128 bytes: " field("echo_p50_us") " us; ratio of the medians of ten alternating rounds: " field("echo_round_trips") "."; next }
{
    key = field("storage") " | " field("workload") " | " field("threads") (field("threads") > 1 ? " " field("placement") : "")
    rate[field("peer"), key] = field("ops_per_s"); took[field("peer"), key] = sprintf("%.1f / %.1f", field("p50_us"), field("p99_us"))
    if (!(key in seen)) { seen[key] = 1; order[++count] = key }
}
END {
    for (i = 1; i <= count; i++) {
        key = order[i]; theirs = rate["mnesia", key]; ours = rate["hypermnesia", key]
        times = theirs > 0 ? sprintf("%.1f", ours / theirs) : "-"
        printf "| %s | %d | %d | %s | %s | %s |\n", key, theirs, ours, times, took["mnesia", key], took["hypermnesia", key]
    }
    print ""; print echo_line
}' "$raw"
