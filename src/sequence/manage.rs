//! Making, finding, listing and dropping sequences, what a backup keeps of them, and the blocks of a node by name.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia_store::backup::BackedUpSequence;
use hypermnesia_store::work::Op;
use hypermnesia_store::{Body, Key, KeyRange, Row, Value, ValueRef};
use parking_lot::Mutex;

use super::{MARK, Sequence, Shared, State, check_name, schema};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::{SCHEMA_DEADLINE_DEFAULT, SEQUENCES_MAX};
use crate::node::Node;
use crate::operation::entries_with;
use crate::options::{Span, TxOptions};
use crate::snapshot::Snapshot;
use crate::transaction::{self, Transaction};

/// The sequences that handles of this node were asked for.
#[derive(Default)]
pub(crate) struct Sequences {
    /// By the key of the row, so that one made anew under its name shares nothing with the old one. Held for a look.
    shared: Mutex<HashMap<Key, Arc<Shared>>>,
}

impl Sequences {
    fn shared(&self, name: &str, key: Key) -> Arc<Shared> {
        let mut shared = self.shared.lock();
        let made = || Shared {
            name: name.to_owned(),
            key: key.clone(),
            reserved: Mutex::default(),
            reserving: Mutex::default(),
        };
        Arc::clone(shared.entry(key.clone()).or_insert_with(|| Arc::new(made())))
    }
}

/// Sequences and unique ids.
impl Node {
    /// The sequence of this name; it is made if it is not there. It begins at 1. Names
    /// of tables and of sequences have nothing to do with each other. See [`Sequence`].
    ///
    /// # Errors
    /// [`Error::Schema`] for a name that cannot be one; [`Error::TooLarge`] behind
    /// [`SEQUENCES_MAX`](crate::limits::SEQUENCES_MAX); otherwise as [`Node::transaction`].
    pub fn sequence(&self, name: &str) -> Result<Sequence> {
        check_name(name)?;
        let key = match find(&self.core, name)? {
            Some((key, _)) => key,
            None => make(&self.core, name, 1)?.0,
        };
        Ok(handle(&self.core, name, key))
    }

    /// The sequence of this name, if there is one.
    ///
    /// # Errors
    /// [`Error::NoSuchSequence`]; otherwise as a read.
    pub fn existing_sequence(&self, name: &str) -> Result<Sequence> {
        let missing = || Error::NoSuchSequence { name: name.to_owned() };
        let (key, _) = find(&self.core, name)?.ok_or_else(missing)?;
        Ok(handle(&self.core, name, key))
    }

    /// All sequences by name, each with the largest number that may have been given out.
    ///
    /// # Errors
    /// As a read.
    pub fn sequences(&self) -> Result<Vec<(String, i64)>> {
        transaction::run(&self.core, &TxOptions::default(), |tx| {
            let rows = scan(tx, &self.core)?;
            let named = rows.iter().filter_map(|(_, row)| named(&Body::Row(row.clone())));
            let mut listed: Vec<_> =
                named.map(|(name, state)| (name, state.next.saturating_sub(1))).collect();
            listed.sort();
            Ok(listed)
        })
    }

    /// Drops a sequence. One that is made under its name later begins at 1 again; handles of this one say that it is gone.
    ///
    /// # Errors
    /// [`Error::NoSuchSequence`]; otherwise as [`Node::transaction`].
    pub fn drop_sequence(&self, name: &str) -> Result<()> {
        let gone = transaction::run(&self.core, &TxOptions::new().sync(), |tx| {
            let missing = || Error::NoSuchSequence { name: name.to_owned() };
            let (key, _) = look(tx, &self.core, name)?.ok_or_else(missing)?;
            tx.step(|attempt, _| attempt.write_system(&schema(&self.core), key.clone(), Op::Delete))?;
            Ok::<_, Error>(key)
        })?;
        self.core.sequences.shared.lock().remove(&gone);
        Ok(())
    }
}

fn handle(core: &Arc<Core>, name: &str, key: Key) -> Sequence {
    let shared = core.sequences.shared(name, key);
    Sequence { core: Arc::clone(core), shared }
}

