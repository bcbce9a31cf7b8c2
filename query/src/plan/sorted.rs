//! Order for nothing: where the path of the first table already gives the rows in the order that ORDER BY asks for, or
//! the first row is the least one, nothing is sorted and a limit ends the scan.

use hypermnesia_store::{TableDef, Type};

use super::path::{Equal, Path, Via, columns, is_multi, is_ordered, plain_indexes};
use super::{OrderKey, SelectPlan, Step, lone_extreme};
use crate::expression::Expr;

pub(super) fn use_order(plan: &mut SelectPlan, steps: &mut [Step], counts: &[f64]) {
    let tables = plan.tables.len();
    let Some(first) = steps.first_mut() else { return };
    let (def, count) = (plan.tables[first.slot].def.clone(), counts[first.slot]);
    if let Some(group) = &mut plan.group {
        if let (Some((attribute, descending)), 1) = (lone_extreme(group), tables) {
            let wanted = [(attribute, descending)];
            if let Some(path) = ordered_path(&def, first, &wanted, count, true) {
                (first.path, group.first_only) = (path, true);
            }
        }
        return;
    }
    let Some(wanted) = wanted_columns(&plan.order, first.slot) else { return };
    if wanted.is_empty() {
        return;
    }
    if let Some(path) = ordered_path(&def, first, &wanted, count, plan.limit.is_some()) {
        (first.path, plan.sorted) = (path, true);
    }
}

/// The columns of ORDER BY, if all are plain ones of this table with nulls where the order of keys has them.
fn wanted_columns(order: &[OrderKey], slot: usize) -> Option<Vec<(usize, bool)>> {
    let column = |key: &OrderKey| match &key.expr {
        Expr::Column { slot: s, attribute, .. } if *s == slot && key.nulls_first != key.descending => {
            Some((*attribute, key.descending))
        }
        _ => None,
    };
    order.iter().map(column).collect()
}

/// The step's path walked so that rows come as wanted; where it is the whole table, perhaps another one over all rows.
fn ordered_path(
    def: &TableDef,
    step: &Step,
    wanted: &[(usize, bool)],
    count: f64,
    few_rows: bool,
) -> Option<Path> {
    if let Some(backward) = gives(def, &step.path, wanted) {
        return Some(Path { backward, ..step.path.clone() });
    }
    if !step.path.is_whole() {
        return None;
    }
    let indexes = plain_indexes(def).filter(|_| few_rows).map(Via::Index);
    let mut vias = std::iter::once(Via::Key).chain(indexes).filter(|&via| is_ordered(def, via));
    vias.find_map(|via| {
        let path = Path::whole(via, count);
        let backward = gives(def, &path, wanted)?;
        Some(Path { backward, used: step.path.used.clone(), ..path })
    })
}

/// Whether the path's rows come as wanted, and then whether it must be walked backward.
fn gives(def: &TableDef, path: &Path, wanted: &[(usize, bool)]) -> Option<bool> {
    // The entries of a list's values say nothing of the list as a whole.
    if !path.is_ordered(def) || is_multi(def, path.via) {
        return None;
    }
    let mut backward = None;
    // A column that has one value orders nothing, so it may be passed over; a key of any type may hold 1 and 1.0.
    let single = |n: usize| match path.equal.get(n) {
        Some(Equal::One(_)) => {
            !matches!(def.attributes[columns(def, path.via)[n]].ty, Type::Any | Type::Float)
        }
        Some(Equal::Null) => true,
        _ => false,
    };
    let mut own = columns(def, path.via).iter().enumerate();
    for &(column, descending) in wanted {
        let constant = columns(def, path.via).iter().enumerate().any(|(n, &c)| c == column && single(n));
        if constant {
            continue;
        }
        loop {
            let (n, &next) = own.next()?;
            if next == column {
                break;
            }
            if !single(n) {
                return None;
            }
        }
        if *backward.get_or_insert(descending) != descending {
            return None;
        }
    }
    Some(backward.unwrap_or(false))
}
