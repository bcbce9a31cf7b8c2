# Tables of ratios from the raw lines of one_node.sh. A ratio is ours through theirs within a round; shown are the median over
# the rounds, and the least and greatest. Where a peer has several rows for one figure (options of ETS, several maps), the best
# of the round stands for it.

function field(name,   at, rest) {
    at = index($0, "\"" name "\":"); if (!at) return ""
    rest = substr($0, at + length(name) + 3); sub(/[,}].*/, "", rest); gsub(/"/, "", rest); return rest
}
function keep(part, who, key,   rate) {
    rate = field("ops_per_s") + 0
    if (!((part, key) in known)) { known[part, key] = 1; order[part, ++count[part]] = key }
    if (round > rounds) rounds = round
    if (rate <= best[part, who, key, round]) return
    best[part, who, key, round] = rate
    took[part, who, key, round] = field("ms")
    slow[part, who, key, round] = sprintf("%.1f / %.1f", field("p50_us"), field("p99_us"))
}

# The middle of the first n of `list`, which is put in order; of an even number the mean of two.
function median(list, n,   i, j, x) {
    for (i = 2; i <= n; i++) { x = list[i]; for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]; list[j + 1] = x }
    return n == 0 ? 0 : (list[int((n + 1) / 2)] + list[int(n / 2) + 1]) / 2
}
function middle(what, part, who, key,   r, n, list) {
    for (r = 1; r <= rounds; r++) if ((part, who, key, r) in best) list[++n] = (what == "rate" ? best[part, who, key, r] : took[part, who, key, r]) + 0
    return median(list, n)
}
function latency(part, who, key,   r, rate, near, gap, shown) {
    rate = middle("rate", part, who, key); gap = -1
    for (r = 1; r <= rounds; r++) if ((part, who, key, r) in best) {
        near = best[part, who, key, r] - rate; if (near < 0) near = -near
        if (gap < 0 || near < gap) { gap = near; shown = slow[part, who, key, r] }
    }
    return shown
}
# "2.1 (1.9-2.2)": ours through theirs, or - where one is missing. The median stays in `ratio`.
function times(part, ours, theirs, key,   r, n, list, all) {
    for (r = 1; r <= rounds; r++) if ((part, ours, key, r) in best && (part, theirs, key, r) in best)
        list[++n] = best[part, ours, key, r] / best[part, theirs, key, r]
    if (!n) { ratio = -1; return "-" }
    ratio = median(list, n)
    return n == 1 ? sprintf("%.2f", ratio) : sprintf("%.2f (%.2f-%.2f)", ratio, list[1], list[n])
}
function met(bar) { return bar == "" || ratio < 0 ? "" : ratio >= bar ? bar " met" : bar " **open**" }
function short(rate) {
    if (rate <= 0) return "-"
    return rate >= 1e6 ? sprintf("%.2f M", rate / 1e6) : rate >= 1e4 ? sprintf("%.1f k", rate / 1e3) : sprintf("%.0f", rate)
}

{ round = field("round") + 0; peer = field("peer"); workload = field("workload"); threads = field("threads") }
workload == "restart" || workload == "backup" || workload == "restore" { keep("bulk", peer, workload); bulk_records = field("records"); next }
peer == "disc" { keep("synced", workload, threads " | threads"); keep("synced", workload, threads " | tasks"); next }
field("ack") == "synced" { keep("synced", "ours", threads " | " field("clients")); next }
field("placement") != "" { keep("transactions", peer, workload " | " threads); records = field("records"); next }
{
    sub(/_next_lookup$/, "", workload)
    table = field("table"); sub(/_set$/, "", table)
    if (peer != "hypermnesia" && peer != "ets") { table = peer ~ /tree$/ ? "ordered" : "set"; peer = "map" }
    if (peer == "ets" && workload == "insert") { bytes = field("bytes_per_record"); if (!(table in heavy) || bytes < heavy[table]) heavy[table] = bytes + 0 }
    keep("rows", peer, workload " | " table " | " threads); row_records = field("records")
}

