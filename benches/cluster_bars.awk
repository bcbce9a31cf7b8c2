# The raw lines of cluster_bars.sh as tables in Markdown.
function field(name,   at, rest) {
    at = index($0, "\"" name "\":")
    if (!at) return ""
    rest = substr($0, at + length(name) + 3)
    sub(/[,}].*/, "", rest)
    gsub(/"/, "", rest)
    return rest
}
function bar(workload, clients) {
    if (workload == "write_txn") return clients == 1 ? "4 (p50)" : 8
    if (workload == "rmw_txn_1key") return 5
    if (workload == "write10_txn") return 15
    if (workload ~ /^tpcb/) return 8
    return 20
}
/echo_p50_us/ {
    echo_line = "One client, write_txn: median " field("p50_us") " us; echo of 128 bytes: " field("echo_p50_us") \
        " us; ratio of the medians of ten alternating rounds: " field("echo_round_trips") "."
    next
}
field("workload") == "write_txn_by_copies" {
    copies = field("nodes")
    if (!(copies in by)) { by[copies] = 1; sizes[++kinds] = copies }
    cost[copies, field("threads")] = field("ops_per_s")
    took[copies, field("threads")] = field("p50_us")
    next
}
{
    row = field("workload") " | " field("threads")
    place = field("storage") (field("threads") > 1 ? ", " field("placement") : "")
    rate[field("peer"), row, place] = field("ops_per_s")
    median[field("peer"), row, place] = field("p50_us")
    if (!((row, place) in seen)) {
        seen[row, place] = 1
        if (!(row in places)) order[++rows] = row
        places[row] = places[row] (places[row] == "" ? "" : ";") place
    }
}
END {
    print "| workload | clients | worst at | Mnesia, ops/s | hypermnesia, ops/s | times | bar | p50, us |"
    print "|---|---:|---|---:|---:|---:|---:|---:|"
    for (i = 1; i <= rows; i++) {
        row = order[i]
        split(row, parts, " \\| ")
        p50 = bar(parts[1], parts[2]) ~ /p50/
        worst = ""
        count = split(places[row], all, ";")
        for (k = 1; k <= count; k++) {
            place = all[k]
            theirs = rate["mnesia", row, place]
            ours = rate["hypermnesia", row, place]
            if (p50 && median["hypermnesia", row, place] > 0)
                times = median["mnesia", row, place] / median["hypermnesia", row, place]
            else
                times = theirs > 0 ? ours / theirs : 0
            if (worst == "" || times < least) { worst = place; least = times }
        }
        printf "| %s | %s | %d | %d | %.1f | %s | %.1f / %.1f |\n", row, worst, rate["mnesia", row, worst], \
            rate["hypermnesia", row, worst], least, bar(parts[1], parts[2]), median["mnesia", row, worst], median["hypermnesia", row, worst]
    }
    print ""
    print echo_line
    if (!kinds) exit
    print ""
    print "| copies | 1 client, ops/s | p50, us | 64 clients, ops/s |"
    print "|---:|---:|---:|---:|"
    for (i = 1; i <= kinds; i++) {
        n = sizes[i]
        printf "| %d | %d | %.1f | %d |\n", n, cost[n, 1], took[n, 1], cost[n, 64]
    }
}
