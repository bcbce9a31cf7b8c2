//! From joined rows or groups to the rows of the result: columns, DISTINCT, ORDER BY, LIMIT. Rows go straight out unless
//! they must be sorted; with a limit, only as many as it takes are kept while they come.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use hypermnesia_store::Value;

use super::held::{Held, values_bytes};
use super::{Flow, identity};
use crate::error::Fault;
use crate::eval::{self, Datum, Tuple};
use crate::plan::{OrderKey, SelectPlan};
use crate::statement::Stop;

pub(crate) struct Output<'a> {
    plan: &'a SelectPlan,
    held: &'a Held,
    distinct: HashSet<Vec<u8>, FixedState>,
    sorting: Vec<Sorted>,
    to_skip: u64,
    left: Option<u64>,
}

struct Sorted {
    keys: Vec<Value>,
    values: Vec<Value>,
    bytes: usize,
}

type Emit<'e, E> = dyn FnMut(Vec<Value>) -> Flow<E> + 'e;

impl<'a> Output<'a> {
    pub(crate) fn new(plan: &'a SelectPlan, held: &'a Held) -> Output<'a> {
        Output {
            plan,
            held,
            distinct: HashSet::default(),
            sorting: Vec::new(),
            to_skip: plan.offset,
            left: plan.limit,
        }
    }

    /// Whether no row can come out any more.
    pub(crate) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn sorts(&self) -> bool {
        !self.plan.order.is_empty() && !self.plan.sorted
    }

    pub(crate) fn push<E>(&mut self, tuple: Tuple<'_>, emit: &mut Emit<'_, E>) -> Flow<E> {
        // A row that OFFSET passes over anyway need not be made.
        if self.to_skip > 0 && !self.sorts() && !self.plan.distinct {
            self.to_skip -= 1;
            return Ok(ControlFlow::Continue(()));
        }
        let values =
            self.plan.output.iter().map(|column| eval::value(&column.expr, tuple).map(Datum::into_value));
        let values = values.collect::<Result<Vec<Value>, Fault>>()?;
        if self.plan.distinct && !self.is_new(&values)? {
            return Ok(ControlFlow::Continue(()));
        }
        if !self.sorts() {
            return self.out(values, emit);
        }
        let keys = self.plan.order.iter().map(|key| eval::value(&key.expr, tuple).map(Datum::into_value));
        let keys = keys.collect::<Result<Vec<Value>, Fault>>()?;
        let bytes = values_bytes(&values) + values_bytes(&keys) + size_of::<Sorted>();
        self.held.add_row(bytes)?;
        self.sorting.push(Sorted { keys, values, bytes });
        self.keep_first();
        Ok(ControlFlow::Continue(()))
    }

    fn is_new(&mut self, values: &[Value]) -> Result<bool, Fault> {
        let mut key = Vec::new();
        values.iter().for_each(|value| identity::push(&mut key, value.as_ref()));
        if self.distinct.contains(&key) {
            return Ok(false);
        }
        self.held.add_row(key.len() + 48)?;
        self.distinct.insert(key);
        Ok(true)
    }

    /// With a limit, drops what can no longer come out, now and then, so that the cost per row stays small.
    fn keep_first(&mut self) {
        // Below this many rows, dropping is not worth a sort.
        const ROWS_MIN: usize = 1024;
        let Some(limit) = self.plan.limit else { return };
        let wanted = usize::try_from(limit.saturating_add(self.plan.offset)).unwrap_or(usize::MAX);
        if self.sorting.len() >= wanted.saturating_mul(2).max(ROWS_MIN) {
            self.sort();
            let dropped = self.sorting.split_off(wanted);
            self.held.remove(dropped.len(), dropped.iter().map(|row| row.bytes).sum());
        }
    }

    /// Stable, so that rows with equal keys stay as they came.
    fn sort(&mut self) {
        let order = &self.plan.order;
        self.sorting.sort_by(|a, b| compare_keys(order, &a.keys, &b.keys));
    }

    fn out<E>(&mut self, values: Vec<Value>, emit: &mut Emit<'_, E>) -> Flow<E> {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(left) = &mut self.left {
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            *left -= 1;
        }
        let flow = emit(values)?;
        Ok(if self.is_full() { ControlFlow::Break(()) } else { flow })
    }

    /// What was kept to be sorted.
    pub(crate) fn finish<E>(mut self, emit: &mut Emit<'_, E>) -> Result<(), Stop<E>> {
        self.sort();
        for row in std::mem::take(&mut self.sorting) {
            if self.out(row.values, emit)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn compare_keys(order: &[OrderKey], a: &[Value], b: &[Value]) -> Ordering {
    for ((key, a), b) in order.iter().zip(a).zip(b) {
        let ordering = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ if key.descending => b.cmp(a),
            _ => a.cmp(b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}
