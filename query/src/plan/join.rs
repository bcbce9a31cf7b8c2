//! The order and method of joins. Tables that are joined inner, up to the first LEFT JOIN, may change places: each is
//! tried as the first one, the next is always the one that is cheapest to add, and the cheapest whole order wins. An added
//! table is looked up by key or index for each row so far; where no path leads there, it is hashed once by the columns of
//! an equality, or, without one, held and gone through.

use hypermnesia_store::Value;

use super::path::Path;
use super::{BoundJoin, conjuncts};
use crate::bind::BoundTable;
use crate::expression::Expr;
use crate::syntax::Binary;

/// One table of the join.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) slot: usize,
    pub(crate) path: Path,
    /// Rows without a partner are kept, with nulls.
    pub(crate) left: bool,
    /// What a row must fulfil to be a partner.
    pub(crate) on: Vec<Expr>,
    /// What the joined row must fulfil.
    pub(crate) filter: Vec<Expr>,
    /// Held rows instead of a lookup per row, found by these pairs of (outer value, own value).
    pub(crate) hash: Option<Vec<(Expr, Expr)>>,
    /// Rows expected after it.
    pub(crate) rows: f64,
    cost: f64,
}

struct Joins<'a> {
    tables: &'a [BoundTable],
    counts: &'a [f64],
    joins: &'a [BoundJoin],
}

/// The steps, and the conditions that need no table.
pub(crate) fn plan_joins(
    tables: &[BoundTable],
    counts: &[f64],
    joins: Vec<BoundJoin>,
    filter: Option<Expr>,
) -> (Vec<Step>, Vec<Expr>) {
    let filter = filter.map(conjuncts).unwrap_or_default();
    let (mut pool, once): (Vec<Expr>, Vec<Expr>) = filter.into_iter().partition(|each| each.slots() != 0);
    for join in joins.iter().filter(|join| !join.left) {
        pool.extend(join.on.iter().cloned());
    }
    if tables.is_empty() {
        return (Vec::new(), once.into_iter().chain(pool).collect());
    }
    let movable = joins.iter().position(|join| join.left).unwrap_or(tables.len()).max(1);
    let joins = Joins { tables, counts, joins: &joins };
    let orders = (0..movable).map(|first| joins.greedy(first, movable, &pool));
    let cost = |steps: &[Step]| steps.iter().map(|step| step.cost).sum::<f64>();
    let best = orders.reduce(|best, next| if cost(&next) < cost(&best) { next } else { best });
    (best.unwrap_or_default(), once)
}

impl Joins<'_> {
    fn greedy(&self, first: usize, movable: usize, pool: &[Expr]) -> Vec<Step> {
        let (mut pool, mut steps) = (pool.to_vec(), Vec::new());
        let (mut bound, mut rows) = (0_u32, 1.0);
        let mut open: Vec<usize> = (0..movable).filter(|&slot| slot != first).collect();
        let mut next = first;
        loop {
            let step = self.step(next, bound, rows, &pool);
            bound |= 1 << next;
            rows = step.rows;
            pool.retain(|condition| condition.slots() & !bound != 0);
            steps.push(step);
            let choice = open.iter().map(|&slot| (slot, self.step(slot, bound, rows, &pool)));
            let weight = |step: &Step| step.cost + step.rows;
            let best = choice.reduce(|a, b| if weight(&b.1) < weight(&a.1) { b } else { a });
            match best {
                Some((slot, _)) => next = slot,
                None => break,
            }
            open.retain(|&slot| slot != next);
        }
        for slot in movable..self.tables.len() {
            let step = self.step(slot, bound, rows, &pool);
            bound |= 1 << slot;
            rows = step.rows;
            pool.retain(|condition| condition.slots() & !bound != 0);
            steps.push(step);
        }
        steps
    }

    /// The table in this slot, added to the bound ones.
    fn step(&self, slot: usize, bound: u32, rows: f64, pool: &[Expr]) -> Step {
        let own = 1_u32 << slot;
        let ready = |condition: &&Expr| condition.slots() & !(bound | own) == 0;
        let after: Vec<Expr> = pool.iter().filter(ready).cloned().collect();
        let left = self.joins[slot].left;
        // A condition of WHERE cannot choose the partners of an outer join, only drop joined rows.
        let (conditions, filter) =
            if left { (self.joins[slot].on.clone(), after) } else { (after, Vec::new()) };
        let (def, count) = (&self.tables[slot].def, self.counts[slot]);
        let lookup = Path::best(def, slot, count, &conditions, bound);
        let lookup_cost = rows * lookup.cost;
        let held = Path::best(def, slot, count, &conditions, 0);
        let pairs = equal_pairs(&conditions, bound, own, &held.used);
        let hash_cost =
            held.cost + held.rows + rows * if pairs.is_empty() { held.rows.max(1.0) } else { 1.5 };
        let hashed = bound != 0 && hash_cost < lookup_cost;
        let (path, cost) = if hashed { (held, hash_cost) } else { (lookup, lookup_cost) };
        let mut per_row = path.rows;
        let (mut dropped, hash) =
            (path.used.clone(), hashed.then(|| pairs.iter().map(|(_, pair)| pair.clone()).collect()));
        if hashed {
            dropped.extend(pairs.iter().map(|(n, _)| *n));
            per_row *= 0.01_f64.powi(pairs.len().min(1) as i32);
        }
        let rest: Vec<Expr> = conditions
            .into_iter()
            .enumerate()
            .filter(|(n, _)| !dropped.contains(n))
            .map(|(_, c)| c)
            .collect();
        let kept: f64 = rest.iter().chain(&filter).map(selectivity).product();
        let found = rows * per_row * kept;
        let rows =
            if left { found.max(rows * filter.iter().map(selectivity).product::<f64>()) } else { found };
        let (on, filter) = if left { (rest, filter) } else { (Vec::new(), rest) };
        Step { slot, path, left, on, filter, hash, rows, cost }
    }
}

/// Equalities between a value of the bound tables and one of the own table, with their positions.
fn equal_pairs(conditions: &[Expr], bound: u32, own: u32, used: &[usize]) -> Vec<(usize, (Expr, Expr))> {
    let side = |e: &Expr, slots: u32| e.slots() != 0 && e.slots() & !slots == 0;
    let pair = |condition: &Expr| match condition {
        Expr::Binary(Binary::Equal, a, b, _) if side(a, bound) && side(b, own) => {
            Some(((**a).clone(), (**b).clone()))
        }
        Expr::Binary(Binary::Equal, a, b, _) if side(b, bound) && side(a, own) => {
            Some(((**b).clone(), (**a).clone()))
        }
        _ => None,
    };
    let all = conditions.iter().enumerate().filter(|(n, _)| !used.contains(n));
    all.filter_map(|(n, condition)| Some((n, pair(condition)?))).collect()
}

/// A guess at the part of rows that fulfil a condition.
fn selectivity(condition: &Expr) -> f64 {
    match condition {
        Expr::Binary(Binary::Equal, ..) | Expr::IsNull(_) => 0.05,
        Expr::InList(_, list) => (0.05 * list.len() as f64).min(0.5),
        Expr::Constant(Value::Bool(false)) => 0.0,
        _ => 0.3,
    }
}