/// All sequences at a snapshot, by name, as a backup keeps them.
pub(crate) fn backed_up(core: &Core, snapshot: &Snapshot) -> Result<Vec<BackedUpSequence>> {
    let mut all = Vec::new();
    snapshot.visit_versions(&schema(core), |_, body, _| {
        all.extend(named(body).map(|(name, state)| BackedUpSequence { name, next: state.next }));
        ControlFlow::Continue(())
    })?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Whether these may be made or raised here, as far as that can be known before.
pub(crate) fn check_backed_up(core: &Arc<Core>, sequences: &[BackedUpSequence]) -> Result<()> {
    sequences.iter().try_for_each(|sequence| check_name(&sequence.name))?;
    if sequences.is_empty() {
        return Ok(());
    }
    let there: BTreeSet<String> = transaction::run(core, &TxOptions::default(), |tx| scan(tx, core))?
        .into_iter()
        .filter_map(|(_, row)| named(&Body::Row(row)).map(|(name, _)| name))
        .collect();
    let new = sequences.iter().filter(|sequence| !there.contains(&sequence.name)).count();
    match there.len() + new > SEQUENCES_MAX {
        true => Err(Error::TooLarge { what: "sequences", bound: SEQUENCES_MAX }),
        false => Ok(()),
    }
}

/// Puts a sequence, made where it is missing, behind what a backup says was given out. Says whether it was there, and its next
/// number.
pub(crate) fn raise(core: &Arc<Core>, backed_up: &BackedUpSequence) -> Result<(bool, i64)> {
    let BackedUpSequence { name, next } = backed_up;
    let key = match find(core, name)? {
        Some((key, _)) => key,
        None => match make(core, name, *next)? {
            (_, true) => return Ok((false, *next)),
            (key, false) => key,
        },
    };
    Ok((true, handle(core, name, key).raise(*next)?))
}

/// Name and state of a sequence, where a row of the schema table is one.
fn named(body: &Body) -> Option<(String, State)> {
    let state = State::of(body)?;
    let ValueRef::Text(name) = body.rows().first()?.attribute(1) else { return None };
    Some((name.strip_prefix(MARK)?.to_owned(), state))
}

/// Makes a sequence, unless somebody else has meanwhile. Says which.
fn make(core: &Arc<Core>, name: &str, first: i64) -> Result<(Key, bool)> {
    let mut made = None;
    crate::schema::change(core, SCHEMA_DEADLINE_DEFAULT, |tx, _, next| {
        if let Some((key, _)) = look(tx, core, name)? {
            made = Some((key, false));
            return Ok(next);
        }
        if scan(tx, core)?.len() >= SEQUENCES_MAX {
            return Err(Error::TooLarge { what: "sequences", bound: SEQUENCES_MAX });
        }
        let id = -i64::from(next);
        let key = Key::encode(&[Value::Int(id)])?;
        let op = Op::Put(State { next: first, generation: 0 }.row(id, name));
        tx.step(|attempt, _| attempt.write_system(&schema(core), key.clone(), op.clone()))?;
        made = Some((key, true));
        Ok(next + 1)
    })?;
    made.ok_or_else(|| Error::NoSuchSequence { name: name.to_owned() })
}

fn find(core: &Arc<Core>, name: &str) -> Result<Option<(Key, Row)>> {
    transaction::run(core, &TxOptions::default(), |tx| look(tx, core, name))
}

fn look(tx: &mut Transaction, core: &Arc<Core>, name: &str) -> Result<Option<(Key, Row)>> {
    let range = entries_with(schema(core).def(), "by_name", &[Value::Text(format!("{MARK}{name}"))])?;
    Ok(entries(tx, core, range)?.into_iter().next())
}

/// The rows of all sequences.
fn scan(tx: &mut Transaction, core: &Arc<Core>) -> Result<Vec<(Key, Row)>> {
    let mut rows = entries(tx, core, KeyRange::all())?;
    rows.retain(|(_, row)| matches!(row.attribute(1), ValueRef::Text(name) if name.starts_with(MARK)));
    Ok(rows)
}

fn entries(tx: &mut Transaction, core: &Arc<Core>, range: KeyRange) -> Result<Vec<(Key, Row)>> {
    let open = schema(core);
    let index = open.def().index_named("by_name").expect("the schema table has it").clone();
    let span = Span::of(range);
    tx.step(|attempt, waker| attempt.index_scan(&open, &index, &span, waker))
}
