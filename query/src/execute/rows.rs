//! The joined rows, pushed: each table's path is walked within the visit of the row before it.

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use hypermnesia_store::{Row, TableDef};

use super::held::Held;
use super::{Flow, identity};
use crate::access::{Access, Direction, Visit};
use crate::bind::BoundTable;
use crate::error::Fault;
use crate::eval::{Tuple, truth_of, value};
use crate::expression::Expr;
use crate::plan::path::Lookup;
use crate::plan::{Path, Step, Via};
use crate::statement::Stop;

/// Rows by the identity of their join columns.
type Hashed = HashMap<Vec<u8>, Vec<Row>, FixedState>;

pub(crate) struct JoinedRows<'a, A> {
    access: &'a A,
    tables: &'a [BoundTable],
    steps: &'a [Step],
    hashed: Vec<OnceCell<Hashed>>,
    held: &'a Held,
    /// Candidates so far.
    candidates: Cell<u64>,
}

/// Between two calls of [`Access::check`]: a candidate takes some 100 ns, so the access is asked every 100 us.
const CANDIDATES_PER_CHECK: u64 = 1024;

/// What is done with a joined row.
type Emit<'e, E> = dyn FnMut(&[Option<Row>]) -> Flow<E> + 'e;

impl<'a, A: Access> JoinedRows<'a, A> {
    pub(crate) fn new(access: &'a A, tables: &'a [BoundTable], steps: &'a [Step], held: &'a Held) -> Self {
        let hashed = steps.iter().map(|_| OnceCell::new()).collect();
        JoinedRows { access, tables, steps, hashed, held, candidates: Cell::new(0) }
    }

    /// Gives each joined row to `emit`, until it breaks. Without tables there is one empty row.
    pub(crate) fn visit(&self, emit: &mut Emit<'_, A::Error>) -> Result<(), Stop<A::Error>> {
        let mut rows: Vec<Option<Row>> = vec![None; self.tables.len()];
        self.step(0, &mut rows, emit).map(drop)
    }

    fn step(&self, n: usize, rows: &mut [Option<Row>], emit: &mut Emit<'_, A::Error>) -> Flow<A::Error> {
        let Some(step) = self.steps.get(n) else { return emit(rows) };
        let mut partner = false;
        let flow = match &step.hash {
            Some(pairs) => self.hash_step(n, pairs, rows, &mut partner, emit)?,
            None => self.path_step(n, rows, &mut partner, emit)?,
        };
        rows[step.slot] = None;
        if flow.is_continue() && step.left && !partner && self.all_hold(&step.filter, rows)? {
            return self.step(n + 1, rows, emit);
        }
        Ok(flow)
    }

