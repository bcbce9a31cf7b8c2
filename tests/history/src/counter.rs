//! A counter: each read lies between what must and what may have been added by then, and where nothing is ever taken away
//! no read is below an earlier one.

use crate::sums::Bounds;
use crate::{Anomaly, Kind, Op, Outcome, Transaction};

pub(crate) fn check(all: &[Transaction], found: &mut Vec<Anomaly>) {
    let mut bounds = Bounds::default();
    let mut only_more = true;
    for one in all.iter().filter(|one| one.may_precede(u64::MAX)) {
        let over = (one.outcome == Outcome::Ok).then_some(one.completed);
        for op in &one.ops {
            if let Op::Add(by) = op {
                bounds.add(one.invoked, over, *by);
                only_more &= *by >= 0;
            }
        }
    }
    bounds.close();
    let reads = reads(all);
    for (one, sum) in &reads {
        let (least, most) = bounds.of(one.invoked, one.completed);
        if !(least..=most).contains(sum) {
            let words = format!("with what had to and may have been added it is {least} to {most}: {one}");
            found.push(Anomaly::new(Kind::Counter, words));
        }
    }
    if only_more {
        found.extend(falls(&reads));
    }
}

fn reads(all: &[Transaction]) -> Vec<(&Transaction, i64)> {
    let ok = all.iter().filter(|one| one.outcome == Outcome::Ok);
    ok.flat_map(|one| {
        one.ops.iter().filter_map(move |op| match op {
            Op::Counter(sum) => Some((one, *sum)),
            _ => None,
        })
    })
    .collect()
}

/// A read that is below one that was over before it began.
fn falls(reads: &[(&Transaction, i64)]) -> Option<Anomaly> {
    let (mut ended, mut begun) = (reads.to_vec(), reads.to_vec());
    ended.sort_by_key(|(one, _)| one.completed);
    begun.sort_by_key(|(one, _)| one.invoked);
    let mut over = ended.into_iter().peekable();
    let mut most: Option<(&Transaction, i64)> = None;
    for (one, sum) in begun {
        while let Some(earlier) = over.next_if(|(earlier, _)| earlier.completed < one.invoked) {
            most = most.filter(|most| most.1 >= earlier.1).or(Some(earlier));
        }
        if let Some((earlier, _)) = most.filter(|most| most.1 > sum) {
            return Some(Anomaly::new(Kind::Counter, format!("it falls between {earlier} and {one}")));
        }
    }
    None
}
