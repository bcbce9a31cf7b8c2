#!/usr/bin/env bash
# One node of hypermnesia beside its peers, in one run: transactions in memory, `synced` transactions, restart, backup and restore,
# and single rows. Each figure is taken in turn, first the peer and then ours or the other way about, once per round; what is
# printed is the median over the rounds of the ratio within a round.
#
# usage: benches/one_node.sh [RAW_FILE]     raw JSON lines to the file (with the number of the round), Markdown to stdout
#        benches/one_node.sh --table FILE   the tables of raw lines that are there
# needs: a Rust toolchain, Debian's erlang-base and erlang-mnesia, 3 GB of memory, 2 GB of disc; a machine that is quiet. Half an
#        hour with the settings below, and some minutes for the first building.
# settings, by environment:
#   ONE_PARTS    transactions,synced,bulk,rows   what is measured
#   ONE_ROUNDS   3          times that everything is measured
#   ONE_SECONDS  1          window of a transaction figure; 0.05 and more
#   ONE_MS       400        window of a single-row figure, in milliseconds
#   ONE_CLIENTS  1,2,64     clients of transactions: threads up to 2, tasks above (Mnesia: processes)
#   ONE_WRITERS  64         clients of synced transactions
#   ONE_RECORDS  100000     records of the tables that transactions work on; tpcb has 100,000 accounts whatever this is
#   ONE_BULK     1000000    records that are restarted with, backed up and restored
#   ONE_ROWS     1000000    records of the tables of single rows, at most 1048576
#   ONE_DIR      /var/tmp   a directory on the disc that is to be measured: not one in memory
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
parts=${ONE_PARTS:-transactions,synced,bulk,rows}
rounds=${ONE_ROUNDS:-3}
seconds=${ONE_SECONDS:-1}
clients=${ONE_CLIENTS:-1,2,64}
writers=${ONE_WRITERS:-64}
records=${ONE_RECORDS:-100000}
bulk=${ONE_BULK:-1000000}
rows=${ONE_ROWS:-1000000}
hmn=${CARGO_TARGET_DIR:-$here/../target}/release/hmn

wanted() { [[ ",$parts," == *",$1,"* ]]; }
say() { echo "round $round of $rounds: $*" >&2; }

# What was printed goes to the raw file with the round; what failed ends the run, with what it said.
into_raw() {
    if ! "$@" > "$scratch/lines" 2> "$scratch/said"; then cat "$scratch/said" >&2; echo "one_node.sh: failed: $*" >&2; exit 1; fi
    [ -s "$scratch/lines" ] || { cat "$scratch/said" >&2; echo "one_node.sh: no figures: $*" >&2; exit 1; }
    sed "s/^{/{\"round\":$round,/" "$scratch/lines" >> "$raw"
}

# Runs all functions that are named, in turn from round to round the other way about.
in_turn() {
    local order=("$@") i
    if (( round % 2 == 0 )); then order=(); for (( i = $#; i > 0; i-- )); do order+=("${!i}"); done; fi
    for i in "${order[@]}"; do "$i"; done
}

bench() { cargo bench --quiet --locked --bench "$1"; }
ours_with() { "$hmn" bench "$@" --nodes 1 --seconds "$seconds" --reps 1 --records "$records"; }

mnesia_transactions() {
    into_raw env PEER_WORKLOADS="$workload" PEER_STORAGE=ram PEER_CLIENTS="$clients" PEER_PLACEMENT=one PEER_RECORDS="$records" \
        PEER_SECONDS="$seconds" PEER_REPS=1 "$here/peers/mnesia.sh" 1
}
our_transactions() { into_raw ours_with "$workload" --storage ram --clients "$clients"; }

disc_alone() {
    into_raw env PEER_DIR="$scratch" PEER_CLIENTS="$writers" PEER_SECONDS="$seconds" PEER_REPS=1 PEER_RECORDS="$records" \
        cargo run --quiet --release --locked --manifest-path "$here/peers/disc/Cargo.toml"
}
our_synced() {
    local kind
    for kind in threads tasks; do
        into_raw ours_with write_txn --storage disc --ack synced --clients "$writers" --clients-as "$kind" --data "$scratch/synced"
        rm -rf "$scratch/synced"
    done
}

mnesia_bulk() { into_raw env PEER_RECORDS="$bulk" PEER_REPS=1 PEER_DIR="$scratch" "$here/peers/bulk.sh"; }
our_bulk() { export PEER_RECORDS=$bulk PEER_REPS=1 PEER_DIR=$scratch; into_raw bench bulk; unset PEER_RECORDS PEER_REPS PEER_DIR; }

ets_rows() { into_raw "$here/peers/ets.sh"; }
map_rows() { into_raw cargo run --quiet --release --locked --manifest-path "$here/peers/maps/Cargo.toml"; }
our_rows() { into_raw bench rows; }

measure() {
    for workload in write_txn rmw_txn_uniform write10_txn tpcb read_txn index_read10_txn; do
        wanted transactions || break
        say "$workload"
        in_turn mnesia_transactions our_transactions
    done
    if wanted synced; then say "synced"; in_turn disc_alone our_synced; fi
    if wanted bulk; then say "restart, backup, restore"; in_turn mnesia_bulk our_bulk; fi
    if wanted rows; then
        say "single rows"
        export PEER_RECORDS=$rows PEER_MS=${ONE_MS:-400} PEER_REPS=1 PEER_KINDS=set,ordered_set
        in_turn ets_rows map_rows our_rows
        unset PEER_RECORDS PEER_MS PEER_REPS PEER_KINDS
    fi
}

# As the peers' kits are built: with link-time optimization.
build() {
    echo "building" >&2
    cargo build --quiet --locked --profile bench -p hypermnesia-cli
    cargo bench --quiet --locked --bench bulk --bench rows --no-run
    cargo build --quiet --release --locked --manifest-path "$here/peers/disc/Cargo.toml"
    if wanted rows; then cargo build --quiet --release --locked --manifest-path "$here/peers/maps/Cargo.toml"; fi
}

if [ "${1:-}" = --table ]; then
    raw=${2:?the file of raw lines}
else
    raw=$(realpath -m "${1:-$(mktemp)}")
    if [ "$(stat -f -c %T "${ONE_DIR:-/var/tmp}")" = tmpfs ]; then
        echo "one_node.sh: ${ONE_DIR:-/var/tmp} is in memory: set ONE_DIR to a directory on a disc" >&2; exit 1
    fi
    scratch=$(mktemp -d "${ONE_DIR:-/var/tmp}/one_node.XXXXXX"); trap 'rm -rf "$scratch"' EXIT
    build
    : > "$raw"
    for round in $(seq "$rounds"); do measure; done
    echo "raw lines: $raw" >&2
fi
awk -f "$here/one_node.awk" "$raw"
