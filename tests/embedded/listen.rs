//! Events of tables.

use std::collections::BTreeMap;

use hypermnesia::{
    Body, Error, EventDetail, EventPosition, Heard, Kind, Node, Record, Subscription, SystemEvent, Table,
    Value,
};

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

#[derive(Record, Clone, Debug, PartialEq)]
#[record(table = "visits", kind = "ordered_set")]
struct Visit {
    #[record(key)]
    id: i64,
    page: String,
}

fn visit(id: i64) -> Visit {
    Visit { id, page: format!("/{id}") }
}

fn taken(table: &Table<Visit>, changes: &Subscription) -> Vec<(u64, Vec<Visit>)> {
    let one = |heard| match heard {
        Heard::Event(event) => (event.sequence, table.rows_of(event.new.as_ref()).expect("its rows")),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| changes.try_next()).map(one).collect()
}

#[test]
fn a_subscription_goes_on_where_another_one_ended() {
    // Aim: contract case 26, resume, typed; and what cannot be gone on with says why. Method: pause, write, resume from the
    // position as text; positions of another table, of another node, and one that nobody waited for.
    let node = node();
    let visits = node.create_table_of::<Visit>().expect("new");
    let other = table(&node, Kind::Set);
    let first = visits.subscribe(EventDetail::Simple).expect("served");
    visits.insert(&visit(1)).expect("written");
    assert_eq!(taken(&visits, &first), [(1, vec![visit(1)])]);
    let kept = first.pause().to_string();
    visits.insert(&visit(2)).expect("written");
    visits.delete(&2).expect("done");
    let position: EventPosition = kept.parse().expect("as it was written");
    let second = visits.subscribe_from(position, EventDetail::WithOldRows).expect("kept");
    visits.insert(&visit(3)).expect("written");
    assert_eq!(taken(&visits, &second), [(2, vec![visit(2)]), (3, vec![]), (4, vec![visit(3)])]);
    let again = visits.subscribe_from(position.at(3), EventDetail::Simple).expect("kept");
    assert_eq!(taken(&visits, &again), [(4, vec![visit(3)])]);
    let gone = |result: Result<Subscription, Error>, why: &str| match result {
        Err(error @ Error::EventsGone { .. }) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{other:?}"),
    };
    gone(other.subscribe_from(position, EventDetail::Simple), "another table");
    let stranger = Node::builder().name("n2").build().expect("built");
    let theirs = stranger.create_table_of::<Visit>().expect("new");
    gone(theirs.subscribe_from(position, EventDetail::Simple), "before this one was started again");
    let unheard = other.subscribe(EventDetail::Simple).expect("served");
    let position = unheard.position();
    drop(unheard);
    gone(other.subscribe_from(position, EventDetail::Simple), "nobody listened");
}

#[test]
fn a_snapshot_with_its_changes_is_all_there_is_of_every_kind() {
    // Aim: rows and then changes, without a gap and nothing twice. Method: rows before; changes before and behind the
    // subscription; what the snapshot shows with the changes put to it is what the table holds.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let node = node();
        let t = table(&node, kind);
        (0..50).for_each(|id| t.insert(&row(id, 0)).expect("written"));
        let (snapshot, changes) = t.subscribe_with_rows(EventDetail::Simple).expect("served");
        (25..75).for_each(|id| t.insert(&row(id, 1)).expect("written"));
        (0..10).for_each(|id| t.delete(&key(id)).expect("done"));
        let mut held: BTreeMap<Value, Vec<Vec<Value>>> = BTreeMap::new();
        let shown = snapshot.range(&t, &hypermnesia::Span::all()).expect("its rows");
        assert_eq!(shown.len(), 50, "{kind:?}");
        shown.into_iter().for_each(|row| held.entry(row[0].clone()).or_default().push(row));
        let mut heard = 0;
        while let Some(Heard::Event(event)) = changes.try_next() {
            held.insert(
                event.key.decode().expect("a key")[0].clone(),
                t.rows_of(event.new.as_ref()).expect("rows"),
            );
            heard += 1;
        }
        assert_eq!(heard, 60, "{kind:?}");
        held.retain(|_, rows| !rows.is_empty());
        for (id, rows) in &held {
            assert_eq!(t.read(std::slice::from_ref(id)), Ok(rows.clone()), "{kind:?}");
        }
        assert_eq!(t.len(), Ok(held.values().map(|rows| rows.len() as u64).sum()), "{kind:?}");
    }
}

#[test]
fn who_listens_hears_when_nothing_comes_any_more() {
    // Aim: nobody waits for what cannot come. Method: threads that wait for a table that is dropped, and for a node that goes.
    let node = node();
    let (dropped, left) = (table(&node, Kind::Set), node.create_table_of::<Visit>().expect("new"));
    let on_table = dropped.subscribe(EventDetail::Simple).expect("served");
    let on_node = left.subscribe(EventDetail::Simple).expect("served");
    let on_system = node.system_events();
    let wait = std::time::Duration::from_secs(60);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| on_table.next_within(wait));
        node.drop_table("t").expect("there");
        assert_eq!(waiting.join().expect("no panic"), Some(Heard::Ended));
        let waiting = scope.spawn(|| on_node.next_within(wait));
        let system = scope.spawn(|| {
            std::iter::repeat_with(|| on_system.next_within(wait))
                .find(|event| *event == Some(SystemEvent::Ended))
        });
        drop(left);
        drop(dropped);
        node.close();
        assert_eq!(waiting.join().expect("no panic"), Some(Heard::Ended));
        assert!(system.join().expect("no panic").is_some());
    });
}
