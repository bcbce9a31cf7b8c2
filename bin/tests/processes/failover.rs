//! `hmn bench failover`: members that are killed while a client writes.

use crate::program::{hmn, said};

#[test]
fn a_cluster_writes_again_after_each_kill_and_loses_nothing() {
    // Aim: the bench kills whom it says it does, its times are those of the others, and what was acknowledged is there. Method: three
    // kills, the first one of the leader; a bound that is far above the bars, and above zero: who writes before the others have
    // agreed to go on measures nothing.
    let out = said(hmn(&["bench", "failover", "--kills", "3"], ""));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let [kills @ .., summary] = &lines[..] else { panic!("it says nothing") };
    let killed: Vec<_> = kills.iter().filter_map(|kill| kill["killed"].as_str()).collect();
    assert_eq!(killed, ["leader", "follower", "follower"], "{out}");
    for kill in kills {
        assert!(kill["ms"].as_f64().is_some_and(|ms| (5.0..20_000.0).contains(&ms)), "{kill}");
        assert!(kill["member"] != kill["writer"] && kill["lease_ms"] == 500, "{kill}");
    }
    assert_eq!((&summary["kills"], &summary["leaders"]), (&3.into(), &1.into()), "{summary}");
    let none = |what: &str| summary[what] == 0;
    assert!(none("lost") && none("twice") && none("refused_and_there"), "{summary}");
    assert!(summary["acknowledged"].as_u64().is_some_and(|rows| rows > 3), "{summary}");
}
