//! Accounts: every read of all of them has the sum they began with, none is overdrawn, and each holds what the transfers
//! that must and may have happened by then leave room for.

use std::collections::BTreeMap;

use crate::sums::Bounds;
use crate::{Anomaly, History, Kind, Op, Outcome, Transaction};

pub(crate) fn check(history: &History, found: &mut Vec<Anomaly>) {
    let bounds = bounds(&history.transactions);
    for one in history.transactions.iter().filter(|one| one.outcome == Outcome::Ok) {
        for op in &one.ops {
            if let Op::Accounts(balances) = op {
                found.extend(
                    wrong(history, &bounds, one, balances).map(|words| Anomaly::new(Kind::Bank, words)),
                );
            }
        }
    }
}

fn bounds(all: &[Transaction]) -> BTreeMap<u64, Bounds> {
    let mut bounds: BTreeMap<u64, Bounds> = BTreeMap::new();
    for one in all.iter().filter(|one| one.may_precede(u64::MAX)) {
        let over = (one.outcome == Outcome::Ok).then_some(one.completed);
        for op in &one.ops {
            if let Op::Transfer { from, to, amount } = op
                && from != to
            {
                bounds.entry(*from).or_default().add(one.invoked, over, -amount);
                bounds.entry(*to).or_default().add(one.invoked, over, *amount);
            }
        }
    }
    bounds.values_mut().for_each(Bounds::close);
    bounds
}

/// What is wrong with one read.
fn wrong(
    history: &History,
    bounds: &BTreeMap<u64, Bounds>,
    one: &Transaction,
    balances: &BTreeMap<u64, i64>,
) -> Option<String> {
    if !balances.keys().eq(history.opening.keys()) {
        return Some(format!("there are to be the accounts {:?}: {one}", history.opening.keys()));
    }
    let (began, sum) = (history.opening.values().sum::<i64>(), balances.values().sum::<i64>());
    if began != sum {
        return Some(format!("the accounts began with {began} and sum to {sum}: {one}"));
    }
    for (account, balance) in balances {
        let (least, most) =
            bounds.get(account).map_or((0, 0), |bounds| bounds.of(one.invoked, one.completed));
        let (least, most) = (history.opening[account] + least, history.opening[account] + most);
        if *balance < 0 {
            return Some(format!("account {account} is overdrawn: {one}"));
        }
        if !(least..=most).contains(balance) {
            return Some(format!(
                "account {account} has {balance}; with what had to and may have happened it is {least} to {most}: {one}"
            ));
        }
    }
    None
}
