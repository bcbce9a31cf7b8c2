//! Events of tables.

use hypermnesia::{Body, EventDetail, Heard, Kind};

use crate::{key, node, row, table};

#[test]
fn every_change_is_heard_once_with_its_old_rows() {
    // Aim: contract case 26 for live events. Method: each operation on each kind, then the exact events; none after the end.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let node = node();
        let t = table(&node, kind);
        let changes = t.subscribe(EventDetail::WithOldRows).expect("served");
        t.insert(&row(1, 10)).expect("written");
        t.insert(&row(1, 11)).expect("written");
        t.delete_object(&row(1, 11)).expect("done");
        t.delete(&key(1)).expect("done");
        let mut heard = Vec::new();
        while let Some(next) = changes.try_next() {
            let Heard::Event(event) = next else { panic!("nothing was missed") };
            let rows = |body: Option<Body>| {
                body.map_or(vec![], |body| body.rows().iter().map(|r| r.to_values()).collect())
            };
            heard.push((rows(event.old), rows(event.new)));
        }
        let (a, b) = (row(1, 10).to_vec(), row(1, 11).to_vec());
        let expected = match kind {
            Kind::Bag => vec![
                (vec![], vec![a.clone()]),
                (vec![a.clone()], vec![a.clone(), b.clone()]),
                (vec![a.clone(), b], vec![a.clone()]),
                (vec![a], vec![]),
            ],
            _ => vec![(vec![], vec![a.clone()]), (vec![a], vec![b.clone()]), (vec![b], vec![])],
        };
        let heard: Vec<(Vec<_>, Vec<_>)> = heard.into_iter().filter(|(old, new)| old != new).collect();
        assert_eq!(heard, expected, "{kind:?}");
        drop(changes);
        t.insert(&row(2, 2)).expect("nobody listens");
    }
}
