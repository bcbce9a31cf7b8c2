//! Groups and their aggregates. Whole numbers are summed in 128 bits and must fit 64 at the end; a sum with a float among
//! its values is a float. Nulls are not counted, not summed, and never the least or greatest.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use hypermnesia_store::{Value, ValueRef};

use super::held::{Held, value_bytes};
use super::{Flow, identity};
use crate::bind::{Aggregate, AggregateKind};
use crate::error::Fault;
use crate::eval::{self, Datum, Tuple, number, wrong_type};
use crate::plan::Group;
use crate::statement::Stop;

pub(crate) struct Groups<'a> {
    plan: &'a Group,
    held: &'a Held,
    by_key: HashMap<Vec<u8>, usize, FixedState>,
    /// In the order in which they were met.
    groups: Vec<(Vec<Value>, Vec<State>)>,
    key: Vec<u8>,
}

/// One aggregate of one group so far.
#[derive(Default)]
struct State {
    count: u64,
    whole: i128,
    /// Present once a float was met.
    float: Option<f64>,
    extreme: Option<Value>,
    seen: HashSet<Vec<u8>, FixedState>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(plan: &'a Group, held: &'a Held) -> Groups<'a> {
        let mut groups =
            Groups { plan, held, by_key: HashMap::default(), groups: Vec::new(), key: Vec::new() };
        if plan.keys.is_empty() {
            // Without GROUP BY there is one group, also of no rows.
            groups.by_key.insert(Vec::new(), 0);
            groups.groups.push((Vec::new(), groups.fresh()));
        }
        groups
    }

    fn fresh(&self) -> Vec<State> {
        self.plan.aggregates.iter().map(|_| State::default()).collect()
    }

    /// Adds one joined row; breaks when no further row can change the result.
    pub(crate) fn add(&mut self, tuple: Tuple<'_>) -> Result<ControlFlow<()>, Fault> {
        self.key.clear();
        for expr in &self.plan.keys {
            identity::push(&mut self.key, eval::value(expr, tuple)?.as_ref());
        }
        let index = match self.by_key.get(self.key.as_slice()) {
            Some(&index) => index,
            None => self.add_group(tuple)?,
        };
        for (aggregate, state) in self.plan.aggregates.iter().zip(&mut self.groups[index].1) {
            state.add(aggregate, tuple, self.held)?;
        }
        let done = self.plan.first_only && self.groups[0].1[0].extreme.is_some();
        Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn add_group(&mut self, tuple: Tuple<'_>) -> Result<usize, Fault> {
        let values = self.plan.keys.iter().map(|expr| eval::value(expr, tuple).map(Datum::into_value));
        let values = values.collect::<Result<Vec<Value>, Fault>>()?;
        let states = self.plan.aggregates.len() * size_of::<State>();
        let bytes = values.iter().map(value_bytes).sum::<usize>() + self.key.len() + states + 64;
        self.held.add_row(bytes)?;
        self.by_key.insert(self.key.clone(), self.groups.len());
        let fresh = self.fresh();
        self.groups.push((values, fresh));
        Ok(self.groups.len() - 1)
    }

    /// Gives the values of each group that HAVING keeps to `emit`, until it breaks.
    pub(crate) fn finish<E>(self, emit: &mut dyn FnMut(&[Value]) -> Flow<E>) -> Result<(), Stop<E>> {
        for (mut slots, states) in self.groups {
            for (aggregate, state) in self.plan.aggregates.iter().zip(states) {
                slots.push(state.finish(aggregate)?);
            }
            let kept = match &self.plan.having {
                Some(having) => eval::truth_of(having, Tuple { rows: &[], slots: &slots })? == Some(true),
                None => true,
            };
            if kept && emit(&slots)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl State {
    fn add(&mut self, aggregate: &Aggregate, tuple: Tuple<'_>, held: &Held) -> Result<(), Fault> {
        let Some(argument) = &aggregate.argument else {
            self.count += 1;
            return Ok(());
        };
        let value = eval::value(argument, tuple)?;
        let value = value.as_ref();
        if value.is_null() || (aggregate.distinct && !self.is_new(value, held)?) {
            return Ok(());
        }
        self.count += 1;
        match aggregate.kind {
            AggregateKind::Count => {}
            AggregateKind::Sum | AggregateKind::Avg => self.sum(aggregate, value)?,
            AggregateKind::Min | AggregateKind::Max => {
                let better = self.extreme.as_ref().is_none_or(|extreme| {
                    let (new, old) = (value, extreme.as_ref());
                    if aggregate.kind == AggregateKind::Min { new < old } else { new > old }
                });
                if better {
                    self.extreme = Some(value.to_value());
                }
            }
        }
        Ok(())
    }

    fn is_new(&mut self, value: ValueRef<'_>, held: &Held) -> Result<bool, Fault> {
        let mut key = Vec::new();
        identity::push(&mut key, value);
        if self.seen.contains(&key) {
            return Ok(false);
        }
        held.add_row(key.len() + 48)?;
        self.seen.insert(key);
        Ok(true)
    }

    fn sum(&mut self, aggregate: &Aggregate, value: ValueRef<'_>) -> Result<(), Fault> {
        match (number::whole(value), value) {
            // 2^63 values of 64 bits fit 128.
            (Some(n), _) => self.whole += n,
            (None, ValueRef::Float(x)) => {
                let sum = self.float.unwrap_or(0.0);
                self.float = Some(number::finite(sum + x, &[sum, x], aggregate.place.0)?);
            }
            (None, other) => return Err(wrong_type(aggregate.kind.name(), other, aggregate.place.0)),
        }
        Ok(())
    }

    fn finish(self, aggregate: &Aggregate) -> Result<Value, Fault> {
        let total = |state: &State| state.whole as f64 + state.float.unwrap_or(0.0);
        match aggregate.kind {
            AggregateKind::Count => Ok(Value::from(self.count)),
            AggregateKind::Min | AggregateKind::Max => Ok(self.extreme.unwrap_or_default()),
            _ if self.count == 0 => Ok(Value::Null),
            AggregateKind::Avg => Ok(Value::Float(total(&self) / self.count as f64)),
            AggregateKind::Sum if self.float.is_some() => Ok(Value::Float(total(&self))),
            AggregateKind::Sum => number::narrow(self.whole, aggregate.place.0),
        }
    }
}
