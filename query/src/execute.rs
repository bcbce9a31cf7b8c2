//! Runs a plan. Joined rows are pushed through the output one at a time; only what needs all rows (groups, a sort, the
//! inner side of a hash join, DISTINCT) holds them, and what is held is counted against [`Limits`].

use std::ops::ControlFlow;

use hypermnesia_store::Value;

use crate::access::Access;
use crate::bind::Scope;
use crate::eval::{Tuple, truth_of};
use crate::limits::Limits;
use crate::plan::{SelectPlan, plan_select};
use crate::sink::Sink;
use crate::statement::Stop;
use crate::syntax::Select;

mod group;
pub(crate) mod held;
mod identity;
mod output;
pub(crate) mod rows;

use group::Groups;
pub(crate) use held::Held;
use output::Output;
use rows::JoinedRows;

pub(crate) type Flow<E> = Result<ControlFlow<()>, Stop<E>>;

/// Runs a SELECT into the sink; returns how many rows the sink was given.
pub(crate) fn select<A: Access>(
    scope: &Scope<'_, A>,
    select: &Select,
    limits: Limits,
    sink: &mut dyn Sink,
) -> Result<u64, Stop<A::Error>> {
    let plan = plan_select(scope, select)?;
    sink.columns(&plan.columns());
    let held = Held::new(limits);
    let mut rows = 0;
    run(scope, &plan, &held, &mut |values| {
        rows += 1;
        Ok(sink.row(values))
    })?;
    Ok(rows)
}

/// Gives each row of the result to `emit`, until it breaks.
pub(crate) fn run<A: Access>(
    scope: &Scope<'_, A>,
    plan: &SelectPlan,
    held: &Held,
    emit: &mut dyn FnMut(Vec<Value>) -> Flow<A::Error>,
) -> Result<(), Stop<A::Error>> {
    let mut output = Output::new(plan, held);
    let mut none = false;
    for condition in &plan.once {
        none |= truth_of(condition, Tuple::EMPTY)? != Some(true);
    }
    if !output.is_full() {
        let joined = (!none).then(|| JoinedRows::new(scope.access, &plan.tables, &plan.steps, held));
        match &plan.group {
            None => {
                if let Some(joined) = joined {
                    joined.visit(&mut |rows| output.push(Tuple { rows, slots: &[] }, emit))?;
                }
            }
            Some(group) => {
                let mut groups = Groups::new(group, held);
                if let Some(joined) = joined {
                    joined.visit(&mut |rows| Ok(groups.add(Tuple { rows, slots: &[] })?))?;
                }
                groups.finish(&mut |slots| output.push(Tuple { rows: &[], slots }, emit))?;
            }
        }
    }
    output.finish(emit)
}