    fn path_step(
        &self,
        n: usize,
        rows: &mut [Option<Row>],
        partner: &mut bool,
        emit: &mut Emit<'_, A::Error>,
    ) -> Flow<A::Error> {
        let step = &self.steps[n];
        let def = &self.tables[step.slot].def;
        let lookups = step.path.lookups(def, Tuple { rows, slots: &[] })?;
        let mut flow = Ok(ControlFlow::Continue(()));
        let mut visit = |row: &Row| {
            flow = self.candidate(n, row, rows, partner, emit);
            if matches!(flow, Ok(ControlFlow::Continue(()))) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let walked = walk(self.access, def, &step.path, lookups, &mut visit);
        // What failed first is told: the visit ended the walk.
        let flow = flow?;
        walked.map_err(Stop::Access)?;
        Ok(flow)
    }

    fn hash_step(
        &self,
        n: usize,
        pairs: &[(Expr, Expr)],
        rows: &mut [Option<Row>],
        partner: &mut bool,
        emit: &mut Emit<'_, A::Error>,
    ) -> Flow<A::Error> {
        let hashed = match self.hashed[n].get() {
            Some(hashed) => hashed,
            None => {
                let built = self.hash(n, pairs)?;
                self.hashed[n].get_or_init(|| built)
            }
        };
        let outer = pairs.iter().map(|(outer, _)| outer);
        let Some(key) = identity_of(outer, Tuple { rows, slots: &[] })? else {
            return Ok(ControlFlow::Continue(()));
        };
        for row in hashed.get(&key).into_iter().flatten() {
            if self.candidate(n, row, rows, partner, emit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// One row of the step's table that may join the rows so far.
    fn candidate(
        &self,
        n: usize,
        row: &Row,
        rows: &mut [Option<Row>],
        partner: &mut bool,
        emit: &mut Emit<'_, A::Error>,
    ) -> Flow<A::Error> {
        self.candidates.set(self.candidates.get() + 1);
        if self.candidates.get().is_multiple_of(CANDIDATES_PER_CHECK) {
            self.access.check().map_err(Stop::Access)?;
        }
        let step = &self.steps[n];
        rows[step.slot] = Some(row.clone());
        if !self.all_hold(&step.on, rows)? {
            return Ok(ControlFlow::Continue(()));
        }
        *partner = true;
        if !self.all_hold(&step.filter, rows)? {
            return Ok(ControlFlow::Continue(()));
        }
        self.step(n + 1, rows, emit)
    }

    fn all_hold(&self, conditions: &[Expr], rows: &[Option<Row>]) -> Result<bool, Fault> {
        for condition in conditions {
            if truth_of(condition, Tuple { rows, slots: &[] })? != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Holds the rows of this step's own path, by their join columns.
    fn hash(&self, n: usize, pairs: &[(Expr, Expr)]) -> Result<Hashed, Stop<A::Error>> {
        let step = &self.steps[n];
        let def = &self.tables[step.slot].def;
        let lookups = step.path.lookups(def, Tuple::EMPTY)?;
        let mut hashed = Hashed::with_hasher(FixedState::default());
        let mut rows: Vec<Option<Row>> = vec![None; self.tables.len()];
        let mut result = Ok(());
        let mut add = |row: &Row| -> Result<(), Fault> {
            rows[step.slot] = Some(row.clone());
            let own = pairs.iter().map(|(_, own)| own);
            let Some(key) = identity_of(own, Tuple { rows: &rows, slots: &[] })? else { return Ok(()) };
            self.held.add_row(row.as_bytes().len() + key.len() + 64)?;
            hashed.entry(key).or_default().push(row.clone());
            Ok(())
        };
        let mut visit = |row: &Row| {
            result = add(row);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let walked = walk(self.access, def, &step.path, lookups, &mut visit);
        result?;
        walked.map_err(Stop::Access)?;
        Ok(hashed)
    }
}

/// None where one of them is null, which equals nothing.
fn identity_of<'e>(
    exprs: impl Iterator<Item = &'e Expr>,
    tuple: Tuple<'_>,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut key = Vec::new();
    for expr in exprs {
        let value = value(expr, tuple)?;
        if value.as_ref().is_null() {
            return Ok(None);
        }
        identity::push(&mut key, value.as_ref());
    }
    Ok(Some(key))
}

/// Visits what the lookups find, in their order, until the visit breaks.
pub(crate) fn walk<A: Access>(
    access: &A,
    def: &TableDef,
    path: &Path,
    lookups: Vec<Lookup>,
    visit: &mut Visit<'_>,
) -> Result<(), A::Error> {
    let direction = if path.backward { Direction::Backward } else { Direction::Forward };
    let broken = Cell::new(false);
    let mut seen = path.may_repeat(def, &lookups).then(HashSet::<Row, FixedState>::default);
    let mut visit = |row: &Row| {
        if let Some(seen) = &mut seen
            && !seen.insert(row.clone())
        {
            return ControlFlow::Continue(());
        }
        let flow = visit(row);
        broken.set(broken.get() | flow.is_break());
        flow
    };
    for lookup in lookups {
        match (lookup, path.via) {
            (Lookup::Key(key), _) => access.get(def, &key, &mut visit)?,
            (Lookup::Range(range), Via::Key) => access.scan(def, &range, direction, &mut visit)?,
            (Lookup::Range(range), Via::Index(n)) => {
                access.index_scan(def, &def.indexes[n], &range, direction, &mut visit)?;
            }
        }
        if broken.get() {
            break;
        }
    }
    Ok(())
}
