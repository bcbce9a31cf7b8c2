#!/usr/bin/env bash
# Two judges that know nothing of each other: ours, and `adya` (cargo install adya --version 0.1.0 --locked
# --no-default-features). They judge histories of adya's simulated database at each of its levels, good and bad, and the
# files that are given, which have to be of lists alone. Ends with 1 when they disagree about any.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v adya > /dev/null || { echo "adya is not installed; the head of this script says how" >&2; exit 2; }
cargo build --quiet --locked -p hypermnesia-history --example judge
judge="${CARGO_TARGET_DIR:-target}/debug/examples/judge"
made="$(mktemp -d)"
trap 'rm -r "$made"' EXIT

for level in serializable snapshot-isolation read-committed read-uncommitted lost-update; do
    for seed in $(seq "${SEEDS:-20}"); do
        # Few transactions, so that some histories of weak levels are good by chance.
        adya run sim -i "$level" -n $((seed * 4)) -p 4 --seed "$seed" -o "$made/$level-$seed.jsonl" > /dev/null 2>&1 || true
    done
done

agreed=0 bad=0 disagreed=0
for file in "$made"/*.jsonl "$@"; do
    ours=true theirs=true
    "$judge" "$file" > "$made/ours" || ours=false
    adya check -m list-append -c strict-serializable "$file" > "$made/theirs" || theirs=false
    if [ "$ours" = "$theirs" ]; then
        agreed=$((agreed + 1))
        [ "$ours" = true ] || bad=$((bad + 1))
    else
        disagreed=$((disagreed + 1))
        echo "they disagree about $file"
        head -20 "$made/ours" "$made/theirs"
    fi
done
echo "agreed about $agreed histories, $bad of them bad; disagreed about $disagreed"
[ "$disagreed" = 0 ]