END {
    bar["write_txn"] = bar["rmw_txn_uniform"] = bar["write10_txn"] = bar["tpcb"] = 10; bar["index_read10_txn"] = 6
    if (count["transactions"]) {
        print "Transactions of one node in memory, " records " records\n"
        print "| workload | clients | Mnesia, ops/s | hypermnesia, ops/s | times | bar | Mnesia p50/p99, us | hypermnesia p50/p99, us |"
        print "|---|---:|---:|---:|---:|---|---:|---:|"
    }
    for (i = 1; i <= count["transactions"]; i++) {
        key = order["transactions", i]; name = key; sub(/ .*/, "", name); shown = times("transactions", "hypermnesia", "mnesia", key)
        printf "| %s | %s | %s | %s | %s | %s | %s |\n", key, short(middle("rate", "transactions", "mnesia", key)), \
            short(middle("rate", "transactions", "hypermnesia", key)), shown, met(bar[name]), \
            latency("transactions", "mnesia", key), latency("transactions", "hypermnesia", key)
    }
    if (count["synced"]) {
        print "\nTransactions of one row that are on the disc when they are acknowledged\n"
        print "| writers | ours are | redb alone, commits/s | bare log, commits/s | hypermnesia, `synced` | of redb | bar | of the log | bar | p50/p99, us |"
        print "|---:|---|---:|---:|---:|---:|---|---:|---|---:|"
    }
    for (i = 1; i <= count["synced"]; i++) {
        key = order["synced", i]
        if (middle("rate", "synced", "ours", key) == 0) continue
        line = sprintf("| %s | %s | %s | %s", key, short(middle("rate", "synced", "redb_alone", key)), \
            short(middle("rate", "synced", "raw_log", key)), short(middle("rate", "synced", "ours", key)))
        line = line " | " times("synced", "ours", "redb_alone", key); line = line " | " met(3)
        line = line " | " times("synced", "ours", "raw_log", key); line = line " | " met(0.5)
        print line " | " latency("synced", "ours", key) " |"
    }
    if (count["bulk"]) {
        print "\nOne table on disc, " bulk_records " records\n"
        print "| | Mnesia, ms | hypermnesia, ms | times as fast | bar |"
        print "|---|---:|---:|---:|---|"
    }
    for (i = 1; i <= count["bulk"]; i++) {
        key = order["bulk", i]; shown = times("bulk", "hypermnesia", "mnesia", key)
        printf "| %s | %.0f | %.0f | %s | %s |\n", key, middle("ms", "bulk", "mnesia", key), middle("ms", "bulk", "hypermnesia", key), shown, met(1)
    }
    if (!count["rows"]) exit
    of_map["lookup_uniform", "set"] = of_map["lookup_zipf", "set"] = 0.6
    of_ets["lookup_uniform", "set"] = of_ets["lookup_zipf", "set"] = of_ets["lookup_uniform", "ordered"] = of_ets["lookup_zipf", "ordered"] = 1.5
    split("insert mixed_95_5 mixed_50_50 update_counter", changing, " ")
    for (i in changing) { of_ets[changing[i], "set"] = 1.5; of_ets[changing[i], "ordered"] = 1.2 }
    of_ets["range100", "ordered"] = 4
    split("select_guard_1pct_full select_count_full", scanning, " ")
    for (i in scanning) of_ets[scanning[i], "set"] = of_ets[scanning[i], "ordered"] = 5
    print "\nSingle rows, " row_records " records\n"
    print "| workload | table | threads | hypermnesia, ops/s | best map | of map | bar | best ETS | of ETS | bar |"
    print "|---|---|---:|---:|---:|---:|---|---:|---:|---|"
    for (i = 1; i <= count["rows"]; i++) {
        key = order["rows", i]; split(key, of, " [|] ")
        line = "| " key " | " short(middle("rate", "rows", "hypermnesia", key)) " | " short(middle("rate", "rows", "map", key))
        line = line " | " times("rows", "hypermnesia", "map", key); line = line " | " met(of_map[of[1], of[2]])
        line = line " | " short(middle("rate", "rows", "ets", key)) " | " times("rows", "hypermnesia", "ets", key)
        print line " | " met(of_ets[of[1], of[2]]) " |"
    }
    print ""
    scaled = split("lookup_uniform | set,lookup_zipf | set,lookup_uniform | ordered,lookup_zipf | ordered", reads, ",")
    for (i = 1; i <= scaled; i++) {
        key = reads[i]
        ours = middle("rate", "rows", "hypermnesia", key " | 1"); map = middle("rate", "rows", "map", key " | 1")
        if (ours > 0 && map > 0) printf "Two threads through one, %s: hypermnesia %.2f, best map %.2f (bar: 0.95 of it).\n", key, \
            middle("rate", "rows", "hypermnesia", key " | 2") / ours, middle("rate", "rows", "map", key " | 2") / map
    }
    printf "ETS's bytes of a row: %.0f (set), %.0f (ordered set).\n", heavy["set"], heavy["ordered"]
}
